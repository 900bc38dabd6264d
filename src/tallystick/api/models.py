"""What requests look like. Every body is strict: unknown names are refused, and nothing is turned into another type.

Amounts and quantities stay as they were sent (``int`` or ``Decimal``); the rules of ``core.amounts`` decide here already, so
that the answer names the field, and again in the service.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import Header, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from tallystick.core.amounts import MAX_AMOUNT_MICROS, MICROS, parse_amount, parse_quantity
from tallystick.core.errors import ValidationFailed
from tallystick.services.agents import MAX_CAPABILITIES
from tallystick.services.charges import MAX_BATCH
from tallystick.services.holds import DEFAULT_HOLD_SECONDS
from tallystick.services.pages import DEFAULT_LIMIT, MAX_LIMIT
from tallystick.services.pricing import MAX_HOLD_SECONDS, MAX_PARTS, Usage
from tallystick.services.sandbox_runs import MAX_EXECUTE_SECONDS
from tallystick.services.sandboxes import MAX_MEMORY_MIB, MAX_VCPU, MIN_MEMORY_MIB
from tallystick.services.tasks import DEFAULT_TASK_SECONDS

_LARGEST: Final = MAX_AMOUNT_MICROS // MICROS
_LARGEST_FLOAT: Final = Decimal("1e300")
_LARGEST_INT: Final = 2**63
MAX_TYPES: Final = 50


def _number(code: str, parse: Callable[[object], int]) -> Callable[[object], Decimal | int]:
    """A check that keeps the number as it was sent. Text is refused here: in JSON a number has no quotes."""

    def check(value: object) -> Decimal | int:
        expected = "expected a plain decimal number with at most 6 decimals"
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            try:
                parse(value)
            except ValidationFailed as refusal:
                expected = refusal.detail.partition(": ")[2]
            else:
                return value
        raise PydanticCustomError(code, "{expected}", {"expected": expected})

    return check


def _schema(description: str, **bounds: float) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", **bounds, "description": description})


_AMOUNT: Final = "An amount, exact, with at most six decimals"
Amount = Annotated[
    Decimal | int,
    PlainValidator(_number("invalid_amount", parse_amount)),
    _schema(_AMOUNT, exclusiveMinimum=0, maximum=_LARGEST),
]
AmountOrZero = Annotated[
    Decimal | int,
    PlainValidator(_number("invalid_amount", lambda value: parse_amount(value, allow_zero=True))),
    _schema(_AMOUNT, minimum=0, maximum=_LARGEST),
]
Quantity = Annotated[
    Decimal | int,
    PlainValidator(_number("invalid_quantity", parse_quantity)),
    _schema("A quantity, exact, with at most six decimals", exclusiveMinimum=0, maximum=_LARGEST),
]


def _check_json(value: Any) -> Any:  # noqa: ANN401 - any JSON
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, Decimal):
            if not -_LARGEST_FLOAT < item < _LARGEST_FLOAT:
                raise PydanticCustomError("json", "expected numbers below 1e300")
        elif isinstance(item, int) and not -_LARGEST_INT < item < _LARGEST_INT:
            raise PydanticCustomError("json", "expected whole numbers of at most 63 bits")
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_check_json)]
Content = Annotated[Any, AfterValidator(_check_json)]
CustomerName = Annotated[
    str, Field(description="The customer's id or external_id; services and admins name one")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A key of your own making. Send the same one again when you repeat the request: it is done once.",
    ),
]
CustomerQuery = Annotated[
    str | None, Query(description="The customer's id or external_id; services and admins name one")
]
UnitQuery = Annotated[str | None, Query(description="The unit; the primary one where none is named")]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items a page has")]
CursorQuery = Annotated[str | None, Query(description="The next_cursor of the page before")]
PAGE: Final = DEFAULT_LIMIT


class Body(BaseModel):
    """The base of all bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Also(Body):
    """A further meter, charged in the same transaction or not at all."""

    meter: str
    quantity: Quantity = 1


class UsageBody(Body):
    """What is to be priced."""

    meter: str
    quantity: Quantity = 1
    also: list[Also] = Field(default=[], max_length=MAX_PARTS)
    customer: CustomerName | None = None
    agent: str | None = None
    description: str | None = None
    metadata: Metadata | None = None

    def usage(self) -> Usage:
        """The usage as the services take it."""
        also = [(each.meter, each.quantity) for each in self.also] if self.also else ()
        return Usage(
            self.meter, self.quantity, also, self.customer, self.agent, self.description, self.metadata
        )


class ChargeItem(UsageBody):
    """One charge of a batch, with a key of its own."""

    idempotency_key: str


