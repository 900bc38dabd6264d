"""What changes between two economies, and for whom, in an operator's words.

Each economy is put into facts: what a thing is called, which aspect of it, and a short text. The change is
what differs. A thing that is new or gone is one change, whatever aspects it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tallystick.core.amounts import PICOS, format_amount
from tallystick.core.catalog import Economy, Meter, Plan, Price
from tallystick.core.decimals import format_units

_NOBODY_YET = "nobody yet: it is new"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where, what it was and is (None: it was or is not there), and whom it affects."""

    path: str
    old: str | None
    new: str | None
    affects: str

    def __str__(self) -> str:
        """Put it as one line: ``meter lookup: 2 → 3 credits; everyone who calls it``."""
        old, new = self.old or "none", self.new or "none"
        first, _, rest = old.partition(" ")
        if rest and new.partition(" ")[2] == rest:
            old = first
        return f"{self.path}: {old} → {new}; {self.affects}"


class _Fact(NamedTuple):
    """One aspect of a thing as a text, whom a change affects, and whom it affects when the thing goes."""

    thing: str
    aspect: str
    text: str
    affects: str
    when_gone: str

    @property
    def path(self) -> str:
        return f"{self.thing} {self.aspect}".rstrip()


def diff(old: Economy, new: Economy) -> list[Change]:
    """Give every difference between two economies, in the order of the new one; what is gone comes last."""
    before = {fact.path: fact for fact in _facts(old)}
    after = {fact.path: fact for fact in _facts(new)}
    old_things = {fact.thing for fact in before.values()}
    new_things = {fact.thing for fact in after.values()}
    changes = []
    for path, fact in after.items():
        was = before.get(path)
        if fact.thing not in old_things:
            if not fact.aspect:
                changes.append(Change(path, None, fact.text, _NOBODY_YET))
        elif was is None or was.text != fact.text:
            changes.append(Change(path, was.text if was else None, fact.text, fact.affects))
    for path, fact in before.items():
        if fact.thing not in new_things:
            if not fact.aspect:
                changes.append(Change(path, fact.text, None, fact.when_gone))
        elif path not in after:
            changes.append(Change(path, fact.text, None, fact.affects))
    return changes


def _facts(economy: Economy) -> Iterator[_Fact]:
    yield from _head_facts(economy)
    yield from _gift_facts(economy)
    for plan in economy.plans.values():
        yield from _plan_facts(plan)
    yield from _sale_facts(economy)
    for meter in economy.meters.values():
        yield from _meter_facts(meter)
    yield from _task_facts(economy)
    yield from _balance_facts(economy)


def _head_facts(economy: Economy) -> Iterator[_Fact]:
    head = (
        ("title", economy.title, "what people see"),
        ("server name", economy.server_name, "MCP clients that know the server by its name"),
        ("key prefix", economy.key_prefix, "API keys made from now on"),
        ("primary unit", economy.primary_unit, "everyone who names no unit"),
        ("default plan", economy.default_plan, "customers who sign up from now on"),
        ("payment links live", str(economy.checkout_expires_after), "payment links made from now on"),
    )
    for aspect, text, affects in head:
        yield _Fact("economy", aspect, text, affects, "")
    for unit in economy.units.values():
        text = f"{unit.decimals_shown} decimals shown{', money' if unit.money else ''}: {unit.description}"
        gone = "everyone who holds it: nothing can be charged in it"
        yield _Fact(f"unit {unit.name}", "", text, "how amounts are shown", gone)


def _gift_facts(economy: Economy) -> Iterator[_Fact]:
    for position, grant in enumerate(economy.sign_up, 1):
        expiry = f", expiring after {grant.expires_after}" if grant.expires_after else ""
        amount = format_units(grant.amount_micros, grant.unit)
        text = f"{amount} as {grant.category}{expiry}: {grant.description}"
        affected = "customers who sign up from now on"
        yield _Fact(f"sign-up grant {position}", "", text, affected, affected)
    for reward in economy.rewards.values():
        thing, gone = f"reward {reward.source}", "whoever would earn it: awards are refused"
        ranges = ", ".join(
            f"{each.difficulty} {format_amount(each.min_micros)}-{format_amount(each.max_micros)}"
            for each in reward.ranges
        )
        yield _Fact(thing, "", f"{ranges} {reward.unit}", "awards from now on", gone)
        yield _Fact(thing, "description", reward.description, "what people see", gone)
        if reward.aliases:
            yield _Fact(thing, "aliases", ", ".join(reward.aliases), "callers who use them", gone)
        if reward.streak_step_micros:
            step = format_amount(reward.streak_step_micros)
            yield _Fact(thing, "streak step", f"{step} {reward.unit}", "awards from now on", gone)
    if economy.referral:
        given = economy.referral
        text = (
            f"{format_units(given.referrer_micros, given.unit)} for the referrer, "
            f"{format_units(given.referred_micros, given.unit)} for the newcomer"
        )
        yield _Fact("referral", "", text, "referrals from now on", "referrals from now on")


