"""What all pages share: templates, headers that allow nothing from elsewhere, forms, and how values are shown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.decimals import format_units
from tallystick.core.times import to_datetime
from tallystick.web.words import DOOR_WORDS

MAX_FORM_FIELDS: Final = 20
_STYLE: Final = files("tallystick.web").joinpath("templates", "style.css").read_text("utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
# Currencies whose smallest unit is the unit itself: https://www.iso.org/iso-4217-currency-codes.html, as Stripe has them.
_WITHOUT_CENTS: Final = frozenset(
    {
        "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga",
        "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
    }
)  # fmt: skip


def money(cents: int, currency: str) -> str:
    """An amount in minor units, exactly: ``$12.34``, ``12.34 EUR``, ``1234 JPY``."""
    if currency in _WITHOUT_CENTS:
        return f"{cents} {currency.upper()}"
    text = f"{cents // 100}.{cents % 100:02d}"
    return f"${text}" if currency == "usd" else f"{text} {currency.upper()}"


def day(micros: int) -> str:
    """A moment as its day."""
    return f"{to_datetime(micros):%Y-%m-%d}"


def minute(micros: int) -> str:
    """A moment to the minute."""
    return f"{to_datetime(micros):%Y-%m-%d %H:%M} UTC"


_templates: Final = Environment(
    loader=PackageLoader("tallystick.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.filters.update(day=day, minute=minute)
_templates.globals.update(door_words=DOOR_WORDS, money=money, with_unit=format_units, style=Markup(_STYLE))  # noqa: S704 - our own file


def page(
    name: str,
    *,
    status: int = 200,
    leads_to: tuple[str, ...] = (),
    allows: Mapping[str, str] | None = None,
    **values: Any,  # noqa: ANN401
) -> Response:
    """A page from a template. ``leads_to`` are addresses elsewhere that its forms may end at.

    ``allows`` are further sources of the page's Content-Security-Policy, by directive.
    """
    return HTMLResponse(
        _templates.get_template(name).render(**values), status, _headers(leads_to, allows or {})
    )


def plain(
    request: Request,
    heading: str,
    sentence: str,
    *,
    status: int = 200,
    again_seconds: int | None = None,
    onward: tuple[str, str] | None = None,
) -> Response:
    """A page with one sentence; with ``again_seconds`` it looks again after a while.

    ``onward`` is where else to go: an address, and the words of its link.
    """
    values = frame(request, again_seconds=again_seconds) | {"onward": onward}
    return page("billing/plain.html", status=status, heading=heading, sentence=sentence, **values)


def frame(request: Request, *, again_seconds: int | None = None) -> dict[str, Any]:
    """What the templates of our own pages need, all of them."""
    is_simulated = tally_of(request).simulated_payments is not None
    return {"again_seconds": again_seconds, "test_mode": is_simulated}


def tally_of(request: Request) -> Tally:
    """The services of this process."""
    found: Tally = request.app.state.tally
    return found


def _headers(leads_to: tuple[str, ...], allows: Mapping[str, str]) -> dict[str, str]:
    origins = sorted({origin for origin in map(_origin_of, leads_to) if origin is not None})
    policy = {
        "default-src": "'none'",
        "style-src": f"'sha256-{_STYLE_HASH}'",
        "form-action": " ".join(("'self'", *origins)),  # a redirect after a form must be allowed, too
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    for directive, sources in allows.items():
        policy[directive] = f"{policy.get(directive, '')} {sources}".strip()
    return {
        "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # with none at all, browsers would not say where a form comes from
    }


def _origin_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if _ORIGIN.fullmatch(origin) else None


def see_other(address: str) -> Response:
    """Go on there, with a GET."""
    return RedirectResponse(address, 303, {"Referrer-Policy": "same-origin"})


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form that was sent from a page of ours; None for anything from elsewhere.

    Raises ``MalformedRequest`` for what no form of ours can be.
    """
    if not _is_from_here(request):
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return None
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=MAX_FORM_FIELDS, strict_parsing=bool(body)))
    except ValueError:
        message = (
            f"this form cannot be read: expected UTF-8 and at most {MAX_FORM_FIELDS} fields. Nothing was done"
        )
        raise errors.MalformedRequest(message) from None


FormOf: TypeAlias = Annotated[dict[str, str] | None, Depends(_form)]


def _is_from_here(request: Request) -> bool:
    """Whether a form comes from our own pages: browsers say so, and whatever is no browser carries nobody's rights."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True
    own = {_origin_of(request.app.state.base)} | {
        f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")
    }
    return origin in own
