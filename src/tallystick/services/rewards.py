"""Credits that are earned: awards for facts within the economy's ranges, referrals, and what a customer has earned so far.

A fact is rewarded once, whoever tells of it and through whichever door: its key is made of the customer, the source and
the fact, in a scope of its own. Streaks and chains of referrals count what was given under such keys, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.adjustments import Grant, GrantResult
from tallystick.core.amounts import parse_amount
from tallystick.core.catalog import Referral, Reward, RewardRange
from tallystick.core.decimals import format_amount, format_units
from tallystick.core.ids import from_text, to_text
from tallystick.core.limits import DAY_MICROS
from tallystick.core.times import Micros, to_datetime
from tallystick.services.billing import Billing
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.grants import Grants, deed_of
from tallystick.services.operator_record import write_down
from tallystick.services.pricing import Number, require_service
from tallystick.services.requests import check_name
from tallystick.store import grants, journal, settings
from tallystick.store.results import idempotency_of

MAX_FACT: Final = 150
# A circle of more customers than this has paid for so many honest referrals that it gains nothing.
_LONGEST_CHAIN: Final = 1000
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
class _Known:
    """What a fact was rewarded with, and the difficulty that was told of it, if one was."""

    grant: GrantResult
    difficulty: str | None


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a referral: who gets how much, and the ``other`` one."""

    name: str
    customer_id: int
    amount: int
    other: int


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
        """Reward a fact, once, within one of the economy's ranges for its source. For services and admins.

        A source with a streak works out its amount by itself, and its fact is the day (UTC). Without an amount, a range of
        one amount gives that. Raises ``Conflict`` for a fact that was rewarded with another amount or difficulty.
        """
        require_service(caller)
        reward = self._context.economy().reward(source)
        if reward is None:
            raise self._unknown_source()
        return self._award(
            caller,
            reward,
            customer=customer,
            fact=fact,
            amount=amount,
            difficulty=difficulty,
            reason=reason,
        )

    def earn(
        self,
        caller: Caller,
        *,
        customer: str,
        amount: Number,
        reason: str,
        source: str,
        idempotency_key: str,
    ) -> Answer[GrantResult]:
        """As ``award``, with an idempotency key for the fact. A referral may be one of the amounts of ``[referral]``."""
        require_service(caller)
        economy = self._context.economy()
        reward = economy.reward(source)
        if reward is None and source == "referral" and economy.referral is not None:
            reward = _of_referral(economy.referral)
        if reward is None:
            raise self._unknown_source()
        return self._award(
            caller, reward, customer=customer, fact=idempotency_key, amount=amount, reason=reason
        )

    def _award(
        self,
        caller: Caller,
        reward: Reward,
        *,
        customer: str,
        fact: str | None,
        amount: Number | None,
        difficulty: str | None = None,
        reason: str | None,
    ) -> Answer[GrantResult]:
        customer_id = self._customers.resolve(caller, customer)
        if reward.streak_step_micros:
            told = self._day_of_streak(amount=amount, fact=fact, difficulty=difficulty)
        elif fact is None:
            raise errors.ValidationFailed([("fact", "expected your own id of what is rewarded")])
        else:
            told = check_name(fact, field="fact", most=MAX_FACT)
        _check_difficulty(reward, difficulty)
        key = _key_of(customer_id, reward, told)
        known = self._known(key)
        if known is not None:
            _check_same(reward, known, amount=amount, difficulty=difficulty)
            return Answer(known.grant, replayed=True)
        micros = (
            self._of_streak(customer_id, reward)
            if reward.streak_step_micros
            else _within(reward, amount, difficulty)
        )
        return self._once(
            caller,
            customer_id,
            key,
            amount=micros,
            unit=reward.unit,
            category="referral" if reward.source == "referral" else "reward",
            reason=reason or reward.description,
            reference=reward.source,
            difficulty=difficulty,
        )

    def refer(self, caller: Caller, *, referrer: str, referred: str) -> Referred:
        """Reward that one customer brought another, once for each who came. For services and admins.

        Raises ``Conflict`` where the customer was brought by somebody else before, and where the customer itself brought
        who brings it now, be it through others.
        """
        require_service(caller)
        terms = self._context.economy().referral
        if terms is None:
            raise errors.Conflict("this economy has no [referral]")
        bringer = self._customers.resolve(caller, referrer)
        comer = self._customers.resolve(caller, referred)
        if bringer == comer:
            raise errors.ValidationFailed([("referrer", "expected another customer than who was referred")])
        now = self._context.now()
        sides = (
            _Side("referrer", bringer, terms.referrer_micros, other=comer),
            _Side("referred", comer, terms.referred_micros, other=bringer),
        )

        def work(connection: Connection) -> list[Answer[GrantResult] | None]:
            # One referral at a time: two that are recorded at once may close a circle, however long it is.
            settings.take_turns(connection, "referrals")
            _check_bringer(connection, bringer, comer)
            known = [_first(connection, _key_of_side(comer, side.name)) for side in sides]
            orders = [
                None
                if before is not None or not side.amount
                else self._order(caller, side, comer, terms.unit)
                for side, before in zip(sides, known, strict=True)
            ]
            new = [order for order in orders if order is not None]
            outcomes = self._context.ledger.post(connection, new, now=now) if new else []
            for order, outcome in zip(new, outcomes, strict=True):
                write_down(self._context, connection, caller, outcome, deed_of(order))
            made = iter(outcomes)
            found = [
                known_one if order is None else next(made).value()
                for known_one, order in zip(known, orders, strict=True)
            ]
            return [
                None if each is None else Answer(each, replayed=order is None)
                for each, order in zip(found, orders, strict=True)
            ]

        return Referred(*self._context.database.transact(work))

    def _order(self, caller: Caller, side: _Side, comer: int, unit: str) -> Grant:
        """The grant of one side of a referral. It refers to the other one."""
        return self._grants.order(
            replace(caller, scope=_SCOPE),
            customer=to_text("cust", side.customer_id),
            amount=format_amount(side.amount),
            category="referral",
            unit=unit,
            reason=f"referral of {to_text('cust', comer)}",
            reference=to_text("cust", side.other),
            idempotency_key=_key_of_side(comer, side.name),
        )

    def _known(self, key: str) -> _Known | None:
        """What was granted for a fact before, whatever the economy says of it now."""
        with self._context.database.read() as connection:
            grant = _first(connection, key)
            if grant is None:
                return None
            return _Known(grant, journal.metadata_of(connection, grant.transaction_id).get("difficulty"))

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
        difficulty: str | None,
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
                metadata=None if difficulty is None else {"difficulty": difficulty},
                idempotency_key=key,
            )
        except errors.IdempotencyKeyReused:
            raise errors.Conflict("this was rewarded before, with other terms") from None

    def _unknown_source(self) -> errors.ValidationFailed:
        known = ", ".join(self._context.economy().rewards) or "nothing: the economy has no [rewards]"
        return errors.ValidationFailed([("source", f"expected one of {known}")])

    def _day_of_streak(self, **given: object) -> str:
        """The fact of a streak: today. Raises ``ValidationFailed`` for whatever else was given."""
        for field, value in given.items():
            if value is not None:
                message = "expected none: a streak counts days, and works out its amount"
                raise errors.ValidationFailed([(field, message)])
        return _day(self._context.now())

    def _of_streak(self, customer_id: int, reward: Reward) -> int:
        """Today's amount: a step more than what was given for yesterday and is not voided, within the range of today."""
        bounds = reward.bounds()
        assert bounds is not None  # the economy's file was checked
        key = _key_of(customer_id, reward, _day(self._context.now() - DAY_MICROS))
        with self._context.database.read() as connection:
            before = _first(connection, key)
            row = None if before is None else grants.by_id(connection, before.id)
        if row is None or row.voided_at is not None or row.unit != reward.unit:
            return bounds[0]
        return min(max(row.amount + reward.streak_step_micros, bounds[0]), bounds[1])

    def stats(self, caller: Caller, *, customer: str | None = None) -> Stats:
        """What a customer earned and spent. Grants that were voided count no more."""
        balance = self._billing.balance(caller, customer=customer)
        with self._context.database.read() as connection:
            found = grants.earned_by_reference(connection, balance.customer_id, balance.unit)
        return Stats(
            earned=balance.earned,
            spent=balance.spent,
            challenges=found.get("challenge", (0, 0))[0],
            app_revenue=found.get("app_usage", (0, 0))[1],
        )


