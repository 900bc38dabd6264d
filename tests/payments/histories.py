"""Random histories: purchases, refunds, disputes, refills, declines, with events in any order, twice, or never, and crashes.

``python -m tests.payments.histories --seed N --count M [--provider stripe]`` runs so many. At the end of each, after one
reconcile, the balance must be what a simple model says of the provider's own books and of what was spent; nothing differs,
and no payment, refill or refund was made or credited twice. The audit looks at each database.
"""

import argparse
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import structlog

from tallystick.core.amounts import MICROS
from tallystick.core.errors import PaymentsUnavailable, Refusal
from tallystick.core.ids import from_text, to_text
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Payment
from tallystick.services.context import SYSTEM
from tallystick.store.payments import UNDER_WAY, PaymentRow
from tests.payments.broken import Crash
from tests.payments.economy import economy_file
from tests.payments.fixtures import hands_of
from tests.payments.hands import Hands, Told
from tests.payments.shop import Shop
from tests.providers.conformance import CardWord
from tests.stripe_double.faults import When

PER_DATABASE: Final = 50
CARDS: Final[tuple[CardWord, ...]] = ("good", "good", "good", "soft", "hard", "later", "authentication")
SAVED: Final[tuple[CardWord, ...]] = (
    "good", "good", "then_soft", "then_hard", "authentication", "then_unknown_done", "then_unknown_lost"
)  # fmt: skip
LAST_STATEMENT: Final = 40


