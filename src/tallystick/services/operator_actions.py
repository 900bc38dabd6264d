"""What operators do, written down with its reason: in the action's own transaction, or before it and completed after it.

A form acts once, however often it is sent: its key belongs to one action for good. An action that stands as ``begun`` has
no outcome yet; when nobody works on it any more, it was interrupted, and everybody can see that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.services.context import Answer, Context
from tallystick.services.operators import Operator
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.requests import check_text, idempotency_fields
from tallystick.store import operators as store
from tallystick.store.operators import ActionRow

ACTIONS: Final = (
    "grant",
    "void_grant",
    "claw_back",
    "freeze",
    "thaw",
    "refund_charge",
    "decide_task",
    "refund_payment",
    "replay_delivery",
    "replay_endpoint",
    "enable_endpoint",
    "reconcile",
    "audit",
)
DASHBOARD: Final = "admin"  # the door of whoever filled in a form
STATUSES: Final = ("begun", "done", "refused", "failed")
BROKE_OFF: Final = "it broke off with an internal error; the log tells more"
# Their outcome is not known yet: the same form asks again.
_UNDECIDED: Final = (errors.PaymentsUnavailable, errors.ServiceUnavailable)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a form asks for. ``key`` is the form's own; ``terms`` are what else was filled in, as it was written."""

    action: str
    reason: str
    key: str
    customer_id: int | None = None
    subject: str | None = None
    terms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of an action, as a sentence, and for a long one its report, which JSON can hold."""

    outcome: str
    report: Mapping[str, Any] | None = None


class OperatorActions:
    """Carries out actions and keeps the record of them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="operator")  # its threads start when needed
        self._guard = threading.Lock()
        self._running: set[str] = set()
        self._moved = threading.Condition()
        self._at_work: set[str] = set()
        self.stopping = threading.Event()

    def close(self) -> None:
        """Tell what runs beside the requests to stop, and wait until it has."""
        self.stopping.set()
        self._pool.shutdown()

    # --- carrying out ----------------------------------------------------------------------------------------------

    def within(self, operator: Operator, wish: Wish, work: Callable[[Connection], str]) -> Answer[ActionRow]:
        """Do ``work`` and write it down in one transaction. What is refused is written down alone, and changed nothing.

        Raises ``ValidationFailed`` for a form without reason, ``IdempotencyKeyReused`` for one that was sent before with
        other contents: nothing is written then.
        """
        row = self._row(operator, wish)

        def do(connection: Connection) -> ActionRow | None:
            known = self._begin(connection, row)
            if known is None:
                outcome = work(connection)
                self._end(connection, row, "done", Told(outcome))
            return known

        try:
            known = self._twice(do)
        except errors.ServiceUnavailable:
            raise
        except errors.Refusal as refusal:
            detail = refusal.detail

            def refuse(connection: Connection) -> ActionRow | None:
                known = self._begin(connection, row)
                if known is None:
                    self._end(connection, row, "refused", Told(detail))
                return known

            known = self._twice(refuse)
        return self._answer(row, known)

    def around(self, operator: Operator, wish: Wish, work: Callable[[], str]) -> Answer[ActionRow]:
        """Write the action down, do ``work``, which calls others and may be repeated, then write what came of it.

        Raises as ``within``; and ``PaymentsUnavailable`` or ``ServiceUnavailable`` when the outcome is not known: the action
        stays begun, and the same form goes on with it. Whoever sends the form meanwhile waits for its outcome.
        """
        row = self._row(operator, wish)
        with self._alone(row.idempotency):
            known = self._twice(lambda connection: self._begin(connection, row))
            if known is None or (known.status == "begun" and known.request_digest == row.request_digest):
                self._finish_or_look(known or row, work)
        return self._answer(row, known)

    @contextmanager
    def _alone(self, form: str) -> Iterator[None]:
        """Be the only one in this process that works on a form."""
        with self._moved:
            self._moved.wait_for(lambda: form not in self._at_work)
            self._at_work.add(form)
        try:
            yield
        finally:
            with self._moved:
                self._at_work.discard(form)
                self._moved.notify_all()

    def _finish_or_look(self, row: ActionRow, work: Callable[[], str]) -> None:
        """Do the work. What another process has found out meanwhile is the outcome, too."""
        try:
            self._finish(row, lambda: Told(work()))
        except _UNDECIDED:
            if self._get(row.id).status == "begun":
                raise

    def beside(self, operator: Operator, wish: Wish, work: Callable[[], Told]) -> Answer[ActionRow]:
        """Write the action down and do ``work`` in a thread of its own: the answer is the action as it begins.

        Raises as ``within``, and ``Conflict`` while another of its kind runs in this process.
        """
        row = self._row(operator, wish)
        with self._context.database.read() as connection:
            known = store.by_idempotency(connection, row.idempotency)
        if known is None:
            with self._guard:
                if row.action in self._running:
                    raise errors.Conflict("another one is under way: wait for its result")
                self._running.add(row.action)
            try:
                known = self._twice(lambda connection: self._begin(connection, row))
            except BaseException:
                self._running.discard(row.action)
                raise
            if known is None:
                self._pool.submit(self._run, row, work)
            else:
                self._running.discard(row.action)
        return self._answer(row, known)

    def _run(self, row: ActionRow, work: Callable[[], Told]) -> None:
        try:
            self._finish(row, work)
        except _UNDECIDED as refusal:
            self._write(row, "failed", Told(refusal.detail))
        finally:
            self._running.discard(row.action)

    def is_running(self, action: str) -> bool:
        """Whether this process is at it."""
        return action in self._running

    def _finish(self, row: ActionRow, work: Callable[[], Told]) -> None:
        try:
            told = work()
        except _UNDECIDED:
            raise
        except errors.Refusal as refusal:
            self._write(row, "refused", Told(refusal.detail))
        except Exception:
            log.exception("an operator's action broke off", action=row.action, subject=row.subject)
            self._write(row, "failed", Told(BROKE_OFF))
        else:
            self._write(row, "done", told)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _row(self, operator: Operator, wish: Wish) -> ActionRow:
        reason = check_text(wish.reason.strip() or None, field="reason")
        if reason is None:
            raise errors.ValidationFailed([("reason", "expected why you do this, in 1 to 500 characters")])
        if not wish.key:
            raise errors.ValidationFailed([("key", "expected the form's own key: load the page again")])
        terms = {name: text for name, text in wish.terms.items() if text}
        content = (wish.action, wish.customer_id, wish.subject, reason, terms)
        fields = idempotency_fields(operator.caller, f"admin form {wish.key}", wish.action, content)
        return ActionRow(
            id=self._context.new_id(),
            at=self._context.now(),
            key_id=operator.key_id,
            operator=operator.name,
            action=wish.action,
            customer_id=wish.customer_id,
            subject=wish.subject,
            terms=msgspec.json.encode(terms).decode(),
            reason=reason,
            status="begun",
            outcome=None,
            report=None,
            ended_at=None,
            idempotency=fields["idempotency"],
            request_digest=fields["request_digest"],
            door=DASHBOARD,
        )

    def _begin(self, connection: Connection, row: ActionRow) -> ActionRow | None:
        """Write the action down; gives the one that the same form made before, if it did."""
        known = store.by_idempotency(connection, row.idempotency)
        if known is None:
            store.add(connection, row)
        return known

    def _write(self, row: ActionRow, status: str, told: Told) -> None:
        self._context.database.transact(lambda connection: self._end(connection, row, status, told))

    def _end(self, connection: Connection, row: ActionRow, status: str, told: Told) -> None:
        report = None if told.report is None else msgspec.json.encode(told.report).decode()
        store.end(
            connection,
            row.id,
            status=status,
            outcome=told.outcome,
            report=report,
            ended_at=self._context.now(),
        )

    def _twice(self, work: Callable[[Connection], ActionRow | None]) -> ActionRow | None:
        """The same form may come twice at this moment."""
        database = self._context.database
        return database.twice(lambda: database.transact(work))

    def _answer(self, row: ActionRow, known: ActionRow | None) -> Answer[ActionRow]:
        """The action as it stands. A form that was changed and sent again is another request."""
        if known is not None and known.request_digest != row.request_digest:
            raise errors.IdempotencyKeyReused
        return Answer(self._get(row.id if known is None else known.id), replayed=known is not None)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _get(self, number: int) -> ActionRow:
        with self._context.database.read() as connection:
            found = store.by_id(connection, number)
        assert found is not None
        return found

    def find(self, number: int | None) -> ActionRow | None:
        """An action by its id."""
        with self._context.database.read() as connection:
            return None if number is None else store.by_id(connection, number)

    def list(
        self,
        *,
        action: str | None = None,
        status: str | None = None,
        operator: str | None = None,
        customer_id: int | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[ActionRow]:
        """Actions, newest first; of one kind, outcome, operator (a key's name) or customer where it is given."""
        if action is not None and action not in ACTIONS:
            raise errors.ValidationFailed([("action", f"expected one of {', '.join(ACTIONS)}")])
        if status is not None and status not in STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
        name = check_text(operator, field="operator", most=100)
        most, before = check_limit(limit), position_of("actions", cursor)
        with self._context.database.read() as connection:
            rows = store.page(
                connection,
                action=action,
                status=status,
                operator=name,
                customer_id=customer_id,
                before=before,
                limit=most + 1,
            )
        return page_of("actions", rows, limit=most, position=lambda row: row.id)
