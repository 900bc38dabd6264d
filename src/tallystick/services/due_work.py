"""Work that time makes due, found in the state itself: done in bounded batches, safe twice and in several processes.

A customer's own work (expiry, ended holds, new periods, scheduled grants) is booked by the ledger in the order of its
moments. Here are the customers nobody touched meanwhile, and the sweeping up of what has no more use.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import sqlalchemy as sa
import structlog

from tallystick.core.errors import ServiceUnavailable
from tallystick.core.limits import DAY_MICROS
from tallystick.services.context import Context
from tallystick.services.tasks import Tasks
from tallystick.services.watch import BalanceWatch
from tallystick.services.work import run_all
from tallystick.store import oauth, upkeep

CUSTOMERS_PER_BATCH: Final = 200
BATCHES_PER_TURN: Final = 50
COUNTERS_KEPT_DAYS: Final = 2
PRUNE_EVERY_MICROS: Final = 3_600_000_000
PRUNED_PER_BATCH: Final = 500
CODES_KEPT_DAYS: Final = 1

log = structlog.get_logger(__name__)


class DueWork:
    """Runs what is due. One turn is bounded; what is left over is found again by the next."""

    def __init__(self, context: Context, watch: BalanceWatch, tasks: Tasks) -> None:
        self._context = context
        self._tasks = tasks
        self._watch = watch
        self._pruned_at = 0
        self._failing: dict[int, int] = {}

    def run_once(self, now: int | None = None) -> dict[str, int]:
        """One turn: gives how much of each kind was done. ``now`` None: the present."""
        counts: dict[str, int] = {}
        moment = self._context.now if now is None else lambda: now
        for _ in range(BATCHES_PER_TURN):
            done = self._settle_batch(moment())
            if done is None:
                break
            for name, count in done.items():
                counts[name] = counts.get(name, 0) + count
        if ended := self._tasks.end_over(moment()):
            counts["task_timeout"] = counts.get("task_timeout", 0) + ended
        counts.update(self._watch.run_once())  # after what was due, so that balances are those of now
        at = moment()
        if at - self._pruned_at >= PRUNE_EVERY_MICROS:
            self._pruned_at = at
            counts.update(self.prune(at))
        return counts

    def run_all(self) -> dict[str, int]:
        """Turn after turn, until nothing is due."""
        return run_all([self])

    def lag_seconds(self) -> float:
        """For how long the longest waiting work has been due."""
        now = self._context.now()
        with self._context.database.read() as connection:
            earliest = upkeep.earliest_due(connection)
        return max((now - earliest) / 1_000_000, 0.0) if earliest is not None else 0.0

    def prune(self, now: int) -> dict[str, int]:
        """Delete counters of hours long past, ended sessions, old throttles and notices: nothing of the ledger."""
        before = now - COUNTERS_KEPT_DAYS * DAY_MICROS
        counts = self._context.database.transact(
            lambda connection: upkeep.prune(connection, now=now, before=before)
        )
        return counts | self._prune_apps(now)

    def _prune_apps(self, now: int) -> dict[str, int]:
        """Delete what has ended of apps that users connected, some at a time."""
        used_before = now - CODES_KEPT_DAYS * DAY_MICROS
        counts: Counter[str] = Counter()
        for _ in range(BATCHES_PER_TURN):
            done = self._context.database.transact(
                lambda connection: oauth.prune(
                    connection, now=now, used_before=used_before, limit=PRUNED_PER_BATCH
                )
            )
            counts.update(done)
            if max(done.values()) < PRUNED_PER_BATCH:
                break
        return dict(counts)

    def _settle_batch(self, now: int) -> dict[str, int] | None:
        """Settle some customers; None when nobody is due."""
        context = self._context
        self._failing = {number: until for number, until in self._failing.items() if until > now}
        with context.database.read() as connection:
            due = upkeep.due_customers(
                connection, now=now, limit=CUSTOMERS_PER_BATCH, without=list(self._failing)
            )
        if not due:
            return None
        try:
            return self._settle(due, now)
        except ServiceUnavailable:
            raise
        except Exception:
            log.exception(
                "settling a batch of customers failed; settling them one by one", customers=len(due)
            )
        counts: dict[str, int] = {}
        for customer_id in due:
            for name, count in self._settle_alone(customer_id, now).items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def _settle_alone(self, customer_id: int, now: int) -> dict[str, int]:
        """One customer that cannot be settled must not keep the others from it."""
        try:
            return self._settle([customer_id], now)
        except ServiceUnavailable:
            raise
        except Exception:
            log.exception("a customer cannot be settled; trying again in an hour", customer=customer_id)
            self._failing[customer_id] = now + PRUNE_EVERY_MICROS
            return {}

    def _settle(self, customer_ids: list[int], now: int) -> dict[str, int]:
        context = self._context

        def work(connection: sa.engine.Connection) -> dict[str, int]:
            return context.ledger.settle(connection, customer_ids, now=now)

        return context.database.transact(work)
