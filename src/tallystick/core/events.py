"""What others are told about: the closed list of event types, and the patterns by which a receiver picks some of them."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

PING: Final = "ping"
GRANT_CREATED: Final = "credit_grant.created"
GRANT_EXPIRED: Final = "credit_grant.expired"
GRANT_VOIDED: Final = "credit_grant.voided"
HOLD_EXPIRED: Final = "hold.expired"
PLAN_CHANGED: Final = "plan.changed"
BUDGET_REACHED: Final = "budget.reached"
ENDPOINT_DISABLED: Final = "endpoint.disabled"
# What is told of a task, by the status that it has come to.
TASK_EVENTS: Final = {
    status: f"task.{status}"
    for status in (
        "created",
        "accepted",
        "completed",
        "failed",
        "cancelled",
        "timed_out",
        "disputed",
        "refunded",
    )
}

SANDBOX_STARTED: Final = "sandbox.started"
SANDBOX_STOPPED: Final = "sandbox.stopped"
SANDBOX_ENDING: Final = "sandbox.ending"
SANDBOX_IDLE: Final = "sandbox.idle"

# Those that customers are written an e-mail about; the other types are for programs.
MAILED_TYPES: Final = (
    "auto_refill.failed",
    "auto_refill.paused",
    "auto_refill.succeeded",
    "balance.depleted",
    "balance.low",
    BUDGET_REACHED,
    "credits.expiring",
    ENDPOINT_DISABLED,
    "payment.disputed",
    "payment.failed",
    "payment.refunded",
    "payment.succeeded",
    SANDBOX_ENDING,
    SANDBOX_IDLE,
)
EVENT_TYPES: Final = tuple(
    sorted(
        {
            *MAILED_TYPES,
            "balance.recovered",
            GRANT_CREATED,
            GRANT_EXPIRED,
            GRANT_VOIDED,
            "dispute.closed",
            HOLD_EXPIRED,
            PING,
            PLAN_CHANGED,
            SANDBOX_STARTED,
            SANDBOX_STOPPED,
            *TASK_EVENTS.values(),
        }
    )
)

# A budget tells of itself when this much of it is spent, in percent, and again when all of it is.
BUDGET_MARKS: Final = (50, 80, 100)


class Event(NamedTuple):
    """Something that happened to a customer, to be written in the transaction of its cause.

    ``data`` has texts, whole numbers, ``Decimal`` amounts and lists or mappings of them. ``once`` is a key of its own
    making: what was told under it is not told again. ``customer_id`` None is for what concerns the operator alone.
    """

    customer_id: int | None
    type: str
    at: int
    data: Mapping[str, object]
    once: str | None = None


def nouns() -> list[str]:
    """What events are about: the first words of their types."""
    return sorted({each.partition(".")[0] for each in EVENT_TYPES if "." in each})


def is_pattern(text: str) -> bool:
    """Whether a receiver may ask for this: a type, or all of one noun as in ``balance.*``."""
    return text in EVENT_TYPES or (text.endswith(".*") and text[:-2] in nouns())


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Whether a receiver asked for a type; one that named no pattern gets them all."""
    wanted = tuple(patterns)
    return not wanted or any(
        event_type == each or (each.endswith(".*") and event_type.startswith(each[:-1])) for each in wanted
    )


def types_of(patterns: Iterable[str]) -> list[str]:
    """The types that the patterns mean."""
    wanted = tuple(patterns)
    return [each for each in EVENT_TYPES if matches(wanted, each)]
