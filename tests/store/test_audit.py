"""Audits of histories in which nothing is wrong, of a database in use, and of rows that make no sense."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.core.amounts import INT64_MAX
from tallystick.core.errors import BudgetExceeded
from tallystick.core.times import HOUR
from tallystick.services.audit import Audit
from tallystick.services.context import SYSTEM
from tallystick.store.audit import AuditReport, audit, journal, notes
from tallystick.store.audit.reader import Reader
from tallystick.store.audit.report import Findings
from tallystick.store.engine import Database
from tallystick.store.schema import accounts, entries, hourly_counters, transactions, transfers, wallets
from tallystick.store.seals import seal_of
from tests.store.conftest import Lived
from tests.store.history import ECONOMY, History, live, open_history

TABLES = ("transactions", "accounts", "memberships", "wallets")


@pytest.fixture
def history(database_url: str, tmp_path: Path) -> Iterator[History]:
    """A ledger in which much has happened."""
    found = open_history(database_url, tmp_path)
    live(found)
    yield found
    found.tally.close()


def change(lived: Lived, *statements: sa.Executable) -> AuditReport:
    """Write with SQL what no service would, then audit."""
    with lived.database.write() as connection:
        for statement in statements:
            connection.execute(statement)
    return audit(lived.database, now=lived.now)


def violated(report: AuditReport) -> set[int]:
    """The numbers of the rules that do not hold."""
    return {rule.number for rule in report.rules if rule.count}


def test_everything_that_can_happen_leaves_a_sound_ledger(lived: Lived) -> None:
    """Nothing is wrong, and every rule was put to the test."""
    report = audit(lived.database, now=lived.now)
    assert report.ok, report
    assert list(range(1, 10)) == [rule.number for rule in report.rules]
    assert all(rule.checked for rule in report.rules)
    with lived.database.read() as connection:
        assert report.transactions == connection.scalar(sa.select(sa.func.count()).select_from(transactions))


def test_an_empty_ledger_is_sound(database_url: str) -> None:
    """There is nothing that could be wrong before the first start."""
    database = Database(database_url)
    report = audit(database)
    database.close()
    assert report.ok
    assert 0 == report.transactions


@pytest.mark.parametrize("rows_at_once", [1, 2, 7])
def test_pages_of_any_size_find_the_same(lived: Lived, rows_at_once: int) -> None:
    """Where a page ends makes no difference, neither to what is sound nor to what is not."""
    database = lived.database
    whole = audit(database, now=lived.now)
    assert whole == audit(database, now=lived.now, rows_at_once=rows_at_once)
    edit = sa.update(entries).where(entries.c.type == "refund").values(amount=entries.c.amount + 1)
    broken = change(lived, edit)
    assert {2, 3, 8, 9} <= violated(broken)
    assert broken == audit(database, now=lived.now, rows_at_once=rows_at_once)


def test_notes_that_spill_add_up(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is folded in memory and what was spilled to the temporary database are one sum."""
    whole = audit(lived.database, now=lived.now)
    monkeypatch.setattr(notes, "_SPILL_AT", 1)
    assert whole == audit(lived.database, now=lived.now)


def test_progress_is_told_for_every_table(history: History) -> None:
    """Whoever waits for a large audit sees how far it is, and it ends at the end."""
    steps: list[tuple[str, int, int]] = []
    report = Audit(history.tally.context).run(lambda table, done, total: steps.append((table, done, total)))
    assert report.ok
    assert [(table, 0) for table in TABLES] == [(table, done) for table, done, _ in steps if not done]
    for table in TABLES:
        last = [step for step in steps if step[0] == table][-1]
        assert last[1] == last[2] > 0


