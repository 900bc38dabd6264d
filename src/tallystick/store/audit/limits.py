"""What budgets and hourly limits counted, told by the journal.

Charges and holds add; releases and refunds give back to budgets.
"""

from collections.abc import Sequence
from typing import Any, Final

from tallystick.core.limits import hour_of
from tallystick.core.words import REVENUE
from tallystick.store.audit.journal import Posting, Surroundings
from tallystick.store.audit.notes import Notes
from tallystick.store.audit.reader import LOWEST, Reader
from tallystick.store.audit.report import Findings

_REFUNDED: Final = (
    "SELECT s.subject_id, t.amount, d.unit FROM transactions s "  # noqa: S608
    "JOIN transfers t ON t.transaction_id = s.id "
    f"JOIN accounts d ON d.id = t.debit_id AND d.code = '{REVENUE}' "
    "WHERE {ids:s.subject_id} AND s.kind = 'refund'"
)
_BUDGETS: Final = "SELECT id FROM budgets WHERE {ids:id}"

_COUNTED: Final = frozenset({"charge", "capture", "task_settlement", "task_refund"})

Spend = tuple[int, str, int, int]


def note_limits(reader: Reader, postings: Sequence[Posting], around: Surroundings, notes: Notes) -> None:
    """Remember what each posting counted in limits and budgets, and what its refunds took out again."""
    spending: dict[int, Sequence[Spend]] = {}
    for posting in postings:
        row, result = posting.row, posting.result
        if row.kind in {"charge", "hold"} and result is not None:
            for meter, count in result.counts:
                notes.hours.expect((row.customer_id, meter, hour_of(row.at)), count)
        spends = _spends(posting)
        _count(notes, spends, -1 if row.kind == "task_refund" else 1)
        if row.kind in {"charge", "capture"} and spends:
            spending[row.id] = spends
        for number in posting.resolves:
            if number in around.holds:
                _count(notes, around.holds[number].spends, -1)
    refunded: dict[int, dict[str, int]] = {}
    for number, amount, unit in reader.named(_REFUNDED, sorted(spending)):
        units = refunded.setdefault(number, {})
        units[unit] = units.get(unit, 0) + amount
    for number, units in refunded.items():
        for unit, amount in units.items():
            _give_back(notes, [spend for spend in spending[number] if spend[1] == unit], amount)


def _spends(posting: Posting) -> Sequence[Spend]:
    """What this posting has in budgets: a charge or capture for good, a hold until it is resolved.

    The refund of a task has what it gave back to them.
    """
    if posting.hold is not None:
        return posting.hold.spends
    if posting.row.kind in _COUNTED and posting.result is not None:
        spends: Sequence[Spend] = posting.result.spends
        return spends
    return ()


def _count(notes: Notes, spends: Sequence[Spend], sign: int) -> None:
    for budget_id, _, period_at, amount in spends:
        notes.budgets.expect((budget_id, period_at), sign * amount)


def _give_back(notes: Notes, spends: Sequence[Spend], refunded: int) -> None:
    """A refund takes out of each budget what was counted last first, and never more than was counted."""
    left: dict[int, int] = {}
    for budget_id, _, period_at, amount in reversed(spends):
        back = min(left.get(budget_id, refunded), amount)
        left[budget_id] = left.get(budget_id, refunded) - back
        notes.budgets.expect((budget_id, period_at), -back)


def check_budgets(reader: Reader, findings: Findings, notes: Notes) -> None:
    """Every period of every budget has counted what the journal says; a deleted budget's may be gone."""
    pages = reader.keyed(
        "budget_counters", "budget_id, period_at, spent", "budget_id, period_at", above=(LOWEST, LOWEST)
    )
    for rows in pages:
        for budget_id, period_at, spent in rows:
            notes.budgets.find((budget_id, period_at), spent)
    for (budget_id, period_at), expected, found in notes.budgets.results():
        wanted: Any = expected
        if found is None and not reader.named(_BUDGETS, [budget_id]):
            wanted = None
        findings.same(9, ("budget_counters", f"{budget_id} {period_at}", "spent"), wanted, found)


def check_hours(reader: Reader, findings: Findings, notes: Notes, *, now: int) -> None:
    """Every hourly counter that is stored is right; those of past hours may have been thrown away."""
    keys = "customer_id, meter, window_at"
    for rows in reader.keyed("hourly_counters", f"{keys}, used", keys, above=(LOWEST, "", LOWEST)):
        for customer_id, meter, window_at, used in rows:
            notes.hours.find((customer_id, meter, window_at), used)
    for (customer_id, meter, window_at), expected, found in notes.hours.results():
        if found is not None or window_at >= hour_of(now):
            where = ("hourly_counters", f"{customer_id} {meter} {window_at}", "used")
            findings.same(9, where, expected, found)