def _day(moment: Micros) -> str:
    return f"{to_datetime(moment):%Y-%m-%d}"


def _key_of(customer_id: int, reward: Reward, fact: str) -> str:
    return f"{to_text('cust', customer_id)}:{reward.source}:{fact}"


def _key_of_side(comer: int, side: str) -> str:
    return f"referred:{to_text('cust', comer)}:{side}"


def _first(connection: Connection, key: str) -> GrantResult | None:
    found: GrantResult | None = journal.first_answer(connection, idempotency_of(_SCOPE, key))
    return found


def _bringer_of(connection: Connection, comer: int) -> int | None:
    """Who was rewarded for bringing a customer, or who stands in the reward of whoever was brought; None for nobody."""
    brought = _first(connection, _key_of_side(comer, "referrer"))
    if brought is not None:
        return brought.customer_id
    came = _first(connection, _key_of_side(comer, "referred"))
    row = None if came is None else grants.by_id(connection, came.id)
    return None if row is None else from_text("cust", row.reference or "")


def _check_bringer(connection: Connection, bringer: int, comer: int) -> None:
    """Raises ``Conflict`` where the comer has another bringer, or brought its bringer, be it through others."""
    if _bringer_of(connection, comer) not in {None, bringer}:
        raise errors.Conflict("this customer was brought by somebody else before")
    above = _bringer_of(connection, bringer)
    for _ in range(_LONGEST_CHAIN):
        if above is None:
            return
        if above == comer:
            raise errors.Conflict("this customer brought its referrer, or somebody who did")
        above = _bringer_of(connection, above)


