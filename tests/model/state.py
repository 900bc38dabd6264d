"""The model's state, and what time alone makes happen to a customer."""

from collections import Counter, deque
from typing import Any

from tallystick.core.catalog import Economy, Plan
from tests.model.calendar import period_around
from tests.model.holdings import FOREVER, Customer, Hold, Limit, Lot, Mismatch, Paid, Wallet

Figures = dict[str, Any]


class State:
    """Everything that the model remembers. ``now`` is the moment at which things happen."""

    def __init__(self, economy: Economy) -> None:
        self.economy = economy
        self.now = 0
        self.customers: dict[int, Customer] = {}
        self.holds: dict[int, Hold] = {}
        self.paid: dict[int, Paid] = {}
        self.grants: dict[int, Lot] = {}
        self.calls: Counter[tuple[int, str, int]] = Counter()
        self.limits: list[Limit] = []
        self.answers: dict[str, tuple[str | None, Figures]] = {}
        self.new_ids: dict[tuple[int, str], deque[int]] = {}

    def catch_up(self, customer_id: int, now: int) -> None:
        """Everything that became due for a customer, in the order of its moments, each at its own moment."""
        customer = self.customers[customer_id]
        while True:
            at, order, subject, wallet = self._next(customer)
            if at > now:
                break
            self.now = at
            if order == 0:
                self._end(subject, None, "expired")
            elif order == 1:
                wallet.lapse(subject, at)
            elif order == 2:
                self._renew(customer)
            else:
                customer.scheduled.remove(subject)
                self._start(wallet, subject)
        self.now = now

    def next_moment(self, customer_id: int) -> int:
        """When something becomes due for a customer."""
        return self._next(self.customers[customer_id])[0]

    def _next(self, customer: Customer) -> tuple[int, int, Any, Any]:
        """The earliest that waits; at one moment holds end, lots end, a month begins, grants start."""
        waiting: list[tuple[int, int, int, Any, Any]] = [
            (hold.expires_at, 0, hold.id, hold, None) for hold in customer.holds
        ]
        for wallet in customer.wallets.values():
            stands_at = FOREVER if wallet.frozen_at is None else wallet.frozen_at
            waiting += [
                (lot.expires_at, 1, lot.id, lot, wallet)
                for lot in wallet.lots
                if lot.free and lot.expires_at is not None and lot.expires_at <= stands_at and not lot.voided
            ]
        plan = self.economy.plans.get(customer.plan)
        by_itself = plan is not None and any(allowance.amount_micros for allowance in plan.allowances)
        if by_itself and customer.payer is None:
            waiting.append((customer.period[1], 2, 0, plan, None))
        waiting += [(lot.starts_at, 3, lot.id, lot, customer.wallets[lot.unit]) for lot in customer.scheduled]
        if not waiting:
            return FOREVER, 0, None, None
        at, order, _, subject, wallet = min(waiting, key=lambda each: each[:3])
        return at, order, subject, wallet

    def _renew(self, customer: Customer) -> None:
        plan = self.economy.plans[customer.plan]
        customer.period = period_around(plan.renews, customer.anchor_at, customer.period[1])
        customer.granted.clear()
        for allowance in plan.allowances:
            if allowance.amount_micros:
                wallet = customer.wallets[allowance.unit]
                if wallet.frozen_at is None:
                    self._trim(wallet, allowance.rollover_cap_micros or 0)
                self._allow(customer, plan, allowance.unit, allowance.amount_micros)

    def _trim(self, wallet: Wallet, most: int) -> None:
        """What an ended month left beyond what may be carried over expires."""
        lots = [
            lot
            for lot in sorted(wallet.lots, key=lambda lot: lot.turn)
            if lot.category == "monthly_grant" and lot.expires_at is None and not lot.standing
        ]
        excess = too_much = max(sum(lot.free for lot in lots) - most, 0)
        for lot in lots:
            part = min(lot.free, too_much)
            lot.left -= part
            too_much -= part
        if excess:
            wallet.write("expiry", -excess)

    def _allow(self, customer: Customer, plan: Plan, unit: str, amount: int) -> None:
        """Grant a part of the current month's allowance."""
        allowance = plan.allowance(unit)
        rolls_over = allowance is not None and allowance.rollover_cap_micros is not None
        expires_at = None if rolls_over else customer.period[1]
        customer.granted[unit] += amount
        wallet = customer.wallets[unit]
        self._start(wallet, self._new_lot(customer, unit, "monthly_grant", amount, expires_at=expires_at))

    # --- lots ----------------------------------------------------------------------------------------------

    def _new_lot(
        self,
        customer: Customer,
        unit: str,
        category: str,
        amount: int,
        *,
        expires_at: int | None,
        priority: int | None = None,
    ) -> Lot:
        ids = self.new_ids.get((customer.id, unit))
        if not ids:
            raise Mismatch(f"the ledger did not make the {category} of {amount} {unit} that the model makes")
        if priority is None:
            priority = self.economy.priority(category)
        lot = Lot(ids.popleft(), unit, category, priority, amount, self.now, expires_at)
        self.grants[lot.id] = lot
        return lot

    def _start(self, wallet: Wallet, lot: Lot) -> None:
        lot.started = True
        wallet.credit(lot, lot.amount, lot.category, self.now)

    def _spend(self, wallet: Wallet, amount: int) -> list[tuple[Lot, int]]:
        """Draw; under an unlimited plan from a grant made for it."""
        draws = self._reserve(wallet, amount)
        for lot, part in draws:
            lot.held -= part
            lot.left -= part
        return draws

    def _reserve(self, wallet: Wallet, amount: int) -> list[tuple[Lot, int]]:
        if not amount:
            return []
        if wallet.standing is None:
            draws = wallet.take(amount, self.now)
        else:
            wallet.put(wallet.standing, amount)
            wallet.write("monthly_grant", amount)
            draws = [(wallet.standing, amount)]
        for lot, part in draws:
            lot.held += part
        return draws

    def _end(self, hold: Hold, wanted: dict[str, int] | None, status: str) -> list[tuple[Lot, int]]:
        """Take what was captured, first of what is held; the rest goes back, to lots that may be over."""
        wallets = self.customers[hold.customer_id].wallets
        missing = dict.fromkeys(hold.amounts, 0) | (wanted or {})
        draws: list[tuple[Lot, int]] = []
        for lot, amount in hold.legs:
            part = min(amount, missing[lot.unit])
            missing[lot.unit] -= part
            lot.held -= amount
            lot.left -= part
            draws += [(lot, part)] if part else []
        for unit, amount in hold.amounts.items():
            draws += self._spend(wallets[unit], missing[unit])
            captured = (wanted or {}).get(unit, 0)
            if wanted is not None:
                wallets[unit].write("usage", -captured)
            for budget_id, spent_unit, period, _ in hold.spends:
                if spent_unit == unit:
                    self._limit(budget_id).spent[period] -= max(amount - captured, 0)
        for lot, _ in hold.legs:
            wallets[lot.unit].lapse(lot, self.now)
        hold.status = status
        self.customers[hold.customer_id].holds.remove(hold)
        return draws

    def _limit(self, budget_id: int) -> Limit:
        return next(limit for limit in self.limits if limit.id == budget_id)
