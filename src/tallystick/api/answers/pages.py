"""Lists in pages: ``{<noun>: […], has_more, next_cursor}``, newest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tallystick.api.answers.agents import AgentAnswer, PayoutLine, TaskLine
from tallystick.api.answers.billing import EntryLine
from tallystick.api.answers.grants import GrantLine
from tallystick.api.answers.identity import BudgetAnswer, KeyLine
from tallystick.api.answers.sandboxes import LogLine, SandboxAnswer
from tallystick.api.answers.spending import HoldLine
from tallystick.api.answers.webhooks import DeliveryAnswer, EndpointAnswer, NotificationLine
from tallystick.services.pages import Page

T = TypeVar("T")


@dataclass(slots=True)
class Transactions:
    """A page of a statement."""

    transactions: list[EntryLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class AgentPage:
    """A page of agents."""

    agents: list[AgentAnswer]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class TaskPage:
    """A page of tasks."""

    tasks: list[TaskLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class PayoutPage:
    """A page of the payouts report."""

    payouts: list[PayoutLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class SandboxPage:
    """A page of sandboxes."""

    sandboxes: list[SandboxAnswer]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class LogPage:
    """A page of what was run in a sandbox."""

    logs: list[LogLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class HoldPage:
    """A page of holds."""

    holds: list[HoldLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class GrantPage:
    """A page of grants."""

    grants: list[GrantLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class KeyPage:
    """A page of API keys."""

    keys: list[KeyLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class EndpointPage:
    """A page of endpoints."""

    endpoints: list[EndpointAnswer]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class NotificationPage:
    """A page of what happened."""

    notifications: list[NotificationLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class DeliveryPage:
    """A page of deliveries."""

    deliveries: list[DeliveryAnswer]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class BudgetList:
    """All budgets: a customer has only so many."""

    budgets: list[BudgetAnswer]


def page(noun: str, found: Page[T], render: Callable[[T], object]) -> dict[str, object]:
    """A page of ``noun``."""
    items = [render(item) for item in found.items]
    return {noun: items, "has_more": found.has_more, "next_cursor": found.next_cursor}
