"""Answers about the economy: its public part, and its prices as a rate card. Both are read by whoever may want to buy."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.api.answers.common import Number
from tallystick.api.rendering import cents, number, number_or_none, price
from tallystick.core.catalog import Economy, Meter, Plan, Price


@dataclass(slots=True)
class TierLine:
    """One step of a tiered price, for quantities up to and including ``up_to``; null has no end."""

    up_to: Number | None
    per_unit: Number
    flat: Number


@dataclass(slots=True)
class PriceLine:
    """What a meter costs in one unit: ``flat`` once, ``per_unit`` for each unit of quantity, or by tiers."""

    unit: str
    kind: str
    flat: Number
    per_unit: Number
    tiers: list[TierLine]


@dataclass(slots=True)
class MeterLine:
    """What is measured, and what it costs."""

    meter: str
    category: str
    description: str
    hourly_limit: int | None
    note: str
    prices: list[PriceLine]


@dataclass(slots=True)
class PricesAnswer:
    """All prices of an economy."""

    economy: str
    economy_version: str
    primary_unit: str
    meters: list[MeterLine]


@dataclass(slots=True)
class UnitLine:
    """What is counted."""

    unit: str
    description: str
    decimals_shown: int
    money: bool
    primary: bool


@dataclass(slots=True)
class AllowanceLine:
    """What a plan gives per period. ``amount`` null: unlimited."""

    unit: str
    amount: Number | None
    rollover_cap: Number | None


@dataclass(slots=True)
class PlanLine:
    """A plan. ``price_usd`` null: by agreement. A limit of null is none."""

    plan: str
    title: str
    description: str
    price_usd: Number | None
    renews: str
    can_buy_packs: bool
    session_seconds_max: int | None
    concurrency_max: int | None
    creates_per_second: int | None
    allowances: list[AllowanceLine]


@dataclass(slots=True)
class PackLine:
    """A one-time purchase."""

    pack: str
    title: str
    unit: str
    credits: Number
    price_usd: Number


@dataclass(slots=True)
class PurchaseLine:
    """Buying any amount between two bounds."""

    unit: str
    min_usd: Number
    max_usd: Number
    credits_per_usd: Number


@dataclass(slots=True)
class SignUpLine:
    """What every new customer gets once."""

    unit: str
    amount: Number
    category: str
    description: str
    expires_after: str | None


@dataclass(slots=True)
class FeeLine:
    """The platform's part of a price."""

    basis_points: int
    fixed: Number
    rounding: str


@dataclass(slots=True)
class EconomyAnswer:
    """The public part of the active economy."""

    economy: str
    economy_version: str
    title: str
    server_name: str
    primary_unit: str
    default_plan: str
    units: list[UnitLine]
    sign_up: list[SignUpLine]
    plans: list[PlanLine]
    packs: list[PackLine]
    purchase: PurchaseLine | None
    task_fee: FeeLine
    low_balance: dict[str, list[Number]]


def prices(economy: Economy) -> PricesAnswer:
    """The rate card."""
    return PricesAnswer(
        economy=economy.name,
        economy_version=economy.version,
        primary_unit=economy.primary_unit,
        meters=[_meter(meter) for meter in economy.meters.values()],
    )


def _meter(meter: Meter) -> MeterLine:
    return MeterLine(
        meter=meter.name,
        category=meter.category,
        description=meter.description,
        hourly_limit=meter.hourly_limit,
        note=meter.note,
        prices=[_price(each) for each in meter.prices],
    )


def _price(found: Price) -> PriceLine:
    return PriceLine(
        unit=found.unit,
        kind=found.kind,
        flat=number(found.flat_micros),
        per_unit=price(found.per_unit_picos),
        tiers=[
            TierLine(number_or_none(tier.up_to_micros), price(tier.per_unit_picos), number(tier.flat_micros))
            for tier in found.tiers
        ],
    )


def public(economy: Economy) -> EconomyAnswer:
    """The public part: what is counted, given and sold."""
    purchase = economy.purchase
    return EconomyAnswer(
        economy=economy.name,
        economy_version=economy.version,
        title=economy.title,
        server_name=economy.server_name,
        primary_unit=economy.primary_unit,
        default_plan=economy.default_plan,
        units=[
            UnitLine(
                unit.name,
                unit.description,
                unit.decimals_shown,
                unit.money,
                unit.name == economy.primary_unit,
            )
            for unit in economy.units.values()
        ],
        sign_up=[
            SignUpLine(
                unit=grant.unit,
                amount=number(grant.amount_micros),
                category=grant.category,
                description=grant.description,
                expires_after=None if grant.expires_after is None else str(grant.expires_after),
            )
            for grant in economy.sign_up
        ],
        plans=[_plan(plan) for plan in economy.plans.values()],
        packs=[
            PackLine(
                pack.name, pack.title, pack.unit, number(pack.credits_micros), cents(pack.price_usd_cents)
            )
            for pack in economy.packs.values()
        ],
        purchase=None
        if purchase is None
        else PurchaseLine(
            unit=purchase.unit,
            min_usd=cents(purchase.min_usd_cents),
            max_usd=cents(purchase.max_usd_cents),
            credits_per_usd=number(purchase.credits_per_usd_micros),
        ),
        task_fee=FeeLine(
            economy.task_fee.basis_points, number(economy.task_fee.fixed_micros), economy.task_fee.rounding
        ),
        low_balance={
            unit: [number(each) for each in found] for unit, found in economy.low_balance.thresholds.items()
        },
    )


def _plan(plan: Plan) -> PlanLine:
    return PlanLine(
        plan=plan.name,
        title=plan.title,
        description=plan.description,
        price_usd=None if plan.price_usd_cents is None else cents(plan.price_usd_cents),
        renews=plan.renews,
        can_buy_packs=plan.can_buy_packs,
        session_seconds_max=plan.session_seconds_max,
        concurrency_max=plan.concurrency_max,
        creates_per_second=plan.creates_per_second,
        allowances=[
            AllowanceLine(
                each.unit, number_or_none(each.amount_micros), number_or_none(each.rollover_cap_micros)
            )
            for each in plan.allowances
        ],
    )
