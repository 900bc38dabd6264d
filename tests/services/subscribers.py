"""A customer who pays for plans by the month, at the simulated provider, on a clock that the test moves."""

from pathlib import Path
from typing import Any

from tallystick.ports import OutcomeUnknown
from tallystick.providers.simulated import SimulatedPayments
from tallystick.services.context import Caller
from tallystick.services.subscriptions import SubscriptionView, TierView
from tallystick.store.audit import audit
from tests.tallies import World, whole

ECONOMY = """
[economy]
title = "By the month"
primary_unit = "credits"
default_plan = "free"
[units.credits]
description = "Credits"
[units.USD]
description = "Dollars"
money = true
[plans.free]
title = "Free"
price_usd = 0
renews = "anniversary"
[[plans.free.allowances]]
amount = 10
[plans.hobby]
title = "Hobby"
price_usd = 0
[plans.pro]
title = "Pro"
price_usd = 30
renews = "anniversary"
[[plans.pro.allowances]]
amount = 1000
[plans.team]
title = "Team"
price_usd = 90
renews = "anniversary"
[[plans.team.allowances]]
amount = 5000
[plans.saver]
title = "Saver: rolls over"
price_usd = 20
renews = "anniversary"
[[plans.saver.allowances]]
amount = 500
rollover_cap = 200
[plans.enterprise]
title = "Enterprise"
[[plans.enterprise.allowances]]
amount = "unlimited"
[meters.work]
category = "data"
description = "One piece of work"
[[meters.work.prices]]
kind = "per_unit"
per_unit = 1
"""
GOOD = "4242424242424242"
DECLINED = "4000000000009995"
THEN_DECLINED = "4000000000000341"
THEN_LOST_ANSWER = "4000000000003105"
LATE = "4000000000002305"


class Subscriber(World):
    """A Tally with simulated payments, and one customer."""

    def __init__(self, url: str, folder: Path, *, at: str = "2027-01-10T12:00:00Z") -> None:
        super().__init__(url, folder, at=at)
        self.write_economy(ECONOMY)
        self.tally.economies.activate(self.economy)
        self.user = self.customer("sue")
        self.name = "sue"

    @property
    def provider(self) -> SimulatedPayments:
        """The simulated provider."""
        found = self.tally.simulated_payments
        assert found is not None
        return found

    def ask(self, tier: str, *, key: str | None = None, caller: Caller | None = None) -> TierView:
        """Ask for a plan, as the customer."""
        return self.tally.subscriptions.change(caller or self.user, tier=tier, idempotency_key=key).value

    def pay(self, view: TierView, card: str = GOOD) -> str:
        """Pay on the page that was given; gives what the page says."""
        assert view.checkout_url is not None
        return self.provider.pay(view.checkout_url.rpartition("/")[2], card)

    def subscribe(self, tier: str, card: str = GOOD) -> None:
        """Ask for a plan, pay for it, and let the events come."""
        assert "done" == self.pay(self.ask(tier), card)
        self.tally.run_all()

    def go(self, text: str) -> None:
        """The clock moves, and all that is due is done."""
        self.clock.set(text)
        self.tally.run_all()

    def new_card(self, number: str) -> None:
        """The customer changes the card in the portal."""
        portal = self.tally.subscriptions.portal(self.user)
        assert self.provider.set_card(portal.rpartition("/")[2], number)

    def plan_of(self) -> str:
        """The plan that the customer is on."""
        return self.tally.plans.get(self.user).plan

    def has(self) -> int:
        """The credits that can be spent, in whole ones."""
        return whole(self.balance(customer=self.name).available)

    def see(self) -> SubscriptionView:
        """The subscription."""
        return self.tally.subscriptions.get(self.user)

    def bills(self) -> list[tuple[str, int, int]]:
        """Status, cents and whole credits of each bill, oldest first."""
        rows = self.tally.checkouts.list(self.user, limit=100).items
        return [(row.status, row.amount_cents, whole(row.credits)) for row in reversed(rows)]

    def granted(self) -> list[int]:
        """What came of plans, in whole credits, oldest first."""
        return [
            whole(entry.amount) for entry in self.entries(customer=self.name) if entry.type == "monthly_grant"
        ]

    def clean(self) -> bool:
        """Whether the audit finds nothing."""
        report = audit(self.tally.database, now=self.clock.micros)
        assert report.ok, report
        return True


class Flaky:
    """A provider whose answers get lost: the deed is done, or not, and nobody hears of it."""

    def __init__(self, provider: SimulatedPayments) -> None:
        self._provider = provider
        self.lose_answers_of: set[str] = set()
        self.lose_requests_of: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        if name in self.lose_requests_of:
            self.lose_requests_of.discard(name)
            return _lost
        if name not in self.lose_answers_of:
            return found
        self.lose_answers_of.discard(name)

        def lost(*args: object, **fields: object) -> None:
            found(*args, **fields)
            _lost()

        return lost


def _lost(*_args: object, **_fields: object) -> None:
    raise OutcomeUnknown("the connection broke")
