"""Fulfilment: one function for the webhook, the success page, the worker and the reconciler.

It asks the provider how a payment stands and makes our books say the same, in one transaction: the credits of what was
paid, the clawback of what went back, the row, and the mark of the event that made us look. Nothing that an event or an
address says is believed. Two that look at the same moment cannot overwrite each other: the row counts its changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.adjustments import ClawBack, Grant, Reinstate, SetFrozen
from tallystick.core.amounts import MICROS_PER_CENT
from tallystick.core.ids import to_text
from tallystick.core.operations import Operation
from tallystick.ports import OutcomeUnknown
from tallystick.ports.payments import Dispute, PaymentProvider
from tallystick.services import payment_notices
from tallystick.services.context import Context
from tallystick.services.payment_state import Facts, Verdict, judge, next_look
from tallystick.services.refill_outcomes import note_refill
from tallystick.services.requests import digest_of
from tallystick.store import payments as store
from tallystick.store.payments import DisputeRow, PaymentRow
from tallystick.store.results import idempotency_of

SCOPE: Final = "payments"
TRIES: Final = 5
_CLOSED: Final = frozenset({"won", "lost", "closed"})
_GRAVEST: Final = (
    "open",
    "inquiry",
    "lost",
    "won",
    "closed",
)  # of several disputes of one payment, which is told

Mark = Callable[[Connection, str], None]

log = structlog.get_logger(__name__)


class Fulfilment:
    """Makes our books say what the provider says of a payment."""

    def __init__(self, context: Context, provider: PaymentProvider) -> None:
        self._context = context
        self._provider = provider
        self.refills_ended: Counter[str] = Counter()

    def look(
        self, payment_id: int, *, mark: Mark | None = None, known: PaymentRow | None = None
    ) -> PaymentRow | None:
        """Ask how a payment stands, and book it; gives the row afterwards, or None where there is no such payment.

        ``mark`` is done in the same transaction, and told what came of it; ``known`` is the row, where it was read just
        now. Raises ``PaymentsUnavailable`` when the provider does not answer; the row then says when to ask again.
        """
        for attempt in range(TRIES):
            row = known
            if row is None or attempt:
                with self._context.database.read() as connection:
                    row = store.by_id(connection, payment_id)
            if row is None or row.provider != self._provider.name:
                return None
            facts = self._ask(row)
            done = self.book(row, facts, mark=mark)
            if done is not None:
                return done
        raise errors.PaymentsUnavailable("this payment is being changed by many at once")

    def book(self, row: PaymentRow, facts: Facts, *, mark: Mark | None = None) -> PaymentRow | None:
        """Book what the provider said of a row; None when the row has changed since it was read: ask again."""
        context = self._context

        def work(connection: Connection) -> PaymentRow | None:
            current = store.by_id(connection, row.id, lock=True)
            if current is None or current.version != row.version:
                return None
            after = self._apply(connection, current, facts)
            if mark is not None:
                mark(connection, after.status)
            return after

        done = context.commit.transact(work)
        ended = done is not None and row.status in store.UNDER_WAY and done.status not in store.UNDER_WAY
        if done is not None and done.kind == "refill" and ended:
            self.refills_ended[{"paid": "succeeded"}.get(done.status, done.status)] += 1
        return done

    def _ask(self, row: PaymentRow) -> Facts:
        provider = self._provider
        try:
            checkout = None if row.checkout is None else provider.checkout(row.checkout)
            invoice = None if row.invoice is None or row.kind != "invoice" else provider.invoice(row.invoice)
            made_by = checkout or invoice
            payment_id = row.reference or (None if made_by is None else made_by.payment)
            payment = None if payment_id is None else provider.payment(payment_id)
            if payment is None and row.kind == "refill" and row.payer is not None:
                payment = provider.find_payment(
                    payer=row.payer, reference=to_text("pay", row.id), since=row.created_at
                )
        except OutcomeUnknown as error:
            self.look_later(row)
            raise errors.PaymentsUnavailable from error
        return Facts(checkout, payment, invoice)

    def look_later(self, row: PaymentRow) -> None:
        """Ask again after a while: nothing is known that was not known before."""
        now = self._context.now()
        values = {"look_at": next_look(row.looks, now), "looks": row.looks + 1}
        self._context.database.transact(lambda connection: store.change(connection, row.id, **values))

    # --- inside the transaction ------------------------------------------------------------------------------------

    def _apply(self, connection: Connection, row: PaymentRow, facts: Facts) -> PaymentRow:
        now = self._context.now()
        verdict = judge(row, facts, now)
        values = _values(row, verdict, facts)
        if verdict.status == "paid" and row.kind != "invoice" and row.grant_id is None:
            values["grant_id"], values["paid_at"] = self._grant(connection, row), now
        elif verdict.status == "paid" and row.paid_at is None:
            values["paid_at"] = now
        after = replace(row, **values)
        if after.grant_id is not None and verdict.clawed_back != row.clawed_back:
            self._move_credits(connection, after, verdict.clawed_back - row.clawed_back)
            values["clawed_back"] = verdict.clawed_back
        values["looks"] = row.looks + 1 if verdict.look_at is not None else 0
        changed = {name: value for name, value in values.items() if getattr(row, name) != value}
        store.change(connection, row.id, **changed)
        after = replace(row, **values, version=row.version + 1)
        self._note_disputes(connection, after, facts)
        if after.refunded_cents < row.refunded_cents:  # one of them failed late: the worker finds out which
            store.look_at_refunds(connection, row.id, now=now)
        if after.status != row.status:
            if after.kind == "refill":
                note_refill(connection, self._context, after, facts.payment)
            if after.status == "mismatch":
                log.error(
                    "what was paid is not what was ordered", payment=row.id, differences=after.failure_text
                )
        payment_notices.tell(connection, self._context, before=row, after=after)
        return after

    def _grant(self, connection: Connection, row: PaymentRow) -> int:
        """The credits of a payment: once, whatever number of events describe it."""
        category = "auto_refill" if row.kind == "refill" else "purchase"
        reference = to_text("pay", row.id)
        operation = Grant(
            customer_id=row.customer_id,
            caller=SCOPE,
            economy=row.economy,
            unit=row.unit,
            amount=row.credits,
            category=category,
            origin="paid",
            priority=self._context.economy().priority(category),
            description=row.title,
            reference=reference,
            cost_micros=row.amount_cents * MICROS_PER_CENT,
            **once("refill" if row.kind == "refill" else "purchase", reference),
        )
        return int(self._post(connection, operation).id)

    def _move_credits(self, connection: Connection, row: PaymentRow, amount: int) -> None:
        """Take credits back from a payment's grant, or (negative) give them back to it."""
        reference = to_text("pay", row.id)
        fields: dict[str, Any] = {
            "customer_id": row.customer_id,
            "caller": SCOPE,
            "grant_id": row.grant_id,
            "amount": abs(amount),
            **once("lost", f"{reference}:{row.version}"),
        }
        operation: Operation
        if amount > 0:
            operation = ClawBack(description=f"{row.title}: the payment went back", **fields)
        else:
            operation = Reinstate(description=f"{row.title}: the payment stands again", **fields)
        try:
            self._post(connection, operation)
        except errors.ExceedsRefundable as refusal:  # an operator has taken some back by hand
            left = int(str(refusal.fields["refundable"]))
            if left:
                operation.amount = left
                self._post(connection, operation)
        except errors.Conflict:  # the grant is voided: what was left of it is taken back already
            log.warning("a refunded payment's grant was voided before", payment=row.id, grant=row.grant_id)

    def _note_disputes(self, connection: Connection, row: PaymentRow, facts: Facts) -> None:
        if facts.payment is None or not facts.payment.disputes:
            return
        known = store.disputes_of(connection, row.id)
        for dispute in facts.payment.disputes:
            before = known.get(dispute.id)
            after = self._dispute_row(row, dispute, before)
            if dispute.status == "open" and (before is None or before.status != "open"):
                after = replace(after, froze=self._freeze(connection, row))
            store.put_dispute(connection, after)
            payment_notices.tell_dispute(connection, self._context, row, before=before, after=after)
            if (
                before is not None
                and before.froze
                and before.closed_at is None
                and after.closed_at is not None
            ):
                self._thaw(connection, row)

    def _dispute_row(self, row: PaymentRow, dispute: Dispute, before: DisputeRow | None) -> DisputeRow:
        now = self._context.now()
        closed_at = None
        if dispute.status in _CLOSED:
            closed_at = now if before is None or before.closed_at is None else before.closed_at
        return DisputeRow(
            id=dispute.id,
            payment_id=row.id,
            customer_id=row.customer_id,
            status=dispute.status,
            reason=dispute.reason,
            amount_cents=dispute.amount_cents,
            withdrawn_cents=dispute.withdrawn_cents,
            evidence_due_at=dispute.evidence_due_at,
            opened_at=now if before is None else before.opened_at,
            closed_at=closed_at,
            froze=before is not None and before.froze,
        )

    def _freeze(self, connection: Connection, row: PaymentRow) -> bool:
        """Freeze the wallet while a dispute is open, if the economy says so; False when somebody else froze it before."""
        if not self._context.economy().disputes.freeze_wallet:
            return False
        others = store.freezing_disputes(connection, row.customer_id, row.unit)
        found = self._post(connection, self._set_frozen(row, frozen=True))
        return bool(others) or found.before is None

    def _thaw(self, connection: Connection, row: PaymentRow) -> None:
        if not store.freezing_disputes(connection, row.customer_id, row.unit):
            self._post(connection, self._set_frozen(row, frozen=False))

    def _set_frozen(self, row: PaymentRow, *, frozen: bool) -> SetFrozen:
        reason = f"a dispute of {to_text('pay', row.id)}"
        return SetFrozen(
            customer_id=row.customer_id, caller=SCOPE, unit=row.unit, frozen=frozen, description=reason
        )

    def _post(self, connection: Connection, operation: Operation) -> Any:  # noqa: ANN401 - the operation's result
        [outcome] = self._context.ledger.post(connection, [operation], now=self._context.now())
        return outcome.value()


