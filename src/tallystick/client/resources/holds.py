"""Holds: reserve now, take the actual amount later, give the rest back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal

from tallystick.client.errors import OutcomeUnknown, TallyError
from tallystick.client.exact import Number, number
from tallystick.client.inputs import Also, usage_body
from tallystick.client.models import OURS, Model, from_json
from tallystick.client.operations import Awaiting, Blocking, Mode, Performer, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Request, get, post
from tallystick.client.resources.parts import LimitState, Part


@dataclass(frozen=True, kw_only=True)
class HoldEnd(Model):
    """What became of a hold. ``charge`` is the id to refund or explain what was captured by."""

    id: str
    status: str
    charge: str | None
    captured: Decimal
    released: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    balance: Decimal
    available: Decimal
    grants: tuple[Part, ...]
    economy_version: str | None
    resolved_at: datetime


@dataclass(frozen=True, kw_only=True)
class HoldReceipt(Model):
    """The charge that a hold was captured by. ``balance`` is the one after it."""

    charge: str
    amount: Decimal
    unit: str
    balance: Decimal
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Hold(Model):
    """A hold as it is now: ``open``, ``captured``, ``released`` or ``expired``."""

    id: str
    customer: str
    status: str
    meter: str | None
    quantity: Decimal | None
    amount: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    captured: Decimal | None
    charge: str | None
    agent: str | None
    description: str | None
    metadata: Mapping[str, Any]
    expires_at: datetime
    created_at: datetime
    resolved_at: datetime | None
    economy_version: str | None


@dataclass(frozen=True, kw_only=True)
class HoldDetail(Hold):
    """One hold. ``receipt`` is there once it was captured."""

    receipt: HoldReceipt | None


@dataclass(frozen=True, kw_only=True)
class HoldPage(Page[Hold, Mode]):
    """A page of holds."""

    noun = "holds"

    holds: tuple[Hold, ...]


@dataclass
class _Progress:
    """What was done through a handle: the keys that captures were sent with, and whether the hold is ended."""

    ended: bool = False
    captures: set[str | None] = field(default_factory=set)

    def is_settled(self, error: BaseException | None) -> bool:
        """Whether nothing is to be released after ``error``: the hold is ended, or perhaps captured by now."""
        return self.ended or (isinstance(error, OutcomeUnknown) and error.idempotency_key in self.captures)


@dataclass(frozen=True, kw_only=True)
class NewHold(Model, Resource[Mode]):
    """A hold that was made, and the handle to end it. At the end of a ``with`` block it is released unless it was captured.

    A capture whose outcome is unknown is not undone: repeat it with the key of the error, or let the hold expire.
    """

    id: str
    status: str
    meter: str | None
    quantity: Decimal | None
    amount: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    expires_at: datetime
    balance: Decimal
    available: Decimal
    grants: tuple[Part, ...]
    limit: LimitState | None
    economy_version: str | None
    created_at: datetime
    _client: Performer = field(repr=False, compare=False, metadata=OURS)
    _progress: _Progress = field(default_factory=_Progress, repr=False, compare=False, metadata=OURS)

    @operation
    def capture(
        self,
        *,
        amount: Number | None = None,
        quantity: Number | None = None,
        idempotency_key: str | None = None,
    ) -> Request[HoldEnd]:
        """Take what was used: an amount, the price of a quantity, or, with neither, all that was held."""
        request = _capture(self.id, amount, quantity, idempotency_key)
        self._progress.captures.add(request.idempotency_key)
        return self._noted(request)

    @operation
    def release(self, *, idempotency_key: str | None = None) -> Request[HoldEnd]:
        """Give everything back."""
        return self._noted(_release(self.id, idempotency_key))

    def __enter__(self: NewHold[Blocking]) -> NewHold[Blocking]:
        return self

    def __exit__(
        self: NewHold[Blocking],
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._progress.is_settled(error):
            return
        try:
            self.release()
        except TallyError as failure:
            _tell(failure, error)

    async def __aenter__(self: NewHold[Awaiting]) -> NewHold[Awaiting]:
        return self

    async def __aexit__(
        self: NewHold[Awaiting],
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._progress.is_settled(error):
            return
        try:
            # Whoever is cancelled here still gives back what was held.
            await asyncio.shield(asyncio.ensure_future(self.release()))
        except TallyError as failure:
            _tell(failure, error)

    def _noted(self, request: Request[HoldEnd]) -> Request[HoldEnd]:
        """The same request, after which this handle knows that the hold is ended."""

        def read(data: object) -> HoldEnd:
            end = request.read(data)
            self._progress.ended = True
            return end

        return replace(request, read=read)


class Holds(Resource[Mode]):
    """Reserve before the work, pay after it."""

    @operation
    def create(
        self,
        *,
        meter: str | None = None,
        quantity: Number | None = None,
        also: Iterable[Also] = (),
        amount: Number | None = None,
        unit: str | None = None,
        customer: str | None = None,
        agent: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: int | None = None,
        idempotency_key: str | None = None,
    ) -> Request[NewHold[Mode]]:
        """Reserve the price of a usage (``meter``), or an ``amount``, until ``expires_in`` seconds from now.

        ``with`` (``async with``) the hold that this gives, it is released at the end unless it was captured.
        """
        usage = usage_body(
            meter=meter,
            quantity=quantity,
            also=also,
            customer=customer,
            agent=agent,
            description=description,
            metadata=metadata,
        )
        body = usage | {"amount": number(amount), "unit": unit, "expires_in": expires_in}
        request = post("/holds", NewHold[Mode], body, key=idempotency_key)
        return replace(request, read=lambda data: from_json(NewHold[Mode], data, _client=self._client))

    @operation
    def get(self, hold: str) -> Request[HoldDetail]:
        """A hold as it is now, with the receipt of its charge once it was captured."""
        return get("/holds/{hold_id}", HoldDetail, names={"hold_id": hold})

    @operation
    def list(
        self,
        *,
        customer: str | None = None,
        status: Literal["open", "captured", "released", "expired"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[HoldPage[Mode]]:
        """A customer's holds, newest first."""
        query = {"customer": customer, "status": status, "limit": limit, "cursor": cursor}
        return page(self, "/holds", HoldPage[Mode], query)

    @operation
    def capture(
        self,
        hold: str,
        *,
        amount: Number | None = None,
        quantity: Number | None = None,
        idempotency_key: str | None = None,
    ) -> Request[HoldEnd]:
        """As the handle's ``capture``, for a hold of which only the id is known."""
        return _capture(hold, amount, quantity, idempotency_key)

    @operation
    def release(self, hold: str, *, idempotency_key: str | None = None) -> Request[HoldEnd]:
        """As the handle's ``release``, for a hold of which only the id is known."""
        return _release(hold, idempotency_key)


def _capture(hold: str, amount: Number | None, quantity: Number | None, key: str | None) -> Request[HoldEnd]:
    body = {"amount": number(amount), "quantity": number(quantity)}
    return post("/holds/{hold_id}/capture", HoldEnd, body, names={"hold_id": hold}, key=key)


def _release(hold: str, key: str | None) -> Request[HoldEnd]:
    return post("/holds/{hold_id}/release", HoldEnd, names={"hold_id": hold}, key=key)


def _tell(failure: TallyError, error: BaseException | None) -> None:
    """A release that failed must not hide why the block ended. One of a hold that has ended is none."""
    if failure.code == "HOLD_NOT_OPEN":
        return
    if error is None:
        raise failure
    error.add_note(f"The hold was not released either, and ends by itself when it expires: {failure}")
