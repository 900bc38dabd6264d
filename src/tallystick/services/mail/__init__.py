"""E-mail about what happened: the words of each type in a template, shown as plain text and as HTML.

A template is `templates/<type>.txt`: its first line is the subject, the rest are paragraphs. The values come from the event;
what it does not have is a dash. Amounts are shown exactly. In HTML every value is escaped, and a subject is always one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from tallystick.core.decimals import name_of_unit
from tallystick.core.ids import to_text
from tallystick.store.notifications import NotificationRow

_FOLDER: Final = Path(__file__).parent / "templates"
_LONGEST_VALUE: Final = 200
_ADDRESS: Final = re.compile(r"[^@\s<>()\[\],;:\\\"]{1,64}@[^@\s<>()\[\],;:\\\"]{1,255}")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail without its receiver."""

    subject: str
    text: str
    html: str


class _Values(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "–"


def is_address(text: str) -> bool:
    """Whether a text is one plain address: nothing that a header or a mail server could read as more than that."""
    return text.isprintable() and _ADDRESS.fullmatch(text) is not None


def mail_of(notification: NotificationRow, *, title: str, link: str) -> Mail:
    """The mail about an event. ``title`` is what the operator's economy is called, ``link`` where its customers go."""
    data: Mapping[str, object] = json.loads(notification.data, parse_float=Decimal)
    values = _Values({name: _shown(value) for name, value in data.items()})
    for name, value in data.items():
        if isinstance(value, int | Decimal):
            unit = name_of_unit(values["unit"], one=value == 1)
            values[f"{name}_with_unit"] = f"{values[name]} {unit}"
    values["link"], values["title"] = link, _one_line(title)
    if notification.customer_id is not None:
        values["customer"] = to_text("cust", notification.customer_id)
    subject, *paragraphs = _words(notification.type)
    line = _one_line(Template(subject).substitute(values))
    facts = [(name.replace("_", " "), _shown(value)) for name, value in data.items() if _is_plain(value)]
    plain = [Template(each).substitute(values) for each in paragraphs]
    text = Template(_file("layout.txt")).substitute(
        _Values(values, body="\n\n".join(plain), facts="\n".join(f"{name}: {value}" for name, value in facts))
    )
    safe = _Values({name: escape(value) for name, value in values.items()})
    html = Template(_file("layout.html")).substitute(
        _Values(
            safe,
            subject=escape(line),
            body="\n".join(f"<p>{_linked(escape(each), safe['link'])}</p>" for each in plain),
            facts="\n".join(
                f'<tr><td style="padding-right:1rem;color:#566372">{escape(name)}</td><td>{escape(value)}</td></tr>'
                for name, value in facts
            ),
        )
    )
    return Mail(line, text, html)


def _linked(paragraph: str, link: str) -> str:
    return paragraph.replace(link, f'<a href="{link}">{link}</a>')


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """A value as people read it, on one line."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return _one_line("–" if value is None else str(value))


def _one_line(text: str) -> str:
    """Text without line breaks and control characters, and of a length that a subject bears."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:_LONGEST_VALUE]


def _words(event_type: str) -> list[str]:
    return _file(f"{event_type}.txt").strip().split("\n\n")


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
