"""What operations give: their results as the journal keeps them, outcomes, and the short form of idempotency keys."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tallystick.core import errors
from tallystick.core.adjustments import (
    ClawbackResult,
    FreezeResult,
    GrantResult,
    RefundResult,
    ReinstateResult,
)
from tallystick.core.ids import to_text
from tallystick.core.membership import PlanResult
from tallystick.core.operations import ChargeResult, HoldResult, Limit, ResolveResult
from tallystick.core.paid_plans import PaidResult
from tallystick.core.settlement import SettlementResult
from tallystick.core.tasks import TaskResult

# The steps of a task, each with the task as it was afterwards.
TASK_KINDS: Final = (
    "task",
    "task_accept",
    "task_completion",
    "task_settlement",
    "task_end",
    "task_release",
    "task_dispute",
    "task_dispute_end",
    "task_refund",
)
RESULTS: Final[dict[str, type]] = {
    "charge": ChargeResult,
    "hold": HoldResult,
    "capture": ResolveResult,
    "release": ResolveResult,
    "refund": RefundResult,
    "grant": GrantResult,
    "void": GrantResult,
    "clawback": ClawbackResult,
    "reinstatement": ReinstateResult,
    "freeze": FreezeResult,
    "thaw": FreezeResult,
    "plan_change": PlanResult,
    "paid_period": PaidResult,
    "paid_plan_end": PaidResult,
    "sign_up": PlanResult,
    "settlement": SettlementResult,
    **dict.fromkeys(TASK_KINDS, TaskResult),
}
# Operations that look at a customer's plan, and may change it.
PLAN_KINDS: Final = frozenset({"plan_change", "paid_period", "paid_plan_end"})
_encode: Final = msgspec.json.Encoder().encode
_decoders: Final[dict[str, Callable[[str], Any]]] = {
    kind: msgspec.json.Decoder(result).decode for kind, result in RESULTS.items()
}


@dataclass(slots=True)
class Outcome:
    """What came of one operation: its result, or the refusal. ``replayed`` marks a repeat of something done before."""

    result: Any = None
    refusal: errors.Refusal | None = None
    replayed: bool = False

    def value(self) -> Any:  # noqa: ANN401 - the operation's result
        """The result, or raise the refusal."""
        if self.refusal is not None:
            raise self.refusal
        return self.result


@dataclass(frozen=True, slots=True)
class Trial:
    """What an operation would meet: the available amount, its hourly limit's state, and the refusal if there is one."""

    available: int
    limit: Limit | None
    refusal: errors.Refusal | None


def idempotency_of(scope: str, key: str) -> str:
    """What a key of one caller is stored and looked up under: short, whatever the key's length."""
    digest = hashlib.blake2b(f"{scope}\x00{key}".encode(), digest_size=15).digest()
    return base64.urlsafe_b64encode(digest).decode()


def encode_result(result: Any) -> str:  # noqa: ANN401 - one of RESULTS
    """The answer of an operation, for the journal."""
    return _encode(result).decode()


def decode_result(kind: str, text: str) -> Any:  # noqa: ANN401 - one of RESULTS
    """The first answer of an operation, from the journal."""
    return _decoders[kind](text)


def subject_text(level: str, subject: Any) -> str:  # noqa: ANN401 - an id or an agent's name
    """What a budget is named by in a refusal."""
    prefixes = {"customer": "cust", "key": "key"}
    return to_text(prefixes[level], subject) if level in prefixes else str(subject)