def _of_referral(terms: Referral) -> Reward | None:
    """What an economy without ``[rewards.referral]`` gives for a referral: what either side gets. None for nothing."""
    sides = (("referrer", terms.referrer_micros), ("referred", terms.referred_micros))
    ranges = tuple(RewardRange(side, micros, micros) for side, micros in sides if micros)
    return Reward("referral", terms.unit, "A referral", ranges) if ranges else None


def _check_difficulty(reward: Reward, difficulty: str | None) -> None:
    if difficulty is not None and reward.bounds(difficulty) is None:
        known = ", ".join(each.difficulty for each in reward.ranges)
        raise errors.ValidationFailed([("difficulty", f"expected one of {known}")])


def _check_same(reward: Reward, known: _Known, *, amount: Number | None, difficulty: str | None) -> None:
    """Raises ``Conflict`` for a fact that was rewarded with another amount, or of which another difficulty was told."""
    grant = known.grant
    before = f"this was rewarded before, with {format_units(grant.amount, grant.unit)}"
    if amount is not None and parse_amount(amount) != grant.amount:
        raise errors.Conflict(before)
    if difficulty is None or difficulty == known.difficulty:
        return
    if known.difficulty is not None:
        raise errors.Conflict(f"{before} for the difficulty {known.difficulty}, not {difficulty}")
    bounds = reward.bounds(difficulty)
    if amount is None and bounds is not None and not bounds[0] <= grant.amount <= bounds[1]:
        raise errors.Conflict(f"{before}, which is no reward for the difficulty {difficulty}")


def _within(reward: Reward, amount: Number | None, difficulty: str | None) -> int:
    """The amount, if one of the ranges of its source and difficulty has it."""
    ranges = {
        (each.min_micros, each.max_micros) for each in reward.ranges if difficulty in (None, each.difficulty)
    }
    if amount is None and len(ranges) == 1:
        ((least, most),) = ranges
        if least == most:
            return least
    shown = " or ".join(_range_text(*each) for each in sorted(ranges))
    if amount is None:
        raise errors.ValidationFailed([("amount", f"expected {shown} {reward.unit}")])
    micros = parse_amount(amount)
    if not any(least <= micros <= most for least, most in ranges):
        raise errors.InvalidAmount(f"{shown} {reward.unit}")
    return micros


def _range_text(least: int, most: int) -> str:
    return format_amount(least) if least == most else f"{format_amount(least)} to {format_amount(most)}"
