"""Plans that are paid by the month: upgrade, downgrade, cancel, and the way back, one subscription for each customer.

An operator's program puts a customer on any plan at once, as long as no subscription pays for another. A customer's own
choice is: what costs nothing follows at the end of what is paid, or at once where nothing is; what costs more is paid first,
and the plan follows the payment; what costs less follows at the end of the period, so that nobody spends the dearer plan's
credits and has its price back. What the provider is asked for is written down before, and asked for again, under the same
key, where no answer came.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.catalog import Plan
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import Checkout, CheckoutOrder, PaymentProvider
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.payers import payer_of, provider_errors
from tallystick.services.plans import Plans
from tallystick.services.requests import idempotency_fields
from tallystick.services.subscription_looks import BEFORE_THE_END, SubscriptionLooks
from tallystick.store import memberships
from tallystick.store import payments as payment_rows
from tallystick.store import subscriptions as store
from tallystick.store.subscriptions import SubscriptionRow

BATCH: Final = 50
TRIES: Final = 3
_AGAIN: Final = 2 * MINUTE
_PAGE_LIVES: Final = DAY - HOUR

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierView:
    """What came of asking for a plan: it is there, or comes at ``effective_at``, or is paid at ``checkout_url`` first.

    ``granted`` is what came at once, per unit in micro-units.
    """

    customer_id: int
    tier: str
    previous: str | None
    effective_at: int
    period_end: int
    granted: dict[str, int]
    checkout_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionView:
    """A customer's subscription. ``status`` ``none``: there never was one; ``pending``: its page waits to be paid.

    ``next_plan`` is what follows at ``period_end``, where that is another plan.
    """

    customer_id: int
    plan: str | None
    status: str
    period_start: int | None = None
    period_end: int | None = None
    ends_at: int | None = None
    next_plan: str | None = None
    checkout_url: str | None = None


class Subscriptions:
    """Ask for a plan, see what is paid, and end it."""

    def __init__(
        self,
        context: Context,
        customers: Customers,
        provider: PaymentProvider,
        plans: Plans,
        looks: SubscriptionLooks,
    ) -> None:
        self._context = context
        self._customers = customers
        self._provider = provider
        self._plans = plans
        self._looks = looks

    # --- asking for a plan -----------------------------------------------------------------------------------------

    def change(
        self, caller: Caller, *, tier: str, customer: str | None = None, idempotency_key: str | None = None
    ) -> Answer[TierView]:
        """Put a customer on a plan, now or when it is paid, or say where it can be paid.

        Raises ``UnknownPlan``, ``TierUpgradeFailed`` when the payment is declined or the plan is not sold by itself,
        ``Conflict`` when an operator's program would leave a subscription running for another plan, and
        ``PaymentsUnavailable`` when the provider does not answer.
        """
        plan = self._context.economy().plan(tier)
        customer_id = self._customers.resolve(caller, customer)
        if caller.is_service:
            return self._set(caller, customer_id, customer, plan, idempotency_key)
        if idempotency_key is None:
            return Answer(self._choose(customer_id, plan))
        fields = idempotency_fields(caller, idempotency_key, "tier", (customer_id, plan.name))
        with self._context.database.read() as connection:
            known = store.answer_of(connection, fields["idempotency"])
        if known is not None:
            if known[0] != fields["request_digest"]:
                raise errors.IdempotencyKeyReused
            return Answer(msgspec.json.decode(known[1], type=TierView), replayed=True)
        view = self._choose(customer_id, plan)
        self._context.database.transact(
            lambda connection: store.remember(
                connection,
                idempotency=fields["idempotency"],
                digest=fields["request_digest"],
                answer=msgspec.json.encode(asdict(view)).decode(),
                now=self._context.now(),
            )
        )
        return Answer(view)

    def _set(
        self, caller: Caller, customer_id: int, customer: str | None, plan: Plan, key: str | None
    ) -> Answer[TierView]:
        """As an operator's program does. Nobody's card is charged by it, and no subscription goes on unnoticed."""
        row = self._row(customer_id)
        paid_by = self._membership(customer_id).paid_by
        if row is not None and row.is_running and row.plan != plan.name:
            raise errors.Conflict(
                f"a subscription for the plan {row.plan} is running: end it first "
                "(DELETE /billing/subscription), or let the customer change it"
            )
        if paid_by is not None and (row is None or not row.is_running):
            self._looks.release(customer_id, paid_by, plan)
        done = self._plans.change(caller, customer=customer, plan=plan.name, idempotency_key=key)
        result = done.value
        view = TierView(
            customer_id=customer_id,
            tier=result.plan,
            previous=result.previous,
            effective_at=result.created_at,
            period_end=result.period_end,
            granted=dict(result.granted),
        )
        return Answer(view, done.replayed)

    def _choose(self, customer_id: int, plan: Plan) -> TierView:
        """As a customer does."""
        for _ in range(TRIES):
            row = self._settled(customer_id)
            if row is not None and row.is_running:
                view = self._choose_running(row, plan)
            else:
                view = self._choose_without(customer_id, row, plan)
            if view is not None:
                return view
        raise errors.Conflict("the plan is being changed by another request: look what it is, and try again")

    def _choose_without(self, customer_id: int, row: SubscriptionRow | None, plan: Plan) -> TierView | None:
        """Where nothing is paid: free plans at once, others on a page."""
        membership = self._membership(customer_id)
        if membership.plan == plan.name:
            return self._standing(customer_id)
        if plan.price_usd_cents == 0:
            result = self._plans.put(customer_id, plan)
            return TierView(
                customer_id=customer_id,
                tier=result.plan,
                previous=result.previous,
                effective_at=result.created_at,
                period_end=result.period_end,
                granted=dict(result.granted),
            )
        _check_sold(plan)
        return self._open_page(customer_id, row, plan)

    def _choose_running(self, row: SubscriptionRow, plan: Plan) -> TierView | None:
        """Where a subscription runs: it is changed, or told to end."""
        current = self._context.economy().plans.get(row.plan)
        if plan.price_usd_cents == 0:
            return self._end_with_period(row, plan)
        if plan.name == row.plan:
            if row.ends_at is not None:
                return self._change(row, plan)
            self._plan_next(row, None)
            if self._membership(row.customer_id).plan != plan.name:
                raise self._not_through(row.customer_id, plan)
            return self._standing(row.customer_id)
        _check_sold(plan)
        price = None if current is None else current.price_usd_cents
        end = row.period_end or 0
        cheaper = price is not None and (plan.price_usd_cents or 0) < price
        if cheaper and row.status == "active" and end - BEFORE_THE_END > self._context.now():
            if row.ends_at is not None and current is not None:
                self._change(row, current)
            self._plan_next(row, plan.name)
            return self._later(row.customer_id, plan.name, end)
        return self._change(row, plan)

    # --- pages -----------------------------------------------------------------------------------------------------

    def _settled(self, customer_id: int) -> SubscriptionRow | None:
        """The customer's row; what was ordered or asked for and may be done by now is looked at first."""
        row = self._row(customer_id)
        if row is not None and row.checkout is not None and row.status in store.ORDERED:
            with provider_errors():
                page = self._provider.checkout(row.checkout)
                if page is not None and page.status != "open":
                    self._looks.look_checkout(page, _no_mark)
            row = self._row(customer_id)
        if row is not None and row.wanted is not None:
            self._carry_out(row, quietly=True)
            row = self._row(customer_id)
        return row

    def _open_page(self, customer_id: int, row: SubscriptionRow | None, plan: Plan) -> TierView | None:
        """A page on which the plan is paid; one that waits already is given again. None: look again, something changed."""
        now, number = self._context.now(), self._context.new_id()
        if row is not None and _waits(row, now) and row.plan != plan.name:
            self._close_page(row)
            return None
        payer = payer_of(self._context, self._provider, customer_id)

        def work(connection: Connection) -> SubscriptionRow | None:
            payment_rows.lock_payer(connection, self._provider.name, customer_id)
            current = store.get(connection, self._provider.name, customer_id, lock=True)
            if current is not None and current.is_running:
                return None
            if current is not None and _waits(current, now):
                return current if current.plan == plan.name else None
            store.order(
                connection,
                customer_id,
                provider=self._provider.name,
                number=number,
                plan=plan.name,
                status="new",
                expires_at=now + _PAGE_LIVES,
                created_at=now,
                look_at=now + _AGAIN,
            )
            return store.get(connection, self._provider.name, customer_id)

        ordered = self._context.database.transact(work)
        if ordered is None:
            return None
        url, ends = ordered.checkout_url, ordered.expires_at
        if url is None:
            with provider_errors():
                page = self._make_page(ordered, plan, payer=payer)
            self._context.database.transact(lambda connection: self._note_page(connection, ordered, page))
            url, ends = page.url, page.expires_at
        if url is None:
            return None
        return TierView(
            customer_id=customer_id,
            tier=plan.name,
            previous=self._membership(customer_id).plan,
            effective_at=now,
            period_end=ends or now,
            granted={},
            checkout_url=url,
        )

    def _close_page(self, row: SubscriptionRow) -> None:
        """Nobody is to pay any more for what was ordered before; who has done so already has it."""
        with provider_errors():
            checkout = row.checkout
            if (
                checkout is None
            ):  # Its making was not answered, or not yet: the same page comes under the same key.
                checkout = self._make_page(row, self._context.economy().plan(row.plan)).id
            self._provider.expire_checkout(checkout)
            page = self._provider.checkout(checkout)
            if page is not None:
                self._looks.look_checkout(page, _no_mark)

    def _make_page(self, row: SubscriptionRow, plan: Plan, *, payer: str | None = None) -> Checkout:
        """Have the provider make the page. A repeat gives the same page: the key is the order's own."""
        reference = to_text("plan", row.number)
        here = f"{self._context.public_url}/billing"
        order = CheckoutOrder(
            reference=reference,
            mode="subscription",
            payer=payer or payer_of(self._context, self._provider, row.customer_id),
            title=f"{plan.title} plan",
            amount_cents=plan.price_usd_cents or 0,
            plan=plan.name,
            expires_at=row.expires_at or 0,
            success_url=f"{here}/success?plan={reference}",
            cancel_url=f"{here}/cancel?plan={reference}",
        )
        return self._provider.create_checkout(order, key=f"plan:{reference}")

    def _note_page(self, connection: Connection, ordered: SubscriptionRow, page: Checkout) -> None:
        current = store.get(connection, ordered.provider, ordered.customer_id, lock=True)
        if current is not None and current.number == ordered.number and current.status == "new":
            store.change(
                connection,
                ordered.customer_id,
                status="open",
                checkout=page.id,
                checkout_url=page.url,
                expires_at=page.expires_at,
                look_at=page.expires_at + MINUTE,
            )

    # --- changing what runs ----------------------------------------------------------------------------------------

    def _plan_next(self, row: SubscriptionRow, name: str | None) -> None:
        """Remember what is to follow at the end of the period; the worker asks for it shortly before."""
        end = row.period_end or 0
        plan = self._context.economy().plans.get(name or "")
        at = end - BEFORE_THE_END if name is not None else end + HOUR
        if plan is not None and plan.price_usd_cents == 0:
            at = self._context.now() + _AGAIN  # The provider is told at once, and again if it did not hear.
        if row.next_plan != name:
            self._context.database.transact(
                lambda connection: store.change(
                    connection,
                    row.customer_id,
                    next_plan=name,
                    next_at=None if name is None else end,
                    look_at=at,
                )
            )

    def _end_with_period(self, row: SubscriptionRow, plan: Plan) -> TierView:
        """No further bill; the free plan follows when what is paid is over."""
        assert row.reference is not None
        self._plan_next(row, plan.name)
        if row.ends_at is None:
            key = f"end:{to_text('plan', self._context.new_id())}"
            with provider_errors():
                # What was never paid has no period that could end.
                later = row.status != "incomplete"
                self._provider.cancel_subscription(row.reference, at_period_end=later, key=key)
                self._looks.follow(row.reference)
        after = self._row(row.customer_id) or row
        if not after.is_running:
            return self._standing(row.customer_id)
        return self._later(row.customer_id, plan.name, after.ends_at or after.period_end or 0)

    def _change(self, row: SubscriptionRow, plan: Plan) -> TierView | None:
        """Have the subscription changed now; the plan is there when the provider says that it is paid."""
        before = self._membership(row.customer_id)
        ordered = self._context.database.transact(lambda connection: self._want(connection, row, plan))
        if ordered is None:
            return None
        self._carry_out(ordered)
        after = self._membership(row.customer_id)
        if after.plan != plan.name:
            raise self._not_through(row.customer_id, plan)
        same = before.period_end == after.period_end
        was = before.granted if same else {}
        granted = {unit: amount - was.get(unit, 0) for unit, amount in after.granted.items()}
        return TierView(
            customer_id=row.customer_id,
            tier=after.plan,
            previous=before.plan,
            effective_at=self._context.now(),
            period_end=after.period_end,
            granted={unit: amount for unit, amount in granted.items() if amount},
        )

    def _not_through(self, customer_id: int, plan: Plan) -> errors.TierUpgradeFailed:
        return errors.TierUpgradeFailed(
            f"the payment for the plan {plan.name} is not through yet: the plan follows when it is",
            checkout_url=self._portal_or_none(customer_id),
        )

    def _want(self, connection: Connection, row: SubscriptionRow, plan: Plan) -> SubscriptionRow | None:
        """Write down what the provider is going to be asked for; one change at a time, and the same one once."""
        current = store.get(connection, row.provider, row.customer_id, lock=True)
        if current is None or not current.is_running or current.reference != row.reference:
            return None
        if current.wanted is not None:
            return current if current.wanted == plan.name else None
        number = self._context.new_id()
        at = self._context.now() + _AGAIN
        store.change(connection, row.customer_id, wanted=plan.name, wanted_number=number, look_at=at)
        return store.get(connection, row.provider, row.customer_id)

    def _carry_out(self, row: SubscriptionRow, *, quietly: bool = False) -> None:
        """Ask for what is written down, or again where the answer never came: the key is the change's own."""
        assert row.reference is not None
        plan = self._context.economy().plans.get(row.wanted or "")
        refusal: ProviderRefused | None = None
        if plan is not None and plan.price_usd_cents:
            try:
                self._provider.change_subscription(
                    row.reference,
                    plan=plan.name,
                    title=f"{plan.title} plan",
                    amount_cents=plan.price_usd_cents,
                    price=None,
                    key=f"change:{to_text('plan', row.wanted_number or 0)}",
                )
            except OutcomeUnknown as error:
                raise errors.PaymentsUnavailable from error
            except ProviderRefused as error:
                refusal = error
        self._context.database.transact(
            lambda connection: self._answered(connection, row, done=refusal is None)
        )
        with provider_errors():
            self._looks.follow(row.reference)
        if refusal is not None and not quietly:
            raise errors.TierUpgradeFailed(
                refusal.detail, checkout_url=self._portal_or_none(row.customer_id)
            ) from refusal

    def _answered(self, connection: Connection, row: SubscriptionRow, *, done: bool) -> None:
        current = store.get(connection, row.provider, row.customer_id, lock=True)
        if current is not None and current.wanted_number == row.wanted_number:
            follows = {"next_plan": None, "next_at": None} if done else {}
            store.change(connection, row.customer_id, wanted=None, wanted_number=None, looks=0, **follows)

    # --- the rest --------------------------------------------------------------------------------------------------

    def get(self, caller: Caller, *, customer: str | None = None) -> SubscriptionView:
        """How a customer's subscription stands; a page that may be paid by now is looked at."""
        customer_id = self._customers.resolve(caller, customer)
        try:
            row = self._settled(customer_id)
        except (errors.PaymentsUnavailable, errors.PaymentFailed):
            row = self._row(customer_id)
        if row is None:
            return SubscriptionView(customer_id=customer_id, plan=None, status="none")
        return SubscriptionView(
            customer_id=customer_id,
            plan=row.plan,
            status="pending" if row.status in store.ORDERED else row.status,
            period_start=row.period_start,
            period_end=row.period_end,
            ends_at=row.ends_at,
            next_plan=row.next_plan if row.is_running else None,
            checkout_url=row.checkout_url if row.status == "open" else None,
        )

    def cancel(self, caller: Caller, *, customer: str | None = None) -> SubscriptionView:
        """End a subscription with the period that is paid. Raises ``NotFound`` where none runs."""
        customer_id = self._customers.resolve(caller, customer)
        row = self._settled(customer_id)
        if row is None or not row.is_running:
            raise errors.NotFound("subscription", to_text("cust", customer_id))
        economy = self._context.economy()
        self._end_with_period(row, economy.plan(economy.default_plan))
        return self.get(caller, customer=customer)

    def portal(self, caller: Caller, *, customer: str | None = None) -> str:
        """The address of the page where a customer sees bills and changes the card."""
        return self._portal(self._customers.resolve(caller, customer))

    def _portal(self, customer_id: int) -> str:
        payer = payer_of(self._context, self._provider, customer_id)
        with provider_errors():
            return self._provider.portal(payer, return_url=f"{self._context.public_url}/billing")

    def _portal_or_none(self, customer_id: int) -> str | None:
        try:
            return self._portal(customer_id)
        except (errors.PaymentsUnavailable, errors.PaymentFailed):
            return None

    def run_once(self) -> dict[str, int]:
        """Look at the subscriptions whose time has come, some at a time."""
        with self._context.database.read() as connection:
            rows = store.to_look_at(
                connection, provider=self._provider.name, now=self._context.now(), limit=BATCH
            )
        for row in rows:
            try:
                self._look(row)
            except (errors.PaymentsUnavailable, errors.PaymentFailed, OutcomeUnknown) as error:
                log.warning("the payment provider did not answer about a subscription", detail=str(error))
            self._looks.look_later(row)
        return {"subscription_looked_at": len(rows)} if rows else {}

    def _look(self, row: SubscriptionRow) -> None:
        if row.status in store.ORDERED and row.checkout is None:
            self._looks.give_up(row)
        elif row.status in store.ORDERED:
            page = self._provider.checkout(row.checkout or "")
            if page is not None:
                self._looks.look_checkout(page, _no_mark)
        elif row.wanted is not None:
            self._carry_out(row, quietly=True)
        elif self._is_to_end(row):
            self._end_with_period(row, self._context.economy().plan(row.next_plan or ""))
        elif self._is_time_for_next(row):
            plan = self._context.economy().plan(row.next_plan or "")
            ordered = self._context.database.transact(lambda connection: self._want(connection, row, plan))
            if ordered is not None:
                self._carry_out(ordered, quietly=True)
        elif row.reference is not None:
            self._looks.follow(row.reference)

    def _is_to_end(self, row: SubscriptionRow) -> bool:
        """The provider was to be told that a free plan follows, and has not heard of it."""
        plan = self._context.economy().plans.get(row.next_plan or "")
        return row.is_running and row.ends_at is None and plan is not None and plan.price_usd_cents == 0

    def _is_time_for_next(self, row: SubscriptionRow) -> bool:
        """Shortly before the end of the period in which it was asked for; where that was missed, as soon as possible."""
        plan, now = self._context.economy().plans.get(row.next_plan or ""), self._context.now()
        return (
            plan is not None
            and bool(plan.price_usd_cents)
            and row.status == "active"
            and row.ends_at is None
            and (row.next_at or 0) - BEFORE_THE_END <= now < (row.period_end or 0)
        )

    # --- views -----------------------------------------------------------------------------------------------------

    def _row(self, customer_id: int) -> SubscriptionRow | None:
        with self._context.database.read() as connection:
            return store.get(connection, self._provider.name, customer_id)

    def _membership(self, customer_id: int) -> Any:  # noqa: ANN401 - core's
        with self._context.database.read() as connection:
            found = memberships.get(connection, customer_id)
        if found is None:
            raise errors.UnknownCustomer(to_text("cust", customer_id))
        return found

    def _standing(self, customer_id: int) -> TierView:
        """The plan that is there already."""
        found = self._membership(customer_id)
        return TierView(
            customer_id=customer_id,
            tier=found.plan,
            previous=found.plan,
            effective_at=found.since,
            period_end=found.period_end,
            granted={},
        )

    def _later(self, customer_id: int, plan: str, at: int) -> TierView:
        found = self._membership(customer_id)
        return TierView(
            customer_id=customer_id,
            tier=plan,
            previous=found.plan,
            effective_at=at,
            period_end=at,
            granted={},
        )


def _check_sold(plan: Plan) -> None:
    if plan.price_usd_cents is None:
        raise errors.TierUpgradeFailed(f"the plan {plan.name} is not sold by itself: ask the operator for it")


def _waits(row: SubscriptionRow, now: int) -> bool:
    """Whether somebody may still pay for what was ordered."""
    return row.status in store.ORDERED and (row.expires_at or 0) > now


def _no_mark(_connection: Connection, _outcome: str) -> None:
    """Nobody told us of this: there is no event to mark."""