def test_an_audit_sees_one_moment_and_blocks_no_writer(history: History) -> None:
    """A charge in the middle of an audit commits at once, and the audit does not see half of it."""
    made: list[str] = []

    def interfere(table: str, done: int, total: int) -> None:
        made.append(history.charge("bob", description=f"{table} {done} of {total}"))
        history.release(history.hold("bob", "tokens", quantity=10))

    before = audit(history.tally.database, now=history.clock.now)
    during = audit(history.tally.database, now=history.clock.now, progress=interfere)
    assert during.ok, during
    assert len(made) >= 2 * len(TABLES)
    after = audit(history.tally.database, now=history.clock.now)
    assert after.ok, after
    assert before.transactions == during.transactions == after.transactions - 3 * len(made)


def test_audits_of_a_busy_ledger_find_nothing(history: History) -> None:
    """While four threads charge, hold, capture and refund, every audit is sound."""
    stop = threading.Event()
    done: list[int] = []

    def hammer(customer: str) -> None:
        count = 0
        while not stop.is_set():
            history.refund(history.charge(customer, "tokens", quantity=100))
            history.capture(history.hold(customer, "tokens", quantity=50), quantity=70 + count % 2)
            history.grant(customer, 2)
            count += 1
        done.append(count)

    threads = [threading.Thread(target=hammer, args=(name,)) for name in ("ada", "bob", "eve", "eve")]
    for thread in threads:
        thread.start()
    try:
        reports = [audit(history.tally.database) for _ in range(4)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(report.ok for report in reports), reports
    assert reports[0].transactions < reports[-1].transactions
    assert 4 == len(done)
    assert all(done)


def test_a_unit_that_the_economy_gains_later_fits_in(history: History, tmp_path: Path) -> None:
    """Customers get their wallets in it when they are first looked at, under the budgets that they have."""
    path = tmp_path / "later.toml"
    gems = '[units.gems]\ndescription = "Gems"\n[meters.gem]\ncategory = "gems"\ndescription = "A gem"\n'
    path.write_text(f'{ECONOMY}\n{gems}[[meters.gem.prices]]\nunit = "gems"\nkind = "flat"\nflat = 2\n')
    history.tally.economies.activate(str(path))
    history.tally.budgets.put(SYSTEM, level="customer", customer="ada", amount=3, unit="gems", per="day")
    history.grant("ada", 10, unit="gems")
    history.charge("ada", "gem")
    with pytest.raises(BudgetExceeded):
        history.charge("ada", "gem")
    report = audit(history.tally.database, now=history.clock.now)
    assert report.ok, report


def test_credits_that_nobody_granted_are_found(lived: Lived) -> None:
    """Even when lot, account of the system and wallet are edited so that they agree with each other."""
    with lived.database.read() as connection:
        lot = connection.execute(
            sa.select(accounts).where(
                accounts.c.is_open, accounts.c.category == "bonus", accounts.c.unit == "credits"
            )
        ).first()
    assert lot is not None
    source = sa.and_(accounts.c.code == "issuance:bonus", accounts.c.unit == "credits")
    wallet = sa.and_(wallets.c.customer_id == lot.customer_id, wallets.c.unit == "credits")
    report = change(
        lived,
        sa.update(accounts).where(accounts.c.id == lot.id).values(credits_posted=lot.credits_posted + 5),
        sa.update(accounts).where(source).values(debits_posted=accounts.c.debits_posted + 5),
        sa.update(wallets).where(wallet).values(balance=wallets.c.balance + 5, granted=wallets.c.granted + 5),
    )
    assert {2, 3, 9} == violated(report)


def test_a_charge_that_was_deleted_with_all_its_lines_is_found(lived: Lived) -> None:
    """What it drew is still missing from the lots."""
    with lived.database.read() as connection:
        number = connection.scalar(
            sa.select(sa.func.max(transactions.c.id)).where(transactions.c.kind == "charge")
        )
    report = change(
        lived,
        sa.delete(transactions).where(transactions.c.id == number),
        sa.delete(transfers).where(transfers.c.transaction_id == number),
        sa.delete(entries).where(entries.c.transaction_id == number),
    )
    assert {2, 3, 9} <= violated(report)


def test_one_payment_that_was_credited_twice_is_found(history: History) -> None:
    """Two purchases with one reference violate the seventh rule, and that one alone."""
    history.grant("zoe", 10, "purchase", reference="pay_1")
    report = audit(history.tally.database, now=history.clock.now)
    assert {7} == violated(report)
    [violation] = report.rules[6].violations
    assert ("grants pay_1 credited for one payment", "1", "2") == (
        violation.where,
        violation.expected,
        violation.found,
    )


def test_counters_of_past_hours_may_be_gone(history: History) -> None:
    """The worker throws them away; what the running hour has counted must be there."""
    clock = history.clock
    clock.pass_by(HOUR)
    history.charge("ada")
    this_hour = clock.now - clock.now % HOUR
    with history.tally.database.write() as connection:
        connection.execute(sa.delete(hourly_counters).where(hourly_counters.c.window_at < this_hour))
    assert audit(history.tally.database, now=clock.now).ok
    with history.tally.database.write() as connection:
        connection.execute(sa.delete(hourly_counters))
    assert {9} == violated(audit(history.tally.database, now=clock.now))


def test_violations_are_counted_beyond_those_that_are_kept(lived: Lived) -> None:
    """A ledger that is wrong everywhere gives a short report with the right figures."""
    report = change(lived, sa.update(transactions).values(seal="broken"))
    rule = report.rules[8]
    assert rule.count == report.transactions > len(rule.violations) == 50


def test_absurd_amounts_are_violations_and_no_crash(lived: Lived) -> None:
    """Sums beyond what a database stores are compared all the same."""
    report = change(
        lived, sa.update(transfers).values(amount=INT64_MAX), sa.update(entries).values(amount=INT64_MAX)
    )
    assert {2, 3, 4, 8, 9} <= violated(report)


def seal_again(database: Database) -> None:
    """Seal every transaction as it is now, as a program would that writes wrong rows from the start."""
    with database.write() as connection:
        reader = Reader(connection, database.driver, lambda _table, _done, _total: None, 1000)
        for page in reader.pages("transactions", journal.COLUMNS):
            for posting in journal.read_page(reader, page, Findings(), Counter()):
                edit = sa.update(transactions).where(transactions.c.id == posting.row.id)
                connection.execute(edit.values(seal=seal_of(journal.sealed(posting))))


# The newest transaction of each kind, for the edits below.
NEWEST = {
    kind: f"transaction_id = (SELECT MAX(id) FROM transactions WHERE kind = '{kind}')"  # noqa: S608
    for kind in ("capture", "charge", "hold", "refund", "settlement")
}


@pytest.mark.parametrize(
    ("rules", "edit"),
    [
        ({1, 8, 9}, "UPDATE transfers SET credit_id = {usd_revenue} WHERE {capture} AND phase = 2"),
        ({2, 3, 5, 8}, "UPDATE entries SET amount = amount - 1 WHERE {charge} AND number = 0"),
        ({3, 5}, "UPDATE entries SET balance_after = balance_after - 1 WHERE {charge} AND number = 0"),
        ({3}, "UPDATE entries SET at = at - 9000000000000 WHERE {charge}"),
        ({2, 8}, "UPDATE entries SET type = 'expiry' WHERE type = 'clawback'"),
        ({5, 8, 9}, "UPDATE transfers SET phase = 3 WHERE {capture} AND phase = 2"),
        ({4, 5, 8, 9}, "UPDATE transfers SET phase = 0 WHERE {hold} AND phase = 1"),
        ({4, 5, 9}, "UPDATE transfers SET amount = amount + 1 WHERE {hold} AND phase = 1"),
        ({4}, "UPDATE transfers SET hold_id = 1 WHERE {capture} AND phase = 2"),
        ({4, 5, 9}, "UPDATE transactions SET subject_id = NULL WHERE kind = 'capture'"),
        ({5}, "UPDATE transactions SET amount = amount + 1 WHERE kind = 'charge'"),
        ({5}, "UPDATE transactions SET result = NULL WHERE kind = 'refund'"),
        ({5}, "UPDATE transactions SET request_digest = NULL WHERE kind = 'grant'"),
        ({5}, "UPDATE holds SET expires_at = expires_at + 1"),
        ({5, 6}, "UPDATE transactions SET economy = 'another' WHERE kind = 'charge'"),
        ({6}, "UPDATE grants SET wallet_id = wallet_id + 1"),
        ({5, 8, 9}, "UPDATE transfers SET credit_id = {fees} WHERE {charge} AND credit_id = {revenue}"),
        ({5, 8, 9}, "UPDATE transfers SET amount = amount - 1 WHERE {settlement} AND credit_id = {fees}"),
        ({5, 8, 9}, "UPDATE transfers SET amount = amount - 1 WHERE {refund}"),
        ({5, 9}, "UPDATE grants SET amount = amount + 1 WHERE effective_at > created_at"),
        ({9}, "UPDATE grants SET created_at = created_at + 1"),
        ({9}, "UPDATE budget_counters SET spent = spent + 1"),
        ({9}, "UPDATE wallets SET frozen_at = NULL"),
        ({9}, "UPDATE accounts SET expires_at = expires_at + 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_under_a_sound_seal_is_found(lived: Lived, rules: set[int], edit: str) -> None:
    """A seal only tells that nothing was edited. A program that books wrongly seals that too."""
    database = lived.database
    with database.write() as connection:
        system = sa.select(accounts.c.code, accounts.c.unit, accounts.c.id).where(accounts.c.kind == "system")
        names = {
            f"{unit}_{code}".lower().removeprefix("credits_"): number
            for code, unit, number in connection.execute(system)
        }
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        assert connection.exec_driver_sql(edit.format(**NEWEST, **names)).rowcount
    seal_again(database)
    report = audit(database, now=lived.now)
    assert rules == violated(report), report


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE transfers SET amount = 'much'",
        (
            "UPDATE transfers SET transaction_id = 'none' WHERE (transaction_id, number) = "
            "(SELECT transaction_id, number FROM transfers ORDER BY number DESC LIMIT 1)"
        ),
        "UPDATE entries SET amount = NULL",
        "UPDATE accounts SET credits_posted = 'all'",
        "UPDATE transactions SET result = '[]', at = 'soon'",
        "UPDATE transactions SET idempotency = 'allowance'  || id WHERE kind = 'monthly_grant'",
        "UPDATE holds SET amounts = '{', spends = '[[1]]'",
        "UPDATE memberships SET granted = '[1]'",
        "UPDATE wallets SET balance = 'rich'",
        "UPDATE budget_counters SET spent = 'lots'",
        "UPDATE hourly_counters SET used = NULL",
        "UPDATE economies SET text = 'no [economy'",
    ],
)
def test_values_of_the_wrong_kind_are_violations_and_no_crash(
    lived_sqlite: tuple[Path, int], tmp_path: Path, edit: str
) -> None:
    """SQLite stores anything anywhere when somebody insists."""
    original, now = lived_sqlite
    path = shutil.copyfile(original, tmp_path / "broken.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        assert connection.execute(edit).rowcount
    database = Database(f"sqlite:///{path}")
    report = audit(database, now=now)
    database.close()
    assert not report.ok


def test_the_service_judges_by_the_clock(history: History) -> None:
    """What is due by now and would not be looked at is told; what is due later may wait."""
    tally = history.tally
    assert Audit(tally.context).run().ok
    with tally.database.write() as connection:
        connection.execute(sa.update(wallets).values(next_due_at=INT64_MAX))
    assert {9} == violated(Audit(tally.context).run())
