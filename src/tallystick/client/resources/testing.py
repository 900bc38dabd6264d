"""What there is in test mode alone: a clock that moves, and a bank that does as it is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallystick.client.exact import Moment, Number, moment, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, post


@dataclass(frozen=True, kw_only=True)
class Ran(Model):
    """How much of one kind of work was done."""

    job: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Clock(Model):
    """The time now, and the work that became due on the way."""

    now: datetime
    ran: tuple[Ran, ...]


@dataclass(frozen=True, kw_only=True)
class SimulatedDispute(Model):
    """A dispute: ``withdrawn`` is what the provider has taken back for it and not returned."""

    id: str
    status: str
    amount: Decimal
    withdrawn: Decimal
    reason: str


@dataclass(frozen=True, kw_only=True)
class SimulatedPayment(Model):
    """A payment as the simulated provider has it now. ``id`` is the provider's, ``reference`` ours."""

    id: str
    reference: str | None
    status: str
    amount: Decimal
    currency: str
    refunded: Decimal
    disputes: tuple[SimulatedDispute, ...]
    failure: str | None
    created_at: datetime


class Testing(Resource[Mode]):
    """For admins, in test mode."""

    @operation
    def move_clock(self, *, advance: str | None = None, now: Moment | None = None) -> Request[Clock]:
        """Move the clock forwards by a duration (``"P1D"``) or to a moment, and do all that becomes due."""
        body = {"advance": advance, "now": moment(now)}
        # A duration that is repeated is twice as long.
        return post("/test/clock", Clock, body, repeat=Repeat.SAME if advance is None else Repeat.TWICE)

    @operation
    def simulate(
        self,
        payment: str,
        action: Literal[
            "dispute", "inquiry", "win", "lose", "refund", "fail-refund", "settle", "fail", "detach-card"
        ],
        *,
        amount: Number | None = None,
    ) -> Request[SimulatedPayment]:
        """Do to a simulated payment what a bank would. ``amount`` is for ``refund``; without it, all that is left."""
        names, body = {"payment": payment, "action": action}, {"amount": number(amount)}
        return post(
            "/test/payments/{payment}/{action}", SimulatedPayment, body, names=names, repeat=Repeat.TWICE
        )
