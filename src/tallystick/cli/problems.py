"""Refusals as the command line tells them: a code in lower case, a sentence, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.decimals import to_decimal
from tallystick.core.refusal_facts import facts_of

# Where the advice of a refusal speaks of REST, these say the same of this door.
_HERE: Final[Mapping[str, str]] = {
    "not_authenticated": "Log in with `tally auth login -e EMAIL`, or set TALLY_API_KEY to a valid key.",
    "not_allowed": "Use a key whose role may do this (TALLY_API_KEY), or ask someone who has one.",
    "unknown_meter": "`tally prices` lists the meters and what they cost.",
    "unknown_unit": "`tally prices` shows the units that things are charged in.",
    "unknown_plan": "`tally economy show` lists the plans.",
    "unknown_pack": "`tally economy show` lists the packs.",
    "unknown_customer": "Check the id or external_id, or make the customer with `tally customers create`.",
    "invalid_cursor": "Start again without --cursor: a cursor is what an earlier page of this list gave.",
    "idempotency_key_reused": "Give a new --idempotency-key, or none: this one belongs to another request.",
    "economy_invalid": "Correct the named keys of the economy file and check it again.",
    "internal_error": "Look for the request_id in the server's log.",
}
_DATABASE_AWAY: Final = "See that the database runs, and that TALLY_DATABASE_URL or --database-url names it."
_ALREADY_SAID: Final = frozenset({"type", "title", "status", "detail", "code"})
_LITERAL: Final = re.compile(r"``([^`]*)``")


class Problem(Exception):  # noqa: N818 - a refusal is an answer and no error of the program
    """Something was refused or could not be done; nothing else went wrong."""

    def __init__(self, code: str, detail: str, *, advice: str | None = None, **fields: Any) -> None:  # noqa: ANN401
        """Take the code in lower case, a sentence, what to do, and facts for programs."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.advice = advice or advice_for(code)
        self.fields = fields

    def as_data(self) -> dict[str, Any]:
        """The form for programs."""
        problem: dict[str, Any] = {"code": self.code, "detail": self.detail}
        if self.advice:
            problem["what_to_do"] = self.advice
        return {"error": problem | self.fields}


def from_answer(body: Mapping[str, Any]) -> Problem:
    """A problem that the server answered."""
    fields = {name: value for name, value in body.items() if name not in _ALREADY_SAID}
    return Problem(
        str(body.get("code", "refused")).lower(),
        str(body.get("detail") or body.get("title") or "the server refused the request"),
        **{name: value for name, value in fields.items() if name not in {"self", "advice"}},
    )


def from_refusal(refusal: errors.Refusal) -> Problem:
    """A refusal of our own process."""
    advice = _DATABASE_AWAY if isinstance(refusal, errors.ServiceUnavailable) else None
    return Problem(refusal.code, refusal.detail, advice=advice, **facts_of(refusal, to_decimal))


def advice_for(code: str) -> str | None:
    """What to do about a code: this door's own words, or the docstring of the refusal's class."""
    if code in _HERE:
        return _HERE[code]
    for kind in _classes(errors.Refusal):
        if kind.code == code and kind is not errors.Refusal and kind.__doc__:
            return _LITERAL.sub(r"`\1`", " ".join(kind.__doc__.split("\n\n")[0].split()))
    return None


def _classes(kind: type[errors.Refusal]) -> Iterator[type[errors.Refusal]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _classes(each)
