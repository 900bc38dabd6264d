"""The options that several commands have, each with one name and one meaning, and the reading of numbers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Final
from urllib.parse import quote

import typer

_LONGEST_ID: Final = 255
_LONGEST_KEY: Final = 255
_LONGEST_NUMBER: Final = 100


def number(text: str) -> Decimal:
    """A number as it was written, exactly; what it may be is the server's to say."""
    try:
        value = Decimal(text) if len(text) <= _LONGEST_NUMBER and "_" not in text else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        raise typer.BadParameter(f"expected a plain decimal number, found {text[:100]}")
    return value


def key(text: str) -> str:
    """An idempotency key that fits into a header."""
    if not 1 <= len(text) <= _LONGEST_KEY or not text.isascii() or not text.isprintable():
        raise typer.BadParameter(f"expected 1 to {_LONGEST_KEY} printable ASCII characters")
    return text


def pair(text: str) -> tuple[str, str]:
    """A name and a value, as in ``name=value``."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise typer.BadParameter(f"expected name=value, found {text[:100]}")
    return name, value


CustomerOption = Annotated[
    str | None,
    typer.Option(
        "--customer", help="Whose: an id or external_id; needed by keys that belong to no customer."
    ),
]
UnitOption = Annotated[
    str | None, typer.Option("--unit", help="The unit; without it the economy's primary one.")
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="From this moment on (RFC 3339).")
]
ToOption = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this moment (RFC 3339).")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=100, help="How many to show.")]
CursorOption = Annotated[str | None, typer.Option("--cursor", help="Go on after a page: its next_cursor.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        parser=key,
        metavar="KEY",
        help="Name this request yourself: a repeat with the same key is done once. Without it, one is made.",
    ),
]
QuantityOption = Annotated[
    Decimal | None,
    typer.Option("--quantity", parser=number, metavar="NUMBER", help="How much of the meter; 1 by default."),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="METER=QUANTITY",
        help="A further meter in the same transaction; may be given several times.",
    ),
]
AgentOption = Annotated[
    str | None, typer.Option("--agent", help="The agent that spends, for its budget and for you.")
]
DescriptionOption = Annotated[
    str | None, typer.Option("--description", help="What the statement says about it.")
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata", metavar="NAME=VALUE", help="A fact to keep with it; may be given several times."
    ),
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for the record.")]


def also_of(items: list[str] | None) -> list[dict[str, object]] | None:
    """Further meters as the request has them."""
    named = [pair(item) for item in items or ()]
    return [{"meter": meter, "quantity": number(quantity)} for meter, quantity in named] or None


def metadata_of(items: list[str] | None) -> dict[str, str] | None:
    """Metadata as the request has it."""
    return dict(pair(item) for item in items or ()) or None


def segment(identifier: str) -> str:
    """An id as one segment of a path, whatever is in it. Nothing, ``.`` and ``..`` would ask for another path."""
    if identifier in {"", ".", ".."} or len(identifier) > _LONGEST_ID:
        raise typer.BadParameter(
            f"expected an id of 1 to {_LONGEST_ID} characters, found {identifier[:100]!r}"
        )
    return quote(identifier, safe="")
