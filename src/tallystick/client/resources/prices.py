"""The rate card."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Request, get


@dataclass(frozen=True, kw_only=True)
class Tier(Model):
    """The price up to a quantity; without one, beyond the last."""

    up_to: Decimal | None
    per_unit: Decimal
    flat: Decimal


@dataclass(frozen=True, kw_only=True)
class Price(Model):
    """One part of a meter's price."""

    unit: str
    kind: str
    flat: Decimal
    per_unit: Decimal
    tiers: tuple[Tier, ...]


@dataclass(frozen=True, kw_only=True)
class Meter(Model):
    """What is measured, and what it costs."""

    meter: str
    category: str
    description: str
    hourly_limit: int | None
    note: str
    prices: tuple[Price, ...]


@dataclass(frozen=True, kw_only=True)
class RateCard(Model):
    """All prices of an economy, and its version."""

    economy: str
    economy_version: str
    primary_unit: str
    meters: tuple[Meter, ...]


class Prices(Resource[Mode]):
    """What usage costs."""

    @operation
    def get(self) -> Request[RateCard]:
        """All prices. No key needed."""
        return get("/prices", RateCard)
