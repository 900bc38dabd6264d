"""A Tally on a clock that the test moves, and short words for what tests do with it, in whole credits."""

import itertools
from pathlib import Path
from typing import Self

from tallystick.bootstrap import Tally
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.core.times import Micros, add, format_rfc3339, parse_duration, parse_rfc3339
from tallystick.ports.sandboxes import SandboxProvider
from tallystick.services.billing import Balance, EntryView
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.pricing import Usage

ECONOMY = """
[economy]
title = "Tests"
primary_unit = "credits"
default_plan = "none"

[units.credits]
description = "Credits"
[units.tokens]
description = "A second unit"

[plans.none]
title = "None"
[plans.lose]
title = "Use it or lose it"
[[plans.lose.allowances]]
amount = 100
[plans.big]
title = "Big"
[[plans.big.allowances]]
amount = 300
[plans.roll]
title = "Rolls over"
[[plans.roll.allowances]]
amount = 100
rollover_cap = 150
[plans.day]
title = "From the day of joining"
renews = "anniversary"
[[plans.day.allowances]]
amount = 100
[plans.later]
title = "From the next period on"
starts = "next_period"
[[plans.later.allowances]]
amount = 100
[plans.unlimited]
title = "Unlimited"
[[plans.unlimited.allowances]]
amount = "unlimited"

[meters.work]
category = "work"
description = "A credit each"
[[meters.work.prices]]
kind = "per_unit"
per_unit = 1
[meters.both]
category = "work"
description = "A credit and two tokens each"
[[meters.both.prices]]
kind = "per_unit"
per_unit = 1
[[meters.both.prices]]
unit = "tokens"
kind = "per_unit"
per_unit = 2
[meters.limited]
category = "limited"
description = "Three an hour"
price = 1
hourly_limit = 3

[low_balance]
credits = [10, 50]
"""

USER = "ann"


class FakeClock:
    """Microseconds since the epoch, moved by hand, forwards or back."""

    def __init__(self, text: str) -> None:
        self.micros = parse_rfc3339(text)

    def __call__(self) -> Micros:
        """The time."""
        return self.micros

    def set(self, text: str) -> None:
        """Go to a moment."""
        self.micros = parse_rfc3339(text)

    def advance(self, duration: str) -> None:
        """Go on by an ISO 8601 duration."""
        self.micros = add(self.micros, parse_duration(duration))

    @property
    def text(self) -> str:
        """The time as doors show it."""
        return format_rfc3339(self.micros)


