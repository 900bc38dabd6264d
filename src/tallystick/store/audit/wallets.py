"""Every wallet beside its statement, its lots, its debt and what is due for it; and every customer's plan."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.core.holdings import paid_period
from tallystick.core.words import TOTALS, total_of
from tallystick.store.audit.notes import Notes
from tallystick.store.audit.reader import HIGHEST, Page, Reader
from tallystick.store.audit.report import Findings, Place
from tallystick.store.seals import seal_of

_COLUMNS: Final = (
    "id, customer_id, unit, debt_account_id, cover_id, frozen_at, next_due_at, has_budgets, sequence, "
    "last_at, balance, " + ", ".join(TOTALS)
)
_LINES: Final = (
    "SELECT wallet_id, sequence, at, type, amount, balance_after FROM entries "
    "WHERE (wallet_id, sequence) > (?, ?) AND wallet_id <= ? ORDER BY wallet_id, sequence LIMIT ?"
)
_LIMITED: Final = "SELECT DISTINCT customer_id FROM budgets WHERE {ids:customer_id} AND level <> 'key'"
_MEMBERSHIP: Final = (
    "customer_id, plan, since, anchor_at, period_start, period_end, granted, "
    "paid_by, paid_from, granted_before"
)


Allowance = tuple[str, str, int]  # unit, period, what it was granted in all


class WalletRow(NamedTuple):
    """A wallet as it is stored."""

    id: int
    customer_id: int
    unit: str
    debt_account_id: int
    cover_id: int | None
    frozen_at: int | None
    next_due_at: int
    has_budgets: int
    sequence: int
    last_at: int
    balance: int
    granted: int
    purchased: int
    earned: int
    spent: int
    expired: int
    removed: int

    def place(self, what: str) -> Place:
        """Where a violation is."""
        return "wallets", self.id, what


@dataclass(slots=True)
class Statement:
    """What a wallet's lines have come to so far."""

    sequence: int = 0
    last_at: int = 0
    balance: int = 0
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0))


def check_memberships(
    reader: Reader, findings: Findings, notes: Notes, *, renews: Callable[[str], bool]
) -> None:
    """A membership is as it was written, in the journal's last plan, and was granted what that says."""
    for page in reader.pages("memberships", f"{_MEMBERSHIP}, seal", key="customer_id"):
        allowances: dict[int, set[Allowance]] = {}
        for customer_id, unit, period, granted in notes.allowances.of(row[0] for row in page.rows):
            allowances.setdefault(customer_id, set()).add((unit, period, granted))
        for *row, seal in page.rows:
            customer_id, plan, _, _, start, end, granted, paid_by, _, before = row
            findings.same(9, ("memberships", customer_id, "seal"), seal_of(row), seal)
            notes.find_state("plan", customer_id, "", plan)
            notes.find_state("paid", customer_id, "", paid_by)
            if renews(plan) and paid_by is None:
                notes.due.add((customer_id,), end)
            period = str(start) if paid_by is None else paid_period(paid_by, end)
            known = allowances.get(customer_id, set())
            try:
                periods = json.loads(before) | {period: json.loads(granted)}
                read = {
                    name: {unit: int(amount) for unit, amount in each.items()}
                    for name, each in periods.items()
                }
            except (ValueError, TypeError, AttributeError) as error:
                findings.holds(9, ("memberships", customer_id, "granted"), False, "amounts per unit", error)  # noqa: FBT003
                continue
            for name, amounts in read.items():
                _check_granted(customer_id, name, amounts, known, findings)


def _check_granted(
    customer_id: int, period: str, granted: dict[str, int], known: set[Allowance], findings: Findings
) -> None:
    """What a period was granted stands in the journal, and nothing beyond it for the same period."""
    place = ("memberships", customer_id, "granted")
    for unit, amount in granted.items():
        found = {each[2] for each in known if each[0] == unit}
        findings.holds(9, place, not amount or amount in found, f"one of {sorted(found)}", amount)
    for unit, name, amount in known:
        if name == period:
            findings.holds(
                9, place, amount <= granted.get(unit, 0), f"at least {amount}", granted.get(unit, 0)
            )