def _plan_facts(plan: Plan) -> Iterator[_Fact]:
    thing, gone = (
        f"plan {plan.name}",
        "customers on it: no further allowance, until they are put on another plan",
    )
    price = "custom price" if plan.price_usd_cents is None else f"{_usd(plan.price_usd_cents)} a month"
    yield _Fact(thing, "", price, "who subscribes from now on", gone)
    for allowance in plan.allowances:
        amount = "unlimited" if allowance.amount_micros is None else format_amount(allowance.amount_micros)
        cap = allowance.rollover_cap_micros
        rollover = "" if cap is None else f", rolling over up to {format_amount(cap)}"
        text = f"{amount} {allowance.unit} a month{rollover}"
        yield _Fact(
            thing, f"allowance in {allowance.unit}", text, "customers on it, from their next period", gone
        )
    rights = (
        ("renews", plan.renews, "customers on it, from their next period"),
        ("starts", plan.starts, "customers who join it from now on"),
        ("buying packs", "allowed" if plan.can_buy_packs else "not allowed", "customers on it"),
        ("session seconds", _limit(plan.session_seconds_max), "sandboxes made from now on"),
        ("concurrency", _limit(plan.concurrency_max), "sandboxes made from now on"),
        ("creates per second", _limit(plan.creates_per_second), "customers on it"),
        ("title", plan.title, "what people see"),
        ("description", plan.description, "what people see"),
    )
    for aspect, text, affects in rights:
        yield _Fact(thing, aspect, text, affects, gone)


def _sale_facts(economy: Economy) -> Iterator[_Fact]:
    buyers = "purchases from now on"
    for pack in economy.packs.values():
        text = f"{format_units(pack.credits_micros, pack.unit)} for {_usd(pack.price_usd_cents)}"
        yield _Fact(f"pack {pack.name}", "", text, buyers, "purchases from now on: it cannot be bought")
        yield _Fact(f"pack {pack.name}", "title", pack.title, "what people see", "")
        if pack.stripe_price_env:
            yield _Fact(f"pack {pack.name}", "Stripe price", pack.stripe_price_env, buyers, "")
    if economy.purchase:
        sale = economy.purchase
        text = (
            f"{format_units(sale.credits_per_usd_micros, sale.unit)} for a dollar, "
            f"{_usd(sale.min_usd_cents)} to {_usd(sale.max_usd_cents)}"
        )
        yield _Fact("purchase", "", text, buyers, "purchases from now on: no free amounts")
    if economy.auto_refill:
        refill = economy.auto_refill
        text = (
            f"threshold {format_amount(refill.threshold_default_micros)}, at least "
            f"{format_amount(refill.threshold_min_micros)}; amount {_usd(refill.amount_default_usd_cents)}, "
            f"at least {_usd(refill.amount_min_usd_cents)}"
        )
        yield _Fact("auto-refill", "", text, "whoever sets it up from now on", "everyone who has set it up")
        text = (
            f"{_usd(refill.daily_max_usd_cents)} a day, {_usd(refill.monthly_max_usd_cents)} a month; at least "
            f"{refill.cooldown} apart; not after {refill.idle_after} without usage; paused after "
            f"{refill.pause_after_failures} declines"
        )
        yield _Fact("auto-refill", "caps", text, "everyone who has set it up", "")
    freezes = "freezes the wallet" if economy.disputes.freeze_wallet else "leaves the wallet open"
    yield _Fact("dispute", "", freezes, "customers who dispute a payment from now on", "")


def _meter_facts(meter: Meter) -> Iterator[_Fact]:
    thing, gone = f"meter {meter.name}", "everyone who calls it: calls are refused"
    text = " and ".join(_price(price) for price in meter.prices)
    yield _Fact(thing, "", text, "everyone who calls it", gone)
    if meter.hourly_limit is not None:
        yield _Fact(thing, "hourly limit", str(meter.hourly_limit), "everyone who calls it", gone)
    yield _Fact(thing, "category", meter.category, "statements from now on", gone)
    yield _Fact(thing, "description", meter.description, "what people see", gone)
    if meter.note:
        yield _Fact(thing, "note", meter.note, "nobody: it is a note", gone)


