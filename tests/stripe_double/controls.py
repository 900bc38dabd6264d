"""What a test lets happen at Stripe: on its pages, at the banks, in its dashboard, with time."""

from typing import Any

from tests.stripe_double.account import Account
from tests.stripe_double.cards import CARDS, card_named
from tests.stripe_double.contract import Json
from tests.stripe_double.errors import Refusal
from tests.stripe_double.resources import (
    checkout,
    customers,
    disputes,
    payment_intents,
    payment_methods,
    refunds,
    renewals,
    sessions,
)

EMAIL = "ann@example.com"


class Controls:
    """Each takes the id of what it happens to, and returns the object as it is afterwards (a copy is not made)."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def complete(self, session: str, card: str = "visa", *, email: str = EMAIL) -> Json:
        """Pay a session, or save a card on it; the card must not be declined."""
        refusal = self._submit(session, card, email)
        if refusal is not None:
            raise ValueError(f"the page shows: {refusal}")
        return self._found("checkout.session", session)

    def decline(self, session: str, card: str = "charge_declined", *, email: str = EMAIL) -> Json:
        """Try to pay a session with a card that is declined: the session stays open."""
        if self._submit(session, card, email) is None:
            raise ValueError(f"{card} was not declined")
        return self._found("checkout.session", session)

    def complete_in_currency(self, session: str, *, currency: str, amount: int) -> Json:
        """Pay a session in the payer's own currency, which Stripe offers where adaptive pricing is on."""
        with self._account.lock:
            found = self._open_session(session)
            if not (found["adaptive_pricing"] or {}).get("enabled"):
                raise ValueError("the page offers no other currency")
            found["presentment_details"] = {"presentment_amount": amount, "presentment_currency": currency}
            return self.complete(session)

    def pay_later(self, session: str, *, email: str = EMAIL) -> Json:
        """Complete a session by a bank account: it is unpaid until `bank_answers`."""
        return self.complete(session, "us_bank_account", email=email)

    def bank_answers(self, name: str, *, paid: bool) -> Json:
        """End the asynchronous payment of a session, of an invoice, or of a payment intent that belongs to neither."""
        with self._account.lock:
            found = self._account.objects[name]
            match found["object"]:
                case "checkout.session":
                    checkout.bank_answered(self._account, found, paid=paid)
                case "invoice":
                    renewals.bank_answered(self._account, found, paid=paid)
                case _:
                    self._check_alone(name)
                    payment_intents.settle(self._account, found, paid=paid)
            return found

    def authenticate(self, intent: str, *, succeeds: bool = True) -> Json:
        """Let the owner of a card pass the check that a payment intent waits for, or fail it."""
        with self._account.lock:
            found = self._account.find("payment_intent", intent)
            payment_intents.authenticate(self._account, found, succeeds=succeeds)
            return found

    def expire(self, session: str) -> Json:
        """Let a session expire now, before its time."""
        with self._account.lock:
            return sessions.expired(self._account, self._open_session(session))

    def abandon(self, session: str) -> Json:
        """Leave the page of a session: nothing happens, until it expires."""
        with self._account.lock:
            return self._open_session(session)

    def dispute(
        self, charge: str, *, amount: int | None = None, reason: str = "fraudulent", inquiry: bool = False
    ) -> Json:
        """Let the owner of a card dispute a charge; an inquiry takes no money yet."""
        with self._account.lock:
            found = self._account.find("charge", charge)
            left = found["amount_captured"] - found["amount_refunded"]
            if found["disputed"] or not left:
                raise ValueError("the charge was disputed before, or nothing is left of it")
            wanted = left if amount is None else amount
            return disputes.opened(self._account, found, amount=wanted, reason=reason, inquiry=inquiry)

    def escalate(self, dispute: str) -> Json:
        """Let an inquiry become a chargeback, which takes the money."""
        with self._account.lock:
            found = self._dispute(dispute, {"warning_needs_response", "warning_under_review"})
            disputes.escalate(self._account, found)
            return found

    def win(self, dispute: str) -> Json:
        """Let the bank decide for the account: the money comes back."""
        with self._account.lock:
            found = disputes.end(
                self._account, self._dispute(dispute, {"needs_response", "under_review"}), status="won"
            )
            disputes.reinstate(self._account, found)
            return found

    def lose(self, dispute: str) -> Json:
        """Let the bank decide for the owner of the card."""
        with self._account.lock:
            return disputes.end(
                self._account, self._dispute(dispute, {"needs_response", "under_review"}), status="lost"
            )

    def close_inquiry(self, dispute: str) -> Json:
        """Let an inquiry end without a chargeback."""
        with self._account.lock:
            found = self._dispute(dispute, {"warning_needs_response", "warning_under_review"})
            return disputes.end(self._account, found, status="warning_closed")

    def prevent(self, dispute: str) -> Json:
        """Let an inquiry be resolved before it becomes a chargeback."""
        with self._account.lock:
            found = self._dispute(dispute, {"warning_needs_response", "warning_under_review"})
            return disputes.end(self._account, found, status="prevented")

    def withdraw_funds(self, dispute: str) -> Json:
        """Take the money of a dispute (again)."""
        with self._account.lock:
            found = self._account.find("dispute", dispute)
            disputes.withdraw(self._account, found)
            return found

    def reinstate_funds(self, dispute: str) -> Json:
        """Give the money of a dispute back, however it ends."""
        with self._account.lock:
            found = self._account.find("dispute", dispute)
            disputes.reinstate(self._account, found)
            return found

    def refund(self, charge: str, *, amount: int | None = None, **fields: Any) -> Json:
        """Refund a charge in the dashboard: the product did not ask for it."""
        with self._account.lock:
            found = self._account.find("charge", charge)
            wanted = found["amount"] - found["amount_refunded"] if amount is None else amount
            return refunds.made(self._account, found, amount=wanted, parameters=fields)

    def refund_arrives(self, refund: str) -> Json:
        """Let a pending refund succeed."""
        with self._account.lock:
            found = self._refund(refund, {"pending"})
            refunds.succeed(self._account, found)
            return found

    def refund_fails(self, refund: str, *, reason: str = "lost_or_stolen_card") -> Json:
        """Let a refund come back from the bank."""
        with self._account.lock:
            found = self._refund(refund, {"pending", "succeeded"})
            refunds.fail(self._account, found, reason=reason)
            return found

    def save_card(self, customer: str, card: str = "visa") -> Json:
        """Attach a test card to a customer, however it will behave; return the payment method."""
        with self._account.lock:
            self._account.find("customer", customer)
            method = payment_methods.made(self._account, card_named(card))
            payment_methods.keep(self._account, method, customer)
            return method

    def change_card(self, method: str, card: str) -> None:
        """Let a saved payment method behave like another test card from now on."""
        with self._account.lock:
            self._account.find("payment_method", method)
            self._account.cards[method] = CARDS[card]

    def detach(self, method: str) -> Json:
        """Remove a card from its customer, as the customer does in the portal."""
        with self._account.lock:
            return payment_methods.release(self._account, self._account.find("payment_method", method))

    def delete_customer(self, customer: str) -> Json:
        """Delete a customer in the dashboard."""
        with self._account.lock:
            return customers.remove(self._account, customer)

    def cancel_in_portal(self, subscription: str, *, at_period_end: bool = True) -> Json:
        """Cancel a subscription, as the customer does in the portal."""
        from tests.stripe_double.resources import subscriptions

        with self._account.lock:
            if not at_period_end:
                found = self._account.find("subscription", subscription)
                return subscriptions.end(self._account, found, reason="cancellation_requested")
            return subscriptions.update(self._account, {"cancel_at_period_end": True}, subscription)

    def advance(self, *, seconds: int = 0, days: int = 0) -> None:
        """Move the clock ahead; what becomes due on the way happens at its own time."""
        self.advance_to(self._account.now() + seconds + days * renewals.DAY)

    def advance_to(self, moment: int) -> None:
        """Move the clock to a moment, in seconds since the epoch."""
        with self._account.lock:
            if moment < self._account.now():
                raise ValueError("the clock of Stripe does not go back")
            renewals.advance(self._account, moment)

    def catch_up(self) -> None:
        """Let happen what became due as the clock ran, or as the clock that it follows was moved."""
        with self._account.lock:
            renewals.catch_up(self._account)

    def _submit(self, session: str, card: str, email: str) -> Refusal | None:
        with self._account.lock:
            renewals.catch_up(self._account)
            found = self._found("checkout.session", session)
            return checkout.submitted(self._account, found, card_named(card), email=email)

    def _found(self, kind: str, name: str) -> Json:
        with self._account.lock:
            return self._account.find(kind, name)

    def _open_session(self, session: str) -> Json:
        found = self._account.find("checkout.session", session)
        if found["status"] != "open":
            raise ValueError(f"the session is {found['status']}")
        return found

    def _check_alone(self, intent: str) -> None:
        sessions_of = self._account.all("checkout.session", payment_intent=intent)
        payments = self._account.all("invoice_payment")
        if sessions_of or any(each["payment"]["payment_intent"] == intent for each in payments):
            raise ValueError("the payment belongs to a session or an invoice: answer about that")

    def _refund(self, refund: str, statuses: set[str]) -> Json:
        found = self._account.find("refund", refund)
        if found["status"] not in statuses:
            raise ValueError(f"the refund is {found['status']}")
        return found

    def _dispute(self, dispute: str, statuses: set[str]) -> Json:
        found = self._account.find("dispute", dispute)
        if found["status"] not in statuses:
            raise ValueError(f"the dispute is {found['status']}")
        return found