class World:
    """A Tally, its clock, and one customer who is meant wherever no other is named."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        at: str = "2027-01-10T12:00:00Z",
        economy: str | None = None,
        sandboxes: SandboxProvider | None = None,
    ) -> None:
        self.url = url
        self.sandboxes = sandboxes
        self.clock = FakeClock(at)
        self.folder = folder
        self.economy = self.write_economy(ECONOMY) if economy is None else economy
        self.keys = (f"key {number}" for number in itertools.count())
        self.tally = self.open()
        self.customer(USER)

    def write_economy(self, text: str) -> str:
        """Put an economy file into the test's folder; gives its path."""
        path = self.folder / "tests.toml"
        path.write_text(text)
        return str(path)

    def open(self) -> Tally:
        """A Tally of its own on the same database and clock, like another process; the caller closes it."""
        return Tally.open(
            self.url,
            economy=self.economy,
            test_mode=False,
            source=self.clock,
            sandbox_provider=self.sandboxes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tally.close()

    # --- what callers do -----------------------------------------------------------------------------------

    def customer(self, name: str) -> Caller:
        """A new customer; gives the caller that it is itself."""
        number = self.tally.customers.create(SYSTEM, external_id=name).value.id
        text = to_text("cust", number)
        return Caller(role="user", scope=text, name=text, customer_id=number)

    def grant(
        self,
        amount: int,
        category: str = "bonus",
        *,
        customer: str = USER,
        unit: str | None = None,
        priority: int | None = None,
        effective_at: str | None = None,
        expires_at: str | None = None,
        reason: str | None = None,
    ) -> str:
        """Give credits; gives the grant's id."""
        answer = self.tally.grants.create(
            SYSTEM,
            customer=customer,
            amount=amount,
            category=category,
            unit=unit,
            priority=priority,
            effective_at=None if effective_at is None else parse_rfc3339(effective_at),
            expires_at=None if expires_at is None else parse_rfc3339(expires_at),
            reason=reason,
            idempotency_key=next(self.keys),
        )
        return to_text("grant", answer.value.id)

    def charge(self, quantity: int, meter: str = "work", *, customer: str = USER) -> str:
        """Draw credits; gives the charge's id."""
        usage = Usage(meter, quantity=quantity, customer=customer)
        return to_text(
            "chg", self.tally.charges.create(SYSTEM, usage, idempotency_key=next(self.keys)).value.id
        )

    def hold(
        self, quantity: int, meter: str = "work", *, expires_in: int = 3600, customer: str = USER
    ) -> str:
        """Reserve credits; gives the hold's id."""
        usage = Usage(meter, quantity=quantity, customer=customer)
        made = self.tally.holds.create(SYSTEM, usage, idempotency_key=next(self.keys), expires_in=expires_in)
        return to_text("hold", made.value.id)

    def capture(self, hold: str, amount: int | None = None) -> str:
        """Take what was used; gives the id of the charge that the hold became."""
        answer = self.tally.holds.capture(SYSTEM, hold, amount=amount, idempotency_key=next(self.keys))
        return to_text("chg", answer.value.id)

    def release(self, hold: str) -> None:
        """Give everything back."""
        self.tally.holds.release(SYSTEM, hold, idempotency_key=next(self.keys))

    def refund(self, charge: str, amount: int | None = None) -> None:
        """Give a charge back."""
        self.tally.charges.refund(SYSTEM, charge, amount=amount, idempotency_key=next(self.keys))

    def void(self, grant: str) -> None:
        """Take back what is left of a grant."""
        self.tally.grants.void(SYSTEM, grant, reason="a mistake", idempotency_key=next(self.keys))

    def claw_back(self, grant: str, amount: int) -> None:
        """Take back what a payment gave."""
        self.tally.grants.claw_back(
            SYSTEM, grant, amount=amount, reason="refunded", idempotency_key=next(self.keys)
        )

    def plan(self, name: str, *, customer: str = USER) -> int:
        """Change the plan; gives how many credits came with it at once."""
        answer = self.tally.plans.change(SYSTEM, customer=customer, plan=name)
        return whole(dict(answer.value.granted).get(self.tally.context.economy().primary_unit, 0))

    def freeze(self) -> None:
        """Freeze the wallet."""
        self.tally.wallets.freeze(SYSTEM, customer=USER)

    def thaw(self) -> None:
        """Thaw the wallet."""
        self.tally.wallets.thaw(SYSTEM, customer=USER)

    # --- what they see -------------------------------------------------------------------------------------

    def balance(self, unit: str | None = None, *, customer: str = USER) -> Balance:
        """The balance, after checking that it agrees with itself and with the statement's last line."""
        balance = self.tally.billing.balance(SYSTEM, customer=customer, unit=unit)
        assert balance.balance == balance.available + balance.held - balance.debt
        income = balance.granted + balance.purchased + balance.earned
        assert balance.balance == income - balance.spent - balance.expired - balance.removed
        assert balance.balance == sum(grant.remaining for grant in balance.grants) - balance.debt
        assert balance.held == sum(grant.held for grant in balance.grants)
        last = self.tally.billing.transactions(SYSTEM, customer=customer, unit=unit, limit=1).items
        assert balance.balance == (last[0].balance_after if last else 0)
        return balance

    def figures(self, unit: str | None = None) -> tuple[int, int, int, int]:
        """Balance, available, held and debt, in whole credits."""
        found = self.balance(unit)
        return whole(found.balance), whole(found.available), whole(found.held), whole(found.debt)

    def available(self) -> int:
        """What can be spent, in whole credits."""
        return self.figures()[1]

    def entries(self, *, customer: str = USER, unit: str | None = None) -> list[EntryView]:
        """The whole statement, oldest first, page by page; the lines follow from each other."""
        found: list[EntryView] = []
        cursor = None
        while True:
            page = self.tally.billing.transactions(
                SYSTEM, customer=customer, unit=unit, limit=100, cursor=cursor
            )
            found += page.items
            cursor = page.next_cursor
            if not page.has_more:
                break
        found.reverse()
        balance = 0
        for number, entry in enumerate(found, start=1):
            balance += entry.amount
            assert (number, balance) == (entry.sequence, entry.balance_after)
        assert sorted(entry.date for entry in found) == [entry.date for entry in found]
        return found

    def statement(self, *, customer: str = USER) -> list[tuple[str, str, int]]:
        """Each line's time, type and whole credits, oldest first."""
        return [
            (format_rfc3339(entry.date), entry.type, whole(entry.amount))
            for entry in self.entries(customer=customer)
        ]

    def lots(self) -> list[tuple[str, int]]:
        """Category and whole credits of the open grants, in burn order."""
        return [(grant.category, whole(grant.remaining)) for grant in self.balance().grants]


def whole(micros: int) -> int:
    """Micro-units as whole credits; a test that moves parts of credits looks at micro-units itself."""
    found, rest = divmod(micros, MICROS)
    assert rest == 0
    return found
