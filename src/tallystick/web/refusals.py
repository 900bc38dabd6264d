"""A refusal in the words of people: fields as their forms name them, and nothing of keys, headers and hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.core import errors
from tallystick.problem_details import status_of

# What people read for a field whose name alone says too little.
FIELDS: Final = {
    "again": "New password again",
    "budget.amount": "Budget",
    "email": "E-mail",
    "expires_at": "End",
    "Idempotency-Key": "The form's own number",
    "input": "What for",
    "max_price": "Price",
    "new": "New password",
    "old": "Password now",
    "once": "The form's own number",
    "output": "What came of it",
    "q": "Name or description",
    "refund": "How much goes back",
    "since": "From when on",
    "subject": "Agent or key",
    "threshold": "When to refill",
    "timeout": "Seconds",
    "tier": "Plan",
    "types": "About",
    "url": "Address",
}
# What services say in the words of programs.
_EXPECTED: Final = {
    "text without NUL or lone surrogates": "text without characters that nothing can show",
    "characters without NUL": "characters that can be shown",
    "a plain decimal number with": "digits such as 1000 or 12.50, without commas or a currency's sign, and with",
    "name an earlier expires_at": "name an earlier end",
}
_AWAY: Final = "The database does not answer just now. Send this again in a moment: it acts once."
_NO_ANSWER: Final = (
    "The payment provider has given no answer yet, so nobody knows whether this was done. "
    "Send this form again as it is: it asks first, and nothing is done twice."
)
_UNDER_WAY: Final = (
    "This form was sent before, and is still being carried out. Send it again in a moment, as it is: "
    "it leads to what came of the first time, and nothing is done twice."
)
_REUSED: Final = (
    "This form was sent before with other contents, and what it asked for then stands. The form below is a new one: "
    "look at what there is now, and send it if you still want to."
)
_NO_NUMBER: Final = "This form has lost its own number: load the page again."
# Refusals that have other words for people, whatever they say to programs.
_WORDS: Final[Mapping[type[errors.Refusal], str]] = {
    errors.ServiceUnavailable: _AWAY,
    errors.PaymentsUnavailable: _NO_ANSWER,
    errors.IdempotencyInFlight: _UNDER_WAY,
    errors.IdempotencyKeyReused: _REUSED,
    errors.IdempotencyKeyRequired: _NO_NUMBER,
}
# Whoever gets these must send the same form again, with the same key: whether it was done is not known.
_UNDECIDED: Final = (errors.PaymentsUnavailable, errors.ServiceUnavailable, errors.IdempotencyInFlight)


@dataclass(frozen=True, slots=True)
class Again:
    """A form that is shown again: what was wrong, what had been filled in, and its key where that has to stay."""

    problem: str
    status: int
    form: Mapping[str, str]
    key: str | None = None


def again_of(refusal: errors.Refusal, form: Mapping[str, str], *, key: str | None = None) -> Again:
    """The form again, with what was refused, and with its ``key`` where nobody knows yet whether it was done.

    One that was sent before with other contents stands against what was done.
    """
    kept = key if key and isinstance(refusal, _UNDECIDED) else None
    is_reused = isinstance(refusal, errors.IdempotencyKeyReused)
    return Again(told(refusal), 409 if is_reused else status_of(type(refusal))[0], form, kept)


def told(refusal: errors.Refusal) -> str:
    """A refusal as a sentence. What the database said stays here: it may name hosts and users."""
    for kind, words in _WORDS.items():
        if isinstance(refusal, kind):
            return words
    text = refusal.detail
    if isinstance(refusal, errors.ValidationFailed):
        found: Any = refusal.fields["errors"]
        text = "; ".join(f"{_label(each['field'])}: {each['message']}" for each in found)
    for said, meant in _EXPECTED.items():
        text = text.replace(said, meant)
    return sentence(text)


def sentence(text: str) -> str:
    """A text with what makes it a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"


def _label(name: str) -> str:
    label = FIELDS.get(name, name.replace("_", " ").replace(".", " "))
    return f"{label[:1].upper()}{label[1:]}"
