"""An independent model of the ledger: deliberately simple, written from the documents and not from the code.

It holds each customer's lots, debt, holds and plan as plain numbers and lists, looks at all of them for every
operation, and says what the operation must answer and which lines the statement must gain. It knows no
database, no batch, no cache and no ledger account. Where the ledger makes an id, the model is told it.
"""

from collections import Counter
from fractions import Fraction
from typing import Any, Final

from tallystick.core.adjustments import ClawBack, Grant, Refund, Reinstate, SetFrozen, VoidGrant
from tallystick.core.catalog import Plan
from tallystick.core.membership import ChangePlan, OpenCustomer
from tallystick.core.operations import Charge, Operation, PlaceHold, Resolve
from tallystick.core.paid_plans import EndPaidPlan, PaidPeriod
from tallystick.core.settlement import Settle
from tests.model.calendar import months_after, period_around
from tests.model.holdings import Customer, Lot, Mismatch, Paid, Refused, Wallet
from tests.model.state import Figures
from tests.model.subscriptions import Subscriptions
from tests.model.usage import Usage, shown

LARGEST_BALANCE: Final = 4_611_686_018_427_387_903


class Model(Subscriptions, Usage):
    """All customers. ``apply`` predicts one operation; ``catch_up`` what time alone makes happen."""

    def apply(self, operation: Operation, number: int) -> tuple[Figures, bool]:
        """What the operation must answer now, and whether that is a repeat. Raises ``Refused``.

        ``number`` is the id that the ledger gave it.
        """
        key = operation.idempotency
        if key is not None and key in self.answers:
            digest, figures = self.answers[key]
            if digest != operation.request_digest:
                raise Refused("idempotency_key_reused")
            return figures, True
        if operation.customer_id not in self.customers and not isinstance(operation, OpenCustomer):
            raise Refused("unknown_customer")
        figures = METHODS[type(operation)](self, operation, number)
        if key is not None:
            self.answers[key] = operation.request_digest, figures
        return figures, False

    # --- what operators do ---------------------------------------------------------------------------------

    def refund(self, operation: Refund, number: int) -> Figures:
        """To the lots that paid, the last first."""
        paid = self.paid.get(operation.charge_id or 0)
        if paid is None:
            raise Refused("not_found")
        gave = paid.by_lot()
        left: Counter[str] = Counter({paid.unit: 0})
        for lot, part in gave.values():
            left[lot.unit] += part - paid.returned[lot.id]
        unit = operation.unit or paid.unit
        wanted = dict(left) if operation.amount is None else {unit: operation.amount}
        if not any(wanted.values()) or wanted.get(unit, 0) > left[unit]:
            raise Refused(
                "exceeds_refundable", unit=unit, requested=wanted.get(unit, 0), refundable=left[unit]
            )
        for each, amount in wanted.items():
            if self._wallet(paid.customer_id, each).balance + amount > LARGEST_BALANCE:
                raise Refused("amount_too_large")
        draws: list[tuple[Lot, int]] = []
        for each, amount in wanted.items():
            draws += self._give_back(paid, each, amount)
        wallet = self._wallet(paid.customer_id, unit)
        refundable = left[unit] - wanted.get(unit, 0)
        return {
            "id": number,
            "charge_id": operation.charge_id,
            "unit": unit,
            "amount": wanted.get(unit, 0),
            "amounts": tuple(wanted.items()),
            "refunded": sum(part for lot, part in gave.values() if lot.unit == unit) - refundable,
            "refundable": refundable,
            "balance": wallet.balance,
            "available": wallet.available(self.now),
            "draws": shown(draws),
        }

    def _give_back(self, paid: Paid, unit: str, amount: int) -> list[tuple[Lot, int]]:
        """Return ``amount`` in one unit, and take it from what budgets have spent, the last count first."""
        uncounted = dict.fromkeys((budget_id for budget_id, *_ in paid.spends), amount)
        for place in reversed(range(len(paid.spends))):
            budget_id, spent_unit, period, counted = paid.spends[place]
            if spent_unit == unit:
                part = min(counted, uncounted[budget_id])
                uncounted[budget_id] -= part
                self._limit(budget_id).spent[period] -= part
                paid.spends[place] = budget_id, spent_unit, period, counted - part
        draws = []
        for lot, part in reversed(paid.by_lot().values()):
            back = min(amount, part - paid.returned[lot.id]) if lot.unit == unit else 0
            if back:
                self._wallet(paid.customer_id, unit).credit(lot, back, "refund", self.now)
                paid.returned[lot.id] += back
                draws.append((lot, back))
                amount -= back
        return draws

    def grant(self, operation: Grant, number: int) -> Figures:
        """A new lot, now or when its time comes."""
        customer = self.customers[operation.customer_id]
        wallet = self._wallet(customer.id, operation.unit)
        starts_at = self.now if operation.effective_at is None else operation.effective_at
        if operation.expires_at is not None and operation.expires_at <= max(starts_at, self.now):
            raise Refused("validation_failed")
        if wallet.balance + operation.amount > LARGEST_BALANCE:
            raise Refused("amount_too_large")
        lot = self._new_lot(
            customer,
            operation.unit,
            operation.category,
            operation.amount,
            expires_at=operation.expires_at,
            priority=operation.priority,
        )
        lot.starts_at, lot.origin = starts_at, operation.origin
        if starts_at > self.now:
            customer.scheduled.append(lot)
        else:
            self._start(wallet, lot)
        if lot.id != number:
            raise Mismatch(f"the ledger answers grant {number} and made {lot.id}")
        return self._figures_of_grant(customer.id, lot, lot.amount)

    def _figures_of_grant(self, customer_id: int, lot: Lot, amount: int) -> Figures:
        wallet = self._wallet(customer_id, lot.unit)
        return {
            "id": lot.id,
            "customer_id": customer_id,
            "unit": lot.unit,
            "amount": amount,
            "category": lot.category,
            "origin": lot.origin,
            "priority": lot.priority,
            "effective_at": lot.starts_at,
            "expires_at": lot.expires_at,
            "balance": wallet.balance,
            "available": wallet.available(self.now),
            "created_at": self.now,
        }

    def void(self, operation: VoidGrant, _number: int) -> Figures:
        """What is free of a grant goes; what is held of it goes when the hold ends."""
        lot = self.grants.get(operation.grant_id or 0)
        if lot is None or lot.standing:
            raise Refused("not_found")
        if lot.voided:
            raise Refused("conflict")
        customer = self.customers[operation.customer_id]
        lot.voided = True
        if lot in customer.scheduled:
            customer.scheduled.remove(lot)
        removed = customer.wallets[lot.unit].lapse(lot, self.now)
        return self._figures_of_grant(customer.id, lot, removed)

    def claw_back(self, operation: ClawBack, number: int) -> Figures:
        """What is free of a grant is taken; the rest is owed."""
        lot = self.grants.get(operation.grant_id or 0)
        if lot is None or lot.standing:
            raise Refused("not_found")
        if lot.voided:
            raise Refused("conflict")
        most = lot.amount - lot.clawed_back if lot.started else 0
        if operation.amount > most:
            raise Refused("exceeds_refundable", unit=lot.unit, requested=operation.amount, refundable=most)
        wallet = self._wallet(operation.customer_id, lot.unit)
        removed = min(lot.free, operation.amount)
        lot.left -= removed
        lot.clawed_back += operation.amount
        wallet.debt += operation.amount - removed
        wallet.write("clawback", -operation.amount)
        return {
            "id": number,
            "grant_id": lot.id,
            "amount": operation.amount,
            "removed": removed,
            "owed": operation.amount - removed,
            "debt": wallet.debt,
            "balance": wallet.balance,
            "available": wallet.available(self.now),
        }

    def reinstate(self, operation: Reinstate, number: int) -> Figures:
        """What was taken of a grant comes back to it, and pays what is owed first."""
        lot = self.grants.get(operation.grant_id or 0)
        if lot is None or lot.standing:
            raise Refused("not_found")
        if operation.amount > lot.clawed_back:
            raise Refused(
                "exceeds_refundable",
                unit=lot.unit,
                requested=operation.amount,
                refundable=lot.clawed_back,
            )
        wallet = self._wallet(operation.customer_id, lot.unit)
        owed = wallet.debt
        lot.clawed_back -= operation.amount
        wallet.credit(lot, operation.amount, "clawback", self.now)
        return {
            "id": number,
            "grant_id": lot.id,
            "amount": operation.amount,
            "repaid": owed - wallet.debt,
            "debt": wallet.debt,
            "balance": wallet.balance,
            "available": wallet.available(self.now),
        }

    def freeze(self, operation: SetFrozen, number: int) -> Figures:
        """Time stands still for the lots of a frozen wallet, and goes on where it stood."""
        wallet = self._wallet(operation.customer_id, operation.unit)
        if operation.frozen and wallet.frozen_at is None:
            wallet.frozen_at = self.now
        elif not operation.frozen and wallet.frozen_at is not None:
            for lot in wallet.lots:
                if lot.left and not lot.voided and (lot.expires_at or 0) > wallet.frozen_at:
                    stood = self.now - max(wallet.frozen_at, lot.starts_at)
                    lot.expires_at = (lot.expires_at or 0) + max(stood, 0)
            wallet.frozen_at = None
        return {"id": number, "unit": operation.unit, "frozen_at": wallet.frozen_at}

    def settle(self, operation: Settle, number: int) -> Figures:
        """From one customer's lots to lots that another earns, by origin; the fee goes to the platform."""
        payee = self.customers.get(operation.other_customer_id or 0)
        if payee is None:
            raise Refused("unknown_customer")
        payer = self._wallet(operation.customer_id, operation.unit)
        earner = self._wallet(payee.id, operation.unit)
        price, fee = operation.price, operation.fee
        draws: list[tuple[Lot, int]] = []
        if price == 0 or payer is earner:
            price = fee = 0
        else:
            if payer.frozen_at is not None:
                raise Refused("wallet_frozen", unit=operation.unit)
            self._check_credits(payer, price)
            if earner.balance + price > LARGEST_BALANCE:
                raise Refused("amount_too_large")
            draws = self._spend(payer, price)
            payer.write("task_debit", -price)
            earner.write("task_credit", price - fee)
            paid = sum(part for lot, part in draws if lot.origin == "paid")
            fee_of_paid = int(Fraction(fee * paid, price))
            payouts = {"paid": paid - fee_of_paid, "free": price - paid - (fee - fee_of_paid)}
            self._earn(payee, operation, {origin: part for origin, part in payouts.items() if part})
        return {
            "id": number,
            "payer_id": operation.customer_id,
            "payee_id": payee.id,
            "price": price,
            "fee": fee,
            "payout": price - fee,
            "balance": payer.balance,
            "available": payer.available(self.now),
            "draws": shown(draws),
        }

    def _earn(self, payee: Customer, operation: Settle, payouts: dict[str, int]) -> None:
        wallet = payee.wallets[operation.unit]
        lots = []
        for origin, amount in payouts.items():
            lot = self._new_lot(
                payee,
                operation.unit,
                "task_credit",
                amount,
                expires_at=None,
                priority=operation.priority,
            )
            lot.origin, lot.started = origin, True
            wallet.put(lot, amount)
            lots.append(lot)
        for lot in lots:
            wallet.repay(lot)

    # --- customers and plans -------------------------------------------------------------------------------

    def open(self, operation: OpenCustomer, number: int) -> Figures:
        """Wallets, sign-up grants and the default plan."""
        catalog = operation.catalog
        plan = catalog.plan(catalog.default_plan)
        customer = Customer(
            operation.customer_id,
            {unit: Wallet(unit) for unit in catalog.units},
            plan.name,
            self.now,
            period_around(plan.renews, self.now, self.now),
        )
        self.customers[customer.id] = customer
        for gift in catalog.sign_up:
            after = gift.expires_after
            expires_at = None if after is None else months_after(self.now, after.months) + after.micros
            lot = self._new_lot(customer, gift.unit, gift.category, gift.amount_micros, expires_at=expires_at)
            self._start(customer.wallets[gift.unit], lot)
        granted = self._enter(customer, plan)
        return _figures_of_plan(number, customer, None, granted)

    def change_plan(self, operation: ChangePlan, number: int) -> Figures:
        """Another plan, now; credits stay as they are."""
        customer = self.customers[operation.customer_id]
        before, plan = self.economy.plans[customer.plan], operation.plan
        if customer.payer is not None:
            return self._same_plan(customer, plan, number)
        if customer.period[1] <= self.now:
            customer.period = period_around(before.renews, customer.anchor_at, self.now)
            customer.granted.clear()
        if before.renews != plan.renews:
            customer.anchor_at = at = max(self.now, customer.period[0])
            customer.period = period_around(plan.renews, at, at)
        customer.plan = plan.name
        return _figures_of_plan(number, customer, before.name, self._enter(customer, plan))

    def _same_plan(self, customer: Customer, plan: Plan, number: int) -> Figures:
        """What a subscription pays for is not changed; only what its plan gives more than before comes at once."""
        if plan.name != customer.plan:
            raise Refused("conflict")
        granted = []
        for unit in customer.wallets if customer.period[1] > self.now else ():
            allowance = plan.allowance(unit)
            more = 0 if allowance is None else (allowance.amount_micros or 0) - customer.granted[unit]
            if more > 0 and plan.starts == "now":
                self._allow(customer, plan, unit, more)
                granted.append((unit, more))
        return _figures_of_plan(number, customer, plan.name, tuple(granted))


def _figures_of_plan(
    number: int, customer: Customer, previous: str | None, granted: tuple[tuple[str, int], ...]
) -> Figures:
    return {
        "id": number,
        "plan": customer.plan,
        "previous": previous,
        "period_end": customer.period[1],
        "granted": granted,
    }


METHODS: Final[dict[type, Any]] = {
    Charge: Model.charge,
    PlaceHold: Model.hold,
    Resolve: Model.resolve,
    Refund: Model.refund,
    Grant: Model.grant,
    VoidGrant: Model.void,
    ClawBack: Model.claw_back,
    Reinstate: Model.reinstate,
    SetFrozen: Model.freeze,
    PaidPeriod: Model.pay_bill,
    EndPaidPlan: Model.end_subscription,
    ChangePlan: Model.change_plan,
    OpenCustomer: Model.open,
    Settle: Model.settle,
}
