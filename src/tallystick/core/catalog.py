"""What an economy is: units, plans, packs, meters and prices, fees and rewards, as values that never change.

An ``Economy`` is read from its file by ``core.economy_file``, which checks everything; here are only the
shapes and the look-ups. Amounts are micro-units, unit prices are picos (10**-12 of a unit per one quantity),
US dollars are cents. The mappings are read-only by convention and keep the file's order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypeAlias

from tallystick.core.amounts import Rounding
from tallystick.core.errors import UnknownMeter, UnknownPack, UnknownPlan, UnknownUnit
from tallystick.core.plans import Renews
from tallystick.core.times import DAY, MINUTE, Duration

PriceKind: TypeAlias = Literal["free", "flat", "per_unit", "graduated", "volume"]
Starts: TypeAlias = Literal["now", "next_period"]
OnInsufficient: TypeAlias = Literal["reject", "create_unbilled"]
OnDispute: TypeAlias = Literal["admin", "refund"]

_LONGEST_SLIP = 100
_A_MINUTE = Duration(0, MINUTE)
_THREE_DAYS = Duration(0, 3 * DAY)

EXPIRY_NOTICE_DAYS = 7

# Lower is drawn first. The keys are the categories that a grant can have.
DEFAULT_PRIORITIES: Mapping[str, int] = {
    "monthly_grant": 10,
    "promotional_grant": 20,
    "initial_grant": 30,
    "bonus": 30,
    "adjustment": 30,
    "reward": 40,
    "referral": 40,
    "task_credit": 40,
    "purchase": 50,
    "auto_refill": 50,
}


@dataclass(frozen=True, slots=True)
class Unit:
    """What is counted. ``money`` marks real money used as a meter, such as infrastructure dollars."""

    name: str
    description: str
    decimals_shown: int
    money: bool


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a tiered price: for quantities up to and including ``up_to_micros``; None has no end.

    ``flat_micros`` is added once when the tier is reached.
    """

    up_to_micros: int | None
    per_unit_picos: int
    flat_micros: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a meter costs in one unit.

    ``free`` nothing; ``flat`` the flat amount for each call, whatever the quantity; ``per_unit`` the flat
    amount and the quantity at the unit price; ``graduated`` and ``volume`` by the tiers, of which the last
    has no end.
    """

    unit: str
    kind: PriceKind
    flat_micros: int = 0
    per_unit_picos: int = 0
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Meter:
    """What is measured and what it costs: one price for each unit that it is charged in.

    ``hourly_limit`` is the number of charges and holds that one customer may make in a clock hour.
    """

    name: str
    category: str
    description: str
    prices: tuple[Price, ...]
    hourly_limit: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class SignUpGrant:
    """Credits that every new customer gets once."""

    unit: str
    amount_micros: int
    category: str
    description: str
    expires_after: Duration | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan gives in each period.

    ``amount_micros`` None is unlimited: every charge is covered by a grant made for it.
    ``rollover_cap_micros`` is how much of an unused allowance is carried into the next period; None: it
    expires.
    """

    unit: str
    amount_micros: int | None
    rollover_cap_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A monthly allowance and rights. A price or a limit of None is not set: a custom price, no limit.

    ``starts`` says when a customer who joins gets the allowance for the first time: ``now``, in full less
    what this period granted already, or in the ``next_period``, for plans that begin with a grant at sign-up.
    """

    name: str
    title: str
    description: str
    price_usd_cents: int | None
    allowances: tuple[Allowance, ...] = ()
    renews: Renews = "calendar"
    starts: Starts = "now"
    can_buy_packs: bool = True
    session_seconds_max: int | None = None
    concurrency_max: int | None = None
    creates_per_second: int | None = None

    def allowance(self, unit: str) -> Allowance | None:
        """Give the allowance in a unit, if the plan has one."""
        return next((each for each in self.allowances if each.unit == unit), None)


@dataclass(frozen=True, slots=True)
class Pack:
    """A one-time purchase. ``stripe_price_env`` names the variable that may hold a Stripe price id."""

    name: str
    title: str
    unit: str
    credits_micros: int
    price_usd_cents: int
    stripe_price_env: str | None = None


@dataclass(frozen=True, slots=True)
class PurchaseRange:
    """Buying any amount of US dollars between two bounds, at a fixed number of credits per dollar."""

    unit: str
    min_usd_cents: int
    max_usd_cents: int
    credits_per_usd_micros: int

    def credits_for(self, usd_cents: int) -> int:
        """Give the micro-credits for an amount of cents, rounded down: the platform keeps the remainder."""
        return usd_cents * self.credits_per_usd_micros // 100


@dataclass(frozen=True, slots=True)
class AutoRefill:
    """The bounds and defaults of automatic refills: below a threshold, buy for an amount.

    The caps are what refills of one customer may cost in a UTC day and month. After a refill the next one waits for
    ``cooldown``; a customer who has used nothing for ``idle_after`` is not charged; so many declines in a row as
    ``pause_after_failures`` pause the refills.
    """

    threshold_min_micros: int
    threshold_default_micros: int
    amount_min_usd_cents: int
    amount_default_usd_cents: int
    daily_max_usd_cents: int = 100_000
    monthly_max_usd_cents: int = 1_000_000
    cooldown: Duration = _A_MINUTE
    idle_after: Duration = _THREE_DAYS
    pause_after_failures: int = 3


@dataclass(frozen=True, slots=True)
class Disputes:
    """What a dispute does to its customer: with ``freeze_wallet``, nothing is drawn while it is open."""

    freeze_wallet: bool = False


@dataclass(frozen=True, slots=True)
class Fee:
    """The platform's part of a price, taken from whoever is paid; see ``amounts.fee_of``."""

    basis_points: int = 0
    fixed_micros: int = 0
    rounding: Rounding = "floor"


