"""From the text of an economy file to an ``Economy``, or to a list of everything that is wrong with it.

The stored form of an economy is its TOML text, so ``load`` is also how a stored one comes back. All checks
are here: forms and bounds, names, and that whatever is named (a unit, a plan, a meter) exists. The shipped
``starter`` economy explains the format in its comments.
"""

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from tallystick.core.amounts import BASIS_POINTS, Rounding
from tallystick.core.catalog import (
    DEFAULT_PRIORITIES,
    EXPIRY_NOTICE_DAYS,
    Allowance,
    AutoRefill,
    Disputes,
    Economy,
    Fee,
    LowBalance,
    Meter,
    OnDispute,
    OnInsufficient,
    Pack,
    Plan,
    Price,
    PriceKind,
    PurchaseRange,
    Referral,
    RevenueShare,
    Reward,
    RewardRange,
    SandboxRates,
    Settlement,
    SignUpGrant,
    Starts,
    Tier,
    Unit,
)
from tallystick.core.errors import EconomyInvalid
from tallystick.core.plans import Renews
from tallystick.core.times import DAY, MINUTE, Duration
from tallystick.core.toml_reader import Table, read_toml

_Shape = TypeVar("_Shape")

_NAME = r"[a-z][a-z0-9_]{0,62}"
_NAME_EXPECTED = "a name of lower-case letters, digits and underscores"
_UNIT_NAME = r"[A-Za-z][A-Za-z0-9_]{0,30}"
_UNIT_EXPECTED = "a name of letters, digits and underscores"

_ROUNDINGS: tuple[Rounding, ...] = ("floor", "ceil", "half_even")
_RENEWS: tuple[Renews, ...] = ("calendar", "anniversary")
_STARTS: tuple[Starts, ...] = ("now", "next_period")
_ON_INSUFFICIENT: tuple[OnInsufficient, ...] = ("reject", "create_unbilled")
_ON_DISPUTE: tuple[OnDispute, ...] = ("admin", "refund")
_KINDS: tuple[PriceKind, ...] = ("free", "flat", "per_unit", "graduated", "volume")

_VERSION_DIGITS = 12
_SECONDS_MAX = 366 * 24 * 3600
_PRIORITY_MAX = 1000
_NOTICE_DAYS_MAX = 366


def load(text: str, *, name: str) -> Economy:
    """Read an economy file. ``name`` is what the economy is called: the file's name without its ending.

    Raises ``EconomyInvalid`` with every problem: its key, its line, what was expected and what was found.
    """
    document, problems = read_toml(text)
    if problems.found:
        raise EconomyInvalid(name, problems.found)
    economy = _EconomyReader(document).read(name)
    document.close()
    if problems.found:
        raise EconomyInvalid(name, problems.in_order())
    return economy


