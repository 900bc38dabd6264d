"""The audit: derive every stored figure anew from the journal, and report each rule of the ledger.

It reads one moment's state in one read transaction, a page at a time in the order of the keys, so that it may
run on a live database: nobody waits for it, and what it holds in memory does not grow with the ledger. Each
pass leaves notes for the next: economies, the journal, accounts with their grants, memberships, wallets with
their statements, counters.

It finds rows that were edited, deleted or added by anyone who does not also rewrite the seals; it is no proof
against whoever owns both the database and this program. A transaction that did nothing (a second freeze, a
settlement of 0) leaves no trace but its own row, so nothing tells when that row is deleted.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Final

from tallystick.core.catalog import Plan
from tallystick.core.economy_file import load
from tallystick.core.errors import Refusal
from tallystick.store.audit import journal, postings
from tallystick.store.audit.accounts import check_accounts
from tallystick.store.audit.limits import check_budgets, check_hours, note_limits
from tallystick.store.audit.notes import Notes
from tallystick.store.audit.reader import Progress, Reader
from tallystick.store.audit.report import AuditReport, Findings, RuleReport, Violation
from tallystick.store.audit.wallets import check_memberships, check_wallets
from tallystick.store.engine import Database
from tallystick.store.seals import seal_of

__all__ = ["AuditReport", "Progress", "RuleReport", "Violation", "audit"]

_REPEATED: Final = (
    "SELECT idempotency, COUNT(*) FROM transactions WHERE idempotency IS NOT NULL "
    "GROUP BY idempotency HAVING COUNT(*) > 1"
)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def audit(
    database: Database, *, now: int | None = None, progress: Progress = _silent, rows_at_once: int = 1000
) -> AuditReport:
    """Check everything, on a live database, without stopping it.

    ``now`` judges what is due (microseconds; by default the newest transaction's moment); ``progress`` is
    told the table, the rows done and their number.
    """
    findings = Findings()
    with database.read() as connection, closing(Notes()) as notes:
        reader = Reader(connection, database.driver, progress, rows_at_once)
        if now is None:
            now = reader.rows("SELECT MAX(at) FROM transactions")[0][0] or 0
        versions, plans = _check_economies(reader, findings)
        with findings.readable("transactions"):
            _check_journal(reader, findings, notes, versions)
        with findings.readable("accounts"):
            check_accounts(reader, findings, notes)
        with findings.readable("memberships"):
            check_memberships(reader, findings, notes, renews=lambda name: _renews(plans.get(name, [])))
        with findings.readable("wallets"):
            check_wallets(reader, findings, notes, now=now)
        with findings.readable("counters"):
            check_budgets(reader, findings, notes)
            check_hours(reader, findings, notes, now=now)
        return findings.report(now=now, transactions=reader.count("transactions"))


def _check_economies(reader: Reader, findings: Findings) -> tuple[frozenset[str], dict[str, list[Plan]]]:
    """Every version is as it was loaded, under the digest of its content. Gives them, and all plans."""
    versions: set[str] = set()
    plans: dict[str, list[Plan]] = {}
    for version, name, text, loaded_at, seal in reader.rows(
        "SELECT version, name, text, loaded_at, seal FROM economies"
    ):
        versions.add(version)
        findings.same(9, ("economies", version, "seal"), seal_of((version, name, text, loaded_at)), seal)
        try:
            economy = load(text, name=name)
        except Refusal as refusal:
            findings.holds(9, ("economies", version, "text"), False, "an economy", refusal)  # noqa: FBT003
            continue
        findings.same(9, ("economies", version, "digest"), economy.version, version)
        for plan in economy.plans.values():
            plans.setdefault(plan.name, []).append(plan)
    return frozenset(versions), plans


def _renews(plans: list[Plan]) -> bool:
    """Whether a plan has an allowance that comes again, in whatever version of the economy."""
    return bool(plans) and all(any(each.amount_micros for each in plan.allowances) for plan in plans)


def _check_journal(reader: Reader, findings: Findings, notes: Notes, versions: frozenset[str]) -> None:
    """Replay the journal from its first transaction to its last."""
    findings.same(5, ("transactions", "all", "idempotency"), [], reader.rows(_REPEATED))
    seen: Counter[str] = Counter()
    for page in reader.pages("transactions", journal.COLUMNS):
        found = journal.read_page(reader, page, findings, seen)
        around = journal.look_around(reader, found, versions)
        for posting in found:
            with findings.readable("transactions", posting.row.id):
                _check_posting(posting, around, findings)
                journal.note_totals(posting, notes)
                journal.note_states(posting, notes)
        note_limits(reader, found, around, notes)
    for table, number in seen.items():
        findings.same(6, (table, "all", "rows under the transactions' ids"), reader.count(table), number)


def _check_posting(posting: journal.Posting, around: journal.Surroundings, findings: Findings) -> None:
    journal.check_seal(posting, findings)
    journal.check_references(posting, around, findings)
    postings.check_movement(posting, around, findings)
    postings.check_key(posting, findings)
    postings.check_pending(posting, around, findings)
    postings.check_grants(posting, around, findings)
    postings.check_answer(posting, around, findings)