@dataclass(frozen=True, slots=True)
class Settlement:
    """How tasks are settled beside their fee.

    A task whose requester has too few credits is refused, or made without any settlement. A completed task may be disputed
    for ``dispute_days``; then an admin decides, or it is refunded at once. What was earned is paid out after
    ``payout_days``, which are more.
    """

    on_insufficient: OnInsufficient = "reject"
    dispute_days: int = 7
    on_dispute: OnDispute = "admin"
    payout_days: int = 14


@dataclass(frozen=True, slots=True)
class RewardRange:
    """The smallest and the largest reward for one difficulty."""

    difficulty: str
    min_micros: int
    max_micros: int


@dataclass(frozen=True, slots=True)
class Reward:
    """What can be earned from one source. A streak adds a step each further day, up to the largest."""

    source: str
    unit: str
    description: str
    ranges: tuple[RewardRange, ...]
    aliases: tuple[str, ...] = ()
    streak_step_micros: int = 0

    def bounds(self, difficulty: str | None = None) -> tuple[int, int] | None:
        """Give the smallest and largest reward for a difficulty, or over all; None if there is none."""
        ranges = [each for each in self.ranges if difficulty in (None, each.difficulty)]
        if not ranges:
            return None
        return min(each.min_micros for each in ranges), max(each.max_micros for each in ranges)


@dataclass(frozen=True, slots=True)
class RevenueShare:
    """The author's part of what users pay for something published; the platform keeps the rest."""

    author_basis_points: int
    rounding: Rounding = "floor"


@dataclass(frozen=True, slots=True)
class Referral:
    """What both sides of a referral get."""

    unit: str
    referrer_micros: int
    referred_micros: int


