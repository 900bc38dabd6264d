"""Subscriptions and their bills as the provider says them: asked for, and booked with what was paid in one transaction.

Whatever makes us look (an event, a page, a request, the clock), the same is asked and the same is booked: how the
subscription stands, and the bills that are named. Each paid bill brings its period's credits once. Where the provider has
ended a subscription, its customer goes on with the plan that was to follow, or with the economy's first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.catalog import Plan
from tallystick.core.ids import from_text, to_text
from tallystick.core.paid_plans import EndPaidPlan, PaidPeriod, PaidResult
from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Checkout, Invoice, PaymentProvider, Subscription
from tallystick.services import payment_notices
from tallystick.services.context import Context
from tallystick.services.fulfilment import SCOPE, Fulfilment, Mark, once
from tallystick.services.payment_state import next_look
from tallystick.store import memberships
from tallystick.store import payments as payment_rows
from tallystick.store import subscriptions as store
from tallystick.store.payments import PaymentRow
from tallystick.store.subscriptions import SubscriptionRow

TRIES: Final = 5
BEFORE_THE_END: Final = HOUR  # when a cheaper plan is ordered for the next period: its bill is not made yet
_AFTER_THE_END: Final = HOUR  # by then the next period's bill has been tried
_ENDED: Final = frozenset({"canceled", "unpaid"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What the provider said: a subscription, those of its bills that were asked for, and whose it is."""

    subscription: Subscription
    invoices: tuple[Invoice, ...]
    customer_id: int


@dataclass(frozen=True, slots=True)
class Booked:
    """Payments that may have gone back since; a second subscription, and the page of another order, to be ended."""

    payments: tuple[int, ...]
    stray: str | None
    page: str | None


