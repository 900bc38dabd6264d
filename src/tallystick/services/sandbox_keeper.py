"""The keeper: sees to it that no sandbox runs unbilled, that none is billed after its end, and that none is forgotten.

Each process keeps the sandboxes that it made. It notes how far it saw them running, pays for their next slices while
credits last, and ends them when something is over. Those of a process that is gone are taken over by another; what was
not seen running is not billed. What runs at the provider and is not in our books is ended.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core.errors import ServiceUnavailable
from tallystick.core.events import SANDBOX_IDLE
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import Micros, format_rfc3339
from tallystick.ports import OutcomeUnknown
from tallystick.ports.sandboxes import Life, SandboxElsewhere
from tallystick.services.sandbox_host import LOCAL, lost_reason, reason_of
from tallystick.services.sandbox_steps import SandboxSteps, Seen
from tallystick.store import notifications, sandbox_lines, sandbox_requests
from tallystick.store import sandboxes as store
from tallystick.store.sandbox_lines import ExecutionRow
from tallystick.store.sandbox_requests import RequestRow
from tallystick.store.sandboxes import SandboxRow, Wanted

BEAT_MICROS: Final = 5_000_000
# A process that has said nothing for so long is taken to be gone.
SILENCE_MICROS: Final = 30_000_000
# After the clock was set, each process appears anew at its next turn; the others wait for that so long.
HEARING_MICROS: Final = 10_000_000
CREATING_MICROS: Final = 120_000_000
# So long after the end of its lease nothing runs any more at a provider that is not used any more.
OVER_MICROS: Final = 3_600_000_000
FORGET_PROCESS_MICROS: Final = 24 * 3_600_000_000
# It is told that a sandbox will end when so much of its time is over, in percent.
ENDING_PERCENT: Final = 80

log = structlog.get_logger(__name__)


class SandboxKeeper:
    """Work that is never done: one turn looks at every sandbox of this process once."""

    def __init__(self, steps: SandboxSteps) -> None:
        self._steps = steps
        self._context = steps.context
        self._bills = steps.bills
        self._host = steps.host
        self._beat_at = 0
        self._swept_at = 0
        self._ahead = 0
        self._leapt = False

    def run_once(self, now: Micros | None = None) -> dict[str, int]:
        """One turn; gives how many sandboxes ended, were paid for further, or were taken over."""
        at = self._context.now() if now is None else now
        counts: Counter[str] = Counter()
        self._follow_clock(at)
        beat = at - self._beat_at >= BEAT_MICROS
        if beat:
            self._beat_at = at
        if self._host.is_there:
            if beat:
                self.appear(at)
            self._look_after(counts, at, beat=beat)
        if not 0 <= at - self._swept_at < SILENCE_MICROS:
            self._swept_at = at
            self._take_over(counts, at)
            if self._host.is_there:
                self._end_unknown(counts)
        return dict(counts)

    def leave(self) -> None:
        """End what ends with this process, and close its bills; the rest is found by the others."""
        if not self._host.is_there:
            return
        counts: Counter[str] = Counter()
        provider = self._host.provider
        if provider.name == LOCAL:
            for row in self._open_rows():
                if row.handle is not None:
                    self._end_kept(row, provider.kill(row.handle), counts, reason="host_restart")
        provider.close()
        self._context.database.transact(lambda connection: store.leave(connection, self._host.process_id))

    def _follow_clock(self, at: int) -> None:
        """After the clock was set, or this process was held up, others are heard again before they are taken to be gone."""
        ahead = self._host.ahead()
        leapt = ahead != self._ahead or not 0 <= at - self._beat_at <= SILENCE_MICROS
        if leapt and self._beat_at and not self._leapt:
            self._swept_at = at - SILENCE_MICROS + HEARING_MICROS
        self._leapt = leapt
        if leapt:
            self._ahead, self._beat_at = ahead, 0

    # --- what is ours ----------------------------------------------------------------------------------------------

    def appear(self, at: int | None = None) -> None:
        """Tell the other processes that this one is there; before it makes any sandbox, and at each beat."""
        now = self._context.now() if at is None else at
        self._context.database.transact(
            lambda connection: store.appear(connection, self._host.process_id, now)
        )

    def _open_rows(self) -> list[SandboxRow]:
        wanted = Wanted(statuses=("creating", "running"), process_id=self._host.process_id)
        with self._context.database.read() as connection:
            return store.listed(connection, wanted, before=None, limit=None)

    def _look_after(self, counts: Counter[str], at: int, *, beat: bool) -> None:
        beats: dict[int, int] = {}
        if not beat and self._host.provider.name != LOCAL:
            return  # asking others costs a call over the network each time
        for row in self._open_rows():
            try:
                lived = self._look(row, counts, at)
            except ServiceUnavailable:
                raise
            except OutcomeUnknown as unknown:
                log.warning("a sandbox does not answer", sandbox=_id(row), detail=unknown.detail)
                continue
            except Exception:  # one that cannot be looked after must not keep the others from it
                log.exception("a sandbox cannot be looked after; the next turn tries again", sandbox=_id(row))
                continue
            if lived is not None:
                beats[row.id] = min(lived, row.funded_ms)
        if beat and beats:
            process_id = self._host.process_id
            self._context.database.transact(lambda connection: store.beat(connection, process_id, beats))

    def _look(self, row: SandboxRow, counts: Counter[str], at: int) -> int | None:
        """Look at one; gives how long it has lived while it runs on."""
        if row.status == "creating":
            self._give_up(row, counts, at)
            return None
        try:
            life = self._host.look(row)
        except SandboxElsewhere:
            # A machine that restarted ended all that ran on it.
            life = Life(running=False, lived_ms=None, reason="crashed")
            self._end_kept(row, life, counts, reason="host_restart")
            return None
        if not life.running:
            self._end_kept(row, life, counts)
            return None
        lived = self._host.lived_ms(row, life)
        row = self._pay(row, lived, counts)
        if row.status != "running":
            return None
        self._warn(row, lived, at)
        return lived

    def _pay(self, row: SandboxRow, lived: int, counts: Counter[str]) -> SandboxRow:
        """Pay for what comes next, slice by slice; end it where nothing pays for it, or its time is over."""
        before = row.funded_ms
        while row.status == "running":
            over = lived >= row.funded_ms
            if over and row.funded_ms >= row.timeout_ms:
                return self._end(row, "timeout", counts)
            if not over and not self._is_due(row, lived):
                break
            paid_to = row.funded_ms
            row = self._renewed(row, min(lived, paid_to))
            if row.funded_ms > paid_to:
                counts["sandbox_lease"] += 1
            elif over:
                return self._end(row, row.short_of or "credits", counts)
            else:
                break
        if row.funded_ms > before or row.id in self._steps.untold:
            return self._steps.follow(row, Seen(lived))
        return row

    def _is_due(self, row: SandboxRow, lived: int) -> bool:
        """Whether half of the lease is over and more can be had; where it was short, credits may have come since."""
        if row.funded_ms - lived >= self._bills.lease_ms // 2 or row.funded_ms >= row.timeout_ms:
            return False
        return row.short_of is None or self._steps.transact(row, self._bills.goes_further)

    def _renewed(self, row: SandboxRow, lived: int) -> SandboxRow:
        return self._steps.transact(
            row,
            lambda connection, now: (
                self._bills.renew(connection, now, lived) if now.status == "running" else now
            ),
        )

    def _end(self, row: SandboxRow, reason: str, counts: Counter[str]) -> SandboxRow:
        counts["sandbox_end"] += 1
        return self._steps.end(row, reason)

    def _end_kept(
        self, row: SandboxRow, life: Life, counts: Counter[str], *, reason: str | None = None
    ) -> None:
        """Close the bill of one that does not run any more."""
        lived = self._host.lived_ms(row, life)
        why = reason_of(life, row) if reason is None else reason
        self._steps.transact(row, lambda connection, now: self._bills.finish(connection, now, lived, why))
        counts["sandbox_end"] += 1

    def _give_up(self, row: SandboxRow, counts: Counter[str], at: int) -> None:
        """One whose making was never answered: if it runs it is ended, and its credits go back."""
        if abs(at - row.created_at) < CREATING_MICROS and row.process_id == self._host.process_id:
            return
        provider = self._host.provider
        handle = provider.running().get(_id(row))
        if handle is not None:
            provider.kill(handle)
        detail = "its making was interrupted"
        self._steps.transact(
            row,
            lambda connection, now: (
                self._bills.fail(connection, now, detail) if now.status == "creating" else now
            ),
        )
        counts["sandbox_end"] += 1

    def _warn(self, row: SandboxRow, lived: int, at: int) -> None:
        """Tell in time what is going to end, and what is running for nobody."""
        if not row.ending_told and (
            row.short_of is not None or lived * 100 >= row.timeout_ms * ENDING_PERCENT
        ):
            left, why = row.funded_ms - lived, row.short_of
            if why is None:
                left, why = row.timeout_ms - lived, "timeout"
            self._steps.transact(
                row,
                lambda connection, now: self._bills.warn(connection, now, left_ms=max(left, 0), reason=why),
            )
        rates = self._context.economy().sandbox
        idle_after = None if rates is None else rates.idle_warning_seconds
        if idle_after is None or at - row.used_at < idle_after * 1_000_000:
            return
        if _is_untold(row):
            self._steps.transact(row, lambda connection, now: self._tell_idle(connection, now, at))

    def _tell_idle(self, connection: Connection, row: SandboxRow, at: int) -> None:
        if not _is_untold(row):
            return  # a turn that was made at the same time, for a moved clock, told it
        store.change(connection, row.id, {"idle_told_at": at})
        data = {
            "sandbox": _id(row),
            "name": row.name,
            "idle_since": format_rfc3339(row.used_at),
            "unit": row.unit,
        }
        notifications.emit(
            connection,
            new_id=self._context.new_id,
            now=at,
            customer_id=row.customer_id,
            type=SANDBOX_IDLE,
            data=data,
        )

    # --- what nobody keeps -----------------------------------------------------------------------------------------

    def _take_over(self, counts: Counter[str], at: int) -> None:
        """Sandboxes of processes that are gone: those of this machine end, those elsewhere are kept from now on.

        Those of a provider that is not used here are left to whoever uses it, until they must have died by themselves.
        """
        mine = self._host.process_id

        def work(connection: Connection) -> tuple[list[SandboxRow], list[ExecutionRow | RequestRow]]:
            alive = store.heard(at - SILENCE_MICROS, at + SILENCE_MICROS)
            rows = store.orphans(connection, mine, alive=alive)
            taken = [
                row
                for row in rows
                if (row.provider == LOCAL or self._host.runs(row) or _is_over(row, at))
                and store.adopt(connection, row.id, before=row.process_id, process_id=mine)
            ]
            store.prune_processes(connection, before=at - FORGET_PROCESS_MICROS)
            ran = sandbox_lines.unfinished(connection, alive=alive, without=mine)
            return taken, [*ran, *sandbox_requests.unfinished(connection, alive=alive, without=mine)]

        taken, lost = self._context.database.transact(work)
        for begun in lost:
            self._drop(begun)
        for row in taken:
            log.warning("a sandbox was left behind by a process that is gone", sandbox=_id(row))
            counts["sandbox_taken_over"] += 1
            if not self._host.runs(row) or (row.status == "running" and row.provider == LOCAL):
                self._end_left_behind(row, counts)
            else:
                self._steps.untold.add(row.id)

    def _end_left_behind(self, row: SandboxRow, counts: Counter[str]) -> None:
        """A local sandbox ends with its process; what still runs is killed, and what was seen running is billed."""
        life = Life(running=False, lived_ms=None)
        if row.handle is not None and self._host.runs(row):
            try:
                self._host.provider.kill(row.handle)
            except (SandboxElsewhere, OutcomeUnknown) as error:
                log.warning("a sandbox left behind was not reached", sandbox=_id(row), error=repr(error))
        self._end_kept(row, life, counts, reason=lost_reason(row))

    def _drop(self, begun: ExecutionRow | RequestRow) -> None:
        """What was running, or put in, for a process that is gone costs nothing."""
        with self._context.database.read() as connection:
            row = store.by_id(connection, begun.sandbox_id)
        if row is None:
            return

        def work(connection: Connection, now: SandboxRow) -> None:
            if isinstance(begun, RequestRow):
                self._steps.undo_upload(connection, now, begun)
                return
            dropped = sandbox_lines.end_execution(connection, begun.id, {"status": "failed"})
            if dropped and begun.hold_id is not None:
                self._bills.postings.release(connection, now, begun.hold_id)

        self._steps.transact(row, work)

    def _end_unknown(self, counts: Counter[str]) -> None:
        """What runs at the provider and is in none of our books costs somebody money: it is ended."""
        provider = self._host.provider
        try:
            running = provider.running()
        except OutcomeUnknown as unknown:
            log.warning("the sandboxes that run are not known", detail=unknown.detail)
            return
        numbers = {reference: from_text("sbx", reference) for reference in running}
        with self._context.database.read() as connection:
            known = store.open_references(connection, [each for each in numbers.values() if each is not None])
        for reference, number in numbers.items():
            if number not in known:
                log.error("a sandbox runs that nobody pays for: it is ended", sandbox=reference)
                try:
                    provider.kill(running[reference])
                except (OutcomeUnknown, SandboxElsewhere) as error:
                    log.warning("it was not reached", sandbox=reference, error=repr(error))
                    continue
                counts["sandbox_end"] += 1


def _is_untold(row: SandboxRow) -> bool:
    """Whether nobody was told yet that it is idle since its last use."""
    return row.idle_told_at is None or row.idle_told_at < row.used_at


def _is_over(row: SandboxRow, at: int) -> bool:
    """Whether its lease has been over for so long that it must have died by itself, whoever ran it."""
    return at - row.created_at - row.funded_ms * 1000 > OVER_MICROS


def _id(row: SandboxRow) -> str:
    return to_text("sbx", row.id)