def check_wallets(reader: Reader, findings: Findings, notes: Notes, *, now: int) -> None:
    """All wallets in the order of their ids, each with its whole statement."""
    for page in reader.pages("wallets", _COLUMNS):
        wallets = [WalletRow(*row) for row in page.rows]
        statements = _read_statements(reader, page, findings)
        customers = sorted({wallet.customer_id for wallet in wallets})
        limited = {row[0] for row in reader.named(_LIMITED, customers)}
        expiry = notes.expiry.of(customers)
        for wallet in wallets:
            _check_statement(wallet, statements[wallet.id], findings)
            _note_wallet(wallet, notes)
            due_at, *_ = expiry.get((wallet.customer_id, wallet.unit), (None,))
            if due_at is not None and (wallet.frozen_at is None or due_at <= wallet.frozen_at):
                latest = max(due_at, now)
                in_time = wallet.next_due_at <= latest
                findings.holds(
                    9, wallet.place("next_due_at"), in_time, f"at most {latest}", wallet.next_due_at
                )
            if wallet.customer_id in limited:
                findings.same(9, wallet.place("has_budgets"), True, bool(wallet.has_budgets))  # noqa: FBT003
    _check_notes(findings, notes, now=now)


def _read_statements(reader: Reader, page: Page, findings: Findings) -> dict[int, Statement]:
    """Follow the lines of the page's wallets, and of wallets that should be there."""
    statements = {row[0]: Statement() for row in page.rows}
    above, last = (page.low, HIGHEST), page.high
    while True:
        lines = reader.rows(_LINES, *above, last, reader.rows_at_once)
        for line in lines:
            statement = statements.get(line[0])
            findings.holds(
                6, ("entries", f"{line[0]} {line[1]}", "wallet"), statement is not None, "a wallet", "none"
            )
            if statement is not None:
                _follow(statement, line, findings)
        if len(lines) < reader.rows_at_once:
            return statements
        above = lines[-1][:2]


def _follow(statement: Statement, line: Iterable[object], findings: Findings) -> None:
    wallet_id, sequence, at, entry_type, amount, balance_after = line
    place = ("entries", f"{wallet_id} {sequence}", "")
    statement.balance += int(str(amount))
    findings.same(3, (*place[:2], "sequence"), statement.sequence + 1, sequence)
    findings.same(3, (*place[:2], "balance_after"), statement.balance, balance_after)
    findings.holds(
        3, (*place[:2], "at"), int(str(at)) >= statement.last_at, f"from {statement.last_at} on", at
    )
    # Go on from what is stored, so that one wrong line is told once.
    statement.sequence, statement.last_at, statement.balance = (
        int(str(sequence)),
        int(str(at)),
        int(str(balance_after)),
    )
    total, change = total_of(str(entry_type), int(str(amount)))
    statement.totals[total] += change


def _check_statement(wallet: WalletRow, statement: Statement, findings: Findings) -> None:
    told = (statement.sequence, statement.last_at, statement.balance)
    findings.same(3, wallet.place("last line"), told, (wallet.sequence, wallet.last_at, wallet.balance))
    stored = {name: getattr(wallet, name) for name in TOTALS}
    findings.same(2, wallet.place("totals"), statement.totals, stored)
    incoming = wallet.granted + wallet.purchased + wallet.earned
    findings.same(
        2, wallet.place("balance"), incoming - wallet.spent - wallet.expired - wallet.removed, wallet.balance
    )


def _note_wallet(wallet: WalletRow, notes: Notes) -> None:
    notes.worth.find((wallet.customer_id, wallet.unit), wallet.balance)
    notes.debtors.find((wallet.debt_account_id, wallet.customer_id, wallet.unit), 1)
    notes.find_state("cover", wallet.customer_id, wallet.unit, wallet.cover_id)
    notes.find_state("frozen", wallet.customer_id, wallet.unit, wallet.frozen_at)
    notes.awake.add((wallet.customer_id,), wallet.next_due_at)


def _check_notes(findings: Findings, notes: Notes, *, now: int) -> None:
    """What the passes before left to be compared with all wallets."""
    for (customer_id, unit), expected, found in notes.worth.results():
        findings.same(
            2, ("wallets", f"of {customer_id} in {unit}", "balance against lots less debt"), expected, found
        )
    for (account_id, customer_id, unit), expected, found in notes.debtors.results():
        findings.same(6, ("accounts", account_id, f"debt of {customer_id} in {unit}"), expected, found)
    tables = {"plan": "memberships", "paid": "memberships", "cover": "wallets", "frozen": "wallets"}
    for (kind, customer_id, unit, state), expected, found in notes.states.results():
        where = (tables[kind], f"of {customer_id} {unit}".rstrip(), f"{kind} {state}")
        findings.same(9, where, expected or 0, found or 0)
    for (customer_id,), (due_at,) in notes.due.all():
        next_due_at = notes.awake.of([customer_id]).get((customer_id,), (None,))[0]
        latest = max(due_at, now)
        in_time = next_due_at is not None and next_due_at <= latest
        findings.holds(
            9, ("wallets", f"of {customer_id}", "next_due_at"), in_time, f"at most {latest}", next_due_at
        )