class SubscriptionLooks:
    """Follows subscriptions."""

    def __init__(self, context: Context, provider: PaymentProvider, fulfilment: Fulfilment) -> None:
        self._context = context
        self._provider = provider
        self._fulfilment = fulfilment

    # --- what makes us look ----------------------------------------------------------------------------------------

    def look_checkout(self, page: Checkout, mark: Mark) -> str | None:
        """A page was completed, or has expired; None when it is none of ours."""
        if page.subscription is not None:
            return self.follow(page.subscription, mark, invoice=page.invoice)
        number = from_text("plan", page.reference or "")
        if number is None:
            return None

        def work(connection: Connection) -> str | None:
            row = store.by_number(connection, self._provider.name, number)
            row = row and store.get(connection, row.provider, row.customer_id, lock=True)
            if row is None or row.number != number:
                return None
            if page.status == "expired" and row.status in store.ORDERED:
                store.change(connection, row.customer_id, status="expired", checkout_url=None, look_at=None)
            elif row.status in store.ORDERED:
                store.change(connection, row.customer_id, look_at=self._later(row), looks=row.looks + 1)
            mark(connection, page.status)
            return page.status

        return self._context.database.transact(work)

    def look_invoice(self, invoice_id: str, mark: Mark) -> str | None:
        """A bill was paid, or could not be."""
        invoice = self._provider.invoice(invoice_id)
        if invoice is None or invoice.subscription is None:
            return None
        return self.follow(invoice.subscription, mark, invoice=invoice_id)

    def look_subscription(self, subscription_id: str, mark: Mark) -> str | None:
        """A subscription changed, or has ended."""
        return self.follow(subscription_id, mark)

    def follow(
        self, subscription_id: str, mark: Mark | None = None, *, invoice: str | None = None
    ) -> str | None:
        """Ask how a subscription stands, its latest bill and the one that is named, and book it all.

        Gives its status, or None when it is none of ours. Raises ``OutcomeUnknown`` when the provider does not answer.
        """
        customer_id = self._customer_of(subscription_id)
        if customer_id is None:
            return None
        for _ in range(TRIES):
            with self._context.database.read() as connection:
                row = store.get(connection, self._provider.name, customer_id)
            found = self._ask(subscription_id, invoice, customer_id)
            if found is None:
                return None
            booked = self._context.database.transact(partial(self._book, found=found, before=row, mark=mark))
            if booked is not None:
                self._end_stray(found, booked)
                for payment in booked.payments:
                    self._fulfilment.look(payment)
                return found.subscription.status
        raise errors.PaymentsUnavailable("this subscription is being changed by many at once")

    def _customer_of(self, subscription_id: str) -> int | None:
        name = self._provider.name
        with self._context.database.read() as connection:
            known = store.customer_of(connection, name, subscription_id)
        if known is not None:
            return known
        subscription = self._provider.subscription(subscription_id)
        if subscription is None:
            return None
        with self._context.database.read() as connection:
            return payment_rows.customer_of_payer(connection, name, subscription.payer)

    def _ask(self, subscription_id: str, invoice: str | None, customer_id: int) -> Found | None:
        provider = self._provider
        subscription = provider.subscription(subscription_id)
        if subscription is None or subscription.live != provider.live or subscription.plan is None:
            return None
        wanted = dict.fromkeys(each for each in (invoice, subscription.latest_invoice) if each is not None)
        bills = [bill for bill in map(provider.invoice, wanted) if bill is not None]
        ours = [bill for bill in bills if bill.subscription == subscription_id and bill.live == provider.live]
        return Found(subscription, tuple(sorted(ours, key=_turn)), customer_id)

    # --- what the clock does ---------------------------------------------------------------------------------------

    def look_later(self, row: SubscriptionRow) -> None:
        """Ask again after a while, where nothing is known that was not known before."""

        def work(connection: Connection) -> None:
            current = store.get(connection, row.provider, row.customer_id, lock=True)
            if current is not None and current.look_at == row.look_at:
                at = next_look(row.looks, self._context.now())
                store.change(connection, row.customer_id, look_at=at, looks=row.looks + 1)

        self._context.database.transact(work)

    def give_up(self, row: SubscriptionRow) -> None:
        """A page whose making was never answered: nobody was shown its address, so nobody can pay on it."""

        def work(connection: Connection) -> None:
            current = store.get(connection, row.provider, row.customer_id, lock=True)
            if current is not None and current.version == row.version:
                store.change(connection, row.customer_id, status="expired", look_at=None)

        self._context.database.transact(work)

    def release(self, customer_id: int, paid_by: str, plan: Plan) -> None:
        """Put a customer on a plan whose last one was paid by a subscription that does not run any more."""
        economy = self._context.economy()
        operation = EndPaidPlan(
            customer_id=customer_id,
            caller=SCOPE,
            economy=economy.version,
            plan=plan,
            catalog=economy,
            subscription=paid_by,
        )
        self._context.database.transact(
            lambda connection: self._context.ledger.post(connection, [operation], now=self._context.now())
        )

    # --- inside the transaction ------------------------------------------------------------------------------------

    def _book(
        self, connection: Connection, *, found: Found, before: SubscriptionRow | None, mark: Mark | None
    ) -> Booked | None:
        """Book what the provider said; None when the row has changed since it was read: ask again."""
        subscription, customer_id = found.subscription, found.customer_id
        payment_rows.lock_payer(
            connection, self._provider.name, customer_id
        )  # There may be no row yet that could be locked.
        row = store.get(connection, self._provider.name, customer_id, lock=True)
        if (row and row.version) != (before and before.version):
            return None
        running = subscription.status not in _ENDED
        is_ours = row is not None and row.reference == subscription.id
        stray = page = None
        if running and not is_ours:
            if row is not None and row.is_running:
                stray = subscription.id
            else:
                page = self._adopt(connection, row, found)
                row = store.get(connection, self._provider.name, customer_id)
                is_ours = True
        payments = [self._book_bill(connection, found, bill, pays=is_ours) for bill in found.invoices]
        if is_ours and row is not None:
            self._note(connection, row, subscription)
        if mark is not None:
            mark(connection, subscription.status)
        return Booked(tuple(each for each in payments if each is not None), stray, page)

    def _adopt(self, connection: Connection, row: SubscriptionRow | None, found: Found) -> str | None:
        """The subscription is the customer's from now on; gives a page of another order that nobody is to pay on."""
        subscription = found.subscription
        number = from_text("plan", subscription.reference or "")
        other = row is not None and row.status in store.ORDERED and row.number != number
        store.order(
            connection,
            found.customer_id,
            provider=self._provider.name,
            number=self._context.new_id() if number is None else number,
            plan=subscription.plan,
            status=subscription.status,
            reference=subscription.id,
            created_at=self._context.now(),
        )
        return row.checkout if row is not None and other else None

    def _book_bill(self, connection: Connection, found: Found, bill: Invoice, *, pays: bool) -> int | None:
        """A bill as a payment, with the credits of its period when it is paid; gives it if it may have gone back since."""
        row = self._payment_of(connection, found, bill)
        if row.status in {"paid", "mismatch"}:
            return None
        values: dict[str, Any] = {
            "amount_cents": bill.amount_cents,
            "invoice_url": bill.url or row.invoice_url,
            "reference": bill.payment or row.reference,
        }
        plan = self._context.economy().plans.get(bill.plan or "")
        if bill.paid and plan is None:
            text = f"the economy has no plan {bill.plan}"
            values |= {"status": "mismatch", "failure": "mismatch", "failure_text": text}
            log.error("a bill was paid for a plan that there is not", payment=row.id, plan=bill.plan)
        elif bill.paid and plan is not None:
            result = self._post_bill(connection, found, bill, plan, row, pays=pays)
            values |= {
                "status": "paid",
                "paid_at": self._context.now(),
                "failure": None,
                "failure_text": None,
            }
            values |= self._granted(result)
        elif bill.failure_text is not None:
            values |= {"status": "failed", "failure": "declined", "failure_text": bill.failure_text[:500]}
        changed = {name: value for name, value in values.items() if getattr(row, name) != value}
        if changed:
            payment_rows.change(connection, row.id, **changed)
            payment_notices.tell(connection, self._context, before=row, after=replace(row, **changed))
        return row.id if bill.payment is not None and bill.paid else None

    def _payment_of(self, connection: Connection, found: Found, bill: Invoice) -> PaymentRow:
        context, name = self._context, self._provider.name
        row = payment_rows.by_provider_id(connection, name, "invoice", bill.id)
        if row is None:
            number, economy = context.new_id(), context.economy()
            plan = economy.plans.get(bill.plan or "")
            payment_rows.add(
                connection,
                id=number,
                customer_id=found.customer_id,
                kind="invoice",
                status="processing",
                provider=name,
                live=bill.live,
                unit=economy.primary_unit,
                credits=0,
                amount_cents=bill.amount_cents,
                currency=bill.currency,
                item=bill.plan,
                title=f"{bill.plan if plan is None else plan.title} plan",
                economy=economy.version,
                payer=found.subscription.payer,
                invoice=bill.id,
                created_at=context.now(),
                token="",
            )
        else:
            number = row.id
        row = payment_rows.by_id(connection, number, lock=True)
        assert row is not None
        return row

    def _post_bill(
        self,
        connection: Connection,
        found: Found,
        bill: Invoice,
        plan: Plan,
        row: PaymentRow,
        *,
        pays: bool,
    ) -> PaidResult:
        subscription = found.subscription
        newest = subscription.latest_invoice == bill.id
        # A bill that was paid late takes its subscription up again, which may not show yet.
        running = subscription.status not in _ENDED or (subscription.status == "unpaid" and newest)
        operation = PaidPeriod(
            customer_id=found.customer_id,
            caller=SCOPE,
            economy=self._context.economy().version,
            plan=plan,
            catalog=self._context.economy(),
            subscription=subscription.id,
            start=bill.period_start,
            end=bill.period_end,
            running=pays and running,
            newest=newest,
            reference=to_text("pay", row.id),
            **once("invoice", bill.id),
        )
        [outcome] = self._context.ledger.post(connection, [operation], now=self._context.now())
        result: PaidResult = outcome.value()
        return result

    def _granted(self, result: PaidResult) -> dict[str, Any]:
        """The grant that a payment is known by: that of the primary unit, or the first."""
        primary = self._context.economy().primary_unit
        for number, unit, amount in sorted(result.granted, key=lambda each: each[1] != primary):
            return {"grant_id": number, "unit": unit, "credits": amount}
        return {}

    def _note(self, connection: Connection, row: SubscriptionRow, subscription: Subscription) -> None:
        """The row says what the provider says; what has ended there pays for nothing any more."""
        ended = subscription.status in _ENDED
        if ended:
            self._end(connection, row, subscription)
        values: dict[str, Any] = {
            "status": subscription.status,
            "plan": subscription.plan,
            "period_start": subscription.period_start,
            "period_end": subscription.period_end,
            "ends_at": subscription.ends_at,
            "checkout_url": None,
            "look_at": self._look_at(row, subscription),
            "looks": row.looks + 1 if subscription.status in {"past_due", "incomplete", "unpaid"} else 0,
        }
        if row.ends_at is not None and subscription.ends_at is None:
            values |= {
                "next_plan": None,
                "next_at": None,
            }  # Its end was taken back, here or at the provider's page.
        if ended:
            values |= {"wanted": None, "wanted_number": None, "next_plan": None, "next_at": None}
        if any(getattr(row, name) != value for name, value in values.items()):
            store.change(connection, row.customer_id, **values)

    def _end(self, connection: Connection, row: SubscriptionRow, subscription: Subscription) -> None:
        membership = memberships.get(connection, row.customer_id)
        if membership is None or membership.paid_by != subscription.id:
            return
        economy = self._context.economy()
        after = economy.plans.get(row.next_plan or "")
        if after is None or after.price_usd_cents != 0:
            after = economy.plan(economy.default_plan)
        operation = EndPaidPlan(
            customer_id=row.customer_id,
            caller=SCOPE,
            economy=economy.version,
            plan=after,
            catalog=economy,
            subscription=subscription.id,
        )
        [outcome] = self._context.ledger.post(connection, [operation], now=self._context.now())
        outcome.value()

    def _look_at(self, row: SubscriptionRow, subscription: Subscription) -> int | None:
        now = self._context.now()
        if subscription.status == "canceled":
            return None
        if row.wanted is not None:
            return now + MINUTE
        if subscription.status != "active":
            return min(next_look(row.looks, now), now + DAY)
        if row.next_plan is not None and subscription.ends_at is None:
            return _for_the_next_plan(row, subscription, now)
        after = subscription.period_end + _AFTER_THE_END
        return after if after > now else next_look(row.looks, now)

    def _later(self, row: SubscriptionRow) -> int:
        now = self._context.now()
        return (
            row.expires_at + MINUTE if row.expires_at and row.expires_at > now else next_look(row.looks, now)
        )

    # --- after the commit ------------------------------------------------------------------------------------------

    def _end_stray(self, found: Found, booked: Booked) -> None:
        """Nobody pays twice: a second subscription of one customer is ended, and a page of another order is closed.

        What the second one was paid for was granted; an operator may give the money back.
        """
        try:
            if booked.stray is not None:
                log.error(
                    "a customer had a second subscription, which is ended now",
                    customer=to_text("cust", found.customer_id),
                    subscription=booked.stray,
                )
                self._provider.cancel_subscription(
                    booked.stray, at_period_end=False, key=f"stray:{booked.stray}"
                )
            if booked.page is not None:
                self._provider.expire_checkout(booked.page)
        except ProviderRefused as error:
            log.warning("a second subscription or page could not be ended", detail=error.detail)


def _turn(bill: Invoice) -> tuple[int, int]:
    return bill.period_end, bill.period_start


def _for_the_next_plan(row: SubscriptionRow, subscription: Subscription, now: int) -> int:
    """Shortly before the period ends. Where nobody was there in time: when that is seen, and then from time to time."""
    at = (row.next_at or now) - BEFORE_THE_END
    if at > now:
        return at
    if row.look_at is not None and row.look_at <= now:
        return row.look_at
    return now if row.period_end != subscription.period_end else now + HOUR
