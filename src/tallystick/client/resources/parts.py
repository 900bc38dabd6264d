"""What answers about several nouns share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tallystick.client.models import Model


@dataclass(frozen=True, kw_only=True)
class Part(Model):
    """What one grant gave or got back."""

    grant: str
    amount: Decimal
    unit: str


@dataclass(frozen=True, kw_only=True)
class LimitState(Model):
    """What an hourly limit allows after a call."""

    remaining: int
    reset_at: datetime


@dataclass(frozen=True, kw_only=True)
class RateLimit(LimitState):
    """An hourly limit, and what it still allows."""

    limit: int
