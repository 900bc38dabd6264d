"""Decisions about money that comes in: how many credits a part of a payment is worth, and when a refill is due.

Money is whole cents; credits are micro-units. No rule here looks at a provider or a clock: ``now`` is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.core.amounts import pro_rata_floor
from tallystick.core.catalog import AutoRefill
from tallystick.core.times import DAY, HOUR, MINUTE, add, add_months, day_start, month_start

# How long to wait after a decline that may pass; the codes are those that card networks use.
_SOON: Final = frozenset(
    {"processing_error", "issuer_not_available", "try_again_later", "reenter_transaction"}
)
_LATER: Final = frozenset({"insufficient_funds", "card_velocity_exceeded", "withdrawal_count_limit_exceeded"})
_WAITS: Final = {
    "soon": (10 * MINUTE, HOUR, 6 * HOUR),
    "usual": (HOUR, 6 * HOUR, DAY),
    "later": (DAY, 2 * DAY, 3 * DAY),
}


def credits_lost(credits_micros: int, amount_cents: int, lost_cents: int) -> int:
    """The micro-credits that go with the part of a payment that went back.

    Pro rata of the credits that were granted, rounded down: what is finer than a micro-credit stays with the customer. All
    of the money takes all of the credits.
    """
    if lost_cents >= amount_cents:
        return credits_micros
    return pro_rata_floor(lost_cents, amount_cents, credits_micros)


def refill_cents(*, available: int, threshold: int, amount_cents: int, credits_for_amount: int) -> int:
    """What one refill costs, so that it closes the whole gap: the amount as often as is needed to reach the threshold."""
    gap = max(threshold - available, 1)
    times = max(-(-gap // credits_for_amount), 1)
    return amount_cents * times


@dataclass(frozen=True, slots=True, kw_only=True)
class RefillFacts:
    """What decides about a refill: its setting, what happened before, and what there is now."""

    enabled: bool
    paused: bool
    frozen: bool
    threshold: int
    amount_cents: int
    available: int
    wanted_at: int | None
    last_at: int | None
    today_cents: int
    month_cents: int
    under_way: bool
    next_try_at: int | None


@dataclass(frozen=True, slots=True)
class RefillDecision:
    """Buy for ``cents``; or 0 because of ``reason``, and look again at ``again_at`` if that may change it."""

    cents: int
    reason: str = ""
    again_at: int | None = None


_RULES: Final[tuple[tuple[str, Callable[[RefillFacts], bool]], ...]] = (
    ("off", lambda facts: not facts.enabled),
    ("paused", lambda facts: facts.paused),
    ("frozen", lambda facts: facts.frozen),
    ("under_way", lambda facts: facts.under_way),
    ("enough", lambda facts: facts.available >= facts.threshold),
)


def decide_refill(
    facts: RefillFacts, terms: AutoRefill, *, credits_for_amount: int, now: int
) -> RefillDecision:
    """Whether to buy now. Each rule that refuses says so by name, and when it will not refuse any more."""
    for reason, refuses in _RULES:
        if refuses(facts):
            return RefillDecision(0, reason)
    if facts.wanted_at is None or add(facts.wanted_at, terms.idle_after) <= now:
        return RefillDecision(0, "idle")
    rested_at = now if facts.last_at is None else add(facts.last_at, terms.cooldown)
    again_at = max(rested_at, facts.next_try_at or 0)
    if again_at > now:
        return RefillDecision(0, "waiting", again_at)
    cents = refill_cents(
        available=facts.available,
        threshold=facts.threshold,
        amount_cents=facts.amount_cents,
        credits_for_amount=credits_for_amount,
    )
    return _within_caps(facts, terms, cents, now)


def _within_caps(facts: RefillFacts, terms: AutoRefill, cents: int, now: int) -> RefillDecision:
    """A gap that would cost more than a cap leaves is closed as far as the cap goes, in whole amounts."""
    for name, cap, spent, again_at in (
        ("monthly_cap", terms.monthly_max_usd_cents, facts.month_cents, add_months(month_start(now), 1)),
        ("daily_cap", terms.daily_max_usd_cents, facts.today_cents, day_start(now) + DAY),
    ):
        left = cap - spent
        if left < facts.amount_cents:
            return RefillDecision(0, name, again_at)
        cents = min(cents, left // facts.amount_cents * facts.amount_cents)
    return RefillDecision(cents)


def wait_after_decline(failure: str | None, failures: int) -> int:
    """Microseconds until the next try, after this many declines in a row; the kind of decline says how patient to be."""
    kind = "soon" if failure in _SOON else "later" if failure in _LATER else "usual"
    waits = _WAITS[kind]
    return waits[min(failures, len(waits)) - 1]
