"""Every account beside its grant: totals, terms, flags, and what its wallet gets from it."""

from typing import Any, Final, NamedTuple

from tallystick.core.words import COVER, DEBT, LOT, PURCHASED_CATEGORIES, SYSTEM, SYSTEM_ACCOUNTS
from tallystick.store.audit.notes import Notes
from tallystick.store.audit.reader import Page, Reader
from tallystick.store.audit.report import Findings, Place
from tallystick.store.driver import Row

_COLUMNS: Final = (
    "id, kind, unit, code, customer_id, category, origin, priority, effective_at, expires_at, voided, "
    "is_open, debits_posted, credits_posted, debits_pending, credits_pending"
)
_GRANTS: Final = (
    "SELECT id, customer_id, transaction_id, reference, created_at, effective_at, first_expires_at, "
    "booked_at, voided_at, clawed_back FROM grants WHERE id > ? AND id <= ? ORDER BY id"
)
_EVENTS: Final = (
    "SELECT subject_id, kind, at, amount FROM transactions "
    "WHERE {ids:subject_id} AND kind IN ('void', 'clawback', 'reinstatement', 'grant_start')"
)
_MADE: Final = "SELECT id FROM transactions WHERE {ids:id}"
_UNITS: Final = "SELECT DISTINCT unit FROM wallets"


class AccountRow(NamedTuple):
    """A ledger account as it is stored."""

    id: int
    kind: str
    unit: str
    code: str | None
    customer_id: int | None
    category: str | None
    origin: str | None
    priority: int | None
    effective_at: int | None
    expires_at: int | None
    voided: int
    is_open: int
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    def place(self, what: str) -> Place:
        """Where a violation is."""
        return "accounts", self.id, what


class GrantState(NamedTuple):
    """How far a grant has come."""

    id: int
    customer_id: int
    transaction_id: int
    reference: str | None
    created_at: int
    effective_at: int
    first_expires_at: int | None
    booked_at: int | None
    voided_at: int | None
    clawed_back: int


def check_accounts(reader: Reader, findings: Findings, notes: Notes) -> None:
    """All accounts in the order of their ids, with the grants and the replayed totals of the same ids."""
    sums: dict[str, list[int]] = {}
    system: dict[str, list[str]] = {unit: [] for (unit,) in reader.rows(_UNITS)}
    for page in reader.pages("accounts", _COLUMNS):
        accounts = [AccountRow(*row) for row in page.rows]
        grants = {row[0]: GrantState(*row) for row in reader.rows(_GRANTS, page.low, page.high)}
        _check_totals(page, accounts, findings, notes)
        _check_terms(reader, accounts, grants, findings, notes)
        for account in accounts:
            for index, total in enumerate(account[-4:]):
                sums.setdefault(account.unit, [0] * 4)[index] += total
            if account.kind == SYSTEM:
                system.setdefault(account.unit, []).append(str(account.code))
    for unit, (debits, credits_, debits_pending, credits_pending) in sums.items():
        findings.same(1, ("unit", unit, "debits and credits, posted"), debits, credits_)
        findings.same(1, ("unit", unit, "debits and credits, pending"), debits_pending, credits_pending)
    for unit, codes in system.items():
        findings.same(6, ("unit", unit, "system accounts"), sorted(SYSTEM_ACCOUNTS), sorted(codes))
    for reference, (times,) in notes.payments.all():
        findings.same(7, ("grants", reference[0], "credited for one payment"), 1, times)


def _check_totals(page: Page, accounts: list[AccountRow], findings: Findings, notes: Notes) -> None:
    replayed = notes.totals.between(page.low, page.high)
    legs = notes.legs.between(page.low, page.high)
    for account in accounts:
        key = (account.id,)
        findings.same(9, account.place("totals"), replayed.pop(key, (0, 0, 0, 0)), account[-4:])
        findings.same(4, account.place("pending"), legs.pop(key, (0, 0)), account[-2:])
    for missing in {*replayed, *legs}:
        findings.holds(6, ("accounts", missing[0], "row"), False, "an account", "only transfers")  # noqa: FBT003