def once(fact: str, key: str) -> dict[str, Any]:
    """The fields that let a fact change the ledger once: the second wall, behind the row's own state."""
    text = f"{fact}:{key}"
    return {
        "idempotency": idempotency_of(SCOPE, text),
        "idempotency_key": text,
        "request_digest": digest_of(fact, (key,)),
    }


def _values(row: PaymentRow, verdict: Verdict, facts: Facts) -> dict[str, Any]:
    """What changes in the row, except the credits."""
    payment, checkout = facts.payment, facts.checkout
    values: dict[str, Any] = {
        "status": verdict.status,
        "failure": verdict.failure,
        "failure_text": verdict.failure_text,
        "refunded_cents": verdict.refunded_cents,
        "disputed_cents": verdict.disputed_cents,
        "look_at": verdict.look_at,
    }
    if checkout is not None:
        values["reference"] = row.reference or checkout.payment
        values["url"] = checkout.url if checkout.status == "open" else None
    if payment is not None:
        values["reference"] = payment.id
        values["invoice_url"] = payment.invoice_url or row.invoice_url
        values["receipt_url"] = payment.receipt_url or row.receipt_url
        found = {each.status for each in payment.disputes}
        values["dispute_status"] = next((each for each in _GRAVEST if each in found), row.dispute_status)
    return values
