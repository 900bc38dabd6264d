"""What clients ask for: every choice comes from one ``random.Random``, with an eye on the model's state."""

from collections import deque
from dataclasses import replace
from random import Random
from typing import Any, Final

from tallystick.core.adjustments import ClawBack, Grant, Refund, Reinstate, SetFrozen, VoidGrant
from tallystick.core.holdings import MAX_BALANCE
from tallystick.core.membership import ChangePlan, OpenCustomer
from tallystick.core.operations import Charge, Operation, Part, PlaceHold, PricedOperation, Resolve
from tallystick.core.settlement import Settle
from tallystick.core.words import GRANT_CATEGORIES, origin_of
from tests.model import Model
from tests.model.calendar import DAY, HOUR
from tests.model.holdings import FOREVER, Hold, Lot, Wallet

MICROS: Final = 1_000_000
CATEGORIES: Final = tuple(sorted(GRANT_CATEGORIES))
AGENTS: Final = (None, None, "scout", "writer")
KEYS: Final = (None, None, 501, 502)
MAKERS: Final = ("service:shop", "service:lab")
LIMITS: Final = {"search": 4, "scan": 15}
MOST_OPEN_HOLDS: Final = 12


class Choices:
    """Makes operations for the customers of one simulation."""

    def __init__(self, random: Random, model: Model, *, most_customers: int) -> None:
        self._random = random
        self._model = model
        self._most = most_customers
        self._asked = 0
        self._opened = 0
        self.customers: list[int] = []
        self.budgeted_keys: set[int] = set()
        self.charges: deque[tuple[int, int]] = deque(maxlen=60)
        self.grants: deque[tuple[int, int]] = deque(maxlen=60)
        self.holds: deque[int] = deque(maxlen=60)
        self._recent: deque[Operation] = deque(maxlen=80)
        self._kinds = (
            (self.charge, 46),
            (self._hold, 13),
            (self._resolve, 13),
            (self._grant, 9),
            (self._refund, 7),
            (self._claw_back, 2),
            (self._reinstate, 1),
            (self._void, 2),
            (self._freeze, 3),
            (self._change_plan, 2),
            (self._settle, 4),
            (self._open, 1),
        )

    def note(self, operation: Operation, result: Any) -> None:
        """An operation was done for the first time: what it made can be asked about."""
        if isinstance(operation, OpenCustomer):
            self.customers.append(operation.customer_id)
        elif isinstance(operation, PlaceHold):
            self.holds.append(result.id)
        elif isinstance(operation, Grant):
            self.grants.append((result.id, operation.customer_id))
        elif result.id in self._model.paid:
            self.charges.append((result.id, operation.customer_id))

    # --- requests ------------------------------------------------------------------------------------------

    def batch(self) -> list[Operation]:
        """The operations that queued up: new ones, repeats of old ones, and old keys with something new."""
        random = self._random
        count = random.choice((1, 1, 2, 4, 8, 8, 16, 24, 40))
        operations: list[Operation] = []
        for _ in range(count):
            chance = random.random()
            if chance < 0.06 and self._recent:
                operations.append(random.choice(self._recent))
            elif chance < 0.08 and self._recent:
                operations.append(replace(random.choice(self._recent), request_digest="another request"))
            elif chance < 0.10 and operations:
                operations.append(random.choice(operations))
            else:
                operations.append(self._new())
        if (
            random.random() < 0.4
        ):  # what most batches are in life: charges and holds of customers known before
            priced = [each for each in operations if isinstance(each, PricedOperation) and not each.hourly]
            operations = list(priced) or operations
        return operations

    def _new(self) -> Operation:
        if not self.customers:
            return self._open()
        makers = [make for make, _ in self._kinds]
        [make] = self._random.choices(makers, [weight for _, weight in self._kinds])
        operation: Operation = make()
        if operation.idempotency is not None:
            self._recent.append(operation)
        return operation

    def _request(self, customer_id: int, *, keyed: bool = False) -> dict[str, Any]:
        """The fields that all operations have."""
        self._asked += 1
        key = f"key-{self._asked}"
        if not keyed and self._random.random() < 0.03:
            return {"customer_id": customer_id, "caller": "sim"}
        return {
            "customer_id": customer_id,
            "caller": "sim",
            "idempotency": key,
            "idempotency_key": key,
            "request_digest": f"request-{self._asked}",
            "economy": self._model.economy.version,
        }

    def _customer(self) -> int:
        """Some customers are asked for much more than others; a few are not there at all."""
        if self._random.random() < 0.005 or not self.customers:
            return 999
        place = int(len(self.customers) * self._random.random() ** 3)
        return self.customers[place]

    def _wallet(self, customer_id: int, unit: str) -> Wallet | None:
        customer = self._model.customers.get(customer_id)
        return None if customer is None else customer.wallets[unit]

    def _amount(self, available: int) -> int:
        """Amounts small and large, and those about the limit of what there is."""
        random = self._random
        chance = random.random()
        if chance < 0.70:
            return random.randint(1, max(available // 20, 1))
        if chance < 0.85:
            return random.randint(1, max(available, 1))
        return max(available + random.choice((-1, 0, 0, 1, MICROS)), 1)

    def _parts(self, customer_id: int) -> tuple[tuple[Part, ...], tuple[tuple[str, int, int], ...]]:
        """One to three parts, in one or both units, and the hourly limits that count them."""
        random = self._random
        hourly: list[tuple[str, int, int]] = []
        parts: list[Part] = []
        for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
            meter = random.choice(("lookup", "lookup", "gpt", "search", "scan", "sandbox", "ping"))
            unit = "USD" if meter == "sandbox" and random.random() < 0.7 else "credits"
            wallet = self._wallet(customer_id, unit)
            available = 0 if wallet is None else wallet.available(self._model.now)
            amount = 0 if meter == "ping" else self._amount(available)
            parts.append(Part(meter, meter.upper(), unit, amount))
            if meter in LIMITS and meter not in [name for name, _, _ in hourly]:
                hourly.append((meter, LIMITS[meter], random.choice((1, 1, 2))))
        if random.random() < 0.002:
            parts.append(Part("lookup", "LOOKUP", "doubloons", 1))
        return tuple(parts), tuple(hourly)

    def _shared_moment(self, customer_id: int) -> int | None:
        """Sometimes, a moment at which something else of the customer becomes due, or its month ends."""
        customer = self._model.customers.get(customer_id)
        if customer is None or self._random.random() < 0.85:
            return None
        moment = self._random.choice((self._model.next_moment(customer_id), customer.period[1]))
        return moment if self._model.now < moment < FOREVER else None

    def _subject(self) -> dict[str, Any]:
        """Which key and which agent asks."""
        key_id = self._random.choice(KEYS)
        return {
            "key_id": key_id,
            "key_has_budget": key_id in self.budgeted_keys,
            "agent": self._random.choice(AGENTS),
        }

    # --- one method for each kind --------------------------------------------------------------------------

    def _open(self) -> Operation:
        if self._opened >= self._most:
            return self.charge()
        self._opened += 1
        number = 1_000 + self._opened
        return OpenCustomer(catalog=self._model.economy, **self._request(number, keyed=True))

    def charge(self) -> Operation:
        """A charge, for whomever."""
        customer_id = self._customer()
        parts, hourly = self._parts(customer_id)
        return Charge(
            parts=parts,
            meter=parts[0].meter,
            quantity=self._random.randint(1, 9) * MICROS,
            hourly=hourly,
            **self._subject(),
            **self._request(customer_id),
        )

    def _hold(self) -> Operation:
        customer_id = self._customer()
        customer = self._model.customers.get(customer_id)
        if customer is not None and len(customer.holds) >= MOST_OPEN_HOLDS:
            return self.charge()
        parts, hourly = self._parts(customer_id)
        lasts = self._random.choice((1, MICROS, 600 * MICROS, HOUR, DAY, 3 * DAY, 30 * DAY))
        expires_at = self._shared_moment(customer_id) or self._model.now + lasts
        return PlaceHold(
            parts=parts,
            meter=parts[0].meter,
            quantity=MICROS,
            hourly=hourly,
            maker=self._random.choice(MAKERS),
            expires_at=expires_at,
            **self._subject(),
            **self._request(customer_id),
        )

    def _resolve(self) -> Operation:
        hold = self._some_hold()
        if hold is None:
            return self._hold()
        random = self._random
        maker = hold.maker if random.random() < 0.95 else random.choice(MAKERS)
        amounts = None if random.random() < 0.3 else self._captured(hold)
        return Resolve(
            hold_id=hold.id if random.random() < 0.99 else 7,
            maker=maker,
            is_admin=random.random() < 0.02,
            amounts=amounts,
            quantity=None if amounts is None else MICROS,
            **self._subject(),
            **self._request(hold.customer_id),
        )

    def _some_hold(self) -> Hold | None:
        """Mostly one that is open."""
        if not self.holds:
            return None
        if self._random.random() < 0.9:
            for customer_id in self._random.sample(self.customers, min(len(self.customers), 6)):
                holds = self._model.customers[customer_id].holds
                if holds:
                    return self._random.choice(holds)
        return self._model.holds[self._random.choice(self.holds)]

    def _captured(self, hold: Hold) -> tuple[tuple[str, int], ...]:
        """Less than was held, all of it, more, or nothing."""
        amounts = []
        for unit, held in hold.amounts.items():
            chance = self._random.random()
            if chance < 0.3:
                amount = held
            elif chance < 0.65:
                amount = self._random.randint(0, held)
            elif chance < 0.75:
                amount = 0
            else:
                wallet = self._model.customers[hold.customer_id].wallets[unit]
                amount = held + self._amount(wallet.available(self._model.now))
            amounts.append((unit, amount))
        return tuple(amounts)

    def _grant(self) -> Operation:
        random = self._random
        customer_id = self._customer()
        now = self._model.now
        starts_at = random.choice((None, None, None, now, now + 1, now + HOUR, now + 3 * DAY, now - DAY))
        starts_at = self._shared_moment(customer_id) or starts_at
        begins = now if starts_at is None else max(starts_at, now)
        lasts = random.choice((None, None, 0, 1, HOUR, DAY, 20 * DAY, 90 * DAY))
        category = random.choice(CATEGORIES)
        priority = self._model.economy.priority(category)
        huge = random.random() < 0.003
        return Grant(
            unit=random.choice(("credits", "credits", "USD")),
            amount=MAX_BALANCE + 10**15 if huge else random.choice((1, MICROS, 40 * MICROS, 500 * MICROS)),
            category=category,
            origin=origin_of(category),
            priority=priority if random.random() < 0.9 else random.randint(0, 60),
            effective_at=starts_at,
            expires_at=self._shared_moment(customer_id) or (None if lasts is None else begins + lasts),
            description="a grant",
            **self._request(customer_id),
        )

    def _settle(self) -> Operation:
        random = self._random
        customer_id = self._customer()
        unit = random.choice(("credits", "credits", "USD"))
        wallet = self._wallet(customer_id, unit)
        price = self._amount(0 if wallet is None else wallet.available(self._model.now))
        price = 0 if random.random() < 0.03 else price
        return Settle(
            other_customer_id=self._customer(),
            unit=unit,
            price=price,
            fee=random.choice((price // 20, 0, price, random.randint(0, price))),
            priority=self._model.economy.priority("task_credit"),
            **self._request(customer_id),
        )

    def _refund(self) -> Operation:
        if not self.charges:
            return self.charge()
        random = self._random
        number, customer_id = random.choice(self.charges)
        paid = self._model.paid[number]
        if random.random() < 0.5:
            unit, amount = None, None
        else:
            unit = random.choice((None, paid.unit, "USD"))
            given = sum(part for lot, part in paid.draws if lot.unit == (unit or paid.unit))
            amount = random.randint(1, given + 2)
        return Refund(
            charge_id=number if random.random() < 0.99 else 7,
            unit=unit,
            amount=amount,
            description="a refund",
            **self._request(customer_id),
        )

    def _some_grant(self) -> tuple[int, Lot] | None:
        if not self.grants:
            return None
        number, customer_id = self._random.choice(self.grants)
        return customer_id, self._model.grants[number]

    def _claw_back(self) -> Operation:
        found = self._some_grant()
        if found is None:
            return self._grant()
        customer_id, lot = found
        most = lot.amount - lot.clawed_back
        amount = self._random.choice((most, max(most // 2, 1), most + 1, 1))
        return ClawBack(grant_id=lot.id, amount=max(amount, 1), **self._request(customer_id))

    def _reinstate(self) -> Operation:
        found = self._some_grant()
        if found is None:
            return self._grant()
        customer_id, lot = found
        amount = self._random.choice((lot.clawed_back, max(lot.clawed_back // 2, 1), lot.clawed_back + 1))
        return Reinstate(grant_id=lot.id, amount=max(amount, 1), **self._request(customer_id))

    def _void(self) -> Operation:
        found = self._some_grant()
        if found is None:
            return self._grant()
        customer_id, lot = found
        number = lot.id if self._random.random() < 0.95 else 7
        return VoidGrant(grant_id=number, **self._request(customer_id))

    def _freeze(self) -> Operation:
        customer_id = self._customer()
        unit = self._random.choice(("credits", "USD"))
        wallet = self._wallet(customer_id, unit)
        frozen = wallet is not None and wallet.frozen_at is not None
        # Few are frozen at a time: not much else happens to them.
        return SetFrozen(
            unit=unit,
            frozen=self._random.random() < (0.1 if frozen else 0.15),
            **self._request(customer_id),
        )

    def _change_plan(self) -> Operation:
        plan = self._random.choice(list(self._model.economy.plans.values()))
        return ChangePlan(plan=plan, catalog=self._model.economy, **self._request(self._customer()))