def content_version(data: dict[str, Any]) -> str:
    """Digest a TOML document's content: comments, spacing, order and ways to write a number do not count."""
    canonical = json.dumps(_canonical(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_VERSION_DIGITS]


def _canonical(value: object) -> object:
    """Write numbers as texts in one form each; a text itself is marked, so that 1 and "1" stay different."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return value if isinstance(value, bool) else f"'{value}"
    return f"{Decimal(value).normalize():f}"


class _EconomyReader:
    """The sections of one file, in the order in which they refer to each other."""

    def __init__(self, document: Table) -> None:
        self.document = document
        self.units: dict[str, Unit] = {}
        self.primary_unit = ""

    def read(self, name: str) -> Economy:
        """Read every section."""
        head = self.document.table("economy") or Table({}, ("economy",), self.document.problems)
        self.units = self.named("units", _UNIT_NAME, _UNIT_EXPECTED, _read_unit)
        if not self.units:
            self.document.note("units", "at least one unit: [units.credits]")
        self.primary_unit = self.unit(head, "primary_unit", required=True)
        plans = self.named("plans", _NAME, _NAME_EXPECTED, self.read_plan)
        meters = self.named("meters", _NAME, _NAME_EXPECTED, self.read_meter)
        economy = Economy(
            name=name,
            version=content_version(self.document.data),
            title=head.text("title"),
            server_name=head.text(
                "server_name",
                "tallystick",
                pattern=r"[a-z0-9][a-z0-9-]{0,62}",
                expected="a name such as my-platform",
            ),
            key_prefix=head.text(
                "key_prefix",
                "tly_",
                pattern=r"[a-z][a-z0-9]{0,15}_",
                expected="lower-case letters and an underscore",
            ),
            primary_unit=self.primary_unit,
            default_plan=head.choice("default_plan", tuple(plans) or ("",)),
            checkout_expires_after=head.duration("checkout_expires_after", Duration(0, DAY))
            or Duration(0, DAY),
            units=self.units,
            sign_up=tuple(self.each("sign_up", self.read_sign_up)),
            plans=plans,
            packs=self.named("packs", _NAME, _NAME_EXPECTED, self.read_pack),
            purchase=self.section("purchase", self.read_purchase),
            auto_refill=self.section("auto_refill", self.read_auto_refill),
            disputes=self.section("disputes", _read_disputes) or Disputes(),
            meters=meters,
            task_fee=self.section("task_fee", _read_fee) or Fee(),
            settlement=self.section("settlement", _read_settlement) or Settlement(),
            rewards=self.read_rewards(),
            revenue_share=self.section("revenue_share", _read_revenue_share),
            referral=self.section("referral", self.read_referral),
            sandbox=self.section("sandbox", lambda table: _read_sandbox(table, meters)),
            low_balance=self.section("low_balance", self.read_low_balance) or LowBalance(),
            expiry_notice_days=self.section("expiry_notice", _read_expiry_notice) or EXPIRY_NOTICE_DAYS,
            priorities=self.section("priorities", _read_priorities) or DEFAULT_PRIORITIES,
        )
        head.close()
        return economy

    # Ways to read a section

    def section(self, key: str, read: Callable[[Table], _Shape]) -> _Shape | None:
        """Read a section that may be left out."""
        table = self.document.table(key)
        return None if table is None else _closed(table, read)

    def each(self, key: str, read: Callable[[Table], _Shape]) -> list[_Shape]:
        """Read an array of tables."""
        return [_closed(table, read) for table in self.document.tables(key)]

    def named(
        self, key: str, pattern: str, expected: str, read: Callable[[str, Table], _Shape]
    ) -> dict[str, _Shape]:
        """Read a section of tables that each have a name."""
        table = self.document.table(key)
        named = table.named_tables(pattern, expected) if table else []
        return {name: _closed(each, partial(read, name)) for name, each in named}

    def unit(self, table: Table, key: str = "unit", *, required: bool = False) -> str:
        """Read the name of a unit; left out, it is the primary one."""
        if required:
            return table.choice(key, tuple(self.units) or ("",))
        return table.choice(key, tuple(self.units) or ("",), self.primary_unit)

    # Sections that name units

    def read_sign_up(self, table: Table) -> SignUpGrant:
        return SignUpGrant(
            unit=self.unit(table),
            amount_micros=table.amount("amount"),
            category=table.choice(
                "category", ("initial_grant", "bonus", "promotional_grant"), "initial_grant"
            ),
            description=table.text("description"),
            expires_after=table.duration("expires_after"),
        )

    def read_plan(self, name: str, table: Table) -> Plan:
        allowances = tuple(_closed(each, self.read_allowance) for each in table.tables("allowances"))
        if len({allowance.unit for allowance in allowances}) < len(allowances):
            table.note("allowances", "each unit at most once")
        return Plan(
            name=name,
            title=table.text("title"),
            description=table.text("description", ""),
            price_usd_cents=table.usd("price_usd", positive=False) if table.has("price_usd") else None,
            allowances=allowances,
            renews=table.choice("renews", _RENEWS, "calendar"),
            starts=table.choice("starts", _STARTS, "now"),
            can_buy_packs=table.boolean("can_buy_packs", default=True),
            session_seconds_max=table.limit("session_seconds_max"),
            concurrency_max=table.limit("concurrency_max"),
            creates_per_second=table.limit("creates_per_second"),
        )

    def read_allowance(self, table: Table) -> Allowance:
        unlimited = table.has("amount") and table.data["amount"] == "unlimited"
        return Allowance(
            unit=self.unit(table),
            amount_micros=None if unlimited else table.amount("amount"),
            rollover_cap_micros=table.amount("rollover_cap") if table.has("rollover_cap") else None,
        )

    def read_pack(self, name: str, table: Table) -> Pack:
        has_env = table.has("stripe_price_env")
        env = table.text(
            "stripe_price_env", "", pattern=r"[A-Z][A-Z0-9_]*", expected="a name such as STRIPE_PRICE_PRO"
        )
        return Pack(
            name=name,
            title=table.text("title"),
            unit=self.unit(table),
            credits_micros=table.amount("credits"),
            price_usd_cents=table.usd("price_usd"),
            stripe_price_env=env if has_env else None,
        )

    def read_purchase(self, table: Table) -> PurchaseRange:
        minimum, maximum = table.usd("min_usd"), table.usd("max_usd")
        if maximum < minimum:
            table.note("max_usd", "at least min_usd")
        return PurchaseRange(
            unit=self.unit(table),
            min_usd_cents=minimum,
            max_usd_cents=maximum,
            credits_per_usd_micros=table.amount("credits_per_usd"),
        )

    def read_meter(self, name: str, table: Table) -> Meter:
        if table.has("price") and table.has("prices"):
            table.note("prices", "either price or prices")
        if "prices" in table.data:
            prices = tuple(_closed(each, self.read_price) for each in table.tables("prices"))
        else:
            amount = table.amount("price", positive=False)
            prices = (Price(self.primary_unit, "flat" if amount else "free", amount),)
        units = {price.unit for price in prices}
        if table.data.get("prices") == [] or len(units) < len(prices):
            table.note("prices", "a price for at least one unit, and each unit at most once")
        return Meter(
            name=name,
            category=table.text("category", pattern=_NAME, expected=_NAME_EXPECTED),
            description=table.text("description"),
            prices=prices,
            hourly_limit=table.limit("hourly_limit"),
            note=table.text("note", ""),
        )

    def read_price(self, table: Table) -> Price:
        unit, kind = self.unit(table), table.choice("kind", _KINDS)
        if kind == "flat":
            return Price(unit, kind, table.amount("flat"))
        if kind == "per_unit":
            return Price(unit, kind, table.amount("flat", 0, positive=False), table.unit_price("per_unit"))
        if kind in ("graduated", "volume"):
            return Price(unit, kind, tiers=_read_tiers(table))
        return Price(unit, kind)

    def read_rewards(self) -> dict[str, Reward]:
        rewards = self.named("rewards", _NAME, _NAME_EXPECTED, self.read_reward)
        taken = set(rewards)
        for reward in rewards.values():
            for alias in reward.aliases:
                if alias in taken:
                    path = ("rewards", reward.source, "aliases")
                    self.document.problems.note(path, "names that no other reward has", alias)
                taken.add(alias)
        return rewards

    def read_reward(self, source: str, table: Table) -> Reward:
        ranges = table.table("ranges")
        found: list[RewardRange] = []
        if ranges is None or not ranges.data:
            table.note("ranges", "a range for each difficulty, such as ranges = { any = [1, 10] }")
        else:
            found = [RewardRange(each, *ranges.amounts(each, length=2)) for each in ranges.data]
        return Reward(
            source=source,
            unit=self.unit(table),
            description=table.text("description"),
            ranges=tuple(found),
            aliases=table.strings("aliases", pattern=_NAME, expected="an array of names"),
            streak_step_micros=table.amount("streak_step", 0, positive=False),
        )

    def read_referral(self, table: Table) -> Referral:
        return Referral(
            unit=self.unit(table),
            referrer_micros=table.amount("referrer", positive=False),
            referred_micros=table.amount("referred", positive=False),
        )

    def read_auto_refill(self, table: Table) -> AutoRefill:
        if self.document.table("purchase") is None:
            table.note(
                "threshold_min", "a [purchase] section as well: it says how many credits a dollar buys"
            )
        return _read_auto_refill(table)

    def read_low_balance(self, table: Table) -> LowBalance:
        return LowBalance({unit: table.amounts(unit) for unit in self.units if table.has(unit)})


# Sections that name no unit


def _read_unit(name: str, table: Table) -> Unit:
    return Unit(
        name=name,
        description=table.text("description"),
        decimals_shown=table.integer("decimals_shown", 2, minimum=0, maximum=6),
        money=table.boolean("money", default=False),
    )


def _read_auto_refill(table: Table) -> AutoRefill:
    refill = AutoRefill(
        threshold_min_micros=table.amount("threshold_min"),
        threshold_default_micros=table.amount("threshold_default"),
        amount_min_usd_cents=table.usd("amount_min_usd"),
        amount_default_usd_cents=table.usd("amount_default_usd"),
        daily_max_usd_cents=table.usd("daily_max_usd") if table.has("daily_max_usd") else 100_000,
        monthly_max_usd_cents=table.usd("monthly_max_usd") if table.has("monthly_max_usd") else 1_000_000,
        cooldown=table.duration("cooldown") or Duration(0, MINUTE),
        idle_after=table.duration("idle_after") or Duration(0, 3 * DAY),
        pause_after_failures=table.integer("pause_after_failures", 3, minimum=1, maximum=10),
    )
    if refill.threshold_default_micros < refill.threshold_min_micros:
        table.note("threshold_default", "at least threshold_min")
    if refill.amount_default_usd_cents < refill.amount_min_usd_cents:
        table.note("amount_default_usd", "at least amount_min_usd")
    if refill.daily_max_usd_cents < refill.amount_min_usd_cents:
        table.note("daily_max_usd", "at least amount_min_usd")
    if refill.monthly_max_usd_cents < refill.daily_max_usd_cents:
        table.note("monthly_max_usd", "at least daily_max_usd")
    return refill


def _read_disputes(table: Table) -> Disputes:
    return Disputes(table.boolean("freeze_wallet", default=False))


def _read_fee(table: Table) -> Fee:
    return Fee(
        basis_points=table.integer("basis_points", minimum=0, maximum=BASIS_POINTS),
        fixed_micros=table.amount("fixed", 0, positive=False),
        rounding=table.choice("rounding", _ROUNDINGS, "floor"),
    )


def _read_settlement(table: Table) -> Settlement:
    found = Settlement(
        on_insufficient=table.choice("on_insufficient", _ON_INSUFFICIENT, "reject"),
        dispute_days=table.integer("dispute_days", 7, minimum=0, maximum=365),
        on_dispute=table.choice("on_dispute", _ON_DISPUTE, "admin"),
        payout_days=table.integer("payout_days", 14, minimum=1, maximum=730),
    )
    if found.payout_days <= found.dispute_days:
        table.note("payout_days", "more than dispute_days")
    return found


def _read_revenue_share(table: Table) -> RevenueShare:
    return RevenueShare(
        author_basis_points=table.integer("author_basis_points", minimum=0, maximum=BASIS_POINTS),
        rounding=table.choice("rounding", _ROUNDINGS, "floor"),
    )


def _read_expiry_notice(table: Table) -> int:
    return table.integer("days", EXPIRY_NOTICE_DAYS, minimum=1, maximum=_NOTICE_DAYS_MAX)


def _read_priorities(table: Table) -> dict[str, int]:
    return {
        category: table.integer(category, priority, minimum=0, maximum=_PRIORITY_MAX)
        for category, priority in DEFAULT_PRIORITIES.items()
    }


def _read_tiers(table: Table) -> tuple[Tier, ...]:
    """Read tiers that rise, of which only the last has no end."""
    tiers = tuple(_closed(each, _read_tier) for each in table.tables("tiers"))
    ends = [tier.up_to_micros for tier in tiers]
    bounds = [end for end in ends[:-1] if end is not None]
    if not ends or ends[-1] is not None or len(bounds) < len(ends) - 1 or bounds != sorted(set(bounds)):
        table.note("tiers", "tiers with rising up_to, and only the last one without up_to")
    return tiers


def _read_tier(table: Table) -> Tier:
    return Tier(
        up_to_micros=table.amount("up_to") if table.has("up_to") else None,
        per_unit_picos=table.unit_price("per_unit", positive=False),
        flat_micros=table.amount("flat", 0, positive=False),
    )


def _read_sandbox(table: Table, meters: dict[str, Meter]) -> SandboxRates:
    vcpu, gib = _second_price(table, "vcpu_meter", meters), _second_price(table, "gib_meter", meters)
    if vcpu.unit != gib.unit:
        table.note("gib_meter", f"a meter priced in {vcpu.unit}, like vcpu_meter")
    return SandboxRates(
        unit=vcpu.unit,
        vcpu_meter=table.text("vcpu_meter"),
        gib_meter=table.text("gib_meter"),
        vcpu_second_picos=vcpu.per_unit_picos,
        gib_second_picos=gib.per_unit_picos,
        default_vcpu=table.integer("default_vcpu", minimum=1, maximum=1024),
        default_memory_mib=table.integer("default_memory_mib", minimum=64, maximum=2**22),
        default_timeout_seconds=table.integer("default_timeout_seconds", minimum=1, maximum=_SECONDS_MAX),
        idle_warning_seconds=table.integer("idle_warning_seconds", 600, minimum=1, maximum=_SECONDS_MAX),
    )


def _second_price(table: Table, key: str, meters: dict[str, Meter]) -> Price:
    """Give the one price of the meter that a key names: per unit, with no flat part."""
    meter = meters.get(str(table.data.get(key))) if table.has(key) else None
    if (
        meter
        and len(meter.prices) == 1
        and meter.prices[0].kind == "per_unit"
        and not meter.prices[0].flat_micros
    ):
        return meter.prices[0]
    if key in table.data:
        table.note(key, "a meter with one price, of kind per_unit and without flat")
    return Price("", "free")


def _closed(table: Table, read: Callable[[Table], _Shape]) -> _Shape:
    """Read a table and note its unknown keys."""
    shape = read(table)
    table.close()
    return shape
