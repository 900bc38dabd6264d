"""Metering by the services of this process: no network, and what is held or captured waits for one commit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio.to_thread

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.core.operations import ResolveResult
from tallystick.metering.orders import (
    Answered,
    Away,
    Found,
    GiveBack,
    Look,
    Order,
    Place,
    Placed,
    Prices,
    Receipt,
    Refused,
    Step,
    Take,
)
from tallystick.plain_json import number, price_of
from tallystick.problem_details import document_of, headers_of
from tallystick.services.context import Answer, Caller
from tallystick.services.keys import scope_of_service
from tallystick.services.pricing import Usage


class Embedded:
    """Charges for calls as a service, which may hold credits of any customer."""

    is_remote = False

    def __init__(self, tally: Tally, *, name: str = "metering") -> None:
        self._tally = tally
        self._caller = Caller(role="service", scope=scope_of_service(name), name=name)
        self._shown: tuple[str, Prices] = ("", {})

    def prices(self) -> Prices:
        """Those of the active economy."""
        economy = self._tally.context.economy()
        if self._shown[0] != economy.version:
            self._shown = (economy.version, {name: price_of(meter) for name, meter in economy.meters.items()})
        return self._shown[1]

    async def prices_async(self) -> Prices:
        """As ``prices``: nothing waits."""
        return self.prices()

    def do(self, step: Step) -> Answered:
        """Answer a step by the services."""
        holds = self._tally.holds
        try:
            match step:
                case Place(order=order) if order.meter is None:
                    return _placed(self._place_amount(step))
                case Place(order=order, key=key, expires_in=seconds):
                    return _placed(
                        holds.create(self._caller, _usage(order), idempotency_key=key, expires_in=seconds)
                    )
                case Look():
                    return self._look(step)
                case Take():
                    return _receipt(
                        step.order,
                        holds.capture(self._caller, step.id, **step.content, idempotency_key=step.key),
                    )
                case GiveBack(id=hold, key=key):
                    holds.release(self._caller, hold, idempotency_key=key)
                    return None
        except errors.Refusal as refusal:
            raise self._refused(refusal) from refusal

    async def do_async(self, step: Step) -> Answered:
        """As ``do``, awaited: what the ledger does joins the next commit, and the rest goes by a thread."""
        holds, caller = self._tally.holds, self._caller
        try:
            match step:
                case Place(order=order, key=key, expires_in=seconds) if order.meter is not None:
                    return _placed(
                        await holds.create_async(
                            caller, _usage(order), idempotency_key=key, expires_in=seconds
                        )
                    )
                case Take():
                    return _receipt(
                        step.order,
                        await holds.capture_async(caller, step.id, **step.content, idempotency_key=step.key),
                    )
                case GiveBack(id=hold, key=key):
                    await holds.release_async(caller, hold, idempotency_key=key)
                    return None
        except errors.Refusal as refusal:
            raise self._refused(refusal) from refusal
        return await anyio.to_thread.run_sync(self.do, step)

    def close(self) -> None:
        """Nothing is this way's own."""

    def _place_amount(self, step: Place) -> Answer[Any]:
        order = step.order
        return self._tally.holds.create_amount(
            self._caller,
            customer=order.customer,
            amount=order.cost(order.quantity),
            unit=order.unit,
            description=order.description,
            metadata=order.metadata,
            idempotency_key=step.key,
            expires_in=step.expires_in,
        )

    def _look(self, step: Look) -> Found:
        status, charge_id = self._tally.holds.outcome(self._caller, step.id)
        if charge_id is None:
            return Found(status)
        charge = to_text("chg", charge_id)
        found = self._tally.explain.charge(self._caller, charge)
        receipt = Receipt(
            meter=step.order.meter,
            charged=_decimal(found.amount),
            unit=found.unit,
            balance=_decimal(found.balance),
            charge=charge,
        )
        return Found(status, receipt, (self._tally.context.now() - found.created_at) / MICROS)

    def _refused(self, refusal: errors.Refusal) -> Refused:
        context = self._tally.context
        kind = Away if isinstance(refusal, errors.ServiceUnavailable) else Refused
        return kind(document_of(refusal, number, base=context.public_url), headers_of(refusal, context.now()))


def _usage(order: Order) -> Usage:
    assert order.meter is not None
    return Usage(
        meter=order.meter,
        quantity=order.quantity,
        customer=order.customer,
        description=order.description,
        metadata=order.metadata,
    )


def _placed(answer: Answer[Any]) -> Placed:
    return Placed(to_text("hold", answer.value.id), answer.replayed)


def _receipt(order: Order, answer: Answer[ResolveResult]) -> Receipt:
    done = answer.value
    return Receipt(
        meter=order.meter,
        charged=_decimal(done.captured),
        unit=done.unit,
        balance=_decimal(done.balance),
        charge=to_text("chg", done.id),
    )


def _decimal(micros: int) -> Decimal:
    return Decimal(micros).scaleb(-6)
