"""Automatic refills: below a threshold, buy credits with the saved card. Never twice for one gap, and never for ever.

The charge that crosses the threshold leaves a mark in its own transaction; it never waits for a payment. A worker turns the
mark into a payment that is written down first, one under way for each customer, and then asks the provider. An answer that
does not come is a state of its own: it is asked for again under the same key, never begun anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import parse_amount
from tallystick.core.catalog import AutoRefill, Economy, PurchaseRange
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.payments import RefillDecision, RefillFacts, decide_refill
from tallystick.core.times import DAY, HOUR, MINUTE, day_start, month_start
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import Card, CardOrder, CheckoutOrder, Decline, Payment, PaymentProvider
from tallystick.services import payment_notices
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.due import settle_if_due
from tallystick.services.fulfilment import Fulfilment
from tallystick.services.payers import parse_usd, payer_of, provider_errors, show_usd
from tallystick.services.payment_state import Facts, next_look
from tallystick.services.refill_outcomes import GONE, NO_CARD, note_decline, pause
from tallystick.store import payments as store
from tallystick.store import refills, wallets
from tallystick.store.payments import PaymentRow
from tallystick.store.refills import RefillRow

BATCH: Final = 50
AGAIN: Final = 2 * MINUTE
_NEVER_ARRIVED: Final = "never_arrived"
SAME_KEY: Final = DAY  # for how long the provider remembers a key
CAPS: Final = frozenset({"daily_cap", "monthly_cap"})
_QUIET: Final = frozenset(
    {"enough", "idle", "frozen"}
)  # then the next charge, or the thaw, says that it is wanted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefillView:
    """A customer's setting as it stands; ``card`` None: none is saved, or the provider does not answer.

    ``next_charge`` is when the card is tried next, if it waits for a moment; without one, when the balance falls.
    """

    customer_id: int
    enabled: bool
    unit: str
    threshold: int
    amount_cents: int
    credits: int
    next_charge: int | None
    paused_reason: str | None
    card: Card | None
    save_card_url: str | None = None


class Refills:
    """Set them up, and carry them out."""

    def __init__(
        self, context: Context, customers: Customers, provider: PaymentProvider, fulfilment: Fulfilment
    ) -> None:
        self._context = context
        self._customers = customers
        self._provider = provider
        self._fulfilment = fulfilment
        self.outcomes: Counter[str] = fulfilment.refills_ended

    # --- setting up ------------------------------------------------------------------------------------------------

    def get(self, caller: Caller, *, customer: str | None = None) -> RefillView:
        """How a customer's refills are set."""
        customer_id = self._customers.resolve(caller, customer)
        economy = self._context.economy()
        terms, sale = _terms(economy)
        with self._context.database.read() as connection:
            row = refills.get(connection, customer_id)
        row = row or _new_row(customer_id, terms, sale, self._context.now())
        return self._view(row, sale, self._card(customer_id))

    def configure(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        enabled: bool,
        threshold: Decimal | int | str | None = None,
        amount: Decimal | int | str | None = None,
    ) -> RefillView:
        """Turn refills on or off; what is not given stays as it was. Turning them on ends a pause.

        ``threshold`` in credits, ``amount`` in US dollars. Without a saved card the answer says where to save one.
        """
        customer_id = self._customers.resolve(caller, customer)
        economy = self._context.economy()
        terms, sale = _terms(economy)
        low = None if threshold is None else parse_amount(threshold, field="threshold")
        cents = None if amount is None else parse_usd(amount)
        if low is not None and low < terms.threshold_min_micros:
            least = format_amount(terms.threshold_min_micros)
            raise errors.InvalidAmount(f"at least {least} {sale.unit}", field="threshold")
        if cents is not None and not terms.amount_min_usd_cents <= cents <= terms.daily_max_usd_cents:
            bounds = f"{show_usd(terms.amount_min_usd_cents)} to {show_usd(terms.daily_max_usd_cents)}"
            raise errors.InvalidAmount(f"an amount from {bounds}")
        now = self._context.now()

        def work(connection: Connection) -> RefillRow:
            before = refills.begin(connection, _new_row(customer_id, terms, sale, now))
            row = replace(
                before,
                enabled=enabled,
                threshold=before.threshold if low is None else low,
                amount_cents=before.amount_cents if cents is None else cents,
                failures=0 if enabled else before.failures,
                paused_at=None,
                paused_reason=None,
                wanted_at=now if enabled else None,
                next_try_at=now if enabled else None,
                updated_at=now,
            )
            refills.put(connection, row)
            self._arm(connection, row, armed=enabled)
            return row

        row = self._context.database.transact(work)
        card = self._card(customer_id) if enabled else None
        view = self._view(row, sale, card)
        if enabled and card is None:
            view = replace(view, save_card_url=self.save_card(caller, customer=customer))
        return view

    def save_card(self, caller: Caller, *, customer: str | None = None) -> str:
        """The address of a page on which a customer saves a card; refills that paused for want of one go on then."""
        customer_id = self._customers.resolve(caller, customer)
        context = self._context
        reference = to_text("cust", customer_id)
        here = f"{context.public_url}/billing"
        order = CheckoutOrder(
            reference=reference,
            mode="setup",
            payer=payer_of(context, self._provider, customer_id),
            title="Save a card",
            success_url=f"{here}/success",
            cancel_url=f"{here}/cancel",
            expires_at=context.now() + DAY - HOUR,
        )
        with provider_errors():
            page = self._provider.create_checkout(order, key=f"setup:{context.new_id()}")
        if page.url is None:
            raise errors.PaymentsUnavailable
        return page.url

    def card_saved(self, customer_id: int, connection: Connection) -> None:
        """A customer has saved a card: a pause ends, and what was wanted meanwhile is looked at."""
        now = self._context.now()
        row = refills.get(connection, customer_id, lock=True)
        if row is not None and row.enabled:
            refills.change(
                connection,
                customer_id,
                paused_at=None,
                paused_reason=None,
                failures=0,
                wanted_at=now,
                next_try_at=now,
            )

    def card_gone(self, customer_id: int, connection: Connection) -> None:
        """A customer has no card any more, or none yet."""
        refills.take_request(connection, customer_id)
        row = refills.get(connection, customer_id, lock=True)
        if row is not None and row.enabled and row.paused_at is None:
            pause(connection, self._context, row, NO_CARD)

    def _card(self, customer_id: int) -> Card | None:
        """What can be charged, as far as the provider says."""
        try:
            return self._ask_card(customer_id)
        except OutcomeUnknown:
            return None

    def _ask_card(self, customer_id: int) -> Card | None:
        with self._context.database.read() as connection:
            payer = store.payer_of(connection, self._provider.name, customer_id)
        return None if payer is None else self._provider.default_card(payer)

    def _view(self, row: RefillRow, sale: PurchaseRange, card: Card | None) -> RefillView:
        waits = row.enabled and row.paused_at is None and row.next_try_at is not None
        return RefillView(
            customer_id=row.customer_id,
            enabled=row.enabled,
            unit=row.unit,
            threshold=row.threshold,
            amount_cents=row.amount_cents,
            credits=sale.credits_for(row.amount_cents),
            next_charge=row.next_try_at if waits and (row.next_try_at or 0) > self._context.now() else None,
            paused_reason=row.paused_reason if row.paused_at is not None else None,
            card=card,
        )

    # --- carrying out ----------------------------------------------------------------------------------------------

    def run_once(self) -> dict[str, int]:
        """Look at whoever waits for a refill, some at a time; gives how many were begun."""
        context = self._context
        with context.database.read() as connection:
            asked = refills.requests(connection, limit=BATCH)
            due = refills.due(connection, now=context.now(), limit=BATCH)
        begun = 0
        for customer_id in dict.fromkeys([*asked, *due]):
            begun += self._begin_alone(customer_id)
        return {"auto_refill": begun}

    def _begin_alone(self, customer_id: int) -> bool:
        """One customer whose refill cannot be begun must not keep the others from theirs."""
        try:
            return self.begin(customer_id) is not None
        except errors.ServiceUnavailable:
            raise
        except Exception:
            log.exception("a refill cannot be begun; trying again later", customer=customer_id)
            later = self._context.now() + HOUR
            self._context.database.transact(lambda connection: _put_off(connection, customer_id, later))
            return False

    def begin(self, customer_id: int) -> PaymentRow | None:
        """Decide whether a customer's credits are to be refilled now, and do it; None when they are not."""
        settle_if_due(self._context, customer_id)
        if self._lacks_card(customer_id):
            self._context.database.transact(lambda connection: self.card_gone(customer_id, connection))
            return None
        row = self._context.database.transact(lambda connection: self._decide(connection, customer_id))
        if row is not None:
            self.charge(row)
        return row

    def _lacks_card(self, customer_id: int) -> bool:
        """Whether refills are on and there is nothing to charge: then nothing is tried, and the customer is told."""
        with self._context.database.read() as connection:
            setting = refills.get(connection, customer_id)
        if setting is None or not setting.enabled or setting.paused_at is not None:
            return False
        try:
            return self._ask_card(customer_id) is None
        except OutcomeUnknown:
            return False  # The charge itself will tell.

    def _decide(self, connection: Connection, customer_id: int) -> PaymentRow | None:
        """Under the lock of the customer's setting: write the payment down, or when to look again."""
        context = self._context
        now = context.now()
        setting = refills.get(connection, customer_id, lock=True)
        asked_at = refills.take_request(connection, customer_id)
        if setting is None:
            return None
        if asked_at is not None:
            setting = replace(setting, wanted_at=max(asked_at, setting.wanted_at or 0))
        economy = context.economy()
        if economy.auto_refill is None or economy.purchase is None:
            pause(connection, context, setting, GONE)
            return None
        decision = self._judge(connection, setting, economy.auto_refill, economy.purchase)
        self._arm(connection, setting, armed=decision.reason in _QUIET)
        refills.change(connection, customer_id, wanted_at=setting.wanted_at, next_try_at=decision.again_at)
        if decision.reason in CAPS and decision.again_at is not None:
            self.outcomes[decision.reason] += 1
            payment_notices.tell_refill_refused(
                connection, context, setting, decision.reason, again_at=decision.again_at
            )
        if not decision.cents:
            return None
        payer = store.payer_of(connection, self._provider.name, customer_id)
        if payer is None:
            pause(connection, context, setting, NO_CARD)
            return None
        return self._write_down(connection, setting, economy, decision.cents, payer, now)

    def _arm(self, connection: Connection, setting: RefillRow, *, armed: bool) -> None:
        """Have the next charge below the threshold leave a mark, or no charge while it is known that one is wanted."""
        self._context.ledger.set_refill_below(
            connection,
            setting.customer_id,
            setting.unit,
            setting.threshold if armed else None,
            now=self._context.now(),
            at_once=False,
        )

    def _judge(
        self, connection: Connection, setting: RefillRow, terms: AutoRefill, sale: PurchaseRange
    ) -> RefillDecision:
        now, customer_id = self._context.now(), setting.customer_id
        wallet = wallets.of_customer(connection, customer_id)[setting.unit]
        wallets.load_lots(connection, wallet)
        facts = RefillFacts(
            enabled=setting.enabled and wallet.cover_id is None,
            paused=setting.paused_at is not None,
            frozen=wallet.frozen_at is not None,
            threshold=setting.threshold,
            amount_cents=setting.amount_cents,
            available=wallet.available(now) - wallet.debt,
            wanted_at=setting.wanted_at,
            last_at=store.last_refill_at(connection, customer_id),
            today_cents=store.refilled_cents(connection, customer_id, since=day_start(now)),
            month_cents=store.refilled_cents(connection, customer_id, since=month_start(now)),
            under_way=store.refill_under_way(connection, customer_id) is not None,
            next_try_at=setting.next_try_at,
        )
        return decide_refill(
            facts, terms, credits_for_amount=max(sale.credits_for(setting.amount_cents), 1), now=now
        )

    def _write_down(
        self,
        connection: Connection,
        setting: RefillRow,
        economy: Economy,
        cents: int,
        payer: str,
        now: int,
    ) -> PaymentRow:
        number = self._context.new_id()
        sale = economy.purchase
        assert sale is not None
        store.add(
            connection,
            id=number,
            customer_id=setting.customer_id,
            kind="refill",
            status="new",
            provider=self._provider.name,
            live=self._provider.live,
            unit=setting.unit,
            credits=sale.credits_for(cents),
            amount_cents=cents,
            currency="usd",
            title=f"Automatic refill for {show_usd(cents)}",
            economy=economy.version,
            payer=payer,
            created_at=now,
            look_at=now + AGAIN,
            token="",
        )
        row = store.by_id(connection, number)
        assert row is not None
        return row

    def charge(self, row: PaymentRow) -> None:
        """Take the payment with the saved card. What came of it is booked, or asked for again later."""
        reference = to_text("pay", row.id)
        order = CardOrder(
            reference=reference,
            payer=row.payer or "",
            amount_cents=row.amount_cents,
            currency=row.currency,
            description=row.title,
        )
        try:
            payment = self._provider.charge_card(order, key=f"refill:{reference}")
        except OutcomeUnknown as error:
            log.warning("the outcome of a refill is not known", payment=row.id, detail=error.detail)
            self._not_known(row)
        except ProviderRefused as error:
            self._refused(row, error)
        else:
            self._book(row, payment)

    def resolve(self, row: PaymentRow) -> None:
        """A refill whose outcome is not known: ask for it, and only where it never arrived send it again, as the same."""
        now = self._context.now()
        try:
            found = self._provider.find_payment(
                payer=row.payer or "", reference=to_text("pay", row.id), since=row.created_at - HOUR
            )
        except OutcomeUnknown:
            self._not_known(row)
            return
        if found is not None:
            self._book(row, found)
        elif now - row.created_at < SAME_KEY:
            self.charge(row)
        else:
            self._refused(row, ProviderRefused("the payment never reached the provider", code=_NEVER_ARRIVED))

    def _book(self, row: PaymentRow, payment: Payment) -> None:
        if self._fulfilment.book(row, Facts(payment=payment)) is None:
            self._fulfilment.look(row.id)

    def _not_known(self, row: PaymentRow) -> None:
        self.outcomes["unknown"] += 1
        values: dict[str, Any] = {
            "status": "unknown",
            "look_at": next_look(row.looks, self._context.now()),
            "looks": row.looks + 1,
        }
        self._context.database.transact(lambda connection: _change_unless_ended(connection, row, values))

    def _refused(self, row: PaymentRow, error: ProviderRefused) -> None:
        """Nothing was made at all: as a decline for good, for instance because no card is saved."""
        self.outcomes["failed"] += 1
        values: dict[str, Any] = {
            "status": "failed",
            "failure": (error.code or "refused")[:100],
            "failure_text": error.detail[:500],
            "look_at": None,
        }

        def work(connection: Connection) -> None:
            if not _change_unless_ended(connection, row, values):
                return
            setting = refills.get(connection, row.customer_id, lock=True)
            if setting is not None:
                terms = self._context.economy().auto_refill
                decline: Decline = "soft" if error.code == _NEVER_ARRIVED else "hard"
                note_decline(connection, self._context, setting, replace(row, **values), decline, terms)

        self._context.database.transact(work)


def _put_off(connection: Connection, customer_id: int, later: int) -> None:
    refills.take_request(connection, customer_id)
    refills.change(connection, customer_id, next_try_at=later)


def _change_unless_ended(connection: Connection, row: PaymentRow, values: dict[str, Any]) -> bool:
    """An answer that came meanwhile counts more than one that did not."""
    current = store.by_id(connection, row.id, lock=True)
    if current is None or current.status not in store.UNDER_WAY:
        return False
    store.change(connection, row.id, **values)
    return True


def _terms(economy: Economy) -> tuple[AutoRefill, PurchaseRange]:
    if economy.auto_refill is None or economy.purchase is None:
        raise errors.NotAllowed("this economy has no automatic refills")
    return economy.auto_refill, economy.purchase


def _new_row(customer_id: int, terms: AutoRefill, sale: PurchaseRange, now: int) -> RefillRow:
    return RefillRow(
        customer_id=customer_id,
        enabled=False,
        unit=sale.unit,
        threshold=terms.threshold_default_micros,
        amount_cents=terms.amount_default_usd_cents,
        failures=0,
        wanted_at=None,
        next_try_at=None,
        paused_at=None,
        paused_reason=None,
        updated_at=now,
    )