def _task_facts(economy: Economy) -> Iterator[_Fact]:
    fee = economy.task_fee
    fixed = f" and {format_amount(fee.fixed_micros)}" if fee.fixed_micros else ""
    text = f"{_percent(fee.basis_points)}{fixed}, rounded {fee.rounding}"
    yield _Fact("task", "fee", text, "tasks made from now on", "")
    settlement = economy.settlement
    yield _Fact("task", "without credits", settlement.on_insufficient, "tasks made from now on", "")
    yield _Fact(
        "task", "dispute window", f"{settlement.dispute_days} days", "tasks completed from now on", ""
    )
    yield _Fact("task", "dispute", settlement.on_dispute, "disputes from now on", "")
    yield _Fact("task", "payout", f"after {settlement.payout_days} days", "payout reports from now on", "")
    if economy.revenue_share:
        share = economy.revenue_share
        text = f"{_percent(share.author_basis_points)} to the author, rounded {share.rounding}"
        yield _Fact("revenue share", "", text, "authors, from now on", "authors, from now on")
    if economy.sandbox:
        rates = economy.sandbox
        text = (
            f"{_picos(rates.vcpu_second_picos)} {rates.unit} for a vCPU and second, "
            f"{_picos(rates.gib_second_picos)} {rates.unit} for a GiB and second"
        )
        yield _Fact("sandbox", "", text, "sandboxes made from now on", "everyone: no sandboxes can be made")
        meters = f"{rates.vcpu_meter} and {rates.gib_meter}"
        yield _Fact("sandbox", "meters", meters, "sandboxes made from now on", "")
        size = f"{rates.default_vcpu} vCPU, {rates.default_memory_mib} MiB, {rates.default_timeout_seconds} s"
        yield _Fact("sandbox", "default size", size, "sandboxes made from now on", "")
        yield _Fact("sandbox", "idle warning", f"after {rates.idle_warning_seconds} s", "everyone", "")


def _balance_facts(economy: Economy) -> Iterator[_Fact]:
    for unit, thresholds in economy.low_balance.thresholds.items():
        below = ", ".join(format_amount(threshold) for threshold in thresholds)
        gone = "everyone with this unit: no more warnings"
        yield _Fact(f"low balance in {unit}", "", below, "whoever falls below, from now on", gone)
    days = f"{economy.expiry_notice_days} days before"
    yield _Fact("notice of expiry", "", days, "grants that expire later than that", "")
    for category, priority in economy.priorities.items():
        affects = "credits granted from now on: lower is drawn first"
        yield _Fact("priority", f"of {category}", str(priority), affects, "")


def _price(price: Price) -> str:
    """Put a price into words: ``1 credit``, ``0.002 credits each``, ``5 up to 100, then 4 credits each``."""
    if price.kind == "free":
        return f"free in {price.unit}"
    if price.kind == "flat":
        return format_units(price.flat_micros, price.unit)
    if price.kind == "per_unit":
        base = f"{format_units(price.flat_micros, price.unit)} and " if price.flat_micros else ""
        return f"{base}{_picos(price.per_unit_picos)} {price.unit} each"
    steps = []
    for tier in price.tiers:
        base = f"{format_amount(tier.flat_micros)} and " if tier.flat_micros else ""
        end = "" if tier.up_to_micros is None else f" up to {format_amount(tier.up_to_micros)}"
        steps.append(f"{base}{_picos(tier.per_unit_picos)}{end}")
    return f"{', then '.join(steps)} {price.unit} each, {price.kind}"


def _picos(picos: int) -> str:
    """Show a unit price as a plain decimal number."""
    whole, fraction = divmod(picos, PICOS)
    return f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")


def _usd(cents: int) -> str:
    """Show cents as US dollars."""
    dollars, rest = divmod(cents, 100)
    return f"${dollars}.{rest:02d}" if rest else f"${dollars}"


def _percent(basis_points: int) -> str:
    """Show basis points as a percentage."""
    return f"{format_amount(basis_points * 10_000)} %"


def _limit(limit: int | None) -> str:
    """Show a limit that may be none."""
    return "no limit" if limit is None else str(limit)