class History:
    """One customer, and what happens around it."""

    def __init__(self, shop: Shop, dice: random.Random, name: str) -> None:
        self.shop, self.dice, self.name = shop, dice, name
        self.start = shop.hands.now()
        self.shop.customer(name)
        self.pool: list[Told] = []
        self.seen: list[Told] = []
        self.pages: list[str] = []
        self.spent = self.given = 0
        self.trace: list[str] = []

    # --- what happens ------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Some steps, each perhaps cut short by the end of the process, then the end."""
        for _ in range(self.dice.randint(6, 18)):
            step = self.dice.choice(STEPS)
            self.trace.append(step.__name__)
            with self._crashing(armed=step in CRASHING and self.dice.random() < 0.3):
                step(self)
        self._end()

    @contextmanager
    def _crashing(self, *, armed: bool) -> Iterator[None]:
        """The process ends before a statement of this step, any of the first."""
        left = self.dice.randint(1, LAST_STATEMENT) if armed else 0
        here, engine = threading.get_ident(), self.shop.tally.database.engine

        def count(*_: object) -> None:
            nonlocal left
            if left and threading.get_ident() == here:
                left -= 1
                if not left:
                    self.trace.append("crash")
                    raise Crash

        sa.event.listen(engine, "before_cursor_execute", count)
        try:
            yield
        except Crash:
            pass
        finally:
            sa.event.remove(engine, "before_cursor_execute", count)

    def order(self) -> None:
        """A page; who hears nothing asks again with the same key."""
        key = f"{self.name} {self.dice.random()}"
        what = {"package": "middle"} if self.dice.random() < 0.3 else {"amount": self.dice.randint(10, 40)}
        for _ in range(2):
            try:
                view = self.shop.order(customer=self.name, key=key, **what)
            except (Crash, PaymentsUnavailable):
                continue
            self.pages.append(view.session_id)
            return

    def pay(self) -> None:
        """Somebody pays on a page."""
        if self.pages:
            self._others(lambda: self.shop.hands.pay(self.dice.choice(self.pages), self.dice.choice(CARDS)))

    def pay_at_once(self) -> None:
        """A purchase as most are."""
        self.order()
        if self.pages:
            self._others(lambda: self.shop.hands.pay(self.pages[-1], "good"))

    def bank(self) -> None:
        """Something that banks and dashboards do to some payment."""
        payments = self._payments()
        if not payments:
            return
        payment, hands, dice = self.dice.choice(payments), self.shop.hands, self.dice
        acts: tuple[Callable[[], object], ...] = (
            lambda: hands.settle(payment.id, succeeded=dice.random() < 0.7),
            lambda: hands.dispute(payment.id),
            lambda: hands.inquire(payment.id),
            lambda: hands.decide(payment.id, won=dice.random() < 0.6),
            lambda: hands.refund(payment.id, dice.randint(1, payment.amount_cents)),
            lambda: hands.fail_refund(payment.id),
        )
        self._others(dice.choice(acts))

    def _others(self, act: Callable[[], object]) -> None:
        """What others try may be refused there: nothing has happened then."""
        try:
            act()
        except (ProviderRefused, ValueError, KeyError, AssertionError) as error:
            self.trace.append(f"({type(error).__name__})")
        except Exception as error:
            if type(error).__module__ != "tests.stripe_double.errors":
                raise
            self.trace.append("(refused)")

    def refund(self) -> None:
        """An operator gives back a part or all, and asks again with the same key after no answer."""
        paid = [row for row in self._rows() if row.status == "paid"]
        if not paid:
            return
        row, key = self.dice.choice(paid), f"{self.name} {self.dice.random()}"
        amount = None if self.dice.random() < 0.3 else f"{self.dice.randint(1, row.amount_cents) / 100:.2f}"
        for _ in range(self.dice.randint(1, 2)):
            try:
                self.shop.refund(row, amount, key=key)
            except Crash:
                continue
            except Refusal:
                return

    def spend(self) -> None:
        """Some usage, if there is enough."""
        most = self.shop.tally.billing.balance(SYSTEM, customer=self.name).available // MICROS
        if most > 0:
            amount = self.dice.randint(1, most)
            try:
                self.shop.spend(amount, customer=self.name)
            except Refusal:
                return
            self.spent += amount

    def give(self) -> None:
        """A gift."""
        self.shop.give(self.dice.randint(1, 500), customer=self.name)

    def save_card(self) -> None:
        """A card for refills, which are set up."""
        tally, caller = self.shop.tally, self.shop.customer(self.name)
        try:
            tally.refills.save_card(caller)
        except PaymentsUnavailable:
            return
        self._others(lambda: self.shop.hands.pay(self.shop.last_page(), self.dice.choice(SAVED)))
        tally.refills.configure(
            caller, enabled=True, threshold=self.dice.randint(10, 3_000), amount=self.dice.randint(10, 20)
        )

    def hear(self) -> None:
        """Some of what was told arrives, in any order, some of it twice; some is lost for good."""
        self.pool += self.shop.hands.take_events()
        self.dice.shuffle(self.pool)
        for _ in range(self.dice.randint(0, len(self.pool))):
            event = self.pool.pop()
            fate = self.dice.random()
            if fate < 0.2:
                continue
            self.seen.append(event)
            for _ in range(2 if fate < 0.4 else 1):
                self._send(event)
        if self.seen and self.dice.random() < 0.3:
            self._send(self.dice.choice(self.seen))

    def _send(self, event: Told) -> None:
        """What is not taken comes again."""
        try:
            self.shop.send(event)
        except PaymentsUnavailable:
            self.pool.append(event)

    def work(self) -> None:
        """A turn of the worker; a simulated provider's own deliveries are taken away before."""
        self.pool += self.shop.hands.take_events()
        for each in self.shop.tally.works:
            each.run_once()

    def wait(self) -> None:
        """Time passes."""
        self.shop.hands.advance(self.dice.choice(("PT1S", "PT1M", "PT10M", "PT2H")))

    def trouble(self) -> None:
        """The line to Stripe will break, before or after something was done."""
        if self.shop.hands.name == "stripe":
            path = self.dice.choice(("/v1/payment_intents", "/v1/refunds", "/v1/checkout/sessions"))
            when = self.dice.choice((When.BEFORE, When.AFTER))
            self.shop.hands.double.faults.fail(path, status=500, when=when, times=3)  # type: ignore[attr-defined]

    def look(self) -> None:
        """Somebody opens a success page."""
        rows = [row for row in self._rows() if row.token]
        if rows:
            row = self.dice.choice(rows)
            with suppress(PaymentsUnavailable):
                self.shop.tally.checkouts.look(to_text("pay", row.id), row.token)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """A part of the events comes, the rest never; one reconcile; then judge."""
        self.hear()
        self.pool.clear()
        self.shop.hands.take_events()
        hands = self.shop.hands
        if hands.name == "stripe":
            hands.double.faults.clear()  # type: ignore[attr-defined]
        if any(row.kind == "refill" and row.status in UNDER_WAY for row in self._rows()):
            hands.advance("PT3M")
            self.shop.tally.reconciler.run_once()  # the one that is asked for again may lose its answer too
            hands.take_events()
        report = self.shop.tally.reconciler.reconcile(SYSTEM, since=self.start)
        assert [] == report.differences, report.differences
        self._judge()
        self.shop.configure(customer=self.name, enabled=False)
        hands.take_events()

    def _judge(self) -> None:
        rows = {row.id: row for row in self._rows()}
        money = 0
        credited: set[int] = set()
        for payment in self._payments():
            if payment.status != "succeeded":
                continue
            number = from_text("pay", payment.reference or "")
            assert number in rows, f"{payment.id} is of nobody"
            assert number not in credited, f"{payment.reference} was paid twice"
            credited.add(number)
            assert payment.refunded_cents <= payment.amount_cents
            money += stands(payment, rows[number].credits)
            references = [each.reference for each in self._refunds(payment) if each.reference]
            assert len(references) == len(set(references)), f"a refund of {payment.id} was made twice"
        assert credited == {row.id for row in rows.values() if row.grant_id is not None}
        grants = [row.grant_id for row in rows.values() if row.grant_id is not None]
        assert len(grants) == len(set(grants))
        found = self.shop.tally.billing.balance(SYSTEM, customer=self.name)
        bonus = sum(
            entry.amount
            for entry in self.shop.tally.billing.transactions(
                SYSTEM, customer=self.name, type="bonus", limit=100
            ).items
        )
        expected = money + bonus - self.spent * MICROS
        assert expected == found.balance, f"expected {expected}, found {found.balance}"

    def _refunds(self, payment: Payment) -> list[Any]:
        return self.shop.tally.payment_provider.refunds(payment.id)

    def _payments(self) -> list[Payment]:
        return self.shop.hands.payments(self.start)

    def _rows(self) -> list[PaymentRow]:
        return self.shop.rows(self.name)


