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
from tallystick.store import journal
from tallystick.store.results import idempotency_of

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
        if reward.streak_step_micros:
            if fact is not None or amount is not None:
                message = "expected none: a streak counts days, and works out its amount"
                raise errors.ValidationFailed([("fact" if fact is not None else "amount", message)])
            fact = f"{to_datetime(self._context.now()):%Y-%m-%d}"
        told = check_text(fact, field="fact", most=MAX_FACT)
        if told is None:
            raise errors.ValidationFailed([("fact", "expected your own id of what is rewarded")])
        key = f"{to_text('cust', customer_id)}:{name}:{told}"
        known = self._known(key)
        if known is not None:
            if amount is not None and parse_amount(amount) != known.amount:
                raise errors.Conflict(
                    f"this was rewarded before, with {format_amount(known.amount)} {known.unit}"
                )
            return Answer(known, replayed=True)
        micros = (
            self._of_streak(customer_id, name, reward)
            if reward.streak_step_micros
            else _within(reward, amount, difficulty)
        )
        return self._once(
            caller,
            customer_id,
            key,
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
        about = f"referred:{to_text('cust', comer)}"
        return Referred(
            self._side(caller, bringer, f"{about}:referrer", terms.referrer_micros, terms.unit, comer),
            self._side(caller, comer, f"{about}:referred", terms.referred_micros, terms.unit, comer),
        )

    def _side(
        self, caller: Caller, customer_id: int, key: str, micros: int, unit: str, comer: int
    ) -> Answer[GrantResult] | None:
        """What one side of a referral gets, or got before."""
        known = self._known(key)
        if known is not None:
            if known.customer_id != customer_id:
                raise errors.Conflict("this customer was brought by somebody else before")
            return Answer(known, replayed=True)
        if not micros:
            return None
        reason = f"referral of {to_text('cust', comer)}"
        return self._once(
            caller,
            customer_id,
            key,
            amount=micros,
            unit=unit,
            category="referral",
            reason=reason,
            reference=to_text("cust", comer),
        )

    def _known(self, key: str) -> GrantResult | None:
        """What was granted for a fact before, whatever the economy says of it now."""
        with self._context.database.read() as connection:
            found: GrantResult | None = journal.first_answer(connection, idempotency_of(_SCOPE, key))
        return found

    def _once(
        self,
        caller: Caller,
        customer_id: int,
        key: str,
        *,
        amount: int,
        unit: str,
        category: str,
        reason: str,
        reference: str,
    ) -> Answer[GrantResult]:
        """A grant for a fact. Raises ``Conflict`` where another has just told of it with other terms."""
        try:
            return self._grants.create(
                replace(caller, scope=_SCOPE),
                customer=to_text("cust", customer_id),
                amount=format_amount(amount),
                category=category,
                unit=unit,
                reason=reason,
                reference=reference,
                idempotency_key=key,
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

    def _of_streak(self, customer_id: int, name: str, reward: Reward) -> int:
        """Today's amount: a step more than yesterday's, and at most the largest."""
        bounds = reward.bounds()
        assert bounds is not None  # the economy's file was checked
        today = day_start(self._context.now())
        with self._context.database.read() as connection:
            before = store.largest_by_reference(
                connection, customer_id, reward.unit, name, start=today - DAY_MICROS, end=today
            )
        return bounds[0] if before is None else min(before + reward.streak_step_micros, bounds[1])

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
    expected = f"{format_amount(least)} to {format_amount(most)} {reward.unit}"
    if amount is None:
        raise errors.ValidationFailed([("amount", f"expected {expected}")])
    micros = parse_amount(amount)
    if not least <= micros <= most:
        raise errors.InvalidAmount(expected)
    return micros
