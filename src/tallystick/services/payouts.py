"""Payouts: what the operator may pay to customers in money for what their agents have earned. A report; nothing moves.

Only what was earned from paid credits counts, once it is older than the economy's ``payout_days`` and undisputed: by then
it can no longer be disputed. Credits that nobody paid for never become money, however often they go round.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tallystick.core.limits import DAY_MICROS
from tallystick.services.context import Caller, Context
from tallystick.services.exports import PAGE_LINES, Export
from tallystick.services.pages import Page, check_limit, page_of, position_of
from tallystick.services.pricing import require_service
from tallystick.store import payouts as store
from tallystick.store.payouts import PayoutRow


class Payouts:
    """The report, in pages or whole. For services and admins."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def report(
        self, caller: Caller, *, unit: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[PayoutRow]:
        """What each customer has earned in a unit, in the order in which customers came. Raises ``NotAllowed``."""
        require_service(caller)
        limit = check_limit(limit)
        found = self._rows(self._unit(unit), position_of("payouts", cursor) or 0, limit + 1)
        return page_of("payouts", found, limit=limit, position=lambda row: row.customer_id)

    def export(self, caller: Caller, *, unit: str | None = None) -> Export[PayoutRow]:
        """As ``report``, whole."""
        require_service(caller)
        name = self._unit(unit)
        first = self._rows(name, 0, PAGE_LINES)
        return Export(None, name, self._context.now(), chain([first], self._rest(name, first)))

    def _rest(self, unit: str, page: list[PayoutRow]) -> Iterator[list[PayoutRow]]:
        while len(page) == PAGE_LINES:
            page = self._rows(unit, page[-1].customer_id, PAGE_LINES)
            yield page

    def _unit(self, unit: str | None) -> str:
        economy = self._context.economy()
        return economy.primary_unit if unit is None else economy.unit(unit).name

    def _rows(self, unit: str, after: int, limit: int) -> list[PayoutRow]:
        days = self._context.economy().settlement.payout_days
        now = self._context.now()
        earned_before = now - days * DAY_MICROS
        with self._context.database.read() as connection:
            return store.report(
                connection, unit=unit, earned_before=earned_before, now=now, after=after, limit=limit
            )
