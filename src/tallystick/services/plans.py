"""The plan a customer is on, and changing it."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.core import errors
from tallystick.core.catalog import Plan
from tallystick.core.ids import to_text
from tallystick.core.membership import ChangePlan, PlanResult
from tallystick.core.plans import period_containing
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.due import settle_if_due
from tallystick.services.requests import idempotency_fields
from tallystick.store import memberships


@dataclass(frozen=True, slots=True)
class AllowanceView:
    """What a plan gives per period in one unit, and what this period has given already; None is unlimited."""

    unit: str
    amount: int | None
    granted: int
    rollover_cap: int | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """A customer's plan. ``title`` is None for a plan that the active economy no longer has."""

    customer_id: int
    plan: str
    title: str | None
    since: int
    period_start: int
    period_end: int
    allowances: tuple[AllowanceView, ...]


class Plans:
    """Read and change plans."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def get(self, caller: Caller, *, customer: str | None = None) -> PlanView:
        """The plan, its current period and what of its allowances came in it."""
        context = self._context
        customer_id = self._customers.resolve(caller, customer)
        settle_if_due(context, customer_id)
        with context.database.read() as connection:
            found = memberships.get(connection, customer_id)
        if found is None:
            raise errors.UnknownCustomer(customer or to_text("cust", customer_id))
        plan = context.economy().plans.get(found.plan)
        start, end, granted = found.period_start, found.period_end, found.granted
        now = context.now()
        if end <= now and found.paid_by is None:
            # Nothing was due in a plan without an allowance, so its periods pass unrecorded.
            start, end = period_containing("calendar" if plan is None else plan.renews, found.anchor_at, now)
            granted = {}
        allowances = () if plan is None else plan.allowances
        return PlanView(
            customer_id=customer_id,
            plan=found.plan,
            title=None if plan is None else plan.title,
            since=found.since,
            period_start=start,
            period_end=end,
            allowances=tuple(
                AllowanceView(
                    each.unit, each.amount_micros, granted.get(each.unit, 0), each.rollover_cap_micros
                )
                for each in allowances
            ),
        )

    def change(
        self, caller: Caller, *, customer: str | None, plan: str, idempotency_key: str | None = None
    ) -> Answer[PlanResult]:
        """Put a customer on a plan now. Credits that it has are never touched, and no period grants twice.

        For services and admins; without a key, a repeat finds the plan in place and grants nothing more.
        """
        if not caller.is_service:
            raise errors.NotAllowed("a plan is changed by the operator: ask an admin or a service for it")
        economy = self._context.economy()
        chosen = economy.plan(plan)
        repeat = {}
        if idempotency_key is not None:
            repeat = idempotency_fields(caller, idempotency_key, "plan_change", (customer, chosen.name))
        operation = ChangePlan(
            customer_id=self._customers.resolve(caller, customer),
            caller=caller.name,
            economy=economy.version,
            plan=chosen,
            catalog=economy,
            **repeat,
        )
        outcome = self._context.commit.run(operation)
        return Answer(outcome.value(), outcome.replayed)

    def put(self, customer_id: int, plan: Plan) -> PlanResult:
        """Put a customer on a free plan, by its own choice. Raises ``Conflict`` while a subscription pays for another."""
        economy = self._context.economy()
        operation = ChangePlan(
            customer_id=customer_id,
            caller=to_text("cust", customer_id),
            economy=economy.version,
            plan=plan,
            catalog=economy,
        )
        result: PlanResult = self._context.commit.run(operation).value()
        return result
