"""The journal, page by page: each transaction with its lines, its seal and what it made, in order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.core.paid_plans import PaidResult
from tallystick.core.words import PENDING, POST_PENDING, POSTED
from tallystick.store.audit.notes import Notes
from tallystick.store.audit.reader import Page, Reader
from tallystick.store.audit.report import Findings, Place
from tallystick.store.driver import Row
from tallystick.store.results import PLAN_KINDS, RESULTS, decode_result
from tallystick.store.seals import seal_of

COLUMNS: Final = (
    "id, kind, at, customer_id, caller, agent, idempotency, idempotency_key, request_digest, unit, amount, "
    "meter, category, quantity, economy, subject_id, description, metadata, result, seal"
)
_BETWEEN: Final = "WHERE transaction_id > ? AND transaction_id <= ?"
_TRANSFERS: Final = (
    "SELECT transaction_id, number, debit_id, credit_id, amount, phase, hold_id FROM transfers "  # noqa: S608
    f"{_BETWEEN} ORDER BY transaction_id, number"
)
_ENTRIES: Final = (
    "SELECT transaction_id, number, wallet_id, sequence, at, type, category, meter, amount, "  # noqa: S608
    f"balance_after FROM entries {_BETWEEN} ORDER BY transaction_id, number"
)
_GRANTS: Final = (
    "SELECT g.transaction_id, g.id, g.customer_id, g.wallet_id, a.unit, a.kind, a.category, "  # noqa: S608
    "a.origin, a.priority, g.amount, g.reason, g.reference, g.cost_micros, g.created_at, g.effective_at, "
    "g.first_expires_at "
    f"FROM grants g LEFT JOIN accounts a ON a.id = g.id {_BETWEEN} ORDER BY g.transaction_id, g.id"
)
_HOLD_COLUMNS: Final = (
    "id, customer_id, maker, expires_at, meter, category, quantity, economy, amounts, spends, "
    "status, resolved_at, resolved_by"
)
_HOLDS: Final = f"SELECT {_HOLD_COLUMNS} FROM holds WHERE id > ? AND id <= ? ORDER BY id"  # noqa: S608
_NAMED_HOLDS: Final = f"SELECT {_HOLD_COLUMNS} FROM holds WHERE {{ids:id}}"  # noqa: S608
_LEGS: Final = (
    "SELECT transaction_id, debit_id, amount FROM transfers "  # noqa: S608
    f"WHERE {{ids:transaction_id}} AND phase = {PENDING}"
)
_ACCOUNTS: Final = "SELECT id, kind, unit, code, customer_id FROM accounts WHERE {ids:id}"
_WALLETS: Final = "SELECT id, customer_id, unit FROM wallets WHERE {ids:id}"
_NAMED: Final = f"SELECT {COLUMNS} FROM transactions WHERE {{ids:id}}"  # noqa: S608
_SCHEDULED: Final = "SELECT id, amount, booked_at FROM grants WHERE {ids:id}"

MOVES: Final = frozenset({POSTED, POST_PENDING})  # the phases that move credits; the others only reserve
RESOLVING: Final = {
    "capture": "captured",
    "release": "released",
    "hold_expiry": "expired",
    "task_settlement": "captured",
    "task_release": "released",
    "task_budget": "released",
}
# A task's price is held by what makes it; a sub-task replaces the hold of its parent.
HOLDING: Final = frozenset({"hold", "task", "task_budget"})


class TransactionRow(NamedTuple):
    """A row of the journal; everything before the seal is sealed."""

    id: int
    kind: str
    at: int
    customer_id: int
    caller: str | None
    agent: str | None
    idempotency: str | None
    idempotency_key: str | None
    request_digest: str | None
    unit: str | None
    amount: int | None
    meter: str | None
    category: str | None
    quantity: int | None
    economy: str | None
    subject_id: int | None
    description: str | None
    metadata: str | None
    result: str | None
    seal: str


class TransferRow(NamedTuple):
    """One movement between two accounts."""

    transaction_id: int
    number: int
    debit_id: int
    credit_id: int
    amount: int
    phase: int
    hold_id: int | None


class EntryRow(NamedTuple):
    """One line of a statement."""

    transaction_id: int
    number: int
    wallet_id: int
    sequence: int
    at: int
    type: str
    category: str | None
    meter: str | None
    amount: int
    balance_after: int


class GrantRow(NamedTuple):
    """What a transaction's seal covers of a grant that it made."""

    transaction_id: int
    id: int
    customer_id: int
    wallet_id: int
    unit: str | None
    kind: str | None
    category: str | None
    origin: str | None
    priority: int | None
    amount: int
    reason: str | None
    reference: str | None
    cost_micros: int | None
    created_at: int
    effective_at: int
    first_expires_at: int | None


class HoldRow(NamedTuple):
    """A hold; everything before its status is covered by its transaction's seal."""

    id: int
    customer_id: int
    maker: str
    expires_at: int
    meter: str | None
    category: str | None
    quantity: int
    economy: str | None
    amounts: list[tuple[str, int]]
    spends: list[tuple[int, str, int, int]]
    status: str
    resolved_at: int | None
    resolved_by: int | None


