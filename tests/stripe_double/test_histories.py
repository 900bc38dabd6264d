"""Histories at random: whatever happens, the double keeps the contract and its own accounts."""

import contextlib
import random
from collections.abc import Callable

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes

CARDS = ["visa", "visa", "insufficient_funds", "lost_card", "authentication_required", "us_bank_account"]
STEPS = 60


class History:
    """One customer with a tier, packs and refills; each step does something that is possible or is refused."""

    def __init__(self, double: StripeDouble, seed: int) -> None:
        self.double = double
        self.client = double.client(retries=0)
        self.chance = random.Random(seed)
        self.owner = scenes.customer(self.client)
        self.price = scenes.monthly(self.client, "Pro", 1900)
        self.steps: list[Callable[[], object]] = [
            self.buy, self.subscribe, self.refill, self.submit, self.answer, self.refund, self.break_refund,
            self.dispute, self.judge, self.wait, self.detach,
        ]  # fmt: skip

    def step(self) -> None:
        """Do something; what Stripe or the controls refuse is no mistake."""
        with contextlib.suppress(stripe.InvalidRequestError, stripe.CardError, ValueError):
            self.chance.choice(self.steps)()

    def buy(self) -> None:
        """Open a session for a pack."""
        scenes.pack(self.client, self.owner)

    def subscribe(self) -> None:
        """Open a session for a tier."""
        rows = [{"price": self.price, "quantity": 1}]
        asked = {
            "mode": "subscription",
            "line_items": rows,
            "invoice_creation": None,
            "payment_intent_data": None,
        }
        scenes.pack(self.client, self.owner, **asked)

    def refill(self) -> None:
        """Pay with a card that may be declined."""
        method = self.double.save_card(self.owner, self.chance.choice(CARDS))["id"]
        self.client.v1.payment_intents.create(scenes.refill(self.owner, method))

    def submit(self) -> None:
        """Submit the page of a session."""
        self.double.complete(self.any("checkout.session"), self.chance.choice(CARDS))

    def answer(self) -> None:
        """Let a bank answer."""
        self.double.bank_answers(
            self.any("checkout.session", "payment_intent", "invoice"), paid=self.chance.random() < 0.5
        )

    def refund(self) -> None:
        """Refund a part of a charge."""
        self.client.v1.refunds.create({"charge": self.any("charge"), "amount": self.chance.randint(1, 700)})

    def break_refund(self) -> None:
        """Let a refund fail."""
        self.double.refund_fails(self.any("refund"))

    def dispute(self) -> None:
        """Dispute a charge, or ask about it."""
        self.double.dispute(self.any("charge"), inquiry=self.chance.random() < 0.3)

    def judge(self) -> None:
        """Go on with a dispute."""
        verdicts = (self.double.win, self.double.lose, self.double.escalate, self.double.close_inquiry)
        self.chance.choice(verdicts)(self.any("dispute"))

    def wait(self) -> None:
        """Let days go by."""
        self.double.advance(days=self.chance.randint(1, 20))

    def detach(self) -> None:
        """Remove a card."""
        self.double.detach(self.any("payment_method"))

    def any(self, *kinds: str) -> str:
        """Return the id of some object, or refuse if there is none."""
        found = [each["id"] for kind in kinds for each in self.double.account.all(kind)]
        if not found:
            raise ValueError("there is nothing yet")
        name: str = self.chance.choice(found)
        return name


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_adds_up(stripe_double: StripeDouble, seed: int) -> None:
    """No answer or event breaks the contract, and payments, charges, refunds and the balance agree."""
    history = History(stripe_double, seed)
    for _ in range(STEPS):
        history.step()
    account = stripe_double.account
    charges = account.all("charge")
    for charge in charges:
        refunds = account.all("refund", charge=charge["id"])
        assert charge["amount_refunded"] == sum(
            each["amount"] for each in refunds if each["status"] != "failed"
        )
        assert 0 <= charge["amount_refunded"] <= charge["amount_captured"] <= charge["amount"]
    for intent in account.all("payment_intent", status="succeeded"):
        paid = [each for each in charges if each["payment_intent"] == intent["id"] and each["paid"]]
        assert [intent["amount"]] == [each["amount"] for each in paid]
    taken = sum(each["amount_captured"] for each in charges)
    given = sum(each["amount_refunded"] for each in charges)
    moved = {
        each["id"]: each for dispute in account.all("dispute") for each in dispute["balance_transactions"]
    }
    booked = sum(each["amount"] for each in account.all("balance_transaction"))
    assert taken - given + sum(each["amount"] for each in moved.values()) == booked
    assert charges
