"""The steps that everything done with a sandbox is made of: find it, call its provider, bill it, end it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text, to_text
from tallystick.ports import OutcomeUnknown
from tallystick.ports import sandboxes as port
from tallystick.services.context import Caller, Context
from tallystick.services.pricing import Pricing, Usage
from tallystick.services.requests import idempotency_fields
from tallystick.services.sandbox_bills import SandboxBills
from tallystick.services.sandbox_host import SandboxHost, reason_of
from tallystick.services.sandbox_postings import Fee
from tallystick.store import sandbox_requests
from tallystick.store import sandboxes as store
from tallystick.store.sandbox_requests import RequestRow
from tallystick.store.sandboxes import SandboxRow

KILLER_SECONDS: Final = 2.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """How far a life was seen, in milliseconds: just now, or the last time, where nobody answers."""

    ms: int
    is_now: bool = True


class SandboxSteps:
    """What users' operations and the keeper share."""

    def __init__(self, context: Context, pricing: Pricing, bills: SandboxBills, host: SandboxHost) -> None:
        self.context = context
        self.pricing = pricing
        self.bills = bills
        self.host = host
        # Sandboxes whose provider may not know yet how far they are paid for: the keeper tells it again.
        self.untold: set[int] = set()

    def find(self, caller: Caller, sandbox: str) -> SandboxRow:
        """A sandbox that the caller may see."""
        number = from_text("sbx", sandbox)
        with self.context.database.read() as connection:
            row = None if number is None else store.by_id(connection, number)
        if row is None or not (caller.is_service or row.customer_id == caller.customer_id):
            raise errors.NotFound("sandbox", sandbox)
        return row

    def running(self, row: SandboxRow) -> SandboxRow:
        """The sandbox, if it runs. Raises ``SandboxNotRunning``."""
        if row.status != "running":
            raise errors.SandboxNotRunning(row.status, row.reason)
        return row

    def fee(self, operation: str) -> Fee:
        """What an operation costs by the economy's meter for it; nothing where there is none."""
        name = f"sandbox_{operation}"
        if name not in self.context.economy().meters:
            return Fee(operation, (), ())
        _, _, _, parts, hourly = self.pricing.price(Usage(meter=name))
        return Fee(operation, parts, hourly)

    def request(
        self, caller: Caller, row: SandboxRow, key: str | None, operation: str, content: tuple[Any, ...]
    ) -> RequestRow:
        """What is asked of a sandbox under a key, as it is written down when it is done; without one it has its own."""
        repeat = idempotency_fields(
            caller, secrets.token_urlsafe() if key is None else key, operation, content
        )
        return RequestRow(
            id=self.context.new_id(),
            sandbox_id=row.id,
            idempotency=repeat["idempotency"],
            request_digest=repeat["request_digest"],
            process_id=None,
            hold_id=None,
        )

    def known(self, connection: Connection, request: RequestRow) -> RequestRow | None:
        """What was done before under the same key. Raises what refuses another request, or the same underway."""
        known = sandbox_requests.by_key(connection, request.idempotency)
        if known is None:
            return None
        if known.request_digest != request.request_digest:
            raise errors.IdempotencyKeyReused
        if known.process_id is not None:
            # Nobody else does it meanwhile: a late write must not undo what comes after it.
            raise errors.IdempotencyInFlight
        return known

    def undo_upload(self, connection: Connection, row: SandboxRow, upload: RequestRow) -> None:
        """A file is not known to be in a sandbox: it costs nothing, and its key is free again."""
        if sandbox_requests.drop(connection, upload.id) and upload.hold_id is not None:
            self.bills.postings.release(connection, row, upload.hold_id)

    def at_provider(self, row: SandboxRow, do: Callable[[str], T], *, field: str = "path") -> T:
        """Call the provider about a running sandbox, and say in our words what went wrong, or with which field."""
        if row.handle is None:
            raise errors.SandboxNotRunning(row.status, row.reason)
        try:
            self.host.provider_of(row)
            return do(row.handle)
        except port.SandboxGone as gone:
            raise errors.SandboxNotRunning("stopped", self.gone(row)) from gone
        except port.SandboxElsewhere as elsewhere:
            raise errors.SandboxElsewhere from elsewhere
        except port.SandboxBusy as busy:
            raise errors.SandboxFailed(
                f"the sandbox cannot do this now, and nothing was done: {busy.detail}"
            ) from busy
        except port.SandboxRefused as refused:
            raise errors.ValidationFailed([(field, refused.detail)]) from refused
        except OutcomeUnknown as unknown:
            raise errors.SandboxFailed(f"the sandbox did not answer: {unknown.detail}") from unknown

    def gone(self, row: SandboxRow) -> str | None:
        """Close the bill of one that was found gone; gives why it went."""
        try:
            life = self.host.look(row)
        except (OutcomeUnknown, port.SandboxElsewhere):
            return None
        if life.running:
            return None
        if life.reason == "killed":
            row = self._closed_by_its_killer(row)
        lived = self.host.lived_ms(row, life)
        ended = self.transact(
            row, lambda connection, now: self.bills.finish(connection, now, lived, reason_of(life, now))
        )
        return ended.reason

    def _closed_by_its_killer(self, row: SandboxRow) -> SandboxRow:
        """The row when its bill is closed: whoever killed it knows why, and does it at this moment, unless it died."""
        until = time.monotonic() + KILLER_SECONDS
        while row.is_open and time.monotonic() < until:
            time.sleep(KILLER_SECONDS / 40)
            with self.context.database.read() as connection:
                row = store.by_id(connection, row.id) or row
        return row

    def seen(self, row: SandboxRow) -> Seen:
        """How long a sandbox has lived by now; as far as it was seen where nobody answers."""
        try:
            return Seen(self.host.lived_ms(row, self.host.look(row)))
        except (OutcomeUnknown, port.SandboxElsewhere):
            return Seen(row.beat_ms, is_now=False)

    def follow(self, row: SandboxRow, seen: Seen) -> SandboxRow:
        """Tell the provider how far the sandbox is paid for; one that is not any more is ended.

        What was lived since it was last seen would be given to it again: then the keeper tells it, when somebody answers.
        """
        if row.status != "running" or row.handle is None:
            return row
        if not seen.is_now:
            self.untold.add(row.id)
            return row
        left = row.funded_ms - seen.ms
        if left <= 0:
            return self.end(row, "timeout" if row.funded_ms >= row.timeout_ms else row.short_of or "credits")
        self.untold.discard(row.id)
        try:
            self.host.provider_of(row).set_deadline(row.handle, seconds=left / 1000)
        except (port.SandboxGone, port.SandboxElsewhere, OutcomeUnknown) as error:
            log.warning("a sandbox's deadline was not set", sandbox=to_text("sbx", row.id), error=repr(error))
            if isinstance(error, OutcomeUnknown):
                self.untold.add(row.id)
        return row

    def end(self, row: SandboxRow, reason: str) -> SandboxRow:
        """Kill a sandbox, and close its bill at the moment of its end."""
        if not row.is_open:
            return row
        if row.handle is None:
            raise errors.Conflict("the sandbox is being made: try again when it runs")
        try:
            life = self.host.provider_of(row).kill(row.handle)
        except port.SandboxElsewhere as elsewhere:
            raise errors.SandboxElsewhere from elsewhere
        except OutcomeUnknown as unknown:
            raise errors.SandboxFailed(
                f"it is not known whether it was stopped: {unknown.detail}"
            ) from unknown
        why = reason if life.reason in {None, "killed"} else reason_of(life, row)
        lived = self.host.lived_ms(row, life)
        return self.transact(row, lambda connection, now: self.bills.finish(connection, now, lived, why))

    def transact(self, row: SandboxRow, work: Callable[[Connection, SandboxRow], T]) -> T:
        """A transaction with the row locked."""
        return self.context.database.transact(
            lambda connection: work(connection, self.bills.lock(connection, row))
        )

    def twice(self, work: Callable[[Connection], T]) -> T:
        """Do it again where another request was first with the same key."""
        database = self.context.database
        return database.twice(lambda: database.transact(work))

    def paid(self, customer_id: int, do: Callable[[], T]) -> T:
        """Tell who is refused for want of credits where to add some."""
        try:
            return do()
        except errors.Refusal as refusal:
            raise self.pricing.refine(refusal, customer_id) from None
