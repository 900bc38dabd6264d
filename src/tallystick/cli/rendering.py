"""How answers look: JSON for programs, tables for people. Amounts are exact and aligned at their points."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tallystick.cli.problems import Problem
from tallystick.core.decimals import name_of_unit

WIDTH_OF_A_FILE: Final = 160
NOTHING: Final = "–"


def json_text(data: object, *, encoding: str = "utf-8") -> str:
    """JSON with exact numbers, and with JSON's own escapes for what an encoding has no sign for."""
    import msgspec

    content = msgspec.json.Encoder(decimal_format="number").encode(data)
    found = msgspec.json.format(content, indent=2).decode()
    try:
        found.encode(encoding)
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", lambda sign: json.dumps(sign[0])[1:-1], found)
    return found


def console(*, stderr: bool = False) -> Console:
    """Where to print. What goes into a file or a pipe is not broken at 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, highlight=False, markup=False, width=WIDTH_OF_A_FILE if wide else None)


def text(value: object, style: str = "") -> Text:
    """A value as text. Control characters, which could rewrite a terminal, are shown as what they are not."""
    if value is None:
        return Text(NOTHING, style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style=style)
    if isinstance(value, Decimal):
        return Text(amount(value), style=style)
    return Text(harmless(str(value)), style=style)


def harmless(value: str) -> str:
    """A text as it may be written to a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in value)


def amount(value: object, places: int = 0) -> str:
    """An exact number with at least ``places`` decimals and its thousands apart; none is a dash."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return NOTHING if value is None else str(value)
    number = Decimal(value)
    digits = max(places, places_of(number))
    # Scaled by hand: the context of `quantize` and `normalize` rounds what has more than 28 digits.
    whole, _, fraction = f"{number.copy_abs():f}".partition(".")
    grouped = f"{int(whole):,}" + (f".{fraction[:digits].ljust(digits, '0')}" if digits else "")
    return f"-{grouped}" if number < 0 else grouped


def units(value: object, unit: str) -> str:
    """An amount with its unit: ``1 credit``, ``1,234.5 credits``."""
    one = isinstance(value, int | Decimal) and abs(value) == 1
    return f"{amount(value)} {name_of_unit(unit, one=one)}"


def places_of(value: object) -> int:
    """How many decimals a number needs."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return 0
    return len(f"{value:f}".partition(".")[2].rstrip("0"))


def moment(value: object) -> str:
    """An RFC 3339 time without its letters and its fraction, and still in UTC."""
    shown = str(value)
    if len(shown) >= 20 and shown[10] in "Tt" and shown[-1] in "Zz":  # noqa: PLR2004 - as in 2026-11-01T00:00:00Z
        return f"{shown[:10]} {shown[11:19]}Z"
    return shown


def titled(title: str | None, drawn: RenderableType) -> RenderableType:
    """A title on a line of its own, which is not broken at the width of what is below it."""
    return drawn if title is None else Group(text(title, "bold"), drawn)


def facts(pairs: Iterable[tuple[str, object]], *, title: str | None = None) -> RenderableType:
    """Names and values, one pair a line, numbers aligned at their points; what is unknown is left out."""
    known = [(name, value) for name, value in pairs if value is not None]
    numbers = [value for _, value in known if is_number(value)]
    places = max(map(places_of, numbers), default=0)
    shown = [amount(value, places) for value in numbers]
    width = max(map(len, shown), default=0)
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in known:
        drawn.add_row(name, text(amount(value, places).rjust(width) if is_number(value) else value))
    return titled(title, drawn)


def answer_facts(answer: dict[str, Any]) -> RenderableType:
    """What an answer says in plain values, each under its own name."""
    given = answer.get("metadata")
    noted = {f"metadata {name}": value for name, value in given.items()} if isinstance(given, Mapping) else {}
    plain = {
        name: value for name, value in (answer | noted).items() if isinstance(value, str | int | Decimal)
    }
    if "priority" in plain:
        plain["priority"] = str(plain["priority"])  # A rank: no decimals, whatever amounts beside it have.
    return facts(
        (name.replace("_", " "), moment(value) if isinstance(value, str) else value)
        for name, value in plain.items()
    )


def is_number(value: object) -> bool:
    """Whether a value is an amount or a count."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def show_problem(problem: Problem) -> None:
    """Tell people, on standard error, what was refused, why, and what to do."""
    out = console(stderr=True)
    out.print(Text.assemble(("refused: ", "bold red"), (problem.code, "bold")))
    out.print(text(problem.detail))
    errors = problem.fields.get("errors")
    if isinstance(errors, list) and len(errors) > 1:
        for each in errors:
            if isinstance(each, Mapping):
                out.print(
                    text(
                        f"  {each.get('field', each.get('key'))}: {each.get('message', each.get('expected'))}"
                    )
                )
    told = {name: value for name, value in problem.fields.items() if isinstance(value, str | int | Decimal)}
    if told:
        shown = (
            f"{name} {amount(value) if is_number(value) else text(value)}" for name, value in told.items()
        )
        out.print(text(" · ".join(shown), "dim"))
    if problem.advice:
        out.print(text(f"What to do: {problem.advice}"))