def _check_terms(
    reader: Reader,
    accounts: list[AccountRow],
    grants: dict[int, GrantState],
    findings: Findings,
    notes: Notes,
) -> None:
    events: dict[int, list[Row]] = {}
    for event in reader.named(_EVENTS, sorted(grants)):
        events.setdefault(event[0], []).append(event)
    made = {
        row[0] for row in reader.named(_MADE, sorted({grant.transaction_id for grant in grants.values()}))
    }
    thawed = notes.thawed.of(account.id for account in accounts)
    for account in accounts:
        grant = grants.pop(account.id, None)
        is_lot = account.kind in {LOT, COVER}
        findings.same(6, account.place("grant"), is_lot, grant is not None)
        if is_lot:
            _check_lot(account, findings, notes)
            if grant is not None:
                findings.holds(
                    6, ("grants", grant.id, "transaction"), grant.transaction_id in made, "one", "none"
                )
                moved = thawed.get((account.id,), (grant.first_expires_at,))[0]
                _check_grant(account, grant, events.get(grant.id, []), moved, findings)
                _note_grant(account, grant, notes)
        else:
            _check_other(account, findings, notes)
    for number in grants:
        findings.holds(6, ("grants", number, "account"), False, "an account", "none")  # noqa: FBT003


def _check_lot(account: AccountRow, findings: Findings, notes: Notes) -> None:
    balance = account.credits_posted - account.debits_posted
    available = balance - account.debits_pending
    findings.holds(2, account.place("available"), available >= 0, "not below zero", available)
    findings.same(9, account.place("is_open"), balance > 0, bool(account.is_open))
    findings.same(9, account.place("code"), None, account.code)
    customer_id = account.customer_id or 0
    notes.worth.expect((customer_id, account.unit), balance)
    if account.kind == LOT and account.expires_at is not None and not account.voided and available > 0:
        notes.expiry.add((customer_id, account.unit), account.expires_at)


def _check_grant(
    account: AccountRow, grant: GrantState, events: list[Row], expires_at: int | None, findings: Findings
) -> None:
    """How far the grant has come is what the journal says happened to it."""
    starts: Any = grant.created_at
    if grant.effective_at > grant.created_at:
        starts = _only([at for _, kind, at, _ in events if kind == "grant_start"])
    place = ("grants", grant.id, "")
    findings.same(9, (*place[:2], "booked_at"), starts, grant.booked_at)
    voids = _only([at for _, kind, at, _ in events if kind == "void"])
    findings.same(9, (*place[:2], "voided_at"), voids, grant.voided_at)
    findings.same(9, account.place("voided"), grant.voided_at is not None, bool(account.voided))
    taken = sum(amount for _, kind, _, amount in events if kind == "clawback")
    taken -= sum(amount for _, kind, _, amount in events if kind == "reinstatement")
    findings.same(9, (*place[:2], "clawed_back"), taken, grant.clawed_back)
    findings.same(9, account.place("expires_at"), expires_at, account.expires_at)
    terms = (account.customer_id, account.effective_at)
    findings.same(9, account.place("customer and start"), (grant.customer_id, grant.effective_at), terms)


def _only(moments: list[int]) -> object:
    """The one moment of an event that happens at most once."""
    if len(moments) > 1:
        return moments
    return moments[0] if moments else None


def _note_grant(account: AccountRow, grant: GrantState, notes: Notes) -> None:
    if grant.reference is not None and account.category in PURCHASED_CATEGORIES:
        notes.payments.add((grant.reference,), 1)
    if grant.booked_at is None and grant.voided_at is None:
        notes.due.add((grant.customer_id,), grant.effective_at)


def _check_other(account: AccountRow, findings: Findings, notes: Notes) -> None:
    """An account of the system or of a debt has no terms; a debt is open while something is owed."""
    owed = account.debits_posted - account.credits_posted
    is_debt = account.kind == DEBT
    terms = (*account[5:10], bool(account.voided), bool(account.is_open))
    findings.same(9, account.place("terms"), (*(None,) * 5, False, is_debt and owed > 0), terms)
    findings.holds(9, account.place("kind"), is_debt or account.kind == SYSTEM, "a known kind", account.kind)
    findings.same(9, account.place("customer and code"), is_debt, account.customer_id is not None)
    findings.same(9, account.place("code"), is_debt, account.code is None)
    if is_debt:
        findings.holds(2, account.place("debt"), owed >= 0, "not below zero", owed)
        customer_id = account.customer_id or 0
        notes.worth.expect((customer_id, account.unit), -owed)
        notes.debtors.expect((account.id, customer_id, account.unit), 1)
