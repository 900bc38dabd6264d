"""Plans in the model: entering one, and those that a subscription pays for."""

from collections import Counter

from tallystick.core.catalog import Plan
from tallystick.core.paid_plans import EndPaidPlan, PaidPeriod
from tests.model.calendar import period_around
from tests.model.holdings import Customer, Wallet
from tests.model.state import Figures, State

REMEMBERED = 12


class Subscriptions(State):
    """A period is what bills of one subscription with one end are for, or what begins at one moment."""

    def pay_bill(self, operation: PaidPeriod, number: int) -> Figures:
        """Grant what the bill's period lacks of its allowance; a later bill says the plan."""
        customer = self.customers[operation.customer_id]
        plan, previous = operation.plan, customer.plan
        mine = customer.payer == operation.subscription
        name = (operation.subscription, operation.end)
        if mine and customer.period[1] == operation.end:
            customer.period = min(customer.period[0], operation.start), operation.end
            later = operation.start > customer.paid_since
            if operation.running and (later or (operation.newest and operation.start == customer.paid_since)):
                self._pays_for(customer, plan, operation.start)
            made = self._top_up(customer, plan, customer.granted, name)
        elif operation.running and (
            customer.payer is None or operation.end > (customer.period[1] if mine else self.now)
        ):
            self._put_away(customer)
            known = any(key[0] == name[0] for key in customer.earlier if isinstance(key, tuple))
            customer.payer, customer.period = operation.subscription, (operation.start, operation.end)
            customer.granted = customer.earlier.pop(name, Counter())
            self._pays_for(customer, plan, operation.start)
            for allowance in plan.allowances:
                wallet = customer.wallets[allowance.unit]
                if allowance.amount_micros and (mine or known) and wallet.frozen_at is None:
                    self._trim(wallet, allowance.rollover_cap_micros or 0)
            made = self._top_up(customer, plan, customer.granted, name)
        else:
            made = self._too_late(customer, plan, name, mine=mine)
        return _figures(number, customer, previous, made)

    def _pays_for(self, customer: Customer, plan: Plan, start: int) -> None:
        customer.plan, customer.paid_since = plan.name, start
        self._stand(customer, plan)

    def _too_late(
        self, customer: Customer, plan: Plan, name: tuple[str, int], *, mine: bool
    ) -> list[tuple[int, str, int]]:
        """A bill for a period that is not the customer's, or no more."""
        kept = {
            unit: min(_rolling(wallet), customer.granted[unit]) for unit, wallet in customer.wallets.items()
        }
        granted = customer.earlier.pop(name, Counter())
        self._put_away(customer, name, granted)
        made = self._top_up(customer, plan, granted, name)
        current = self.economy.plans[customer.plan]
        for unit, wallet in customer.wallets.items():
            allowance = current.allowance(unit)
            if mine and allowance is not None and wallet.frozen_at is None:
                self._trim(wallet, (allowance.rollover_cap_micros or 0) + kept[unit])
        return made

    def _top_up(
        self, customer: Customer, plan: Plan, granted: Counter[str], name: tuple[str, int]
    ) -> list[tuple[int, str, int]]:
        made = []
        for allowance in plan.allowances:
            unit, amount = allowance.unit, (allowance.amount_micros or 0) - granted[allowance.unit]
            if amount > 0:
                expires_at = name[1] if allowance.rollover_cap_micros is None else None
                granted[unit] += amount
                lot = self._new_lot(customer, unit, "monthly_grant", amount, expires_at=expires_at)
                lot.origin = "paid"
                self._start(customer.wallets[unit], lot)
                made.append((lot.id, unit, amount))
        return made

    def end_subscription(self, operation: EndPaidPlan, number: int) -> Figures:
        """Another plan from the end of what was paid, or from now where that is earlier."""
        customer = self.customers[operation.customer_id]
        previous, plan, made = customer.plan, operation.plan, []
        if customer.payer == operation.subscription:
            self._put_away(customer)
            last = max(
                key[1] for key in customer.earlier if isinstance(key, tuple) and key[0] == customer.payer
            )
            over = last <= self.now
            at = last if over else max(self.now, customer.period[0])
            mine = customer.granted | customer.earlier[customer.payer, last]
            customer.payer, customer.plan, customer.anchor_at = None, plan.name, at
            customer.period = period_around(plan.renews, at, at)
            granted = Counter() if over else mine
            customer.granted = granted | customer.earlier.get(customer.period[0], Counter())
            known = len(self.grants)
            self._enter(customer, plan)
            made = [
                (lot.id, lot.unit, lot.amount) for lot in list(self.grants.values())[known:] if lot.amount
            ]
        return _figures(number, customer, previous, made)

    def _put_away(
        self, customer: Customer, name: object = None, granted: "Counter[str] | None" = None
    ) -> None:
        """Remember what a period was granted: the current one where none is named."""
        if name is None:
            name = customer.period[0] if customer.payer is None else (customer.payer, customer.period[1])
            granted = Counter(customer.granted)
        customer.earlier.pop(name, None)
        customer.earlier[name] = Counter() if granted is None else granted
        if len(customer.earlier) > REMEMBERED:
            del customer.earlier[next(iter(customer.earlier))]

    def _stand(self, customer: Customer, plan: Plan) -> None:
        """What a plan has without limit is granted charge by charge."""
        for unit, wallet in customer.wallets.items():
            allowance = plan.allowance(unit)
            if allowance is None or allowance.amount_micros is not None:
                wallet.standing = None
            elif wallet.standing is None:
                wallet.standing = self._new_lot(
                    customer, unit, "monthly_grant", 0, expires_at=None, priority=0
                )
                wallet.standing.standing = wallet.standing.started = True

    def _enter(self, customer: Customer, plan: Plan) -> tuple[tuple[str, int], ...]:
        """Grant what the plan gives at once beyond what this month gave already."""
        granted = []
        self._stand(customer, plan)
        for unit in customer.wallets:
            allowance = plan.allowance(unit)
            if allowance is not None and allowance.amount_micros and plan.starts == "now":
                amount = allowance.amount_micros - customer.granted[unit]
                if amount > 0:
                    self._allow(customer, plan, unit, amount)
                    granted.append((unit, amount))
        return tuple(granted)


def _rolling(wallet: Wallet) -> int:
    return sum(
        lot.free
        for lot in wallet.lots
        if lot.category == "monthly_grant" and lot.expires_at is None and not lot.standing
    )


def _figures(number: int, customer: Customer, previous: str, made: list[tuple[int, str, int]]) -> Figures:
    return {
        "id": number,
        "plan": customer.plan,
        "previous": previous,
        "paid_by": customer.payer,
        "period_start": customer.period[0],
        "period_end": customer.period[1],
        "granted": tuple(made),
    }
