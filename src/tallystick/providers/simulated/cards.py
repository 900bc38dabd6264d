"""The test cards: what each does on a page, and what it does later, when nobody is there to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tallystick.ports.payments import Decline

Behaviour: TypeAlias = Literal[
    "succeed", "decline", "authenticate", "settle_later", "fail_later", "wait", "answer_lost", "request_lost"
]

# The provider's codes that no later try with the same card can change, and the one that only its owner can.
_HARD: Final = frozenset({"lost_card", "stolen_card", "expired_card", "do_not_try_again", "no_card"})
UNCONFIRMED: Final = "authentication_required"
_SENTENCES: Final = {
    "generic_decline": "The card was declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "lost_card": "The card was declined: it is reported lost.",
    "stolen_card": "The card was declined: it is reported stolen.",
    "expired_card": "The card has expired.",
    "do_not_try_again": "The card was declined, and its bank asks not to try it again.",
    "authentication_required": "The card's bank wants its owner to confirm the payment.",
    "payment_failed_later": "The bank could not collect the payment.",
    "no_card": "There is no card to charge.",
}


@dataclass(frozen=True, slots=True)
class TestCard:
    """A card for trying things out. ``here`` is what it does on a page, ``later`` what it does without its owner.

    ``here_code`` and ``later_code`` tell why it is declined, where it is.
    """

    __test__ = False  # The name begins with "Test", and this is not one.

    number: str
    brand: str
    meaning: str
    here: Behaviour = "succeed"
    here_code: str = ""
    later: Behaviour = "succeed"
    later_code: str = ""

    @property
    def last4(self) -> str:
        """What people see of the number."""
        return self.number[-4:]

    @property
    def spaced(self) -> str:
        """The number as it stands on a card."""
        return " ".join(self.number[start : start + 4] for start in range(0, len(self.number), 4))


def _declined(number: str, code: str, meaning: str) -> TestCard:
    return TestCard(number, "visa", meaning, "decline", code, "decline", code)


def _late(number: str, behaviour: Behaviour, meaning: str) -> TestCard:
    return TestCard(number, "bank debit", meaning, behaviour, "", behaviour)


CARDS: Final = (
    TestCard("4242424242424242", "visa", "Pays, here and later"),
    TestCard("5555555555554444", "mastercard", "Pays, here and later"),
    _declined(
        "4000000000009995", "insufficient_funds", "Declined: insufficient funds (a later try may help)"
    ),
    _declined("4000000000000002", "generic_decline", "Declined without a reason (a later try may help)"),
    _declined("4000000000009987", "lost_card", "Declined for good: reported lost"),
    _declined("4000000000009979", "stolen_card", "Declined for good: reported stolen"),
    _declined("4000000000000069", "expired_card", "Declined for good: expired"),
    _declined("4000000000001109", "do_not_try_again", "Declined for good: its bank asks not to try again"),
    TestCard(
        "4000002760003184",
        "visa",
        "Wants to be confirmed by its owner: here one can, later it is declined",
        "authenticate",
        UNCONFIRMED,
        "decline",
        UNCONFIRMED,
    ),
    TestCard(
        "4000000000000341",
        "visa",
        "Pays here; later declined: insufficient funds",
        later="decline",
        later_code="insufficient_funds",
    ),
    TestCard(
        "4000000000001208",
        "visa",
        "Pays here; later declined for good: reported lost",
        later="decline",
        later_code="lost_card",
    ),
    TestCard(
        "4000000000001307",
        "visa",
        "Pays here; later its bank asks not to try again",
        later="decline",
        later_code="do_not_try_again",
    ),
    _late("4000000000002107", "settle_later", "Pays later: succeeds after ten minutes"),
    _late("4000000000002206", "fail_later", "Pays later: fails after ten minutes"),
    _late("4000000000002305", "wait", "Pays later: waits until it is settled or failed by hand"),
    TestCard(
        "4000000000003105",
        "visa",
        "Pays here; later it is charged, and the answer is lost",
        later="answer_lost",
    ),
    TestCard(
        "4000000000003204",
        "visa",
        "Pays here; later the first request is lost, and nothing is charged",
        later="request_lost",
    ),
)
_BY_NUMBER: Final = {card.number: card for card in CARDS}


def card_of(number: str) -> TestCard | None:
    """A test card by its number, with or without spaces; None for any other: no real card is ever taken."""
    return _BY_NUMBER.get("".join(number.split()))


def decline_of(code: str) -> Decline:
    """Whether a later try may help, only another card, or only the card's owner."""
    if code == UNCONFIRMED:
        return "authentication"
    return "hard" if code in _HARD else "soft"


def sentence_of(code: str) -> str:
    """A provider's code as a sentence."""
    return _SENTENCES[code]
