"""What services share: the database, the ledger and its group commit, the clock, ids and the active economy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tallystick.core.catalog import Economy
from tallystick.services.group_commit import GroupCommit
from tallystick.store.engine import Database
from tallystick.store.ledger import Ledger

T = TypeVar("T")


@dataclass(slots=True)
class ActiveEconomy:
    """The economy that prices what happens now; replaced as a whole when another is loaded."""

    economy: Economy | None = None

    def __call__(self) -> Economy:
        """The active economy."""
        if self.economy is None:
            message = "no economy is loaded"
            raise AssertionError(message)
        return self.economy


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every service by the composition root."""

    database: Database
    ledger: Ledger
    commit: GroupCommit
    now: Callable[[], int]
    new_id: Callable[[], int]
    economy: ActiveEconomy
    public_url: str = "http://127.0.0.1:8080"
    customer_ids: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``scope`` is what idempotency keys and holds belong to: a customer, or a service by its name."""

    role: str
    scope: str
    name: str
    customer_id: int | None = None
    user_id: int | None = None
    key_id: int | None = None
    key_has_budget: bool = False
    door: str | None = None  # of an admin, where what it does is to be written down

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.role == "admin"

    @property
    def is_service(self) -> bool:
        """Whether the caller may act for any customer."""
        return self.role in {"service", "admin"}


SYSTEM = Caller(role="admin", scope="system", name="system")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a service gives for a write: the result, and whether it is a repeat of one given before."""

    value: T
    replayed: bool = False
