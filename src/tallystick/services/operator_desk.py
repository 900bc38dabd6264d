"""What operators can do from the dashboard: each a service of its own, carried out once and written down with its reason.

What the ledger or our own tables decide is written down in the same transaction. A refund of a payment asks the provider,
and a reconciliation and an audit take long: they are written down first, and completed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.operations import Operation
from tallystick.core.times import Micros
from tallystick.core.words import EARNED_CATEGORIES, GRANTED_CATEGORIES
from tallystick.services.audit_process import audit_apart
from tallystick.services.charges import Charges
from tallystick.services.checkouts import Checkouts
from tallystick.services.context import Answer, Context
from tallystick.services.endpoints import Endpoints
from tallystick.services.grants import Grants, Wallets
from tallystick.services.operator_actions import OperatorActions, Told, Wish
from tallystick.services.operator_outcomes import decided, froze, granted, refunded, thawed
from tallystick.services.operators import Operator
from tallystick.services.payment_refunds import PaymentRefunds, paid_back
from tallystick.services.reconciler import Reconciler
from tallystick.services.tasks import Tasks
from tallystick.store import payments
from tallystick.store.operators import ActionRow

Done = Answer[ActionRow]
# What an operator gives is free; what is bought comes by a payment.
CATEGORIES: Final = tuple(sorted(GRANTED_CATEGORIES | EARNED_CATEGORIES))


class OperatorDesk:
    """Each method takes who asks, the reason and the form's key, and gives the action as it was written down.

    An action that was refused is an answer, with ``status`` "refused" and why. Raises ``ValidationFailed`` and ``NotFound``
    for what cannot be asked at all, and ``IdempotencyKeyReused`` for a form that was changed and sent again.
    """

    def __init__(
        self,
        context: Context,
        actions: OperatorActions,
        *,
        grants: Grants,
        wallets: Wallets,
        charges: Charges,
        checkouts: Checkouts,
        refunds: PaymentRefunds,
        reconciler: Reconciler,
        endpoints: Endpoints,
        tasks: Tasks,
    ) -> None:
        self._context = context
        self._actions = actions
        self._grants = grants
        self._wallets = wallets
        self._charges = charges
        self._checkouts = checkouts
        self._refunds = refunds
        self._reconciler = reconciler
        self._endpoints = endpoints
        self._tasks = tasks

    # --- customers -------------------------------------------------------------------------------------------------

    def grant(
        self,
        operator: Operator,
        customer: str,
        *,
        amount: str,
        unit: str,
        category: str,
        expires_at: Micros | None,
        reason: str,
        key: str,
    ) -> Done:
        """Give a customer free credits of one of ``CATEGORIES``, until ``expires_at`` (microseconds) where it is given."""
        if category not in CATEGORIES:
            raise errors.ValidationFailed([("category", f"expected one of {', '.join(CATEGORIES)}")])
        if expires_at is not None and expires_at <= self._context.now():
            raise errors.ValidationFailed([("expires_at", "expected a time in the future")])
        operation = self._grants.order(
            operator.caller,
            customer=customer,
            amount=amount,
            unit=unit,
            category=category,
            expires_at=expires_at,
            reason=reason.strip() or None,
            idempotency_key=_key(key),
        )
        terms = {"amount": format_amount(operation.amount), "unit": unit, "category": category}
        if expires_at is not None:
            terms["expires_at"] = str(expires_at)
        wish = Wish("grant", reason, key, operation.customer_id, None, terms)
        return self._post(operator, wish, operation, granted)

    def set_frozen(
        self, operator: Operator, customer: str, *, unit: str, frozen: bool, reason: str, key: str
    ) -> Done:
        """Let nothing be drawn from a wallet and nothing in it expire, or let it be drawn from again."""
        operation = self._wallets.order(
            operator.caller, customer=customer, unit=unit, reason=reason.strip() or None, frozen=frozen
        )
        wish = Wish("freeze" if frozen else "thaw", reason, key, operation.customer_id, None, {"unit": unit})

        def before(connection: Connection) -> None:
            if frozen:
                payments.keep_frozen(connection, operation.customer_id, operation.unit)

        return self._post(operator, wish, operation, froze if frozen else thawed, before=before)

    def refund_charge(
        self, operator: Operator, charge: str, *, amount: str, unit: str, reason: str, key: str
    ) -> Done:
        """Give a charge back, or ``amount`` of it where that is not empty."""
        operation = self._charges.refund_order(
            operator.caller,
            charge,
            amount=amount.strip() or None,
            unit=unit if amount.strip() else None,
            reason=reason.strip() or None,
            idempotency_key=_key(key),
        )
        terms = {"amount": amount.strip(), "unit": unit if amount.strip() else ""}
        wish = Wish("refund_charge", reason, key, operation.customer_id, charge, terms)
        return self._post(operator, wish, operation, refunded)

    def decide_task(self, operator: Operator, task: str, *, refund: str, reason: str, key: str) -> Done:
        """Decide how much of a disputed task's price goes back."""
        operation = self._tasks.decision(
            operator.caller,
            task,
            refund=refund.strip(),
            reason=reason.strip(),
            idempotency_key=_key(key),
        )
        terms = {"refund": format_amount(operation.amount)}
        wish = Wish("decide_task", reason, key, operation.customer_id, task, terms)
        return self._post(operator, wish, operation, decided)

    def _post(
        self,
        operator: Operator,
        wish: Wish,
        operation: Operation,
        tell: Callable[[Any], str],
        *,
        before: Callable[[Connection], None] = lambda _connection: None,
    ) -> Done:
        context = self._context

        def work(connection: Connection) -> str:
            before(connection)
            [outcome] = context.ledger.post(connection, [operation], now=context.now())
            return tell(outcome.value())

        return self._actions.within(operator, wish, work)

    # --- payments --------------------------------------------------------------------------------------------------

    def refund_payment(self, operator: Operator, payment: str, *, amount: str, reason: str, key: str) -> Done:
        """Give a payment back, or ``amount`` US dollars of it where that is not empty.

        Raises ``PaymentsUnavailable`` when the provider does not answer: the same form asks again, and pays back once.
        """
        row = self._checkouts.get(operator.caller, payment)
        dollars = amount.strip() or None
        wish = Wish("refund_payment", reason, key, row.customer_id, payment, {"amount": dollars or ""})

        def work() -> str:
            made = self._refunds.create(
                operator.caller,
                payment,
                amount=dollars,
                reason=reason.strip(),
                idempotency_key=_key(key),
            ).value
            return paid_back(made.refund.id, made.refund.status, made.refund.amount_cents)

        return self._actions.around(operator, wish, work)

    def reconcile(self, operator: Operator, *, reason: str, key: str) -> Done:
        """Hold the payments of the last 30 days beside the provider's books, beside the requests of the server."""

        def work() -> Told:
            report = self._reconciler.reconcile(operator.caller)
            looked = f"{report.payments} payments and {report.events} events were looked at"
            differs = len(report.differences)
            found = "nothing differs" if not differs else f"{differs} things differ"
            return Told(f"{looked}, {report.caught_up} were caught up, {found}", asdict(report))

        return self._actions.beside(operator, Wish("reconcile", reason, key), work)

    # --- deliveries ------------------------------------------------------------------------------------------------

    def replay_delivery(self, operator: Operator, delivery: str, *, reason: str, key: str) -> Done:
        """Send one delivery again, whatever came of it before."""
        owner = self._endpoints.delivery(operator.caller, delivery).delivery.owner_id

        def work(connection: Connection) -> str:
            again = self._endpoints.replay_delivery_within(connection, operator.caller, delivery)
            return f"{again.notification.type} is sent again"

        return self._actions.within(operator, Wish("replay_delivery", reason, key, owner, delivery), work)

    def enable_endpoint(self, operator: Operator, endpoint: str, *, reason: str, key: str) -> Done:
        """Send to an endpoint again that was given up."""
        owner = self._endpoints.get(operator.caller, endpoint).customer_id

        def work(connection: Connection) -> str:
            row = self._endpoints.enable_within(connection, operator.caller, endpoint)
            return f"what happens from now on is sent to {row.url} again"

        return self._actions.within(operator, Wish("enable_endpoint", reason, key, owner, endpoint), work)

    def replay_endpoint(
        self, operator: Operator, endpoint: str, *, since: Micros, reason: str, key: str
    ) -> Done:
        """Send an endpoint again what happened since a moment (microseconds)."""
        owner = self._endpoints.get(operator.caller, endpoint).customer_id

        def work(connection: Connection) -> str:
            done = self._endpoints.replay_within(connection, operator.caller, endpoint, since=since)
            rest = (
                "" if done.complete else "; there is more after these: send the newer ones with another form"
            )
            return f"{done.queued} notifications are sent again{rest}"

        wish = Wish("replay_endpoint", reason, key, owner, endpoint, {"since": str(since)})
        return self._actions.within(operator, wish, work)

    # --- the ledger ------------------------------------------------------------------------------------------------

    def audit(self, operator: Operator, *, reason: str, key: str) -> Done:
        """Work out every stored figure anew, in a process of its own."""
        context, stopping = self._context, self._actions.stopping

        def work() -> Told:
            report = audit_apart(context.database, now=context.now(), stopping=stopping)
            wrong = sum(rule["count"] for rule in report["rules"])
            found = "every rule holds" if report["ok"] else f"{wrong} things are wrong"
            return Told(f"{report['transactions']} transactions were checked: {found}", report)

        return self._actions.beside(operator, Wish("audit", reason, key), work)


def _key(key: str) -> str:
    return f"admin form {key}"
