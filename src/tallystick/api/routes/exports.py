"""Statements, usage and payments as CSV files, for finance."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request

from tallystick.api.answers.exports import PAYMENTS, PAYOUTS, TRANSACTIONS, USAGE, Csv, csv_file
from tallystick.api.auth import CallerOf
from tallystick.api.models import CustomerQuery, UnitQuery
from tallystick.api.routes.billing import FromQuery, ToQuery
from tallystick.api.routes.payments import EverybodyQuery
from tallystick.api.routes.shared import router, services, time_of

routes = router("billing")

SoldUnitQuery = Annotated[str | None, Query(alias="unit", description="Only what was bought in this unit")]

_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A CSV file by RFC 4180 in UTF-8, its first line the names of its columns",
        "headers": {"Content-Disposition": {"description": "The file's name", "schema": {"type": "string"}}},
    }
}


@routes.get("/billing/export/transactions", response_class=Csv, responses=_FILE)
def export_transactions(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    unit: UnitQuery = None,
    start: FromQuery = None,
    end: ToQuery = None,
) -> Csv:
    """A wallet's statement as CSV, oldest first: each line with its amount and the balance after it."""
    found = services(request).exports.transactions(
        caller, customer=customer, unit=unit, start=time_of(start, "from"), end=time_of(end, "to")
    )
    return csv_file("transactions", found, TRANSACTIONS)


@routes.get("/billing/export/usage", response_class=Csv, responses=_FILE)
def export_usage(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    unit: UnitQuery = None,
    start: FromQuery = None,
    end: ToQuery = None,
) -> Csv:
    """What a wallet spent and earned as CSV, oldest first: a line for each day (UTC) and meter."""
    found = services(request).exports.usage(
        caller, customer=customer, unit=unit, start=time_of(start, "from"), end=time_of(end, "to")
    )
    return csv_file("usage", found, USAGE)


@routes.get("/billing/export/payments", response_class=Csv, responses=_FILE)
def export_payments(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    everybody: EverybodyQuery = False,
    unit: SoldUnitQuery = None,
    start: FromQuery = None,
    end: ToQuery = None,
) -> Csv:
    """Payments as CSV, oldest first, with their credits and the provider's ids. ``from`` and ``to`` are about the order."""
    found = services(request).exports.payments(
        caller,
        customer=customer,
        everybody=everybody,
        unit=unit,
        start=time_of(start, "from"),
        end=time_of(end, "to"),
    )
    return csv_file("payments", found, PAYMENTS)


@routes.get("/billing/export/payouts", response_class=Csv, responses=_FILE)
def export_payouts(request: Request, caller: CallerOf, *, unit: UnitQuery = None) -> Csv:
    """What customers have earned with their agents as CSV, a line each. For services and admins."""
    return csv_file("payouts", services(request).payouts.export(caller, unit=unit), PAYOUTS)
