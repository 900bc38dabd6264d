"""The balance watch: what charges left to be looked at becomes notifications and requests for refills.

The transaction that takes a balance out of the figures it is watched for leaves a mark (``Book.alerts``). Here a worker
takes the marks, a customer at a time in one transaction each: book what is due, decide by ``core.watch``, write the
notification and the request for a refill, set the next figures, remove the mark. It is safe twice and in several
processes, since all of it happens under the lock of the wallets. What is told is what is so at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core.catalog import Economy
from tallystick.core.decimals import to_decimal
from tallystick.core.errors import ServiceUnavailable
from tallystick.core.holdings import NEVER, Wallet
from tallystick.core.ids import to_text
from tallystick.core.limits import DAY_MICROS, HOUR_MICROS
from tallystick.core.times import format_rfc3339
from tallystick.core.watch import DEPLETED, is_of, look
from tallystick.services.context import Context
from tallystick.services.economies import Economies
from tallystick.store import notifications, settings, watches

CUSTOMERS_PER_BATCH: Final = 100
WALLETS_PER_BATCH: Final = 500
GRANTS_PER_BATCH: Final = 200
BATCHES_PER_TURN: Final = 20
# Under which economy every wallet has been placed.
PLACED: Final = "balances_placed"
# No transaction that might still bring an expiring grant takes longer than this.
LONGEST_WRITE_MICROS: Final = 60_000_000

EXPIRING: Final = "credits.expiring"

log = structlog.get_logger(__name__)


class BalanceWatch:
    """Looks at wallets that asked for it, and for grants that expire soon. One turn is bounded."""

    def __init__(self, context: Context, economies: Economies) -> None:
        self._context = context
        self._economies = economies
        self._failing: dict[int, int] = {}
        self._placed: str | None = None
        self._placing: tuple[str, int] = ("", 0)
        self._told_until = 0

    def run_once(self) -> dict[str, int]:
        """One turn: gives how much of each kind was done."""
        economy = self._economies.active()
        counts: Counter[str] = Counter()
        self._look_at_alerts(economy, counts)
        self._place_all(economy, counts)
        self._tell_expiries(economy, counts)
        return dict(counts)

    # --- wallets that left their figures -------------------------------------------------------------------

    def _look_at_alerts(self, economy: Economy, counts: Counter[str]) -> None:
        context = self._context
        now = context.now()
        self._failing = {number: until for number, until in self._failing.items() if until > now}
        for _ in range(BATCHES_PER_TURN):
            with context.database.read() as connection:
                customers = watches.alerted_customers(
                    connection, limit=CUSTOMERS_PER_BATCH, without=list(self._failing)
                )
            if not customers:
                return
            for customer_id in customers:
                self._try(
                    customer_id, lambda connection, owner: self._look(connection, owner, economy), counts
                )

    def _try(
        self, customer_id: int, work: Callable[[Connection, int], Counter[str]], counts: Counter[str]
    ) -> None:
        """One customer that cannot be looked at must not keep the others from it."""
        context = self._context
        try:
            counts.update(context.database.transact(lambda connection: work(connection, customer_id)))
        except ServiceUnavailable:
            raise
        except Exception:
            log.exception("a balance cannot be looked at; trying again in an hour", customer=customer_id)
            self._failing[customer_id] = context.now() + HOUR_MICROS

    def _look(self, connection: Connection, customer_id: int, economy: Economy) -> Counter[str]:
        """Look at the wallets of one customer that have marks."""
        context = self._context
        now = context.now()
        counts: Counter[str] = Counter()
        wallets = context.ledger.settled(connection, [customer_id], now=now)
        alerts = watches.take_alerts(connection, [each.id for each in wallets])
        changed = []
        for wallet in wallets:
            if wallet.id not in alerts:
                continue
            counts["balance_look"] += 1
            if wallet.frozen_at is not None:
                continue  # Its thaw leaves a mark where there is something to say.
            if self._judge(connection, wallet, economy, now, counts):
                changed.append(wallet)
            if _wants_refill(wallet, now):
                at = alerts[wallet.id]
                watches.request_refill(connection, customer_id=customer_id, unit=wallet.unit, at=at)
                counts["refill_request"] += 1
        if changed:
            context.ledger.set_watch(connection, changed)
        return counts

    def _judge(
        self, connection: Connection, wallet: Wallet, economy: Economy, now: int, counts: Counter[str]
    ) -> bool:
        """Tell what there is to tell of a wallet, and give it its next figures; says whether they are others."""
        is_unlimited = wallet.cover_id is not None
        available = wallet.available(now)
        watch, news = look(
            economy.low_balance.of(wallet.unit), wallet.watch, NEVER if is_unlimited else available
        )
        if news is not None:
            data = {
                "unit": wallet.unit,
                "threshold": to_decimal(0 if news.threshold == DEPLETED else news.threshold),
                "available": None if is_unlimited else to_decimal(available),
            }
            self._emit(connection, wallet.customer_id, news.type, data, now)
            counts["balance_notice"] += 1
        if watch == wallet.watch:
            return False
        wallet.set_watch(watch, wallet.refill_below)
        return True

    def _emit(
        self, connection: Connection, customer_id: int, kind: str, data: dict[str, object], now: int
    ) -> None:
        context = self._context
        notifications.emit(
            connection, new_id=context.new_id, now=now, customer_id=customer_id, type=kind, data=data
        )

    # --- wallets that nobody watched, or that were watched for other thresholds ----------------------------

    def _place_all(self, economy: Economy, counts: Counter[str]) -> None:
        """After the economy has changed: go through all wallets once, and place those that it concerns."""
        context, version = self._context, economy.version
        if self._placed == version:
            return
        with context.database.read() as connection:
            if settings.get(connection, PLACED) == version:
                self._placed = version
                return
        after = self._placing[1] if self._placing[0] == version else 0
        for _ in range(BATCHES_PER_TURN):
            with context.database.read() as connection:
                found = watches.wallets_after(connection, after, limit=WALLETS_PER_BATCH)
            if not found:
                context.database.transact(lambda connection: settings.put(connection, PLACED, version))
                self._placed = version
                return
            others = {
                each.customer_id for each in found if not is_of(economy.low_balance.of(each.unit), each.watch)
            }
            for customer_id in sorted(others):
                self._try(
                    customer_id, lambda connection, owner: self._place(connection, owner, economy), counts
                )
            after = found[-1].id
            self._placing = (version, after)

    def _place(self, connection: Connection, customer_id: int, economy: Economy) -> Counter[str]:
        """Watch one customer's wallets for the thresholds that hold now."""
        context = self._context
        now = context.now()
        counts: Counter[str] = Counter()
        wallets = context.ledger.settled(connection, [customer_id], now=now)
        changed = [
            each
            for each in wallets
            if not is_of(economy.low_balance.of(each.unit), each.watch)
            and self._judge(connection, each, economy, now, counts)
        ]
        if changed:
            context.ledger.set_watch(connection, changed)
        counts["balance_placed"] += len(changed)
        return counts

    # --- grants that expire soon ---------------------------------------------------------------------------

    def _tell_expiries(self, economy: Economy, counts: Counter[str]) -> None:
        """Tell of each grant that is about to expire with something left, once."""
        database, now = self._context.database, self._context.now()
        lifetime = economy.expiry_notice_days * DAY_MICROS
        after, until = (max(self._told_until, now), NEVER), now + lifetime
        for _ in range(BATCHES_PER_TURN):

            def find(connection: Connection, after: tuple[int, int] = after) -> list[watches.ExpiringGrant]:
                return watches.expiring(
                    connection, after=after, until=until, lifetime=lifetime, limit=GRANTS_PER_BATCH
                )

            with database.read() as connection:
                found = find(connection)
            if not found:
                self._told_until = until - LONGEST_WRITE_MICROS
                return
            counts["expiry_notice"] += database.transact(
                lambda connection, find=find: self._tell(connection, find(connection), now)  # type: ignore[misc]
            )
            after = (found[-1].expires_at, found[-1].id)

    def _tell(self, connection: Connection, grants: list[watches.ExpiringGrant], now: int) -> int:
        """Tell of those that nobody else has told of meanwhile."""
        told = watches.mark_told(connection, grants) if grants else set()
        for grant in sorted(grants, key=lambda each: (each.customer_id, each.expires_at, each.id)):
            if grant.id in told:
                data = {
                    "grant": to_text("grant", grant.id),
                    "unit": grant.unit,
                    "category": grant.category,
                    "remaining": to_decimal(grant.remaining),
                    "expires_at": format_rfc3339(grant.expires_at),
                }
                self._emit(connection, grant.customer_id, EXPIRING, data, now)
        return len(told)


def _wants_refill(wallet: Wallet, now: int) -> bool:
    """Whether a wallet that refills by itself is below its figure; under an unlimited plan it never needs to."""
    return wallet.cover_id is None and wallet.available(now) < (wallet.refill_below or 0)
