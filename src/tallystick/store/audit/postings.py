"""What one transaction has to be in itself: what it moved and stated, what it answered, what it resolved."""

from collections.abc import Callable
from typing import Any, Final

from tallystick.core.words import (
    BREAKAGE,
    CLAWBACK,
    DEBT,
    FEES,
    GRANT_CATEGORIES,
    LOT,
    PENDING,
    POST_PENDING,
    POSTED,
    REVENUE,
    UNLIMITED,
    VOID_PENDING,
    source_account,
)
from tallystick.store.audit.journal import (
    MOVES,
    RESOLVING,
    EntryRow,
    Posting,
    Surroundings,
    TransferRow,
    has_resolved,
    in_units,
)
from tallystick.store.audit.report import Findings
from tallystick.store.results import RESULTS, TASK_KINDS

SETTLING: Final = frozenset({"settlement", "task_settlement"})
_COUNTERPARTS: Final = {
    "usage": REVENUE,
    "refund": REVENUE,
    "expiry": BREAKAGE,
    "clawback": CLAWBACK,
    **{category: source_account(category) for category in GRANT_CATEGORIES},
}
# What covers an unlimited plan is an allowance too; going back, its entry is like that of a voided allowance.
_COVER: Final = f"issuance:{UNLIMITED}"
_SAME: Final = {_COVER: source_account("monthly_grant")}


def counterpart(kind: str, entry: EntryRow) -> str | None:
    """The system account on the other side of an entry. A settlement pays a fee, and a task's refund returns it."""
    if kind in SETTLING and entry.type in {"task_debit", "task_credit"}:
        return FEES
    if kind == "task_refund" and entry.type in {"refund", "clawback"}:
        return FEES
    if entry.type == "adjustment" and entry.amount < 0 and entry.category is not None:
        return source_account(entry.category)
    return _COUNTERPARTS.get(entry.type)


def check_movement(posting: Posting, around: Surroundings, findings: Findings) -> None:
    """Every wallet's entries add up to what its lots and debt gained, and the system's accounts lost."""
    moved: dict[tuple[object, str], int] = {}
    for line in posting.transfers:
        if line.phase in MOVES:
            for number, amount in ((line.debit_id, -line.amount), (line.credit_id, line.amount)):
                account = around.accounts.get(number)
                if account is not None:
                    code, unit = account.holder
                    holder = (_SAME.get(str(code), code), unit)
                    moved[holder] = moved.get(holder, 0) + amount
    stated: dict[tuple[object, str], int] = {}
    for entry in posting.entries:
        if entry.amount and entry.wallet_id in around.wallets:
            customer_id, unit = around.wallets[entry.wallet_id]
            stated[customer_id, unit] = stated.get((customer_id, unit), 0) + entry.amount
            other = (counterpart(posting.row.kind, entry), unit)
            stated[other] = stated.get(other, 0) - entry.amount
    findings.same(
        8, posting.place("entries against transfers"), _without_zeros(stated), _without_zeros(moved)
    )


def _without_zeros(sums: dict[tuple[object, str], int]) -> dict[tuple[object, str], int]:
    return {holder: amount for holder, amount in sums.items() if amount}


def check_key(posting: Posting, findings: Findings) -> None:
    """A transaction with a key is found by it, knows what was asked, and has the answer for a repeat."""
    row = posting.row
    if row.idempotency_key is not None:
        whole = row.idempotency is not None and row.request_digest is not None
        findings.holds(5, posting.place("idempotency"), whole, "a key's digest and the request's", row[6:9])
    if row.kind in RESULTS:
        findings.holds(5, posting.place("result"), posting.result is not None, "the answer", row.result)


def check_pending(posting: Posting, around: Surroundings, findings: Findings) -> None:
    """Only a hold reserves, and all that it says; only what resolves it takes from that, and all of it."""
    row = posting.row
    pending = [line for line in posting.transfers if line.phase == PENDING]
    resolved = [line for line in posting.transfers if line.phase in {POST_PENDING, VOID_PENDING}]
    holds = {line.hold_id for line in posting.transfers if line.hold_id is not None}
    ended = {number for number in posting.resolves if around.legs.get(number)}
    expected = ({row.id} if pending else set()) | (ended if resolved else set())
    findings.same(4, posting.place("holds of its transfers"), expected, holds)
    legs = posting.hold.amounts if posting.hold is not None else []
    reserved = [(_unit(around, line.debit_id), line.amount) for line in pending]
    findings.same(4, posting.place("pending"), in_units(legs), in_units(reserved))
    by_lot: dict[int, int] = {}
    for line in resolved:
        by_lot[line.debit_id] = by_lot.get(line.debit_id, 0) + line.amount
    held: dict[int, int] = {}
    for number in posting.resolves:
        for lot_id, amount in around.legs.get(number, {}).items():
            held[lot_id] = held.get(lot_id, 0) + amount
    findings.same(4, posting.place("resolved"), held, by_lot)
    for number in posting.resolves:
        hold = around.holds.get(number)
        stored = None if hold is None else (hold.status, hold.resolved_at, hold.resolved_by)
        findings.same(
            4, posting.place("what became of the hold"), (RESOLVING[row.kind], row.at, row.id), stored
        )
    if posting.hold is not None:
        _check_resolution(posting, around, findings)