class Account(NamedTuple):
    """What tells accounts apart."""

    id: int
    kind: str
    unit: str
    code: str | None
    customer_id: int | None

    @property
    def holder(self) -> tuple[object, str]:
        """The wallet that a lot or a debt counts in, or the system's name for the account."""
        return (self.code if self.customer_id is None else self.customer_id), self.unit


@dataclass(slots=True)
class Posting:
    """One transaction with everything that belongs to it."""

    row: TransactionRow
    transfers: list[TransferRow] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    grants: list[GrantRow] = field(default_factory=list)
    hold: HoldRow | None = None
    result: Any = None

    def place(self, what: str) -> Place:
        """Where a violation is."""
        return "transactions", self.row.id, what

    @property
    def subject(self) -> int:
        """The id of the hold, charge or grant that this is about."""
        return self.row.subject_id or 0

    @property
    def resolves(self) -> set[int]:
        """The holds that this ends."""
        if self.row.kind not in RESOLVING:
            return set()
        also = self.result.also_hold_id if self.row.kind == "capture" and self.result is not None else None
        return {self.subject} if also is None else {self.subject, also}


@dataclass(slots=True)
class Surroundings:
    """What the postings of a page refer to."""

    economies: frozenset[str]
    accounts: dict[int, Account] = field(default_factory=dict)
    wallets: dict[int, tuple[int, str]] = field(default_factory=dict)
    holds: dict[int, HoldRow] = field(default_factory=dict)
    legs: dict[int, dict[int, int]] = field(default_factory=dict)
    transactions: dict[int, TransactionRow] = field(default_factory=dict)
    scheduled: dict[int, Row] = field(default_factory=dict)


def read_page(reader: Reader, page: Page, findings: Findings, seen: Counter[str]) -> list[Posting]:
    """The postings of a page; lines that belong to none of them are violations. ``seen`` counts lines."""
    bounds = (page.low, page.high)
    transfers, entries, grants, holds = reader.fetch(
        (_TRANSFERS, bounds), (_ENTRIES, bounds), (_GRANTS, bounds), (_HOLDS, bounds)
    )
    seen.update(transfers=len(transfers), entries=len(entries), grants=len(grants), holds=len(holds))
    postings = {row[0]: Posting(TransactionRow(*row)) for row in page.rows}
    for row in transfers:
        if (posting := _owner(postings, row, "transfers", findings)) is not None:
            posting.transfers.append(TransferRow(*row))
    for row in entries:
        if (posting := _owner(postings, row, "entries", findings)) is not None:
            posting.entries.append(EntryRow(*row))
    for row in grants:
        if (posting := _owner(postings, row, "grants", findings)) is not None:
            posting.grants.append(GrantRow(*row))
    for row in holds:
        if (posting := _owner(postings, row, "holds", findings)) is not None:
            posting.hold = read_hold(row, findings)
    for posting in postings.values():
        posting.result = _result(posting, findings)
    return list(postings.values())


def _owner(postings: dict[int, Posting], row: Row, table: str, findings: Findings) -> Posting | None:
    posting = postings.get(row[0])
    findings.holds(6, (table, row[0], "transaction"), posting is not None, "its transaction", "none")
    return posting


def read_hold(row: Row, findings: Findings) -> HoldRow | None:
    """A hold with its amounts and spends as values."""
    try:
        amounts, spends = msgspec.json.decode(row[8]), msgspec.json.decode(row[9])
        amounts = [(str(unit), int(amount)) for unit, amount in amounts]
        spends = [(int(number), str(unit), int(at), int(amount)) for number, unit, at, amount in spends]
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        findings.holds(9, ("holds", row[0], "amounts and spends"), False, "JSON", error)  # noqa: FBT003
        return None
    return HoldRow._make((*row[:8], amounts, spends, *row[10:]))


def has_resolved(row: TransactionRow, hold_id: int) -> bool:
    """Whether a transaction says that it ended a hold."""
    if row.subject_id == hold_id or row.kind != "capture":
        return row.subject_id == hold_id
    return Posting(row, result=_result(Posting(row), Findings())).resolves >= {hold_id}


def _result(posting: Posting, findings: Findings) -> Any:  # noqa: ANN401 - one of RESULTS
    row = posting.row
    if row.kind not in RESULTS or row.result is None:
        return None
    try:
        return decode_result(row.kind, row.result)
    except msgspec.DecodeError as error:
        findings.holds(5, posting.place("result"), False, "an answer", error)  # noqa: FBT003
        return None


