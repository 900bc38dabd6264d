"""The economy: what is counted, given and sold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Request, get


@dataclass(frozen=True, kw_only=True)
class Unit(Model):
    """What is counted."""

    unit: str
    description: str
    decimals_shown: int
    money: bool
    primary: bool


@dataclass(frozen=True, kw_only=True)
class SignUp(Model):
    """What every new customer gets once."""

    unit: str
    amount: Decimal
    category: str
    description: str
    expires_after: str | None


@dataclass(frozen=True, kw_only=True)
class Allowance(Model):
    """What a plan gives per period. ``amount`` null: unlimited."""

    unit: str
    amount: Decimal | None
    rollover_cap: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Plan(Model):
    """A plan. ``price_usd`` null: by agreement. A limit of null is none."""

    plan: str
    title: str
    description: str
    price_usd: Decimal | None
    renews: str
    can_buy_packs: bool
    session_seconds_max: int | None
    concurrency_max: int | None
    creates_per_second: int | None
    allowances: tuple[Allowance, ...]


@dataclass(frozen=True, kw_only=True)
class Pack(Model):
    """A one-time purchase."""

    pack: str
    title: str
    unit: str
    credits: Decimal
    price_usd: Decimal


@dataclass(frozen=True, kw_only=True)
class Purchase(Model):
    """Buying any amount between two bounds."""

    unit: str
    min_usd: Decimal
    max_usd: Decimal
    credits_per_usd: Decimal


@dataclass(frozen=True, kw_only=True)
class Fee(Model):
    """The platform's part of a price."""

    basis_points: int
    fixed: Decimal
    rounding: str


@dataclass(frozen=True, kw_only=True)
class EconomyFile(Model):
    """The public part of the active economy."""

    economy: str
    economy_version: str
    title: str
    server_name: str
    primary_unit: str
    default_plan: str
    units: tuple[Unit, ...]
    sign_up: tuple[SignUp, ...]
    plans: tuple[Plan, ...]
    packs: tuple[Pack, ...]
    purchase: Purchase | None
    task_fee: Fee
    low_balance: Mapping[str, tuple[Decimal, ...]]


class Economy(Resource[Mode]):
    """What an economy file says, as far as everybody may know it."""

    @operation
    def get(self) -> Request[EconomyFile]:
        """What is counted, given and sold. No key needed."""
        return get("/economy", EconomyFile)