def _check_resolution(posting: Posting, around: Surroundings, findings: Findings) -> None:
    hold, row = posting.hold, posting.row
    if hold is None:
        return
    by = around.transactions.get(hold.resolved_by or 0)
    end = "open" if by is None or not has_resolved(by, hold.id) else RESOLVING.get(by.kind)
    findings.same(4, ("holds", hold.id, "status"), end, hold.status)
    if hold.status == "open":
        findings.same(4, ("holds", hold.id, "resolution"), (None, None), (hold.resolved_at, hold.resolved_by))
    made = (row.customer_id, row.meter, row.category, row.quantity, row.economy)
    stored = (hold.customer_id, hold.meter, hold.category, hold.quantity, hold.economy)
    findings.same(9, ("holds", hold.id, "terms"), made, stored)


def _unit(around: Surroundings, account_id: int) -> str:
    account = around.accounts.get(account_id)
    return "" if account is None else account.unit


def check_grants(posting: Posting, around: Surroundings, findings: Findings) -> None:
    """A grant that took effect was paid, once and in full, by the transaction that made or started it."""
    row = posting.row
    paid: dict[int, int] = {}
    given_back = CLAWBACK if row.kind == "reinstatement" else REVENUE
    for line in posting.transfers:
        source, lot = around.accounts.get(line.debit_id), around.accounts.get(line.credit_id)
        if source is not None and lot is not None and lot.kind == LOT and source.code != given_back:
            paid[lot.id] = paid.get(lot.id, 0) + line.amount
    if row.kind == "task_refund":  # what goes back to the lots that it came from is no grant
        made = {grant.id for grant in posting.grants}
        paid = {number: amount for number, amount in paid.items() if number in made}
    expected = {
        grant.id: grant.amount for grant in posting.grants if grant.amount and grant.effective_at <= row.at
    }
    if row.kind == "grant_start":
        grant = around.scheduled.get(posting.subject)
        expected = {} if grant is None else {grant[0]: grant[1]}
    findings.same(9, posting.place("paid to grants"), expected, paid)
    for grant in posting.grants:
        findings.same(9, ("grants", grant.id, "created_at"), row.at, grant.created_at)


def check_answer(posting: Posting, around: Surroundings, findings: Findings) -> None:
    """What the caller was told is what was done."""
    row, result = posting.row, posting.result
    if result is None:
        return
    customer_id = result.payer_id if row.kind == "settlement" else result.customer_id
    if row.kind in TASK_KINDS:
        findings.same(5, posting.place("answer"), row.id, result.transaction_id)
    findings.same(5, posting.place("answer"), (row.customer_id, row.at), (customer_id, result.created_at))
    check = _ANSWERS.get(row.kind)
    if check is not None:
        done, told = check(posting, around, result)
        findings.same(5, posting.place("answer"), done, told)


def _draws(posting: Posting, around: Surroundings, wanted: Callable[[TransferRow], bool]) -> tuple[Any, ...]:
    """Transfers from lots, as answers tell them."""
    return tuple(
        (line.debit_id, _unit(around, line.debit_id), line.amount)
        for line in posting.transfers
        if wanted(line)
    )


def _to_revenue(around: Surroundings) -> Callable[[TransferRow], bool]:
    def wanted(line: TransferRow) -> bool:
        account = around.accounts.get(line.credit_id)
        return line.phase in MOVES and account is not None and account.code == REVENUE

    return wanted


def _balance(posting: Posting, around: Surroundings, unit: str) -> int | None:
    """The wallet's balance after the transaction; None when it has no entry of this unit."""
    balances = [
        line.balance_after
        for line in posting.entries
        if around.wallets.get(line.wallet_id, (0, ""))[1] == unit
    ]
    return balances[-1] if balances else None


def _usage(posting: Posting, around: Surroundings) -> dict[str, int]:
    """What was used, per unit, as the statement says it."""
    return in_units(
        (_wallet_unit(around, line), -line.amount) for line in posting.entries if line.type == "usage"
    )


def _wallet_unit(around: Surroundings, line: EntryRow) -> str:
    wallet = around.wallets.get(line.wallet_id)
    return "" if wallet is None else wallet[1]


