"""What is asked of a billing server for a metered call, whichever way it is reached: four steps, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from tallystick.metering.rules import Quantity, up_to_micro


class Refused(Exception):  # noqa: N818 - a refusal is an answer and no error of the program
    """A refusal as RFC 9457 members (``code`` in upper case), and the headers that belong to it."""

    def __init__(self, problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(problem.get("detail", "")))
        self.problem = dict(problem)
        self.headers = dict(headers or {})

    @property
    def code(self) -> str:
        """The refusal's code, in upper case."""
        return str(self.problem["code"])

    @property
    def detail(self) -> str:
        """A sentence for people."""
        return str(self.problem.get("detail", ""))

    @property
    def status(self) -> int:
        """The HTTP status of such a refusal: 402 where credits are missing."""
        return int(self.problem["status"])

    @property
    def required(self) -> Decimal | None:
        """How much was needed, where that is what was missing."""
        return _decimal(self.problem.get("required"))

    @property
    def available(self) -> Decimal | None:
        """How much of it was there."""
        return _decimal(self.problem.get("available"))


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


class Away(Refused):
    """The billing server did not answer, or could not: whatever was asked is safe to repeat.

    ``was_sent`` says whether it may have been done nevertheless.
    """

    def __init__(
        self, problem: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, was_sent: bool = True
    ) -> None:
        super().__init__(problem, headers)
        self.was_sent = was_sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a call costs at most, and who pays. ``key`` is the call's own: a repeat with it is the same call.

    ``customer`` is None for whoever the client's own key is for. Either there is a ``meter``, or an ``amount`` of
    ``unit`` for each of ``quantity``.
    """

    key: str
    customer: str | None
    quantity: Quantity
    meter: str | None = None
    amount: Quantity | None = None
    unit: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def cost(self, quantity: Quantity) -> Decimal:
        """What a quantity costs by the amount, rounded up to the sixth decimal: the seller keeps the remainder."""
        assert self.amount is not None
        return up_to_micro(Decimal(self.amount) * Decimal(quantity))

    @property
    def is_free(self) -> bool:
        """Whether there is nothing to hold: an amount of 0, which no ledger needs to hear of."""
        return self.amount is not None and not self.cost(self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a call cost.

    A ``pending`` one is charged later, because the billing server is away: then only ``meter`` and ``quantity`` are known.
    """

    meter: str | None
    quantity: Quantity | None = None
    charged: Decimal | None = None
    unit: str | None = None
    balance: Decimal | None = None
    charge: str | None = None
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Credits that wait for the end of a call; with a ``receipt``, the call was charged before under the same key.

    ``id`` is None where nothing is held at the server: the call was lent, as ``loan`` of the unsettled ones.
    """

    order: Order
    id: str | None = None
    receipt: Receipt | None = None
    loan: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Hold what an order costs, under a key of this attempt. Answered by ``Placed``."""

    order: Order
    key: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Placed:
    """The hold, new or of a repeat."""

    id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What became of a hold. Answered by ``Found``."""

    id: str
    order: Order


@dataclass(frozen=True, slots=True)
class Found:
    """A hold's status, and its receipt with its age where it was captured."""

    status: str
    receipt: Receipt | None = None
    age_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Take:
    """Capture a hold: all of it, or what a quantity costs. Answered by a ``Receipt``."""

    id: str
    order: Order
    quantity: Quantity | None

    @property
    def key(self) -> str:
        """One for all captures of this hold: it is captured once."""
        return f"{self.id}:end"

    @property
    def content(self) -> dict[str, Quantity]:
        """What is captured: nothing in particular, a quantity, or what a quantity costs by the order's amount."""
        if self.quantity is None:
            return {}
        if self.order.meter is not None:
            return {"quantity": self.quantity}
        return {"amount": self.order.cost(self.quantity)}


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Release a hold."""

    id: str

    @property
    def key(self) -> str:
        """One for all releases of this hold."""
        return f"{self.id}:back"


Step = Place | Look | Take | GiveBack
Answered = Placed | Found | Receipt | None
Prices = Mapping[str, Mapping[str, Any]]


class Backend(Protocol):
    """A way to a billing server. Everything raises ``Refused``, or ``Away`` where there was no answer."""

    is_remote: bool

    def prices(self) -> Prices:
        """The meters' prices by their names, as shown to people; from memory where they are fresh enough."""

    async def prices_async(self) -> Prices:
        """As ``prices``, awaited."""

    def do(self, step: Step) -> Answered:
        """Answer a step."""

    async def do_async(self, step: Step) -> Answered:
        """As ``do``, awaited."""

    def close(self) -> None:
        """Let go of what this way opened itself."""


def plain(value: object) -> object:
    """A number as JSON has it: whole where it is, else the nearest double; everything else as it is."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)
