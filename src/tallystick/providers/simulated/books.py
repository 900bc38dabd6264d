"""The provider's books in one transaction: typed documents in and out, and an event for each change that is told."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Event, Subject
from tallystick.providers.simulated.documents import Document
from tallystick.store import simulated
from tallystick.store.simulated import StoredEvent, StoredObject

D = TypeVar("D", bound=Document)

# So many random bytes that nobody guesses the address of a page.
_RANDOM_BYTES: Final = 20
_ID: Final = re.compile(r"[a-z]{2,6}_sim_[a-z2-7]+")


@dataclass(frozen=True, slots=True)
class Making:
    """Where new ids come from: ``new_id`` gives numbers that rise, ``random`` so many bytes by chance."""

    new_id: Callable[[], int]
    random: Callable[[int], bytes]

    def token(self, prefix: str) -> str:
        """An id that cannot be guessed."""
        text = base64.b32encode(self.random(_RANDOM_BYTES)).decode().rstrip("=").lower()
        return f"{prefix}_sim_{text}"


@dataclass(frozen=True, slots=True)
class Books:
    """All that one transaction needs. ``now`` is the moment at which what is written happens."""

    connection: Connection
    making: Making
    now: int
    public_url: str
    told_at: int

    def add(self, document: D) -> D:
        """Write down something new; gives it its id."""
        document.id = document.id or self.making.token(document.prefix)
        row = StoredObject(
            id=document.id,
            number=self.making.new_id(),
            kind=document.kind,
            payer=document.payer,
            reference=document.reference,
            due_at=document.due_at,
            data=msgspec.json.encode(document).decode(),
            created_at=document.created_at,
        )
        simulated.add(self.connection, row)
        return document

    def save(self, document: Document) -> None:
        """Write down a change."""
        data = msgspec.json.encode(document).decode()
        simulated.save(self.connection, document.id, data=data, due_at=document.due_at, now=self.told_at)

    def find(self, kind: type[D], document_id: str | None, *, lock: bool = False) -> D | None:
        """Something by its id; with ``lock``, to be changed."""
        if document_id is None or not _ID.fullmatch(document_id):
            return None  # whatever stands in an address comes here
        row = simulated.find(self.connection, document_id, kind=kind.kind, lock=lock)
        return None if row is None else read(kind, row)

    def get(self, kind: type[D], document_id: str | None, *, lock: bool = True) -> D:
        """As ``find``. Raises ``ProviderRefused`` when there is no such thing."""
        found = self.find(kind, document_id, lock=lock)
        if found is None:
            raise ProviderRefused(f"no such {kind.kind}: {document_id}", code="resource_missing")
        return found

    def newest(
        self, kind: type[D], *, payer: str | None = None, reference: str | None = None, limit: int = 1
    ) -> list[D]:
        """Things of a kind, newest first."""
        rows = simulated.newest(
            self.connection, kind=kind.kind, payer=payer, reference=reference, limit=limit
        )
        return [read(kind, row) for row in rows]

    def tell(self, kind: str, subject: Subject, subject_id: str, **facts: str) -> None:
        """Something happened that those who listen are told."""
        event = StoredEvent(
            id=self.making.token("evt"),
            number=self.making.new_id(),
            type=kind,
            subject=subject,
            subject_id=subject_id,
            facts=msgspec.json.encode(facts).decode(),
            created_at=self.told_at,
        )
        simulated.add_event(self.connection, event)


def read(kind: type[D], row: StoredObject) -> D:
    """A document as it was written."""
    return msgspec.json.decode(row.data, type=kind)


def event_of(stored: StoredEvent) -> Event:
    """An event as the port shows it."""
    return msgspec.convert(
        {
            "id": stored.id,
            "type": stored.type,
            "created_at": stored.created_at,
            "subject": stored.subject,
            "subject_id": stored.subject_id,
            "live": False,
            "facts": msgspec.json.decode(stored.facts),
        },
        type=Event,
    )
