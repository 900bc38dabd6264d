"""Settlements: what one customer owes another for work, less the platform's fee, in one transaction."""

from __future__ import annotations

from decimal import Decimal

from tallystick.core.amounts import fee_of, parse_amount
from tallystick.core.settlement import Settle, SettlementResult
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.pricing import Pricing, require_service
from tallystick.services.requests import check_text, idempotency_fields


class Settlements:
    """For services and admins: whoever runs the marketplace says what was agreed."""

    def __init__(self, context: Context, customers: Customers, pricing: Pricing) -> None:
        self._context = context
        self._customers = customers
        self._pricing = pricing

    def create(
        self,
        caller: Caller,
        *,
        payer: str,
        payee: str,
        price: Decimal | int | str,
        unit: str | None = None,
        description: str | None = None,
        idempotency_key: str | None,
    ) -> Answer[SettlementResult]:
        """Pay ``price`` from payer to payee; the economy's task fee is taken from what the payee gets."""
        require_service(caller)
        economy = self._context.economy()
        name = economy.unit(unit).name if unit is not None else economy.primary_unit
        micros = parse_amount(price, field="price", allow_zero=True)
        fee = economy.task_fee
        operation = Settle(
            customer_id=self._customers.resolve(caller, payer),
            other_customer_id=self._customers.resolve(caller, payee),
            caller=caller.name,
            unit=name,
            price=micros,
            fee=fee_of(micros, fee.basis_points, fee.fixed_micros, fee.rounding),
            priority=economy.priority("task_credit"),
            economy=economy.version,
            description=check_text(description, field="description"),
            **idempotency_fields(
                caller, idempotency_key, "settlement", (payer, payee, micros, name, description)
            ),
        )
        return self._pricing.finish(operation, self._context.commit.run(operation))
