"""What tools return: the fields of the contract, as the output schemas say them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tallystick.core.amounts import MICROS_PER_CENT
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.plain_json import Number, number
from tallystick.services.billing import Balance, EntryView
from tallystick.services.checkouts import CheckoutView, status_of
from tallystick.services.refills import RefillView
from tallystick.store.payments import PaymentRow


def _time(micros: int | None) -> str | None:
    return None if micros is None else format_rfc3339(micros)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class User(_Answer):
    """A user and the customer whose credits it spends."""

    id: str
    email: str
    customer: str


class Session(_Answer):
    """A login. ``token`` is there only where the client has to keep it; on stdio it is kept for you."""

    expires_at: str
    token: str | None = None
    saved: bool = False


class LoggedIn(_Answer):
    """A user who is logged in."""

    user: User
    session: Session
    credits: Number


class LoggedOut(_Answer):
    """The session has ended."""

    logged_out: bool


class CheckedBalance(_Answer):
    """What there is now. ``credits`` is the balance; ``available`` is what can be spent of it."""

    credits: Number
    auto_refill: bool
    threshold: Number | None = Field(description="Automatic refills start below this many credits")
    tier: str | None
    available: Number
    held: Number
    low_balance_warning: bool


class DetailedBalance(_Answer):
    """What there is, what is on its way out, and what came and went so far."""

    credits: Number
    pending: Number = Field(description="Held for work that is not finished")
    earned_total: Number
    spent_total: Number


class PaymentLink(_Answer):
    """A page to pay on. Credits come when it is paid, not before."""

    payment_url: str
    expires_at: str
    credits_amount: Number


class RefillSetting(_Answer):
    """How automatic refills are set."""

    enabled: bool
    threshold: Number
    amount: Number = Field(description="US dollars of one refill")
    next_charge: str | None = Field(description="When the card is tried next; null: when the balance falls")
    paused_reason: str | None
    save_card_url: str | None = Field(description="Where a card is saved, if none is yet")


class HistoryLine(_Answer):
    """One line of a statement. ``amount`` is negative for what was spent."""

    date: str
    amount: Number
    type: str = Field(description="The meter's category for usage, such as sandbox; else the kind of entry")
    description: str


class History(_Answer):
    """A statement, newest first."""

    transactions: list[HistoryLine]


class PaymentLine(_Answer):
    """One payment in US dollars."""

    date: str
    amount: Number
    status: str
    invoice_url: str | None


class Payments(_Answer):
    """Payments, newest first."""

    payments: list[PaymentLine]


class Upgraded(_Answer):
    """A plan. ``monthly_credits`` null: unlimited."""

    new_tier: str
    monthly_credits: Number | None
    effective_date: str


class Earned(_Answer):
    """Credits that were awarded."""

    transaction_id: str
    new_balance: Number


class Stats(_Answer):
    """What a customer earned and spent over its life."""

    credits_earned: Number
    credits_spent: Number
    apps_published: int
    challenges_completed: int
    app_revenue: Number


def checked_balance(found: Balance, *, warning_below: int | None) -> CheckedBalance:
    """A balance for a look before work."""
    return CheckedBalance(
        credits=number(found.balance),
        auto_refill=found.auto_refill,
        threshold=None if found.threshold is None else number(found.threshold),
        tier=found.tier,
        available=number(found.available),
        held=number(found.held),
        low_balance_warning=warning_below is not None
        and not found.unlimited
        and found.available < warning_below,
    )


def detailed_balance(found: Balance) -> DetailedBalance:
    """A balance with its totals."""
    return DetailedBalance(
        credits=number(found.balance),
        pending=number(found.held),
        earned_total=number(found.earned),
        spent_total=number(found.spent),
    )


def payment_link(view: CheckoutView) -> PaymentLink:
    """A page to pay on."""
    return PaymentLink(
        payment_url=view.url,
        expires_at=format_rfc3339(view.expires_at),
        credits_amount=number(view.credits),
    )


def refill_setting(view: RefillView) -> RefillSetting:
    """A setting of refills."""
    return RefillSetting(
        enabled=view.enabled,
        threshold=number(view.threshold),
        amount=number(view.amount_cents * MICROS_PER_CENT),
        next_charge=_time(view.next_charge),
        paused_reason=view.paused_reason,
        save_card_url=view.save_card_url,
    )


def history_line(view: EntryView) -> HistoryLine:
    """A line of a statement."""
    kind = view.category if view.type == "usage" and view.category else view.type
    return HistoryLine(
        date=format_rfc3339(view.date),
        amount=number(view.amount),
        type=kind,
        description=view.description or view.meter or view.type.replace("_", " "),
    )


def payment_line(row: PaymentRow) -> PaymentLine:
    """A payment."""
    return PaymentLine(
        date=format_rfc3339(row.created_at),
        amount=number(row.amount_cents * MICROS_PER_CENT),
        status=status_of(row),
        invoice_url=row.invoice_url or row.receipt_url,
    )


def earned(grant_transaction: int, balance: int) -> Earned:
    """An award."""
    return Earned(transaction_id=to_text("txn", grant_transaction), new_balance=number(balance))