def _charge(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    draws = _draws(posting, around, _to_revenue(around))
    done = (
        row.id,
        row.meter,
        row.quantity,
        row.unit,
        row.amount,
        row.economy,
        draws,
        _usage(posting, around),
    )
    told = (
        result.id,
        result.meter,
        result.quantity,
        result.unit,
        result.amount,
        result.economy,
        result.draws,
    )
    balance = _balance(posting, around, result.unit)
    return (*done, balance), (*told, in_units(result.amounts), result.balance)


def _hold(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row, hold = posting.row, posting.hold
    if hold is None:
        return "a hold", None
    draws = _draws(posting, around, lambda line: line.phase == PENDING)
    done = (row.id, row.meter, row.quantity, row.unit, row.amount, row.economy, draws)
    told = (
        result.id,
        result.meter,
        result.quantity,
        result.unit,
        result.amount,
        result.economy,
        result.draws,
    )
    kept = (hold.amounts, hold.spends, hold.expires_at)
    return (*done, kept), (*told, (list(result.amounts), list(result.spends), result.expires_at))


def _resolve(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    draws = _draws(posting, around, _to_revenue(around))
    done = (row.id, row.subject_id, RESOLVING[row.kind], row.unit, row.amount, draws, _usage(posting, around))
    told = (result.id, result.hold_id, result.status, result.unit, result.captured, result.draws)
    return done, (*told, in_units(result.amounts))


def _refund(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    draws = tuple(
        (line.credit_id, _unit(around, line.credit_id), line.amount)
        for line in posting.transfers
        if (account := around.accounts.get(line.debit_id)) is not None and account.code == REVENUE
    )
    returned = in_units((unit, amount) for _, unit, amount in draws)
    done = (row.id, row.subject_id, row.unit, row.amount, draws, returned)
    told = (result.id, result.charge_id, result.unit, result.amount, result.draws, in_units(result.amounts))
    return done, told


def _grant(posting: Posting, _around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    made = [
        (each.id, each.unit, each.amount, each.category, each.origin, each.priority, each.effective_at)
        for each in posting.grants
    ]
    told = (
        result.id,
        result.unit,
        result.amount,
        result.category,
        result.origin,
        result.priority,
        result.effective_at,
    )
    done = (row.id, row.subject_id, row.unit, row.amount, made)
    return done, (
        result.transaction_id,
        result.id,
        result.unit,
        result.amount,
        [told],
    )


def _void(posting: Posting, _around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    taken = sum(line.amount for line in posting.transfers)
    told = (result.transaction_id, result.id, result.unit, result.amount)
    return (row.id, row.subject_id, row.unit, taken), told


def _claw_back(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    removed = owed = 0
    for line in posting.transfers:
        account = around.accounts.get(line.debit_id)
        if account is not None and account.kind == LOT:
            removed += line.amount
        else:
            owed += line.amount
    told = (result.id, result.grant_id, result.unit, result.amount, result.removed, result.owed)
    return (row.id, row.subject_id, row.unit, row.amount, removed, owed), told


def _reinstate(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    repaid = 0
    for line in posting.transfers:
        account = around.accounts.get(line.credit_id)
        if account is not None and account.kind == DEBT:
            repaid += line.amount
    told = (result.id, result.grant_id, result.unit, result.amount, result.repaid)
    return (row.id, row.subject_id, row.unit, row.amount, repaid), told


def _task(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    reserved = sum(line.amount for line in posting.transfers if line.phase == PENDING)
    hold_id = None if posting.hold is None else posting.hold.id
    done = (row.id, row.unit, row.amount, row.economy is not None, reserved, hold_id)
    del around
    return done, (result.id, result.unit, result.price, True, result.held, result.hold_id)


def _task_settlement(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    fee = payout = 0
    for line in posting.transfers:
        account = around.accounts.get(line.credit_id)
        if line.phase == POSTED and account is not None and account.code == FEES:
            fee += line.amount
        elif line.phase == POSTED and account is not None and account.kind == LOT:
            payout += line.amount if account.customer_id == result.owner_id else 0
    told = (result.unit, result.paid, result.fee, result.paid - result.fee)
    return (row.unit, row.amount, fee, payout), told


def _task_refund(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    refunded = sum(line.amount for line in posting.entries if line.type == "refund")
    del around
    uncounted = max((amount for *_, amount in result.spends), default=0)
    done = (row.unit, row.amount, refunded, uncounted <= refunded)
    return done, (result.unit, result.refunded, result.refunded, True)


def _freeze(posting: Posting, _around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    frozen_at = None if row.kind == "thaw" else result.before or row.at
    return (row.id, row.unit, frozen_at), (result.id, result.unit, result.frozen_at)


def _settlement(posting: Posting, around: Surroundings, result: Any) -> tuple[Any, Any]:  # noqa: ANN401
    row = posting.row
    fee = payout = 0
    for line in posting.transfers:
        account = around.accounts.get(line.credit_id)
        if account is not None and account.code == FEES:
            fee += line.amount
        elif account is not None and account.customer_id == result.payee_id and account.kind == LOT:
            payout += line.amount
    told = (result.id, result.unit, result.price, result.fee, result.payout)
    return (row.id, row.unit, row.amount, fee, payout), told


_ANSWERS: Final[dict[str, Callable[[Posting, Surroundings, Any], tuple[Any, Any]]]] = {
    "charge": _charge,
    "hold": _hold,
    "capture": _resolve,
    "release": _resolve,
    "refund": _refund,
    "grant": _grant,
    "void": _void,
    "clawback": _claw_back,
    "reinstatement": _reinstate,
    "settlement": _settlement,
    "task": _task,
    "task_settlement": _task_settlement,
    "task_refund": _task_refund,
    "freeze": _freeze,
    "thaw": _freeze,
}