class BatchBody(Body):
    """Up to 1,000 charges. Each is read, made and answered by itself."""

    charges: Annotated[
        list[Any],
        WithJsonSchema(
            {
                "type": "array",
                "items": {"$ref": "#/components/schemas/ChargeItem"},
                "minItems": 1,
                "maxItems": MAX_BATCH,
            }
        ),
    ]


class QuoteBody(Body):
    """What is to be priced, without being charged."""

    meter: str
    quantity: Quantity = 1
    also: list[Also] = Field(default=[], max_length=MAX_PARTS)
    customer: CustomerName | None = None
    agent: str | None = None

    def usage(self) -> Usage:
        """The usage as the services take it."""
        return Usage(
            self.meter,
            self.quantity,
            [(each.meter, each.quantity) for each in self.also],
            self.customer,
            self.agent,
        )


class RefundBody(Body):
    """How much goes back; without an amount, everything that is left."""

    amount: Amount | None = None
    unit: str | None = None
    reason: str | None = None


class HoldBody(Body):
    """What is to be reserved: the price of a usage, or an amount."""

    meter: str | None = None
    quantity: Quantity | None = None
    also: list[Also] = Field(default=[], max_length=MAX_PARTS)
    amount: Amount | None = None
    unit: str | None = None
    customer: CustomerName | None = None
    agent: str | None = None
    description: str | None = None
    metadata: Metadata | None = None
    expires_in: int = Field(default=DEFAULT_HOLD_SECONDS, ge=1, le=MAX_HOLD_SECONDS, description="In seconds")

    def usage(self) -> Usage | None:
        """The usage to reserve for, or None where an amount is named. Raises ``ValidationFailed`` for neither or both."""
        if (self.meter is None) == (self.amount is None):
            raise ValidationFailed(
                [("meter", "expected either a meter with a quantity, or an amount with a unit")]
            )
        if self.meter is None:
            if self.quantity is not None or self.also:
                raise ValidationFailed([("quantity", "expected none: an amount is named")])
            return None
        if self.unit is not None:
            raise ValidationFailed([("unit", "expected none: the meter's price says its units")])
        also = [(each.meter, each.quantity) for each in self.also]
        quantity = 1 if self.quantity is None else self.quantity
        return Usage(self.meter, quantity, also, self.customer, self.agent, self.description, self.metadata)


class CaptureBody(Body):
    """What was used: an amount, or a quantity of the hold's meter; with neither, all that was held."""

    amount: AmountOrZero | None = None
    quantity: Quantity | None = None


class GrantBody(Body):
    """Credits with terms of their own."""

    customer: CustomerName
    amount: Amount
    category: str
    unit: str | None = None
    origin: Literal["paid", "free"] | None = None
    expires_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    effective_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    priority: int | None = None
    reason: str | None = None
    reference: str | None = None


class SettlementBody(Body):
    """Who pays whom for work, and how much. A price of 0 settles nothing."""

    payer: CustomerName = Field(alias="from")
    to: CustomerName
    price: AmountOrZero
    unit: str | None = None
    description: str | None = None


class RewardBody(Body):
    """What is rewarded: ``fact`` is your own id of it. A source with a streak takes neither a fact nor an amount."""

    customer: CustomerName
    source: str
    fact: str | None = None
    amount: Amount | None = None
    difficulty: str | None = None
    reason: str | None = None


class ReferralBody(Body):
    """Who brought whom."""

    referrer: CustomerName
    referred: CustomerName


class AgentBody(Body):
    """An agent on offer. ``capabilities`` are words by which it is found."""

    name: str
    price_per_task: AmountOrZero
    description: str | None = None
    capabilities: list[str] = Field(default=[], max_length=MAX_CAPABILITIES)
    unit: str | None = None
    customer: CustomerName | None = None


class AgentChange(Body):
    """What of an agent is to be different; what is left out stays. An empty description removes it."""

    name: str | None = None
    price_per_task: AmountOrZero | None = None
    description: str | None = None
    capabilities: list[str] | None = Field(default=None, max_length=MAX_CAPABILITIES)
    status: Literal["active", "paused"] | None = None


class TaskBody(Body):
    """Which agent is hired for what, and at which price at most; ``parent`` is the task whose budget pays."""

    agent: str
    input: Content
    max_price: AmountOrZero | None = None
    parent: str | None = None
    expires_in: int = Field(default=DEFAULT_TASK_SECONDS, ge=1, le=MAX_HOLD_SECONDS, description="In seconds")
    customer: CustomerName | None = None


