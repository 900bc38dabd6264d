"""A shop: a Tally, a payment provider, and short words for what customers, operators and others do."""

import itertools
import json
from collections.abc import Callable
from typing import Any, Self

from tallystick.bootstrap import Tally
from tallystick.core.errors import Refusal
from tallystick.core.ids import to_text
from tallystick.services.audit import Audit
from tallystick.services.checkouts import CheckoutView, status_of
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.payment_refunds import RefundView
from tallystick.services.pricing import Usage
from tallystick.services.reconciler import Reconciliation
from tallystick.store.payments import PaymentRow
from tallystick.store.schema_notifications import notifications
from tests.payments.hands import Hands, Told
from tests.providers.conformance import CardWord
from tests.tallies import whole

USER = "ann"


class Shop:
    """One customer, ``ann``, is meant wherever no other is named. Money in cents, credits whole."""

    def __init__(self, url: str, hands: Hands, *, economy: str) -> None:
        self.url, self.hands, self.economy = url, hands, economy
        self.keys = (f"key {number}" for number in itertools.count())
        self.tally = self.open()
        hands.attach(self.tally)
        self.customers: dict[str, Caller] = {}
        self.customer(USER)

    def open(self) -> Tally:
        """A Tally of its own on the same database, provider and clock, like another process; the caller closes it."""
        return Tally.open(
            self.url,
            economy=self.economy,
            test_mode=False,
            source=self.hands.now,
            payment_provider=self.hands.provider(),
        )

    def restart(self) -> None:
        """The process ends, and another one takes over."""
        self.tally.close()
        self.tally = self.open()
        self.hands.attach(self.tally)

    def close(self) -> None:
        """The audit finds nothing; then close."""
        try:
            report = Audit(self.tally.context).run()
            assert [] == [each for rule in report.rules for each in rule.violations]
        finally:
            self.tally.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.tally.close()

    # --- customers ---------------------------------------------------------------------------------------------------

    def customer(self, name: str = USER) -> Caller:
        """A customer as a caller; made when it is named first."""
        if name not in self.customers:
            number = self.tally.customers.create(SYSTEM, external_id=name).value.id
            text = to_text("cust", number)
            self.customers[name] = Caller(role="user", scope=text, name=text, customer_id=number)
        return self.customers[name]

    def order(
        self,
        *,
        package: str | None = None,
        amount: int | str | None = None,
        customer: str = USER,
        key: str | None = None,
    ) -> CheckoutView:
        """A page to pay on: for 20 dollars, if nothing is said."""
        if package is None and amount is None:
            amount = 20
        return self.tally.checkouts.create(
            self.customer(customer), package=package, amount=amount, idempotency_key=key
        ).value

    def buy(
        self, amount: int = 20, *, card: CardWord = "good", customer: str = USER, told: bool = True
    ) -> PaymentRow:
        """An amount of dollars, paid on a page; gives the payment as it stands."""
        view = self.order(amount=amount, customer=customer)
        self.hands.pay(view.session_id, card)
        if told:
            self.deliver()
        return self.payment(view.payment_id)

    def spend(self, credits_: int, *, customer: str = USER) -> None:
        """Charge for some work."""
        usage = Usage("work", quantity=credits_, customer=customer)
        self.tally.charges.create(SYSTEM, usage, idempotency_key=next(self.keys))

    def settle(self, payer: str, payee: str, price: int) -> None:
        """Somebody pays somebody else for work."""
        for name in (payer, payee):
            self.customer(name)
        self.tally.settlements.create(
            SYSTEM, payer=payer, payee=payee, price=price, idempotency_key=next(self.keys)
        )

    def payouts(self) -> dict[str | None, tuple[int, int, int]]:
        """The report of payouts by customer: earned, waiting and disputed."""
        rows = self.tally.payouts.report(SYSTEM).items
        return {row.external_id: (whole(row.earned), whole(row.waiting), whole(row.disputed)) for row in rows}

    def give(self, credits_: int, *, customer: str = USER) -> None:
        """A gift of the operator's."""
        self.tally.grants.create(
            SYSTEM, customer=customer, amount=credits_, category="bonus", idempotency_key=next(self.keys)
        )

    def refund(
        self, row: PaymentRow, amount: str | int | None = None, *, key: str | None = None
    ) -> RefundView:
        """An operator gives money back, in dollars."""
        return self.tally.payment_refunds.create(
            SYSTEM, to_text("pay", row.id), amount=amount, idempotency_key=key or next(self.keys)
        ).value

    def save_card(self, card: CardWord = "good", *, customer: str = USER) -> None:
        """The customer saves a card, and we hear of it."""
        self.tally.refills.save_card(self.customer(customer))
        self.hands.pay(self.last_page(), card)
        self.deliver()

    def last_page(self) -> str:
        """The page that was made last."""
        return self.hands.last_page()

    def refill(
        self,
        card: CardWord = "good",
        *,
        threshold: int = 100,
        amount: int = 20,
        customer: str = USER,
        has: int = 500,
    ) -> None:
        """A customer with some credits whose refills are set up, and are not wanted yet."""
        self.customer(customer)
        if has:
            self.give(has, customer=customer)
        self.save_card(card, customer=customer)
        self.configure(customer=customer, threshold=threshold, amount=amount)
        self.work()

    def configure(self, *, customer: str = USER, enabled: bool = True, **terms: Any) -> None:
        """Set the refills."""
        self.tally.refills.configure(self.customer(customer), enabled=enabled, **terms)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def send(self, event: Told, tally: Tally | None = None) -> str:
        """One event arrives at the webhook; gives what came of it."""
        body, signature = self.hands.message(event)
        return (tally or self.tally).provider_events.receive(body, signature)

    def deliver(self) -> list[str]:
        """All that was told since the last time arrives, in order."""
        return [self.send(event) for event in self.hands.take_events()]

    def lose_events(self) -> None:
        """Nothing of what was told since the last time ever arrives."""
        self.hands.take_events()

    def work(self, *, deliver: bool = True) -> None:
        """The worker does what is due, and what is told meanwhile arrives."""
        for _ in range(20):
            events = self.hands.take_events() if deliver else []
            for event in events:
                self.send(event)
            counts = [each.run_once() for each in self.tally.works]
            if not events and not any(
                value for each in counts for name, value in each.items() if name != "event_caught_up"
            ):
                return

    def reconcile(self) -> Reconciliation:
        """An operator wants to know."""
        return self.tally.reconciler.reconcile(SYSTEM)

    # --- what there is ------------------------------------------------------------------------------------------------

    def payment(self, number: int) -> PaymentRow:
        """A payment as it stands with us."""
        return self.tally.checkouts.get(SYSTEM, to_text("pay", number))

    def rows(self, customer: str = USER) -> list[PaymentRow]:
        """A customer's payments, oldest first."""
        return list(reversed(self.tally.checkouts.list(self.customer(customer), limit=100).items))

    def status(self, row: PaymentRow) -> str:
        """What people are told of a payment now."""
        return status_of(self.payment(row.id))

    def figures(self, customer: str = USER) -> tuple[int, int, int]:
        """Balance, available and debt."""
        found = self.tally.billing.balance(SYSTEM, customer=customer)
        return whole(found.balance), whole(found.available), whole(found.debt)

    def balance(self, customer: str = USER) -> int:
        """The balance."""
        return self.figures(customer)[0]

    def frozen(self, customer: str = USER) -> bool:
        """Whether the wallet is frozen."""
        return self.tally.billing.balance(SYSTEM, customer=customer).frozen_at is not None

    def pause(self, customer: str = USER) -> str | None:
        """Why the refills are paused."""
        return self.tally.refills.get(self.customer(customer)).paused_reason

    def next_charge(self, customer: str = USER) -> int | None:
        """When the card is tried next."""
        return self.tally.refills.get(self.customer(customer)).next_charge

    def told(self, kind: str, customer: str = USER) -> list[dict[str, Any]]:
        """What a customer was told of a kind, oldest first."""
        mine = notifications.c.customer_id == self.customer(customer).customer_id
        query = notifications.select().where(mine, notifications.c.type == kind).order_by(notifications.c.id)
        with self.tally.database.read() as connection:
            return [json.loads(row.data) for row in connection.execute(query)]

    def refills(self, customer: str = USER) -> list[PaymentRow]:
        """The refills that there were."""
        return [row for row in self.rows(customer) if row.kind == "refill"]


def refused(work: Callable[[], object]) -> str:
    """The code of a refusal that must come."""
    try:
        work()
    except Refusal as refusal:
        return refusal.code
    raise AssertionError("nothing was refused")