def stands(payment: Payment, credits_: int) -> int:
    """The model: the micro-credits that a payment is worth after all that went back."""
    lost = payment.refunded_cents + sum(each.withdrawn_cents for each in payment.disputes)
    if lost >= payment.amount_cents:
        return 0
    return credits_ - credits_ * lost // payment.amount_cents


STEPS: Final = (
    History.order, History.pay, History.pay_at_once, History.pay_at_once, History.bank, History.bank, History.bank,
    History.refund, History.spend, History.spend, History.give, History.save_card, History.hear, History.hear,
    History.work, History.work, History.wait, History.look, History.trouble,
)  # fmt: skip
CRASHING: Final = (
    History.order, History.pay_at_once, History.refund, History.save_card, History.hear, History.work, History.look
)  # fmt: skip


def run(*, seed: int, count: int, provider: str = "simulated", folder: Path) -> None:
    """So many histories. Raises what the first that goes wrong raises, with its seed and its steps."""
    for first in range(0, count, PER_DATABASE):
        with hands_of(provider) as hands:
            _run_some(hands, folder / f"{seed}-{first}.db", seed + first, min(PER_DATABASE, count - first))


def _run_some(hands: Hands, path: Path, seed: int, count: int) -> None:
    economy = economy_file(path.parent)
    with Shop(f"sqlite:///{path}", hands, economy=economy) as shop:
        for number in range(seed, seed + count):
            history = History(shop, random.Random(number), f"customer {number}")
            try:
                history.play()
            except Exception as error:
                error.add_note(f"seed {number}: {', '.join(history.trace)}")
                raise
            hands.advance("P2D")
            hands.take_events()
            if number % 10 == 0:
                shop.restart()
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.payments.histories", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--provider", choices=["simulated", "stripe"], default="simulated")
    parser.add_argument("--folder", default=None)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        run(seed=asked.seed, count=asked.count, provider=asked.provider, folder=Path(folder))
    seconds = time.monotonic() - started
    sys.stdout.write(f"{asked.count} histories from seed {asked.seed} on {asked.provider}: {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