class SandboxBody(Body):
    """A sandbox to be made; what is left out is the economy's default. ``timeout`` in seconds."""

    template: str
    name: str | None = None
    env_vars: dict[str, str] | None = None
    timeout: int | None = Field(default=None, ge=1, description="In seconds, from when it is ready")
    vcpu: int | None = Field(default=None, ge=1, le=MAX_VCPU)
    memory_mib: int | None = Field(default=None, ge=MIN_MEMORY_MIB, le=MAX_MEMORY_MIB)
    metadata: Metadata | None = None
    agent: str | None = None
    customer: CustomerName | None = None


class ExecuteBody(Body):
    """Code to run in a sandbox; without a ``language``, in the first of its template."""

    code: str
    language: Literal["bash", "python", "javascript"] | None = None
    timeout: int | None = Field(default=None, ge=1, le=MAX_EXECUTE_SECONDS, description="In seconds")
    env_vars: dict[str, str] | None = None


class ConfigureBody(Body):
    """Variables for every later execution, and seconds from now that it may run at least."""

    env_vars: dict[str, str] | None = None
    timeout: int | None = Field(default=None, ge=1, description="In seconds, from now")


class ExtendBody(Body):
    """For how many seconds from now it may run."""

    timeout: int = Field(ge=1, description="In seconds, from now")


class CompleteBody(Body):
    """What came of the work."""

    output: Content | None = None


class DisputeBody(Body):
    """What is wrong with a task."""

    reason: str


class DecisionBody(Body):
    """How much of a disputed task's price goes back, and why."""

    refund: AmountOrZero
    reason: str


class ReasonBody(Body):
    """Why."""

    reason: str | None = None


class ClawbackBody(Body):
    """How much to take back, and why."""

    amount: Amount
    reason: str | None = None


class FreezeBody(Body):
    """Which wallet; the primary unit's where none is named."""

    unit: str | None = None
    reason: str | None = None


class CustomerBody(Body):
    """A customer of an operator who has users of their own."""

    external_id: str
    email: str | None = None
    metadata: Metadata | None = None


class RegisterBody(Body):
    """A new user."""

    email: str
    password: str
    referral_code: str | None = None


class LoginBody(Body):
    """Who logs in."""

    email: str
    password: str


class KeyBudget(Body):
    """How much a key may spend in each period."""

    amount: AmountOrZero
    per: Literal["day", "month"]
    unit: str | None = None


class KeyBody(Body):
    """A new API key."""

    name: str
    role: Literal["user", "service", "admin"] = "user"
    customer: CustomerName | None = None
    budget: KeyBudget | None = None
    expires_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})


class BudgetBody(Body):
    """A spending limit. ``subject`` is an agent's name or a key's id; the level ``customer`` needs none."""

    level: Literal["customer", "agent", "key"]
    subject: str | None = None
    customer: CustomerName | None = None
    unit: str | None = None
    amount: AmountOrZero
    per: Literal["day", "month"]


class TierBody(Body):
    """The plan to change to."""

    tier: str
    customer: CustomerName | None = None


class PortalBody(Body):
    """Whose page to open."""

    customer: CustomerName | None = None


class EndpointBody(Body):
    """Where webhooks are to be sent. Without types, everything is; a pattern such as `balance.*` means all of one kind."""

    url: str
    types: list[str] = Field(default=[], max_length=MAX_TYPES)
    description: str | None = None
    customer: CustomerName | None = None


class EndpointChange(Body):
    """What is to change about an endpoint; the rest stays."""

    url: str | None = None
    types: list[str] | None = Field(default=None, max_length=MAX_TYPES)
    description: str | None = None


class ReplayBody(Body):
    """From when on to send again: since a moment, or after a number of the customer's."""

    since: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    after_sequence: int | None = Field(default=None, ge=0, le=_LARGEST_INT - 1)


class PreferencesBody(Body):
    """What a customer wants by e-mail; what is not named stays. No types at all are all of them."""

    email: bool | None = None
    types: list[str] | None = Field(default=None, max_length=MAX_TYPES)
    customer: CustomerName | None = None


class ClockBody(Body):
    """How far to move the test clock: by a duration, or to a moment."""

    advance: str | None = Field(default=None, examples=["P1D"])
    now: str | None = Field(default=None, json_schema_extra={"format": "date-time"})


class SimulateBody(Body):
    """How much to refund, in the payment's currency; without it, all that is left."""

    amount: Amount | None = None


def read_item(item: object) -> ChargeItem:
    """One charge of a batch. Raises pydantic's ``ValidationError``."""
    return ChargeItem.model_validate(item)