@dataclass(frozen=True, slots=True)
class SandboxRates:
    """What a sandbox's second costs, from the prices of its two meters, and the size it has by default.

    Whoever uses none of a running sandbox for ``idle_warning_seconds`` is told so.
    """

    unit: str
    vcpu_meter: str
    gib_meter: str
    vcpu_second_picos: int
    gib_second_picos: int
    default_vcpu: int
    default_memory_mib: int
    default_timeout_seconds: int
    idle_warning_seconds: int = 600


@dataclass(frozen=True, slots=True)
class LowBalance:
    """The balances of each unit below which its owner is told, lowest first."""

    thresholds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, unit: str) -> tuple[int, ...]:
        """Give the thresholds of a unit, lowest first; none when nothing is told."""
        return self.thresholds.get(unit, ())

    def warning_below(self, unit: str) -> int | None:
        """Give the lowest threshold of a unit: below it, every answer about the balance carries a warning."""
        thresholds = self.of(unit)
        return thresholds[0] if thresholds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Economy:
    """Everything that an operator sets. ``version`` digests the file's content without its comments."""

    name: str
    version: str
    title: str
    server_name: str
    key_prefix: str
    primary_unit: str
    default_plan: str
    checkout_expires_after: Duration
    units: Mapping[str, Unit]
    plans: Mapping[str, Plan]
    meters: Mapping[str, Meter]
    sign_up: tuple[SignUpGrant, ...] = ()
    packs: Mapping[str, Pack] = field(default_factory=dict)
    purchase: PurchaseRange | None = None
    auto_refill: AutoRefill | None = None
    disputes: Disputes = Disputes()
    task_fee: Fee = Fee()
    settlement: Settlement = Settlement()
    rewards: Mapping[str, Reward] = field(default_factory=dict)
    revenue_share: RevenueShare | None = None
    referral: Referral | None = None
    sandbox: SandboxRates | None = None
    low_balance: LowBalance = LowBalance()
    expiry_notice_days: int = EXPIRY_NOTICE_DAYS
    priorities: Mapping[str, int] = field(default_factory=lambda: DEFAULT_PRIORITIES)

    def meter(self, name: str) -> Meter:
        """Give a meter by its name, or raise ``UnknownMeter``."""
        try:
            return self.meters[name]
        except KeyError:
            raise UnknownMeter(name, suggestion=_close_to(name, self.meters)) from None

    def monthly_micros(self, plan: str) -> int | None:
        """What a plan gives per period in the primary unit; None is unlimited, and a plan that there is not gives none."""
        found = self.plans.get(plan)
        allowance = None if found is None else found.allowance(self.primary_unit)
        return 0 if allowance is None else allowance.amount_micros

    def unit(self, name: str) -> Unit:
        """Give a unit by its name, or raise ``UnknownUnit``."""
        try:
            return self.units[name]
        except KeyError:
            raise UnknownUnit(name, suggestion=_close_to(name, self.units)) from None

    def plan(self, name: str) -> Plan:
        """Give a plan by its name, or raise ``UnknownPlan``."""
        try:
            return self.plans[name]
        except KeyError:
            raise UnknownPlan(name, suggestion=_close_to(name, self.plans)) from None

    def pack(self, name: str) -> Pack:
        """Give a pack by its name, or raise ``UnknownPack``."""
        try:
            return self.packs[name]
        except KeyError:
            raise UnknownPack(name, suggestion=_close_to(name, self.packs)) from None

    def reward(self, source: str) -> Reward | None:
        """Give the reward of a source by its name or one of its aliases."""
        if source in self.rewards:
            return self.rewards[source]
        return next((reward for reward in self.rewards.values() if source in reward.aliases), None)

    def priority(self, category: str) -> int:
        """Give the burn priority of a grant's category: lower is drawn first."""
        return self.priorities[category]


def _close_to(name: str, names: Mapping[str, object]) -> str | None:
    """Give the known name that a mistaken one most resembles; a name too long to be a slip resembles none."""
    return next(iter(get_close_matches(name, names, n=1)), None) if len(name) <= _LONGEST_SLIP else None
