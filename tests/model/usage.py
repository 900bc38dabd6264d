"""Charges, holds and what becomes of them, in the model."""

from collections import Counter

from tallystick.core.operations import Charge, Operation, PlaceHold, PricedOperation, Resolve
from tests.model.calendar import HOUR
from tests.model.holdings import Hold, Limit, Lot, Paid, Refused, Spend, Wallet
from tests.model.state import Figures, State


class Usage(State):
    """Draws and reservations."""

    def _limits_of(self, operation: Operation) -> list[Limit]:
        """The budgets that bound an operation, narrowest first."""
        subjects = [
            ("key", (operation.key_id or 0, "")),
            ("agent", (operation.customer_id, operation.agent or "")),
            ("customer", (operation.customer_id, "")),
        ]
        found: list[Limit] = []
        for level, subject in subjects:
            found += [limit for limit in self.limits if limit.is_for(level, subject)]
        return found

    def _check_limit(self, limit: Limit, amount: int) -> None:
        left = (limit.amount or 0) - limit.spent[limit.period(self.now)]
        if amount > left:
            raise Refused(
                "budget_exceeded",
                unit=limit.unit,
                required=amount,
                available=max(left, 0),
                shortfall=amount - max(left, 0),
                reset_at=limit.ends_at(self.now),
                retryable=True,
            )

    def _check_credits(self, wallet: Wallet, amount: int) -> None:
        available = wallet.available(self.now)
        if wallet.standing is None and amount > available:
            raise Refused(
                "insufficient_credits",
                unit=wallet.unit,
                required=amount,
                available=available,
                shortfall=amount - available,
                limit_source=f"wallet:{wallet.unit}",
            )

    def _wallet(self, customer_id: int, unit: str) -> Wallet:
        wallet = self.customers[customer_id].wallets.get(unit)
        if wallet is None:
            raise Refused("unknown_unit")
        return wallet

    def _check(self, operation: PricedOperation) -> dict[str, int]:
        """Frozen wallet, hourly limit, budgets, credits, in this order; gives the totals per unit."""
        totals: dict[str, int] = {}
        for part in operation.parts:
            totals[part.unit] = totals.get(part.unit, 0) + part.amount
        wallets = {unit: self._wallet(operation.customer_id, unit) for unit in totals}
        for unit, wallet in wallets.items():
            if wallet.frozen_at is not None:
                raise Refused("wallet_frozen", unit=unit)
        hour = self.now // HOUR * HOUR
        for meter, limit, count in operation.hourly:
            left = limit - self.calls[operation.customer_id, meter, hour]
            if count > left:
                raise Refused("rate_limited", limit=limit, remaining=max(left, 0), reset_at=hour + HOUR)
        for budget in self._limits_of(operation):
            if totals.get(budget.unit):
                self._check_limit(budget, totals[budget.unit])
        for unit, wallet in wallets.items():
            self._check_credits(wallet, totals[unit])
        return totals

    def _count(self, operation: PricedOperation, totals: dict[str, int]) -> Figures:
        """Note a call in its hourly limits and budgets."""
        states = []
        hour = self.now // HOUR * HOUR
        for meter, limit, count in operation.hourly:
            self.calls[operation.customer_id, meter, hour] += count
            states.append((limit, limit - self.calls[operation.customer_id, meter, hour], hour + HOUR))
        counts = tuple((meter, count) for meter, _, count in operation.hourly)
        spends = tuple(self._count_spent(self._limits_of(operation), totals))
        return {"limit": states[0] if states else None, "spends": spends, "counts": counts}

    def _count_spent(self, budgets: list[Limit], amounts: dict[str, int]) -> list[Spend]:
        """Count what is spent now in the current period of each budget."""
        spends = []
        for budget in budgets:
            if amounts.get(budget.unit):
                budget.spent[budget.period(self.now)] += amounts[budget.unit]
                spends.append((budget.id, budget.unit, budget.period(self.now), amounts[budget.unit]))
        return spends

    def _figures_of(self, operation: PricedOperation, totals: dict[str, int]) -> Figures:
        unit = operation.parts[0].unit
        wallet = self._wallet(operation.customer_id, unit)
        return {
            "customer_id": operation.customer_id,
            "meter": operation.meter,
            "quantity": operation.quantity,
            "unit": unit,
            "amount": totals[unit],
            "amounts": tuple(totals.items()),
            "balance": wallet.balance,
            "available": wallet.available(self.now),
            "economy": operation.economy,
            "created_at": self.now,
        }

    def quote(self, operation: PricedOperation) -> Figures:
        """What a charge would meet now: the available amount, the first limit's state, and what refuses."""
        wallet = self._wallet(operation.customer_id, operation.parts[0].unit)
        limit = None
        if operation.hourly:
            meter, most, _ = operation.hourly[0]
            hour = self.now // HOUR * HOUR
            limit = most, max(most - self.calls[operation.customer_id, meter, hour], 0), hour + HOUR
        try:
            self._check(operation)
        except Refused as refused:
            return {"available": wallet.available(self.now), "limit": limit, "code": refused.code}
        return {"available": wallet.available(self.now), "limit": limit, "code": None}

    def charge(self, operation: Charge, number: int) -> Figures:
        """Draw every part."""
        totals = self._check(operation)
        counted = self._count(operation, totals)
        draws: list[tuple[Lot, int]] = []
        for part in operation.parts:
            wallet = self._wallet(operation.customer_id, part.unit)
            draws += self._spend(wallet, part.amount)
            wallet.write("usage", -part.amount)
        unit = operation.parts[0].unit
        self.paid[number] = Paid(operation.customer_id, unit, draws, list(counted["spends"]))
        return self._figures_of(operation, totals) | counted | {"id": number, "draws": shown(draws)}

    def hold(self, operation: PlaceHold, number: int) -> Figures:
        """Reserve every unit's total."""
        totals = self._check(operation)
        counted = self._count(operation, totals)
        draws: list[tuple[Lot, int]] = []
        for unit, amount in totals.items():
            draws += self._reserve(self._wallet(operation.customer_id, unit), amount)
        hold = Hold(
            number,
            operation.customer_id,
            operation.maker,
            operation.expires_at,
            totals,
            draws,
            list(counted["spends"]),
            operation.economy,
        )
        self.holds[number] = hold
        self.customers[operation.customer_id].holds.append(hold)
        figures = self._figures_of(operation, totals) | counted
        return figures | {"id": number, "draws": shown(draws), "expires_at": operation.expires_at}

    def resolve(self, operation: Resolve, number: int) -> Figures:
        """Capture or release; two holds of one customer may be captured together."""
        hold = self._open_hold(operation, operation.hold_id)
        wanted = None if operation.amounts is None else dict(operation.amounts)
        ended = [(hold, wanted)]
        if operation.also_hold_id is not None:
            also = self._open_hold(operation, operation.also_hold_id)
            if also is hold or also.customer_id != hold.customer_id:
                raise Refused("not_found")
            ended.append((also, dict(operation.also_amounts)))
        extra = self._check_extra(operation, ended)
        status = "released" if wanted is None else "captured"
        draws: list[tuple[Lot, int]] = []
        spends: list[Spend] = []
        totals: Counter[str] = Counter()
        for each, captures in ended:
            draws += self._end(each, captures, status)
            used = captures or dict.fromkeys(each.amounts, 0)
            totals.update(used)
            spends += [
                (budget_id, unit, period, min(spent, used[unit]))
                for budget_id, unit, period, spent in each.spends
                if used[unit]
            ]
        # What is captured beyond the holds is spent like a charge made now.
        spends += self._count_spent(self._limits_of(operation), extra)
        first, held = next(iter(hold.amounts.items()))
        if status == "captured":
            self.paid[number] = Paid(hold.customer_id, first, draws, spends)
        wallet = self._wallet(hold.customer_id, first)
        captured = (wanted or {first: 0})[first]
        return {
            "id": number,
            "hold_id": hold.id,
            "customer_id": hold.customer_id,
            "status": status,
            "unit": first,
            "captured": captured,
            "released": max(held - captured, 0),
            "amounts": tuple(totals.items()),
            "balance": wallet.balance,
            "available": wallet.available(self.now),
            "draws": shown(draws),
            "economy": hold.economy,
            "created_at": self.now,
            "spends": tuple(spends),
            "also_hold_id": operation.also_hold_id,
        }

    def _open_hold(self, operation: Resolve, number: int | None) -> Hold:
        hold = self.holds.get(number or 0)
        if hold is None or not (operation.is_admin or hold.maker == operation.maker):
            raise Refused("not_found")
        if hold.status != "open":
            raise Refused("hold_not_open", status=hold.status)
        return hold

    def _check_extra(
        self, operation: Resolve, ended: list[tuple[Hold, dict[str, int] | None]]
    ) -> dict[str, int]:
        """What is captured beyond holds must be there, and in no frozen wallet; gives it per unit."""
        beyond: Counter[str] = Counter()
        for hold, wanted in ended:
            for unit, amount in (wanted or {}).items():
                if amount > hold.amounts[unit]:
                    beyond[unit] += amount - hold.amounts[unit]
        for unit, extra in beyond.items():
            wallet = self._wallet(operation.customer_id, unit)
            if wallet.frozen_at is not None:
                raise Refused("wallet_frozen", unit=unit)
            for budget in self._limits_of(operation):
                if budget.unit == unit:
                    self._check_limit(budget, extra)
            self._check_credits(wallet, extra)
        return beyond


def shown(draws: list[tuple[Lot, int]]) -> tuple[tuple[int, str, int], ...]:
    """Draws as an answer gives them."""
    return tuple((lot.id, lot.unit, part) for lot, part in draws)
