"""What came of operators' actions, as sentences for their record."""

from __future__ import annotations

from tallystick.core.adjustments import ClawbackResult, FreezeResult, GrantResult, RefundResult
from tallystick.core.decimals import format_amount, format_units, were
from tallystick.core.ids import to_text
from tallystick.core.tasks import TaskResult
from tallystick.core.times import format_rfc3339


def granted(result: GrantResult) -> str:
    """A grant that was made."""
    given = f"{format_units(result.amount, result.unit)} {were(result.amount)} granted ({to_text('grant', result.id)})"
    if result.effective_at > result.created_at:
        given = f"{given} from {format_rfc3339(result.effective_at)} on"
    return f"{given}; the balance is {format_units(result.balance, result.unit)}"


def froze(result: FreezeResult) -> str:
    """A wallet that was frozen."""
    return f"the {result.unit} wallet is frozen{' already' if result.before is not None else ''}"


def thawed(result: FreezeResult) -> str:
    """A wallet that was thawed."""
    return (
        f"the {result.unit} wallet {'was not frozen' if result.before is None else 'can be drawn from again'}"
    )


def decided(result: TaskResult) -> str:
    """A dispute that was decided."""
    kept = f"of {format_units(result.paid, result.unit)} that {were(result.paid)} paid"
    return f"{format_amount(result.refunded)} {kept} went back"


def refunded(result: RefundResult) -> str:
    """A charge that was refunded."""
    back = " and ".join(format_units(amount, unit) for unit, amount in result.amounts if amount)
    return f"{back} went back; the balance is {format_units(result.balance, result.unit)}"


def voided(result: GrantResult) -> str:
    """A grant that was voided."""
    return f"{format_units(result.amount, result.unit)} of it {were(result.amount)} taken back"


def clawed_back(result: ClawbackResult) -> str:
    """A grant that credits were clawed back from."""
    taken = f"{format_units(result.removed, result.unit)} {were(result.removed)} taken back"
    return f"{taken}, {format_amount(result.owed)} are owed" if result.owed else taken
