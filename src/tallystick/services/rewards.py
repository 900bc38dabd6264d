"""Credits that are earned: awards for challenges and app usage, referrals, and what a customer has earned so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from tallystick.core import errors
from tallystick.core.adjustments import GrantResult
from tallystick.core.amounts import parse_amount
from tallystick.core.catalog import Reward
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.limits import DAY_MICROS
from tallystick.core.times import day_start, to_datetime
from tallystick.services.billing import Billing
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.grants import Grants
from tallystick.services.pricing import Number, require_service
from tallystick.services.requests import check_text
from tallystick.store import grants as store

SOURCES: Final = ("challenge", "app_usage", "referral")
MAX_FACT: Final = 150
# Facts are rewarded once, whichever service tells of them.
_SCOPE: Final = "rewards"


@dataclass(frozen=True, slots=True)
class Stats:
    """What a customer earned and spent over its life, in micro-units of the primary unit."""

    earned: int
    spent: int
    challenges: int
    app_revenue: int


@dataclass(frozen=True, slots=True)
class Referred:
    """What both sides of a referral got; None for a side that gets nothing."""

    referrer: Answer[GrantResult] | None
    referred: Answer[GrantResult] | None


class Rewards:
    """Award credits, and tell what was earned."""

    def __init__(self, context: Context, customers: Customers, grants: Grants, billing: Billing) -> None:
        self._context = context
        self._customers = customers
        self._grants = grants
        self._billing = billing

    def award(
        self,
        caller: Caller,
        *,
        customer: str,
        source: str,
        fact: str | None = None,
        amount: Number | None = None,
        difficulty: str | None = None,
        reason: str | None = None,
    ) -> Answer[GrantResult]:
        """Reward a fact, once, within the economy's range for its source and difficulty. For services and admins.

        A source with a streak works out its amount by itself, and its fact is the day (UTC). Without an amount, a range of
        one amount gives that. Raises ``Conflict`` for a fact that was rewarded with other terms.
        """
        require_service(caller)
        name, reward = self._reward(source)
        customer_id = self._customers.resolve(caller, customer)
        told: str | None
        if reward.streak_step_micros:
            if fact is not None or amount is not None:
                message = "expected none: a streak counts days, and works out its amount"
                raise errors.ValidationFailed([("fact" if fact is not None else "amount", message)])
            micros, told = self._of_streak(customer_id, name, reward)
        else:
            told = check_text(fact, field="fact", most=MAX_FACT)
            micros = _within(reward, amount, difficulty)
        if told is None:
            raise errors.ValidationFailed([("fact", "expected your own id of what is rewarded")])
        return self._once(
            caller,
            customer_id,
            f"{name}:{told}",
            amount=micros,
            unit=reward.unit,
            category="referral" if name == "referral" else "reward",
            reason=reason or reward.description,
            reference=name,
        )

    def refer(self, caller: Caller, *, referrer: str, referred: str) -> Referred:
        """Reward that one customer brought another, once for each who came. For services and admins.

        Raises ``Conflict`` where the customer was brought by somebody else before.
        """
        require_service(caller)
        terms = self._context.economy().referral
        if terms is None:
            raise errors.Conflict("this economy has no [referral]")
        bringer = self._customers.resolve(caller, referrer)
        comer = self._customers.resolve(caller, referred)
        if bringer == comer:
            raise errors.ValidationFailed([("referrer", "expected another customer than who was referred")])
        found: list[Answer[GrantResult] | None] = []
        for number, micros in ((bringer, terms.referrer_micros), (comer, terms.referred_micros)):
            given = None
            if micros:
                given = self._once(
                    caller,
                    number,
                    f"referred:{to_text('cust', comer)}:{'referrer' if number == bringer else 'referred'}",
                    amount=micros,
                    unit=terms.unit,
                    category="referral",
                    reason=f"referral of {to_text('cust', comer)}",
                    reference=to_text("cust", bringer),
                    whoever=True,
                )
            found.append(given)
        return Referred(*found)

    def _once(
        self,
        caller: Caller,
        customer_id: int,
        fact: str,
        *,
        amount: int,
        unit: str,
        category: str,
        reason: str,
        reference: str,
        whoever: bool = False,
    ) -> Answer[GrantResult]:
        """A grant for a fact about one customer; with ``whoever``, the fact is used up whichever customer it is about."""
        whose = to_text("cust", customer_id)
        try:
            return self._grants.create(
                replace(caller, scope=_SCOPE),
                customer=whose,
                amount=format_amount(amount),
                category=category,
                unit=unit,
                reason=reason,
                reference=reference,
                idempotency_key=fact if whoever else f"{whose}:{fact}",
            )
        except errors.IdempotencyKeyReused:
            raise errors.Conflict("this was rewarded before, with other terms") from None

    def _reward(self, source: str) -> tuple[str, Reward]:
        rewards = self._context.economy().rewards
        for name, reward in rewards.items():
            if source == name or source in reward.aliases:
                return name, reward
        known = ", ".join(rewards) or "nothing: the economy has no [rewards]"
        raise errors.ValidationFailed([("source", f"expected one of {known}")])

    def _of_streak(self, customer_id: int, name: str, reward: Reward) -> tuple[int, str]:
        """Today's amount, a step more than yesterday's and at most the largest, and the day."""
        bounds = reward.bounds()
        assert bounds is not None  # the economy's file was checked
        today = day_start(self._context.now())
        with self._context.database.read() as connection:
            before = store.largest_by_reference(
                connection, customer_id, reward.unit, name, start=today - DAY_MICROS, end=today
            )
        micros = bounds[0] if before is None else min(before + reward.streak_step_micros, bounds[1])
        return micros, f"{to_datetime(today):%Y-%m-%d}"

    def earn(
        self,
        caller: Caller,
        *,
        customer: str,
        amount: Decimal | int | str,
        reason: str,
        source: str,
        idempotency_key: str,
    ) -> Answer[GrantResult]:
        """Award credits for a fact. For services and admins; raises ``NotAllowed`` for anybody else.

        Where the economy has a range for the source, the amount is within it.
        """
        require_service(caller)
        if source not in SOURCES:
            raise errors.ValidationFailed([("source", f"expected one of {', '.join(SOURCES)}")])
        if source in self._context.economy().rewards:
            _within(self._context.economy().rewards[source], amount, None)
        return self._grants.create(
            caller,
            customer=customer,
            amount=amount,
            category="referral" if source == "referral" else "reward",
            reason=reason,
            reference=source,
            idempotency_key=idempotency_key,
        )

    def stats(self, caller: Caller, *, customer: str | None = None) -> Stats:
        """What a customer earned and spent. Grants that were voided count no more."""
        balance = self._billing.balance(caller, customer=customer)
        with self._context.database.read() as connection:
            found = store.earned_by_reference(connection, balance.customer_id, balance.unit)
        return Stats(
            earned=balance.earned,
            spent=balance.spent,
            challenges=found.get("challenge", (0, 0))[0],
            app_revenue=found.get("app_usage", (0, 0))[1],
        )


def _within(reward: Reward, amount: Number | None, difficulty: str | None) -> int:
    """The amount, if the range of its source and difficulty allows it."""
    if difficulty is not None and reward.bounds(difficulty) is None:
        known = ", ".join(each.difficulty for each in reward.ranges)
        raise errors.ValidationFailed([("difficulty", f"expected one of {known}")])
    bounds = reward.bounds(difficulty)
    assert bounds is not None  # the economy's file was checked
    least, most = bounds
    if amount is None and least == most:
        return least
    expected = f"expected {format_amount(least)} to {format_amount(most)} {reward.unit}"
    if amount is None:
        raise errors.ValidationFailed([("amount", expected)])
    micros = parse_amount(amount)
    if not least <= micros <= most:
        raise errors.InvalidAmount(expected)
    return micros
