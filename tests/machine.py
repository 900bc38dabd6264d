"""A state machine over a ledger: Hypothesis chooses what is asked and when, the judge compares the answers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, multiple, rule

from tallystick.core.adjustments import ClawBack, Grant, Refund, Reinstate, SetFrozen, VoidGrant
from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.membership import ChangePlan, OpenCustomer
from tallystick.core.operations import Charge, Operation, Part, PlaceHold, Resolve
from tallystick.core.paid_plans import EndPaidPlan, PaidPeriod
from tallystick.core.settlement import Settle
from tallystick.core.words import GRANT_CATEGORIES, origin_of
from tallystick.store.results import Outcome
from tests.economy_of_tests import economy
from tests.judge import Judge, NewGrant
from tests.model.calendar import DAY, HOUR
from tests.model.holdings import FOREVER, Limit

START = 1_795_000_000_000_000
UNIT = 1_000_000
MONTH = 30 * DAY  # of a subscription
UNITS = st.sampled_from(("credits", "USD"))
# A number of micro-units, or what a wallet has and a little more or less than that.
AMOUNTS = st.one_of(st.integers(1, 40 * UNIT), st.sampled_from(("all", "more", "less")))
DURATIONS = st.sampled_from((1, HOUR, DAY, 15 * DAY, 70 * DAY))
KEYS = st.sampled_from((None, 1, 2))
AGENTS = st.sampled_from((None, "scout"))

Amount = int | str


class LedgerMachine(RuleBasedStateMachine):
    """Requests, and the passing of time. A subclass says where they go."""

    customers: Bundle[int] = Bundle("customers")
    grants: Bundle[tuple[int, int]] = Bundle("grants")
    holds: Bundle[int] = Bundle("holds")
    charges: Bundle[int] = Bundle("charges")

    def __init__(self, *, first_id: int = 1_000) -> None:
        super().__init__()
        self.economy: Economy = economy()
        self.judge = Judge(self.economy)
        self.model = self.judge.model
        self.now = START
        self.next_id = first_id
        self.first_id = first_id
        self.asked: list[Operation] = []
        self.keys: set[str | None] = set()

    @abstractmethod
    def post(self, operations: Sequence[Operation]) -> tuple[list[Outcome], Book]:
        """Post a batch to the ledger under test."""

    @abstractmethod
    def set_budget(self, limit: Limit) -> None:
        """Set a budget in the ledger under test."""

    @abstractmethod
    def check(self, named: Sequence[int]) -> None:
        """Look at what the ledger under test keeps."""

    # --- asking --------------------------------------------------------------------------------------------

    def ask(self, *operations: Operation) -> Outcome:
        """Post a batch, have it judged, and give the last outcome."""
        outcomes, book = self.post(operations)
        made: list[NewGrant] = [
            (each.lot.customer_id, each.lot.unit, each.lot.id) for each in book.new_grants
        ]
        self.judge.batch(operations, outcomes, now=self.now, new_grants=made)
        self.judge.look(book)
        self.check(sorted({customer_id for customer_id, _ in book.wallets}))
        self.asked += [each for each in operations if each.idempotency not in self.keys]
        self.keys.update(each.idempotency for each in operations)
        return outcomes[-1]

    def fields(self, customer_id: int) -> dict[str, Any]:
        """What all operations have: a customer, a caller and a key of their own."""
        self.next_id += 1
        key = f"key-{self.next_id}"
        return {
            "customer_id": customer_id,
            "caller": "test",
            "idempotency": key,
            "idempotency_key": key,
            "request_digest": f"request-{key}",
            "economy": self.economy.version,
        }

    def amount(self, customer_id: int, unit: str, amount: Amount) -> int:
        """An amount in micro-units, above zero."""
        if isinstance(amount, int):
            return amount
        available = self.model.customers[customer_id].wallets[unit].available(self.now)
        return max(available + {"all": 0, "more": 1, "less": -1}[amount], 1)

    def parts(self, customer_id: int, priced: Sequence[tuple[str, Amount]]) -> tuple[Part, ...]:
        """What a charge or a hold costs."""
        return tuple(
            Part(unit.lower(), unit.upper(), unit, self.amount(customer_id, unit, amount))
            for unit, amount in priced
        )

    # --- customers and grants ------------------------------------------------------------------------------

    @initialize(target=customers)
    def begin(self) -> int:
        """There is somebody from the start."""
        return self.open()

    @rule(target=customers)
    def join(self) -> int:
        """A new customer."""
        return self.open()

    def open(self) -> int:
        """Post the opening of a customer."""
        self.next_id += 1
        number = self.next_id
        self.ask(OpenCustomer(catalog=self.economy, **self.fields(number)))
        return number

    @rule(
        target=grants,
        customer=customers,
        unit=UNITS,
        amount=st.integers(1, 100 * UNIT),
        category=st.sampled_from(sorted(GRANT_CATEGORIES)),
        starts=st.sampled_from((None, 0, HOUR, 3 * DAY)),
        lasts=st.one_of(st.none(), DURATIONS),
    )
    def grant(
        self, customer: int, unit: str, amount: int, category: str, starts: int | None, lasts: int | None
    ) -> "MultipleResults[tuple[int, int]]":
        """Credits, now or later, for some time or for good."""
        outcome = self.ask(
            Grant(
                unit=unit,
                amount=amount,
                category=category,
                origin=origin_of(category),
                priority=self.economy.priority(category),
                effective_at=None if starts is None else self.now + starts,
                expires_at=None if lasts is None else self.now + (starts or 0) + lasts,
                **self.fields(customer),
            )
        )
        return multiple((outcome.result.id, customer)) if outcome.refusal is None else multiple()

    @rule(grant=grants, amount=st.one_of(st.integers(1, 100 * UNIT), st.just("all")))
    def claw_back(self, grant: tuple[int, int], amount: Amount) -> None:
        """Credits taken back, spent or not."""
        number, customer = grant
        wanted = self.model.grants[number].amount if isinstance(amount, str) else amount
        self.ask(ClawBack(grant_id=number, amount=wanted, **self.fields(customer)))

    @rule(grant=grants, amount=st.one_of(st.integers(1, 100 * UNIT), st.just("all")))
    def reinstate(self, grant: tuple[int, int], amount: Amount) -> None:
        """Credits given back that were taken."""
        number, customer = grant
        wanted = max(self.model.grants[number].clawed_back, 1) if isinstance(amount, str) else amount
        self.ask(Reinstate(grant_id=number, amount=wanted, **self.fields(customer)))

    @rule(grant=grants)
    def void(self, grant: tuple[int, int]) -> None:
        """A grant made by mistake."""
        self.ask(VoidGrant(grant_id=grant[0], **self.fields(grant[1])))

    @rule(customer=customers, unit=UNITS, frozen=st.booleans())
    def freeze(self, customer: int, unit: str, *, frozen: bool) -> None:
        """Freeze or thaw."""
        self.ask(SetFrozen(unit=unit, frozen=frozen, **self.fields(customer)))

    @rule(customer=customers, plan=st.sampled_from(("free", "pro", "club", "max", "pause")))
    def change_plan(self, customer: int, plan: str) -> None:
        """Another plan."""
        self.ask(ChangePlan(plan=self.economy.plans[plan], catalog=self.economy, **self.fields(customer)))

    @rule(
        customer=customers,
        plan=st.sampled_from(("pro", "club", "max", "pause")),
        subscription=st.sampled_from(("sub_a", "sub_b")),
        month=st.integers(-1, 2),
        begun=st.sampled_from((0, 0, 10 * DAY, 20 * DAY)),
        running=st.sampled_from((True, True, False)),
        newest=st.booleans(),
    )
    def pay_bill(
        self,
        customer: int,
        plan: str,
        subscription: str,
        month: int,
        begun: int,
        *,
        running: bool,
        newest: bool,
    ) -> None:
        """A bill of a subscription: of last month, of this one or of one to come, whole or from some day on."""
        first = START + ((self.now - START) // MONTH + month) * MONTH
        self.ask(
            PaidPeriod(
                plan=self.economy.plans[plan],
                catalog=self.economy,
                subscription=subscription,
                start=first + begun,
                end=first + MONTH,
                running=running,
                newest=newest,
                **self.fields(customer),
            )
        )

    @rule(customer=customers, subscription=st.sampled_from(("sub_a", "sub_b")))
    def end_subscription(self, customer: int, subscription: str) -> None:
        """A subscription ends, whether it pays for anything or not."""
        plan = self.economy.plan(self.economy.default_plan)
        self.ask(
            EndPaidPlan(plan=plan, catalog=self.economy, subscription=subscription, **self.fields(customer))
        )

    # --- usage ---------------------------------------------------------------------------------------------

    @rule(
        target=charges,
        customer=customers,
        priced=st.lists(st.tuples(UNITS, AMOUNTS), min_size=1, max_size=3),
        hourly=st.sampled_from(((), (("search", 2, 1),), (("search", 2, 1), ("scan", 3, 2)))),
        key_id=KEYS,
        agent=AGENTS,
    )
    def charge(
        self,
        customer: int,
        priced: list[tuple[str, Amount]],
        hourly: tuple[tuple[str, int, int], ...],
        key_id: int | None,
        agent: str | None,
    ) -> "MultipleResults[int]":
        """A charge in one unit or both."""
        operation = Charge(
            parts=self.parts(customer, priced),
            hourly=hourly,
            agent=agent,
            **self.key(key_id),
            **self.fields(customer),
        )
        outcome = self.ask(operation)
        return multiple(outcome.result.id) if outcome.refusal is None else multiple()

    def key(self, key_id: int | None) -> dict[str, Any]:
        """Which key asks: one of this run's own."""
        number = None if key_id is None else self.first_id + key_id
        has_budget = any(limit.is_for("key", (number or 0, "")) for limit in self.model.limits)
        return {"key_id": number, "key_has_budget": has_budget}

    @rule(
        target=holds,
        customer=customers,
        priced=st.lists(st.tuples(UNITS, AMOUNTS), min_size=1, max_size=2),
        lasts=DURATIONS,
        key_id=KEYS,
    )
    def hold(
        self, customer: int, priced: list[tuple[str, Amount]], lasts: int, key_id: int | None
    ) -> "MultipleResults[int]":
        """A hold."""
        operation = PlaceHold(
            parts=self.parts(customer, priced),
            maker="test",
            expires_at=self.now + lasts,
            **self.key(key_id),
            **self.fields(customer),
        )
        outcome = self.ask(operation)
        return multiple(outcome.result.id) if outcome.refusal is None else multiple()

    @rule(
        target=charges,
        hold=holds,
        percent=st.sampled_from((0, 30, 100, 101, 250)),
        also=st.one_of(st.none(), st.none(), holds),
        key_id=KEYS,
    )
    def capture(
        self, hold: int, percent: int, also: int | None, key_id: int | None
    ) -> "MultipleResults[int]":
        """Capture nothing of a hold, a part, all of it or more; and now and then another with it."""
        terms = self.model.holds[hold]

        def part(number: int) -> tuple[tuple[str, int], ...]:
            held = self.model.holds[number].amounts
            return tuple((unit, -(-amount * percent // 100)) for unit, amount in held.items())

        operation = Resolve(
            hold_id=hold,
            maker="test",
            amounts=part(hold),
            also_hold_id=also,
            also_amounts=() if also is None else part(also),
            **self.key(key_id),
            **self.fields(terms.customer_id),
        )
        outcome = self.ask(operation)
        return multiple(outcome.result.id) if outcome.refusal is None else multiple()

    @rule(hold=holds, maker=st.sampled_from(("test", "test", "somebody else")))
    def release(self, hold: int, maker: str) -> None:
        """Give a hold back; only its maker may."""
        self.ask(Resolve(hold_id=hold, maker=maker, **self.fields(self.model.holds[hold].customer_id)))

    @rule(
        charge=charges,
        unit=st.sampled_from((None, "credits", "USD")),
        amount=st.sampled_from((None, 1, 5 * UNIT)),
    )
    def refund(self, charge: int, unit: str | None, amount: int | None) -> None:
        """Give a charge back, whole or in part."""
        customer = self.model.paid[charge].customer_id
        self.ask(Refund(charge_id=charge, unit=unit, amount=amount, **self.fields(customer)))

    @rule(
        payer=customers, payee=customers, unit=UNITS, price=AMOUNTS, percent=st.sampled_from((0, 5, 33, 100))
    )
    def settle(self, payer: int, payee: int, unit: str, price: Amount, percent: int) -> None:
        """Pay for somebody's work."""
        amount = self.amount(payer, unit, price)
        fee = amount * percent // 100
        self.ask(
            Settle(
                other_customer_id=payee, unit=unit, price=amount, fee=fee, priority=40, **self.fields(payer)
            )
        )

    # --- limits, repeats, time -----------------------------------------------------------------------------

    @rule(
        customer=customers,
        level=st.sampled_from(("customer", "agent", "key")),
        unit=UNITS,
        amount=st.integers(1, 60 * UNIT),
        per=st.sampled_from(("day", "month")),
    )
    def budget(self, customer: int, level: str, unit: str, amount: int, per: str) -> None:
        """A new budget, where there is none like it."""
        subject = {"customer": (customer, ""), "agent": (customer, "scout"), "key": (self.first_id + 1, "")}[
            level
        ]
        if any(
            limit.is_for(level, subject) and (limit.unit, limit.per) == (unit, per)
            for limit in self.model.limits
        ):
            return
        self.next_id += 1
        limit = Limit(self.next_id, level, subject, unit, amount, per)
        self.set_budget(limit)
        self.model.limits.append(limit)

    def look_up(self, operation: Operation) -> None:
        """Whoever asks again is looked up again: its key may have a budget since."""
        key = self.key((operation.key_id or self.first_id) - self.first_id)
        operation.key_has_budget = key["key_has_budget"]

    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """The same requests once more, one of them twice in one batch: nothing happens a second time."""
        again = data.draw(st.lists(st.sampled_from(self.asked), min_size=1, max_size=4))
        for operation in again:
            self.look_up(operation)
        self.ask(*again, again[0])

    @rule(data=st.data())
    def ask_something_else(self, data: st.DataObject) -> None:
        """A key that was used, with another request: refused."""
        operation = data.draw(st.sampled_from(self.asked))
        self.look_up(operation)
        digest, operation.request_digest = operation.request_digest, "another request"
        self.ask(operation)
        operation.request_digest = digest

    @rule(span=st.sampled_from((1, UNIT, HOUR, DAY, 20 * DAY, 65 * DAY, -HOUR)))
    def wait(self, span: int) -> None:
        """Time passes; a clock may also be put back a little."""
        self.now = self.model.now = self.now + span

    @rule(customer=customers, late=st.sampled_from((-1, 0, 1)))
    def wait_until_something_is_due(self, customer: int, late: int) -> None:
        """To the very moment."""
        due_at = self.model.next_moment(customer)
        if self.now < due_at + late < min(FOREVER, self.now + 90 * DAY):
            self.now = self.model.now = due_at + late
