"""What the tests of identity, keys and budgets share: a clock that stands still, users, spending, threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

from argon2 import PasswordHasher

from tallystick.bootstrap import Tally
from tallystick.core.adjustments import RefundResult
from tallystick.core.errors import Refusal
from tallystick.core.ids import to_text
from tallystick.core.operations import ChargeResult, HoldResult, ResolveResult
from tallystick.core.times import parse_rfc3339
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.identity import Identity, Registration
from tallystick.services.keys import BudgetTerms
from tallystick.services.passwords import Passwords
from tallystick.services.pricing import Usage

T = TypeVar("T")

_ECONOMY = """
[economy]
title = "Two units"
primary_unit = "credits"
default_plan = "free"
[units.credits]
description = "Credits"
{more_units}
[[sign_up]]
amount = 1000
category = "initial_grant"
description = "Welcome"
[plans.free]
title = "Free"
[plans.max]
title = "Max"
[[plans.max.allowances]]
amount = "unlimited"
[meters.lookup]
category = "data"
description = "One look-up"
[[meters.lookup.prices]]
kind = "per_unit"
per_unit = 1
[meters.ping]
category = "data"
description = "Free of charge"
price = 0
{more_meters}
"""
_MORE_UNITS = """
[units.USD]
description = "Dollars"
money = true
"""
_MORE_METERS = """
[[sign_up]]
unit = "USD"
amount = 1000
category = "bonus"
description = "Welcome"
[meters.machine]
category = "machine"
description = "In dollars"
[[meters.machine.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 1
[meters.both]
category = "machine"
description = "In dollars first, then in credits"
[[meters.both.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 1
[[meters.both.prices]]
kind = "per_unit"
per_unit = 1
"""

PASSWORD = "correct horse"
WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    """The time, as a test sets it."""

    def __init__(self, text: str = "2026-03-10T12:00:00Z") -> None:
        self.at(text)

    def __call__(self) -> int:
        """Microseconds since the epoch."""
        return self.micros

    def at(self, text: str) -> None:
        """Set the time."""
        self.micros = parse_rfc3339(text)


def economy_file(folder: Path, *, dollars: bool = True) -> str:
    """The path of an economy with 1000 credits for everybody, and, unless said otherwise, as many dollars."""
    path = folder / f"{'two' if dollars else 'one'}.toml"
    more = (
        {"more_units": _MORE_UNITS, "more_meters": _MORE_METERS}
        if dollars
        else {"more_units": "", "more_meters": ""}
    )
    path.write_text(_ECONOMY.format(**more))
    return str(path)


def identity_of(tally: Tally, *, hasher: PasswordHasher = WEAK) -> Identity:
    """The identity service with hashes that take no time."""
    return Identity(tally.context, tally.customers, passwords=Passwords(hasher))


def register(tally: Tally, email: str = "ada@example.com") -> Registration:
    """A new user."""
    return identity_of(tally).register(email, PASSWORD)


def log_in(tally: Tally, email: str = "ada@example.com") -> Caller:
    """A caller who has just registered."""
    return who(tally, register(tally, email).token)


def who(tally: Tally, token: str) -> Caller:
    """The caller behind a token or key, as every request asks."""
    return tally.identity.authenticate(token, tally.context.now())


def key_of(
    tally: Tally, maker: Caller, *, name: str = "key", role: str = "user", budget: BudgetTerms | None = None
) -> Caller:
    """A caller with a new key."""
    return who(tally, tally.keys.create(maker, name=name, role=role, budget=budget).key)


def customer_of(caller: Caller) -> str:
    """The id of a user's customer as text."""
    assert caller.customer_id is not None
    return to_text("cust", caller.customer_id)


class Spender:
    """Spends as one caller; every request has an idempotency key of its own."""

    def __init__(
        self, tally: Tally, caller: Caller, *, customer: str | None = None, agent: str | None = None
    ) -> None:
        self.tally = tally
        self.caller = caller
        self.customer = customer
        self.agent = agent

    def key(self) -> str:
        """An idempotency key that nobody used."""
        return str(self.tally.context.new_id())

    def charge(self, amount: int | str = 1, *, meter: str = "lookup") -> ChargeResult:
        """Charge for so many look-ups, at 1 each."""
        usage = Usage(meter, quantity=amount, customer=self.customer, agent=self.agent)
        return self.tally.charges.create(self.caller, usage, idempotency_key=self.key()).value

    def hold(self, amount: int, *, seconds: int = 3600) -> str:
        """Hold an amount; gives the hold's id."""
        answer = self.tally.holds.create_amount(
            self.caller,
            amount=amount,
            customer=self.customer,
            agent=self.agent,
            idempotency_key=self.key(),
            expires_in=seconds,
        )
        held: HoldResult = answer.value
        return to_text("hold", held.id)

    def capture(self, hold: str, amount: int) -> ResolveResult:
        """Capture an amount of a hold."""
        return self.tally.holds.capture(self.caller, hold, amount=amount, idempotency_key=self.key()).value

    def release(self, hold: str) -> ResolveResult:
        """Release a hold."""
        return self.tally.holds.release(self.caller, hold, idempotency_key=self.key()).value

    def refund(self, charge_id: int, amount: int | None = None) -> RefundResult:
        """Refund a charge or a capture, as an operator does."""
        charge = to_text("chg", charge_id)
        return self.tally.charges.refund(SYSTEM, charge, amount=amount, idempotency_key=self.key()).value


def at_once(work: Sequence[Callable[[], T]]) -> list[T | Refusal]:
    """Do everything at the same moment, each in a thread of its own; gives results and refusals in order."""
    start = Barrier(len(work))

    def one(job: Callable[[], T]) -> T | Refusal:
        start.wait()
        try:
            return job()
        except Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(one, work))
