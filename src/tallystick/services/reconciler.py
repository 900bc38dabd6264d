"""Our books beside the provider's: what was missed is caught up, and what cannot be matched is told, never hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.ports import OutcomeUnknown
from tallystick.ports.payments import Event, PaymentProvider
from tallystick.services.context import Caller, Context
from tallystick.services.fulfilment import Fulfilment
from tallystick.services.payment_refunds import PaymentRefunds
from tallystick.services.provider_events import IGNORED, REPEAT, ProviderEvents
from tallystick.services.refills import Refills
from tallystick.store import payments as store
from tallystick.store import reconciliation, settings
from tallystick.store.payments import PaymentRow

BATCH: Final = 50
CATCH_UP_EVERY: Final = 10 * MINUTE
OVERLAP: Final = HOUR
FIRST: Final = 3 * DAY
_SEEN: Final = "provider_events_seen_at:{}"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which our books and the provider's differ: about what, and how."""

    subject: str
    what: str
    ours: str
    theirs: str


@dataclass(slots=True)
class Reconciliation:
    """What was looked at, what was caught up, and what still differs."""

    since: int
    payments: int = 0
    events: int = 0
    caught_up: int = 0
    differences: list[Difference] = field(default_factory=list)


class Reconciler:
    """Asks for what was missed: in the worker a little at a time, and as a whole when an operator wants to know."""

    def __init__(
        self,
        context: Context,
        provider: PaymentProvider,
        *,
        fulfilment: Fulfilment,
        refills: Refills,
        refunds: PaymentRefunds,
        events: ProviderEvents,
    ) -> None:
        self._context = context
        self._provider = provider
        self._fulfilment = fulfilment
        self._refills = refills
        self._refunds = refunds
        self._events = events
        self._caught_up_at: int | None = None

    # --- in the worker ---------------------------------------------------------------------------------------------

    def run_once(self) -> dict[str, int]:
        """Ask for outcomes that are waited for, some at a time; and now and then for events that never came."""
        now = self._context.now()
        with self._context.database.read() as connection:
            payments = store.to_look_at(connection, provider=self._provider.name, now=now, limit=BATCH)
            refunds = store.refunds_to_look_at(connection, provider=self._provider.name, now=now, limit=BATCH)
        for row in payments:
            self._quietly(partial(self._look, row), otherwise=partial(self._fulfilment.look_later, row))
        for refund in refunds:
            self._quietly(partial(self._refunds.look, refund))
        counts = {"payment_looked_at": len(payments), "refund_looked_at": len(refunds)}
        if self._caught_up_at is None or now - self._caught_up_at >= CATCH_UP_EVERY:
            counts["event_caught_up"] = self._catch_up_quietly(now)
            self._caught_up_at = now
        return counts

    def _look(self, row: PaymentRow) -> None:
        if row.kind == "refill" and row.status in {"new", "unknown"}:
            self._refills.resolve(row)
        elif row.status == "new" and row.checkout is None:
            self._give_up(row)
        else:
            self._fulfilment.look(row.id)

    def _give_up(self, row: PaymentRow) -> None:
        """A page whose making was never answered: nobody was shown its address, so nobody can pay on it."""

        def work(connection: Connection) -> None:
            current = store.by_id(connection, row.id, lock=True)
            if current is not None and current.status == "new" and current.checkout is None:
                store.change(connection, row.id, status="expired", look_at=None)

        self._context.database.transact(work)

    def _quietly(self, work: Callable[[], None], *, otherwise: Callable[[], None] | None = None) -> None:
        """One that fails must not keep the others from being looked at; it waits for its next turn."""
        try:
            work()
        except (errors.PaymentsUnavailable, errors.PaymentFailed, OutcomeUnknown) as error:
            log.warning("the payment provider did not answer a look", detail=str(error))
        except errors.ServiceUnavailable:
            raise
        except Exception:
            log.exception("a payment cannot be looked at")
            if otherwise is not None:
                otherwise()

    def _catch_up_quietly(self, now: int) -> int:
        try:
            return self.catch_up(now)[1]
        except (errors.PaymentsUnavailable, OutcomeUnknown) as error:
            log.warning("the payment provider did not say what was missed", detail=str(error))
            return 0

    def catch_up(
        self, now: int, *, since: int | None = None, failed: list[Event] | None = None
    ) -> tuple[int, int]:
        """Handle events that never came; gives how many there were, and how many of them were new to us.

        ``failed`` gets those that could not be handled: they are asked for again the next time.
        """
        failed = [] if failed is None else failed
        name = _SEEN.format(self._provider.name)
        with self._context.database.read() as connection:
            seen = settings.get(connection, name)
        start = since if since is not None else int(seen) - OVERLAP if seen else now - FIRST
        events = sorted(self._provider.events(since=start), key=lambda event: event.created_at)
        new = self._new_among(events)
        done = 0
        for event in events:
            if event.id in new:
                done += self._handled(event, failed)
        if not failed:
            self._context.database.transact(lambda connection: settings.put(connection, name, str(now)))
        return len(events), done

    def _handled(self, event: Event, failed: list[Event]) -> bool:
        """Whether an event was handled and news; one that cannot be must not keep the others from it."""
        try:
            return self._events.handle(event) not in {IGNORED, REPEAT}
        except (OutcomeUnknown, errors.PaymentsUnavailable, errors.ServiceUnavailable):
            raise
        except Exception:
            log.exception("an event that never came cannot be handled", id=event.id, type=event.type)
            failed.append(event)
            return False

    def _new_among(self, events: list[Event]) -> set[str]:
        ids = [event.id for event in events]
        known: set[str] = set()
        with self._context.database.read() as connection:
            for start in range(0, len(ids), 500):
                known |= store.handled_among(connection, self._provider.name, ids[start : start + 500])
        return set(ids) - known

    # --- when an operator asks -------------------------------------------------------------------------------------

    def reconcile(self, caller: Caller, *, since: int | None = None) -> Reconciliation:
        """Catch up, look at every payment since a moment (30 days ago), and tell what differs still. For admins."""
        if not caller.is_admin:
            raise errors.NotAllowed("payments are reconciled by an admin")
        now = self._context.now()
        report = Reconciliation(since=now - 30 * DAY if since is None else since)
        try:
            failed: list[Event] = []
            report.events, report.caught_up = self.catch_up(now, since=report.since, failed=failed)
            report.differences += [Difference(each.id, each.type, "not handled", "") for each in failed]
            self._compare(report)
        except OutcomeUnknown as error:
            raise errors.PaymentsUnavailable from error
        return report

    def _compare(self, report: Reconciliation) -> None:
        after = 0
        while True:
            with self._context.database.read() as connection:
                rows = reconciliation.payments_since(connection, since=report.since, after=after, limit=BATCH)
            for row in rows:
                if row.provider == self._provider.name:
                    self._quietly(partial(self._look, row))
            after = rows[-1].id if rows else after
            report.payments += len(rows)
            if len(rows) < BATCH:
                break
        with self._context.database.read() as connection:
            found = reconciliation.unmatched(connection, since=report.since)
        report.differences += [Difference(to_text("pay", number), *rest) for number, *rest in found]
        self._find_strangers(report)

    def _find_strangers(self, report: Reconciliation) -> None:
        """What was paid under an id of ours and is not in our books: they were restored from an older backup, say."""
        seen: set[str] = set()
        for event in self._provider.events(since=report.since):
            if event.subject_id in seen:
                continue
            seen.add(event.subject_id)
            found = None
            if event.subject == "checkout":
                found = self._strange_page(event.subject_id)
            elif event.subject == "payment":
                found = self._strange_payment(event.subject_id)
            if found is not None:
                report.differences.append(found)

    def _strange_page(self, page_id: str) -> Difference | None:
        page = self._provider.checkout(page_id)
        if page is None or page.mode != "payment" or page.paid != "paid":
            return None
        theirs = f"{page.id} paid {page.amount_cents} {page.currency}"
        return self._stranger(page.reference, theirs, lambda row: row.checkout not in {None, page.id})

    def _strange_payment(self, payment_id: str) -> Difference | None:
        """A refill has no page; what was paid on a page is judged by that."""
        payment = self._provider.payment(payment_id)
        if payment is None or payment.status != "succeeded" or payment.invoice is not None:
            return None
        theirs = f"{payment.id} paid {payment.amount_cents} {payment.currency}"
        return self._stranger(
            payment.reference, theirs, lambda row: row.kind == "refill" and row.reference != payment.id
        )

    def _stranger(
        self, reference: str | None, theirs: str, is_another: Callable[[PaymentRow], bool]
    ) -> Difference | None:
        number = from_text("pay", reference or "")
        if number is None:
            return None
        with self._context.database.read() as connection:
            row = store.by_id(connection, number)
        if row is None:
            return Difference(reference or "", "payment", "not there", theirs)
        if is_another(row):
            ours = f"paid as {row.checkout or row.reference}, {row.status}"
            return Difference(reference or "", "payment", ours, theirs)
        return None
