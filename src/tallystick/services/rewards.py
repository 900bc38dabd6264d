"""Credits that are earned: awards for challenges and app usage, referrals, and what a customer has earned so far."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tallystick.core import errors
from tallystick.core.adjustments import GrantResult
from tallystick.services.billing import Billing
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.grants import Grants
from tallystick.store import grants as store

SOURCES: Final = ("challenge", "app_usage", "referral")


@dataclass(frozen=True, slots=True)
class Stats:
    """What a customer earned and spent over its life, in micro-units of the primary unit."""

    earned: int
    spent: int
    challenges: int
    app_revenue: int


class Rewards:
    """Award credits, and tell what was earned."""

    def __init__(self, context: Context, grants: Grants, billing: Billing) -> None:
        self._context = context
        self._grants = grants
        self._billing = billing

    def earn(
        self,
        caller: Caller,
        *,
        customer: str,
        amount: Decimal | int | str,
        reason: str,
        source: str,
        idempotency_key: str,
    ) -> Answer[GrantResult]:
        """Award credits for a fact. For services and admins; raises ``NotAllowed`` for anybody else."""
        if source not in SOURCES:
            raise errors.ValidationFailed([("source", f"expected one of {', '.join(SOURCES)}")])
        return self._grants.create(
            caller,
            customer=customer,
            amount=amount,
            category="referral" if source == "referral" else "reward",
            reason=reason,
            reference=source,
            idempotency_key=idempotency_key,
        )

    def stats(self, caller: Caller, *, customer: str | None = None) -> Stats:
        """What a customer earned and spent. Grants that were voided count no more."""
        balance = self._billing.balance(caller, customer=customer)
        with self._context.database.read() as connection:
            found = store.earned_by_reference(connection, balance.customer_id, balance.unit)
        return Stats(
            earned=balance.earned,
            spent=balance.spent,
            challenges=found.get("challenge", (0, 0))[0],
            app_revenue=found.get("app_usage", (0, 0))[1],
        )
