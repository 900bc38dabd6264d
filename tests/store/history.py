"""A short history in which everything happens that a ledger knows, for the tests of the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tallystick.bootstrap import Tally
from tallystick.core.errors import Refusal
from tallystick.core.ids import from_text, to_text
from tallystick.core.operations import Operation, Resolve
from tallystick.core.paid_plans import EndPaidPlan, PaidPeriod
from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.pricing import Usage
from tallystick.store import holds

START = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z

ECONOMY = """
[economy]
title = "Audited"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits"
decimals_shown = 2
[units.USD]
description = "Infrastructure"
decimals_shown = 6
money = true

[[sign_up]]
amount = 100
category = "initial_grant"
description = "Welcome"
expires_after = "P60D"
[[sign_up]]
unit = "USD"
amount = 5
category = "bonus"
description = "Infrastructure"

[plans.free]
title = "Free"
renews = "calendar"
starts = "next_period"
[[plans.free.allowances]]
amount = 20
[plans.pro]
title = "Pro"
renews = "anniversary"
[[plans.pro.allowances]]
amount = 200
rollover_cap = 50
[plans.unlimited]
title = "Unlimited"
[[plans.unlimited.allowances]]
amount = "unlimited"

[meters.call]
category = "tools"
description = "A call"
price = 2
hourly_limit = 40
[meters.tokens]
category = "model"
description = "Tokens"
[[meters.tokens.prices]]
kind = "per_unit"
per_unit = 0.003
[meters.machine]
category = "sandbox"
description = "A machine, in both units"
hourly_limit = 50
[[meters.machine.prices]]
kind = "flat"
flat = 3
[[meters.machine.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 0.000123

[task_fee]
basis_points = 1500
"""


class Clock:
    """A clock that hardly moves until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """Microseconds since the epoch; one passes at each look, so that no two moments are the same."""
        self.now += 1
        return self.now

    def pass_by(self, micros: int) -> None:
        """Let time pass."""
        self.now += micros


class History:
    """Does things to a ledger, each with an idempotency key of its own."""

    def __init__(self, tally: Tally, clock: Clock) -> None:
        self.tally = tally
        self.clock = clock
        self._keys = 0

    def key(self) -> str:
        """The next idempotency key."""
        self._keys += 1
        return f"key {self._keys}"

    def charge(self, customer: str, meter: str = "call", **more: Any) -> str:
        """A charge; gives its id."""
        usage = Usage(meter, customer=customer, **more)
        return to_text("chg", self.tally.charges.create(SYSTEM, usage, idempotency_key=self.key()).value.id)

    def hold(self, customer: str, meter: str = "call", *, seconds: int = 3600, **more: Any) -> str:
        """A hold; gives its id."""
        usage = Usage(meter, customer=customer, **more)
        made = self.tally.holds.create(SYSTEM, usage, idempotency_key=self.key(), expires_in=seconds)
        return to_text("hold", made.value.id)

    def capture(self, hold: str, **what: Any) -> str:
        """Capture a hold; gives the id of the charge."""
        return to_text(
            "chg", self.tally.holds.capture(SYSTEM, hold, idempotency_key=self.key(), **what).value.id
        )

    def capture_both(self, hold: str, also: str) -> None:
        """Capture two holds of a meter in one transaction, as sandboxes do: all of the one, and half of the other."""
        context, number, other = self.tally.context, from_text("hold", hold), from_text("hold", also)
        assert number is not None
        assert other is not None
        with context.database.read() as connection:
            first, second = holds.by_id(connection, number), holds.by_id(connection, other)
        assert first is not None
        assert second is not None
        operation = Resolve(
            customer_id=first.customer_id,
            caller=SYSTEM.name,
            maker="",
            is_admin=True,
            hold_id=number,
            amounts=first.amounts,
            also_hold_id=other,
            also_amounts=tuple((unit, amount // 2) for unit, amount in second.amounts),
        )
        [outcome] = context.database.transact(
            lambda connection: context.ledger.post(connection, [operation], now=context.now())
        )
        assert outcome.refusal is None

    def release(self, hold: str) -> None:
        """Release a hold."""
        self.tally.holds.release(SYSTEM, hold, idempotency_key=self.key())

    def refund(self, charge: str, **what: Any) -> None:
        """Refund a charge."""
        self.tally.charges.refund(SYSTEM, charge, idempotency_key=self.key(), **what)

    def grant(self, customer: str, amount: int, category: str = "bonus", **terms: Any) -> str:
        """A grant; gives its id."""
        made = self.tally.grants.create(
            SYSTEM, customer=customer, amount=amount, category=category, idempotency_key=self.key(), **terms
        )
        return to_text("grant", made.value.id)

    def void(self, grant: str) -> None:
        """Void a grant."""
        self.tally.grants.void(SYSTEM, grant, reason="a mistake", idempotency_key=self.key())

    def claw_back(self, grant: str, amount: int) -> None:
        """Claw a grant back."""
        self.tally.grants.claw_back(
            SYSTEM, grant, amount=amount, reason="disputed", idempotency_key=self.key()
        )

    def plan(self, customer: str, plan: str) -> None:
        """Put a customer on a plan."""
        self.tally.plans.change(SYSTEM, customer=customer, plan=plan, idempotency_key=self.key())

    def pay(self, customer: str, plan: str, start: int, *, days: int = 30) -> None:
        """A bill of a subscription was paid."""
        economy = self.tally.context.economy()
        key = f"invoice:{self.key()}"
        self._post(
            PaidPeriod(
                customer_id=self.tally.customers.resolve(SYSTEM, customer),
                caller="payments",
                plan=economy.plans[plan],
                catalog=economy,
                subscription=f"sub_{customer}",
                start=start,
                end=start + days * DAY,
                running=True,
                newest=True,
                idempotency=key,
                idempotency_key=key,
                request_digest=key,
            )
        )

    def end_paid_plan(self, customer: str) -> None:
        """Its subscription has ended."""
        economy = self.tally.context.economy()
        self._post(
            EndPaidPlan(
                customer_id=self.tally.customers.resolve(SYSTEM, customer),
                caller="payments",
                plan=economy.plan(economy.default_plan),
                catalog=economy,
                subscription=f"sub_{customer}",
            )
        )

    def _post(self, operation: Operation) -> None:
        context = self.tally.context
        [outcome] = context.database.transact(
            lambda connection: context.ledger.post(connection, [operation], now=context.now())
        )
        outcome.value()

    def catch_up(self) -> None:
        """Book all that is due."""
        self.tally.due_work.run_all()


def open_history(url: str, folder: Path) -> History:
    """A ledger with an economy of its own and a clock that stands."""
    path = folder / "audited.toml"
    path.write_text(ECONOMY)
    clock = Clock()
    return History(Tally.open(url, economy=str(path), source=clock), clock)


def live(history: History) -> None:
    """Everything that happens to credits, at least once."""
    tally = history.tally
    for name in ("ada", "bob", "eve", "zoe", "sam", "pat", "kim"):
        tally.customers.create(SYSTEM, external_id=name)
    for part in (_use_and_refund, _hold_and_resolve, _take_back, _freeze, _change_plans, _limit, _settle):
        part(history)
        history.clock.pass_by(10 * MINUTE)
    _hire(history)
    _pay_for_plans(history)
    history.clock.pass_by(40 * DAY)
    history.catch_up()
    history.pay("pat", "pro", START + 30 * DAY)
    history.end_paid_plan("kim")
    _leave_things_open(history)


def _pay_for_plans(history: History) -> None:
    for customer in ("pat", "kim"):
        history.pay(customer, "pro", START)
    history.pay("pat", "unlimited", START + 15 * DAY, days=15)


def _use_and_refund(history: History) -> None:
    tally = history.tally
    history.grant("ada", 50, "purchase", reference="pay_1", reason="Starter pack", priority=5)
    history.grant("ada", 30, "reward", expires_at=history.clock.now + 3 * DAY)
    history.grant("ada", 7, "adjustment", origin="paid")
    history.grant("ada", 25, "promotional_grant", effective_at=history.clock.now + 2 * DAY)
    charge = history.charge("ada", "tokens", quantity=20_000, description="a long text", metadata={"run": 7})
    history.refund(charge, amount=12)
    history.refund(charge)
    both = history.charge("ada", "machine", quantity=300, also=(("call", 1), ("tokens", 500)), agent="scout")
    history.refund(both, amount="0.01", unit="USD")
    for amount in (10_000, "1e9"):
        try:
            tally.charges.create(SYSTEM, Usage("tokens", amount, customer="ada"), idempotency_key="too much")
        except Refusal:
            continue
    repeated = Usage("call", customer="ada")
    for _ in range(2):
        tally.charges.create(SYSTEM, repeated, idempotency_key="the same twice")


def _hold_and_resolve(history: History) -> None:
    short = history.grant("bob", 10, "promotional_grant", expires_at=history.clock.now + HOUR, priority=1)
    held = history.hold("bob", "tokens", quantity=4000)
    history.void(short)
    history.capture(held, quantity=1000)
    history.capture(history.hold("bob", "tokens", quantity=1000), quantity=2500)
    history.refund(history.capture(history.hold("bob", "machine", also=(("call", 2),))))
    history.capture(history.hold("bob"), amount=0)
    history.release(history.hold("bob", "machine", quantity=9))
    history.capture_both(history.hold("bob"), history.hold("bob", "machine", quantity=6, agent="scout"))
    history.hold("bob", seconds=60)
    tally = history.tally
    tally.holds.create_amount(
        SYSTEM, customer="bob", amount=4, unit="USD", idempotency_key=history.key(), expires_in=90
    )


def _take_back(history: History) -> None:
    pack = history.grant("eve", 100, "purchase", reference="pay_2", priority=1)
    history.charge("eve", "tokens", quantity=40_000)
    history.claw_back(pack, 30)
    history.charge("eve", "tokens", quantity=25_000)
    history.claw_back(pack, 70)
    history.grant("eve", 15, "referral")
    history.void(history.grant("eve", 40, "bonus"))
    history.void(history.grant("eve", 9, "bonus", effective_at=history.clock.now + DAY))


def _freeze(history: History) -> None:
    wallets, clock = history.tally.wallets, history.clock
    history.grant("zoe", 11, "bonus", expires_at=clock.now + DAY)
    for _ in range(2):
        wallets.freeze(SYSTEM, customer="zoe", reason="suspicious")
    clock.pass_by(2 * DAY)
    history.catch_up()
    for _ in range(2):
        wallets.thaw(SYSTEM, customer="zoe")
    history.charge("zoe")


def _change_plans(history: History) -> None:
    history.plan("sam", "pro")
    history.charge("sam", "tokens", quantity=5000)
    history.plan("sam", "unlimited")
    charge = history.charge("sam", "tokens", quantity=9000)
    history.refund(charge, amount=1)
    history.capture(history.hold("sam", "tokens", quantity=100), quantity=150)
    history.release(history.hold("sam"))
    history.plan("sam", "pro")
    history.plan("zoe", "unlimited")
    history.plan("eve", "unlimited")
    history.plan("eve", "free")


def _limit(history: History) -> None:
    tally = history.tally
    key = tally.keys.create(SYSTEM, name="meter", role="service", budget=(500, None, "day"))
    caller = Caller(role="service", scope="service:meter", name="key", key_id=key.id, key_has_budget=True)
    tally.budgets.put(SYSTEM, level="customer", customer="ada", amount=300, per="month")
    tally.budgets.put(SYSTEM, level="agent", subject="scout", customer="ada", amount=100, per="day")
    tally.budgets.put(SYSTEM, level="customer", customer="bob", amount=5, unit="USD", per="day")
    usage = Usage("tokens", 1000, customer="ada", agent="scout")
    charge = tally.charges.create(caller, usage, idempotency_key=history.key()).value
    history.refund(to_text("chg", charge.id), amount=1)
    history.refund(to_text("chg", charge.id), amount="0.5")
    history.release(history.hold("ada", agent="scout"))
    history.capture(history.hold("ada", "tokens", quantity=1000, agent="scout"), quantity=100)
    more = history.capture(history.hold("ada", "tokens", quantity=1000, agent="scout"), quantity=1500)
    history.refund(more, amount="1.25")
    history.hold("ada", seconds=5, agent="scout")
    tally.budgets.put(SYSTEM, level="customer", customer="eve", amount=1, per="day")
    tally.budgets.remove(SYSTEM, level="customer", customer="eve", per="day")


def _settle(history: History) -> None:
    for payer, price in (("ada", 10), ("sam", 20), ("ada", 0), ("zoe", 4)):
        history.tally.settlements.create(
            SYSTEM, payer=payer, payee="eve", price=price, description="work", idempotency_key=history.key()
        )


def _hire(history: History) -> None:
    """Tasks of every end, with sub-tasks, within a budget, and disputed."""
    tally = history.tally
    agents = {
        name: to_text(
            "agent",
            tally.agents.register(SYSTEM, name="worker", price_per_task=price, customer=name).value.id,
        )
        for name, price in (("eve", 12), ("zoe", 3), ("kim", 2))
    }
    tasks = tally.tasks

    def hire(customer: str | None, agent: str, *, parent: str | None = None, seconds: int = 3600) -> str:
        made = tasks.create(
            SYSTEM,
            agent=agents[agent],
            input={"do": "it"},
            customer=customer,
            parent=parent,
            expires_in=seconds,
            idempotency_key=history.key(),
        )
        return to_text("task", made.value.id)

    def work(task: str) -> str:
        tasks.accept(SYSTEM, task, idempotency_key=history.key())
        tasks.complete(SYSTEM, task, output="done", idempotency_key=history.key())
        return task

    def dispute(task: str, refund: str) -> None:
        tasks.dispute(SYSTEM, task, reason="no", idempotency_key=history.key())
        tasks.resolve(SYSTEM, task, refund=refund, reason="looked", idempotency_key=history.key())

    for refund in ("0", "5.5", "12"):
        dispute(work(hire("ada", "eve")), refund)
    work(hire("eve", "eve"))
    tasks.cancel(SYSTEM, hire("eve", "eve"), idempotency_key=history.key())
    top = hire("ada", "eve")
    tasks.accept(SYSTEM, top, idempotency_key=history.key())
    work(hire(None, "zoe", parent=top))
    tasks.fail(SYSTEM, hire(None, "kim", parent=top), idempotency_key=history.key())
    dispute(work(hire(None, "kim", parent=top)), "1.5")
    hire(None, "kim", parent=top, seconds=60)
    history.clock.pass_by(2 * MINUTE)
    tasks.complete(SYSTEM, top, idempotency_key=history.key())
    tasks.fail(SYSTEM, hire("sam", "eve"), idempotency_key=history.key())
    hire("sam", "eve", seconds=60)


def _leave_things_open(history: History) -> None:
    clock = history.clock
    history.grant("ada", 50, "bonus", reason="gift", reference="note", expires_at=clock.now + 90 * DAY)
    history.grant("ada", 60, "bonus", effective_at=clock.now + 30 * DAY)
    history.grant("bob", 70, "purchase", reference="pay_3")
    history.grant("bob", 5, "purchase", reference="pay_4", unit="USD")
    charge = history.charge(
        "ada", "machine", quantity=100, agent="scout", description="text", metadata={"a": 1}
    )
    history.refund(charge, amount=1)
    history.hold("ada", "machine", quantity=50, agent="scout")
    history.hold("bob", "machine", quantity=50, seconds=86_400)
    history.capture(history.hold("bob", "tokens", quantity=1000))
    history.tally.wallets.freeze(SYSTEM, customer="bob", unit="USD", reason="under review")
