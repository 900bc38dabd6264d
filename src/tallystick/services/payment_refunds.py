"""Giving money back: an operator asks the provider for it, and the credits follow what the provider says."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.times import MINUTE
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import PaymentProvider, Refund
from tallystick.services.checkouts import Checkouts
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.fulfilment import Fulfilment
from tallystick.services.operator_record import Deed, begin, end
from tallystick.services.payers import parse_usd, show_usd
from tallystick.services.requests import check_reason, idempotency_fields
from tallystick.store import payments as store
from tallystick.store.payments import PaymentRow, RefundRow

_AGAIN: Final = MINUTE


@dataclass(frozen=True, slots=True)
class RefundView:
    """A refund, and the payment as it stands after it."""

    refund: RefundRow
    payment: PaymentRow


class PaymentRefunds:
    """For admins."""

    def __init__(
        self, context: Context, provider: PaymentProvider, checkouts: Checkouts, fulfilment: Fulfilment
    ) -> None:
        self._context = context
        self._provider = provider
        self._checkouts = checkouts
        self._fulfilment = fulfilment

    def create(
        self,
        caller: Caller,
        payment_id: str,
        *,
        amount: Decimal | int | str | None = None,
        reason: str | None = None,
        idempotency_key: str | None,
    ) -> Answer[RefundView]:
        """Give a payment back, whole or ``amount`` US dollars of it; its credits are taken back pro rata.

        What was spent of them becomes debt. Raises ``Conflict`` unless it was paid, ``ExceedsRefundable``-like
        ``InvalidAmount`` for more than is left, ``PaymentFailed`` when the provider refuses, ``PaymentsUnavailable``
        when it does not answer: a repeat with the same key then asks again, and never gives back twice.
        """
        if not caller.is_admin:
            raise errors.NotAllowed("payments are refunded by an admin")
        row = self._checkouts.get(caller, payment_id)
        cents = None if amount is None else parse_usd(amount)
        text = check_reason(reason)
        fields = idempotency_fields(caller, idempotency_key, "payment_refund", (payment_id, cents, text))
        with self._context.database.read() as connection:
            known = store.refund_by_idempotency(connection, fields["idempotency"])
        if known is not None:
            if known.request_digest != fields["request_digest"]:
                raise errors.IdempotencyKeyReused
            if known.status != "new":
                return Answer(RefundView(known, self._checkouts.get(caller, payment_id)), replayed=True)
            return Answer(self.carry_out(known, again=True))
        if row.provider != self._provider.name:
            raise errors.Conflict(f"it was paid through {row.provider}, which is not in use any more")
        if row.status != "paid" or row.reference is None:
            raise errors.Conflict(f"only a payment that was made can be refunded: this one is {row.status}")
        left = row.amount_cents - row.refunded_cents
        wanted = left if cents is None else cents
        if not 0 < wanted <= left:
            raise errors.InvalidAmount(f"at most the {show_usd(left)} that are left of it")
        refund = self._write_down(caller, row, wanted, text, fields)
        if refund.request_digest != fields["request_digest"]:  # somebody else came first with this key
            raise errors.IdempotencyKeyReused
        return Answer(self.carry_out(refund))

    def _write_down(
        self, caller: Caller, row: PaymentRow, cents: int, reason: str | None, fields: dict[str, Any]
    ) -> RefundRow:
        now, number = self._context.now(), self._context.new_id()
        deed = Deed(
            action="refund_payment",
            customer_id=row.customer_id,
            subject=to_text("pay", row.id),
            terms={"amount": show_usd(cents)},
            reason=reason,
            tell=str,
        )

        def work(connection: Connection) -> RefundRow:
            store.add_refund(
                connection,
                id=number,
                payment_id=row.id,
                amount_cents=cents,
                status="new",
                reason=reason,
                caller=caller.name,
                created_at=now,
                look_at=now + _AGAIN,
                idempotency=fields["idempotency"],
                request_digest=fields["request_digest"],
            )
            known = store.refund_by_idempotency(connection, fields["idempotency"])
            assert known is not None
            if known.id == number:
                begin(self._context, connection, caller, deed, name=_name(number))
            return known

        return self._context.database.transact(work)

    def carry_out(self, refund: RefundRow, *, again: bool = False) -> RefundView:
        """Ask the provider for a refund that is written down; ``again``: its answer never came, so it is looked for first.

        The provider forgets a key after a day, and the refund that was made with it never.
        """
        with self._context.database.read() as connection:
            row = store.by_id(connection, refund.payment_id)
        assert row is not None
        assert row.reference is not None
        reference = to_text("ref", refund.id)
        try:
            made = self._made(row.reference, reference) if again else None
            made = made or self._provider.refund(
                row.reference,
                amount_cents=refund.amount_cents,
                reference=reference,
                key=f"refund:{reference}",
            )
        except OutcomeUnknown as error:
            self._change(refund.id, look_at=self._context.now() + _AGAIN)
            raise errors.PaymentsUnavailable from error
        except ProviderRefused as error:
            # Only what was done is remembered: the key is free again.
            self._change(refund.id, status="failed", failure=error.detail, look_at=None, idempotency=None)
            self._told(refund.id, "refused", error.detail)
            raise errors.PaymentFailed(error.detail, reason=error.code) from error
        self._change(
            refund.id,
            status=made.status,
            reference=made.id,
            failure=made.failure,
            look_at=_look_at(made, self._context.now()),
        )
        self._told(refund.id, "done", paid_back(refund.id, made.status, refund.amount_cents))
        after = self._fulfilment.look(row.id)
        with self._context.database.read() as connection:
            done = store.refund_by_id(connection, refund.id)
        assert done is not None
        return RefundView(done, after or row)

    def _made(self, payment: str, reference: str) -> Refund | None:
        return next((each for each in self._provider.refunds(payment) if each.reference == reference), None)

    def look(self, refund: RefundRow) -> None:
        """Ask what became of a refund: one that fails late gives its credits back."""
        if refund.status == "new":
            self.carry_out(refund, again=True)
            return
        # First: whatever happens now, its next turn comes later.
        self._change(refund.id, look_at=self._context.now() + 60 * _AGAIN)
        with self._context.database.read() as connection:
            row = store.by_id(connection, refund.payment_id)
        assert row is not None
        assert row.reference is not None
        found = next(
            (each for each in self._provider.refunds(row.reference) if each.id == refund.reference), None
        )
        now = self._context.now()
        if found is not None:
            look_at = _look_at(found, now)
            self._change(refund.id, status=found.status, failure=found.failure, look_at=look_at)
        self._fulfilment.look(row.id)

    def _told(self, number: int, status: str, outcome: str) -> None:
        """Write what came of it beside who asked for it, if that was an admin."""
        self._context.database.transact(
            lambda connection: end(self._context, connection, _name(number), status=status, outcome=outcome)
        )

    def _change(self, number: int, **values: object) -> None:
        self._context.database.transact(lambda connection: store.change_refund(connection, number, **values))


def paid_back(number: int, status: str, cents: int) -> str:
    """What came of a refund, as a sentence."""
    state = {"succeeded": "was paid back", "pending": "is on its way back"}.get(status, f"is {status}")
    return f"{show_usd(cents)} {state} ({to_text('ref', number)})"


def _name(number: int) -> str:
    """What the record of operators knows a refund by."""
    return to_text("ref", number)


def _look_at(refund: Refund, now: int) -> int | None:
    return now + 60 * _AGAIN if refund.status == "pending" else None