def look_around(reader: Reader, postings: Sequence[Posting], economies: frozenset[str]) -> Surroundings:
    """Read what the postings refer to."""
    around = Surroundings(economies)
    accounts = {
        number for each in postings for line in each.transfers for number in (line.debit_id, line.credit_id)
    }
    around.accounts = {row[0]: Account(*row) for row in reader.named(_ACCOUNTS, sorted(accounts))}
    wallets = {line.wallet_id for each in postings for line in each.entries}
    wallets.update(grant.wallet_id for each in postings for grant in each.grants)
    around.wallets = {row[0]: row[1:] for row in reader.named(_WALLETS, sorted(wallets))}
    held = {number for each in postings for number in each.resolves}
    for row in reader.named(_NAMED_HOLDS, sorted(held)):
        if (hold := read_hold(row, Findings())) is not None:  # its own page tells what is wrong with it
            around.holds[hold.id] = hold
    for number, lot_id, amount in reader.named(_LEGS, sorted(held)):
        legs = around.legs.setdefault(number, {})
        legs[lot_id] = legs.get(lot_id, 0) + amount
    named = {each.subject for each in postings if each.row.kind == "refund"}
    named.update(
        each.hold.resolved_by for each in postings if each.hold and each.hold.resolved_by is not None
    )
    around.transactions = {row[0]: TransactionRow(*row) for row in reader.named(_NAMED, sorted(named))}
    started = [each.subject for each in postings if each.row.kind == "grant_start"]
    around.scheduled = {row[0]: row for row in reader.named(_SCHEDULED, sorted(started))}
    return around


def check_seal(posting: Posting, findings: Findings) -> None:
    """The row, its lines, and the terms of what it made are as they were written."""
    findings.same(9, posting.place("seal"), seal_of(sealed(posting)), posting.row.seal)


def sealed(posting: Posting) -> tuple[object, ...]:
    """What a transaction's seal covers, in the order in which the ledger writes it."""
    made: list[Sequence[object]] = [grant[1:] for grant in posting.grants]
    if posting.hold is not None:
        made.insert(0, posting.hold[:10])
    return posting.row[:-1], posting.transfers, posting.entries, made


def check_references(posting: Posting, around: Surroundings, findings: Findings) -> None:
    """What the rows of a transaction name is there; a transfer stays within one unit."""
    for line in posting.transfers:
        debit, credit = around.accounts.get(line.debit_id), around.accounts.get(line.credit_id)
        found = debit is not None and credit is not None
        findings.holds(6, posting.place("accounts"), found, "both accounts", (line.debit_id, line.credit_id))
        if debit is not None and credit is not None:
            findings.same(1, posting.place("unit of both accounts"), debit.unit, credit.unit)
    for wallet_id in {line.wallet_id for line in posting.entries}:
        findings.holds(6, posting.place("wallet"), wallet_id in around.wallets, "a wallet", wallet_id)
    for grant in posting.grants:
        wallet = around.wallets.get(grant.wallet_id)
        findings.same(6, ("grants", grant.id, "wallet"), (grant.customer_id, grant.unit), wallet)
    economy = posting.row.economy
    if economy is not None:
        findings.holds(6, posting.place("economy"), economy in around.economies, "a stored version", economy)
    if posting.row.kind != "task":  # one that costs nothing has none
        findings.same(6, posting.place("hold"), posting.row.kind in HOLDING, posting.hold is not None)


def note_totals(posting: Posting, notes: Notes) -> None:
    """Replay the transfers, and remember what open holds have reserved."""
    for line in posting.transfers:
        amount, phase = line.amount, line.phase
        posted = amount if phase in MOVES else 0
        pending = {POSTED: 0, PENDING: amount}.get(phase, -amount)
        notes.totals.add((line.debit_id,), posted, 0, pending, 0)
        notes.totals.add((line.credit_id,), 0, posted, 0, pending)
    hold = posting.hold
    if hold is not None and hold.status == "open":
        notes.due.add((hold.customer_id,), hold.expires_at)
        for line in posting.transfers:
            if line.phase == PENDING:
                notes.legs.add((line.debit_id,), line.amount, 0)
                notes.legs.add((line.credit_id,), 0, line.amount)


def note_states(posting: Posting, notes: Notes) -> None:
    """Remember the states that freezing, plans and allowances went through."""
    row, result = posting.row, posting.result
    if row.kind in {"freeze", "thaw"} and result is not None:
        notes.change_state("frozen", row.customer_id, result.unit, result.before, result.frozen_at)
        for lot_id, expires_at in result.moved:
            notes.thawed.add((lot_id,), expires_at)
    elif (row.kind in PLAN_KINDS or row.kind == "sign_up") and result is not None:
        notes.change_state("plan", row.customer_id, "", result.previous, result.plan)
        for unit, before, after in result.covers:
            notes.change_state("cover", row.customer_id, unit, before, after)
        if isinstance(result, PaidResult):
            notes.change_state("paid", row.customer_id, "", result.was_paid_by, result.paid_by)
    elif row.kind == "monthly_grant" and row.idempotency is not None:
        _, customer, unit, period, granted = row.idempotency.split(":")
        notes.allowances.add((int(customer), unit, period, int(granted)), 1)


def in_units(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Amounts added up per unit; units with nothing are left out."""
    totals: dict[str, int] = {}
    for unit, amount in amounts:
        totals[unit] = totals.get(unit, 0) + amount
    return {unit: amount for unit, amount in totals.items() if amount}
