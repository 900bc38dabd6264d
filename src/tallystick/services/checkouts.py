"""Buying credits: a pack, or any amount between the economy's bounds, on a page that the payment provider hosts.

A purchase is written down before the provider is asked for its page, and nothing is granted here: that is `Fulfilment`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.catalog import Economy, Pack
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import HOUR, MINUTE, add
from tallystick.ports.payments import CheckoutOrder, PaymentProvider
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.fulfilment import Fulfilment
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.payers import parse_usd, payer_of, provider_errors, show_usd
from tallystick.services.requests import digest_of, idempotency_fields
from tallystick.store import memberships
from tallystick.store import payments as store
from tallystick.store.payments import DisputeRow, PaymentRow, RefundRow

SHORTEST: Final = 30 * MINUTE
LONGEST: Final = 24 * HOUR
_AGAIN: Final = 2 * MINUTE  # when a purchase without a page is looked at: by then its request has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is bought."""

    kind: str
    name: str | None
    title: str
    unit: str
    credits: int
    cents: int


@dataclass(frozen=True, slots=True)
class CheckoutView:
    """A page to pay on, and what it will add."""

    payment_id: int
    url: str
    session_id: str
    expires_at: int
    unit: str
    credits: int
    amount_cents: int
    currency: str


class Checkouts:
    """Pages to pay on, and the payments that came of them."""

    def __init__(
        self,
        context: Context,
        customers: Customers,
        provider: PaymentProvider,
        fulfilment: Fulfilment,
        *,
        prices: Mapping[str, str],
        random_text: Callable[[], str],
    ) -> None:
        """``prices`` are the provider's prices by the names of their environment variables."""
        self._context = context
        self._customers = customers
        self._provider = provider
        self._fulfilment = fulfilment
        self._prices = prices
        self._random_text = random_text

    def create(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        package: str | None = None,
        amount: Decimal | int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[CheckoutView]:
        """A page on which a customer buys a pack, or credits for an amount of US dollars.

        Without a key each request makes a page of its own: only one that is paid adds anything. Raises ``UnknownPack``,
        ``InvalidAmount``, ``PlanRequired`` and, when the provider does not answer, ``PaymentsUnavailable``.
        """
        if (package is None) == (amount is None):
            raise errors.ValidationFailed(
                [("package", "expected either a package or an amount, and not both")]
            )
        customer_id = self._customers.resolve(caller, customer)
        economy = self._context.economy()
        item = _pack(economy.pack(package)) if package is not None else _amount(economy, amount)
        self._check_right(customer_id, economy)
        fields: dict[str, Any] = {"idempotency": None, "request_digest": None}
        if idempotency_key is not None:
            fields = idempotency_fields(
                caller, idempotency_key, "checkout", (customer_id, package, item.cents, item.unit)
            )
            with self._context.database.read() as connection:
                known = store.by_idempotency(connection, fields["idempotency"])
            if known is not None:
                return self._repeat(known, fields["request_digest"])
        row = self._order(customer_id, economy, item, fields)
        if row.request_digest != fields["request_digest"]:  # somebody else came first with this key
            raise errors.IdempotencyKeyReused
        return Answer(self._view(self._open(row)))

    def _repeat(self, row: PaymentRow, digest: str) -> Answer[CheckoutView]:
        if row.request_digest != digest:
            raise errors.IdempotencyKeyReused
        if row.checkout is None:
            row = self._open(row)
        return Answer(self._view(row), replayed=True)

    def _check_right(self, customer_id: int, economy: Economy) -> None:
        with self._context.database.read() as connection:
            membership = memberships.get(connection, customer_id)
        plan = None if membership is None else economy.plans.get(membership.plan)
        if plan is not None and not plan.can_buy_packs:
            able = [each.name for each in economy.plans.values() if each.can_buy_packs]
            raise errors.PlanRequired(right="buying packs", plan=plan.name, plans=able)

    def _order(self, customer_id: int, economy: Economy, item: Item, fields: Mapping[str, Any]) -> PaymentRow:
        """Write the purchase down, so that whatever happens next is found again."""
        context = self._context
        now = context.now()
        number = context.new_id()
        lives = add(now, economy.checkout_expires_after) - now
        values = {
            "id": number,
            "customer_id": customer_id,
            "kind": item.kind,
            "status": "new",
            "provider": self._provider.name,
            "live": self._provider.live,
            "unit": item.unit,
            "credits": item.credits,
            "amount_cents": item.cents,
            "currency": "usd",
            "item": item.name,
            "title": item.title,
            "economy": economy.version,
            "created_at": now,
            "expires_at": now + min(max(lives, SHORTEST), LONGEST),
            "look_at": now + _AGAIN,
            "token": self._random_text(),
            "idempotency": fields["idempotency"],
            "request_digest": fields["request_digest"],
        }
        payer = payer_of(context, self._provider, customer_id)

        def work(connection: Connection) -> PaymentRow:
            store.add_once(connection, **values, payer=payer)
            row = store.by_id(connection, number)
            if row is None:  # somebody else came first with this key
                row = store.by_idempotency(connection, fields["idempotency"])
            assert row is not None
            return row

        return context.database.transact(work)

    def _open(self, row: PaymentRow) -> PaymentRow:
        """Have the provider make the page. A repeat gives the same page: the key is the purchase's own."""
        item = self._context.economy().packs.get(row.item or "")
        price = None
        if row.kind == "pack" and item is not None and item.stripe_price_env is not None:
            price = self._prices.get(item.stripe_price_env)
        reference = to_text("pay", row.id)
        here = f"{self._context.public_url}/billing"
        order = CheckoutOrder(
            reference=reference,
            mode="payment",
            payer=row.payer or "",
            title=row.title,
            amount_cents=row.amount_cents,
            currency=row.currency,
            price=price,
            # A repeat may come late: what nobody was shown yet may still live for the shortest time that there is.
            expires_at=max(row.expires_at or 0, self._context.now() + SHORTEST),
            success_url=f"{here}/success?payment={reference}&token={row.token}",
            cancel_url=f"{here}/cancel?payment={reference}&token={row.token}",
            save_card=True,
        )
        with provider_errors():
            page = self._provider.create_checkout(order, key=f"checkout:{reference}")

        def work(connection: Connection) -> PaymentRow:
            current = store.by_id(connection, row.id, lock=True)
            assert current is not None
            if current.checkout is None:
                store.change(
                    connection,
                    row.id,
                    status="open" if current.status in {"new", "expired"} else current.status,
                    checkout=page.id,
                    url=page.url,
                    expires_at=page.expires_at,
                    look_at=page.expires_at + MINUTE,
                )
            after = store.by_id(connection, row.id)
            assert after is not None
            return after

        return self._context.database.transact(work)

    def _view(self, row: PaymentRow) -> CheckoutView:
        if row.checkout is None or row.url is None:
            raise errors.Conflict("this page has been used or has expired: ask for another with a new key")
        return CheckoutView(
            row.id,
            row.url,
            row.checkout,
            row.expires_at or 0,
            row.unit,
            row.credits,
            row.amount_cents,
            row.currency,
        )

    # --- reading ---------------------------------------------------------------------------------------------------

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        everybody: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[PaymentRow]:
        """A customer's payments, newest first; ``everybody``: those of all customers, for services and admins."""
        if everybody and not caller.is_service:
            raise errors.NotAllowed("the payments of all customers are for services and admins")
        customer_id = None if everybody else self._customers.resolve(caller, customer)
        most, before = check_limit(limit), position_of("payments", cursor)
        with self._context.database.read() as connection:
            rows = store.page(connection, customer_id=customer_id, before=before, limit=most + 1)
        return page_of("payments", rows, limit=most, position=lambda row: row.id)

    def get(self, caller: Caller, payment_id: str) -> PaymentRow:
        """One payment. Raises ``NotFound``, also for another customer's."""
        row = self._find(payment_id)
        if row is None or not (caller.is_service or row.customer_id == caller.customer_id):
            raise errors.NotFound("payment", payment_id)
        return row

    def detail(
        self, caller: Caller, payment_id: str
    ) -> tuple[PaymentRow, Sequence[RefundRow], Sequence[DisputeRow]]:
        """One payment with its refunds, oldest first, and its disputes. Raises ``NotFound``."""
        row = self.get(caller, payment_id)
        with self._context.database.read() as connection:
            refunds = store.refunds_of(connection, row.id)
            disputes = store.disputes_of(connection, row.id)
        return row, refunds, tuple(disputes.values())

    def open_disputes(self, caller: Caller) -> Sequence[DisputeRow]:
        """Disputes that are not closed, those that must be answered soonest first; a thousand at most. For admins."""
        if not caller.is_admin:
            raise errors.NotAllowed("disputes are for admins")
        with self._context.database.read() as connection:
            return store.open_disputes(connection, limit=1000)

    def look(self, payment_id: str, token: str) -> PaymentRow:
        """What really came of a purchase, for its success page: the provider is asked, the address proves nothing.

        ``token`` is the one in that address. Raises ``NotFound``.
        """
        row = self._find(payment_id)
        if row is None or not row.token or not _same(row.token, token):
            raise errors.NotFound("payment", payment_id)
        if row.status in {"new", "open", "processing"}:
            row = self._fulfilment.look(row.id) or row
        return row

    def _find(self, payment_id: str) -> PaymentRow | None:
        number = from_text("pay", payment_id)
        if number is None:
            return None
        with self._context.database.read() as connection:
            return store.by_id(connection, number)


def _pack(pack: Pack) -> Item:
    return Item(
        kind="pack",
        name=pack.name,
        title=pack.title,
        unit=pack.unit,
        credits=pack.credits_micros,
        cents=pack.price_usd_cents,
    )


def _amount(economy: Economy, amount: Decimal | int | str | None) -> Item:
    sale = economy.purchase
    if sale is None:
        packs = ", ".join(economy.packs) or "none"
        raise errors.ValidationFailed([("amount", f"this economy sells packs only: {packs}")])
    cents = parse_usd(amount if amount is not None else "")
    if not sale.min_usd_cents <= cents <= sale.max_usd_cents:
        bounds = f"{show_usd(sale.min_usd_cents)} to {show_usd(sale.max_usd_cents)}"
        raise errors.InvalidAmount(f"an amount from {bounds}")
    credits_ = sale.credits_for(cents)
    unit = economy.unit(sale.unit)
    return Item(
        kind="amount",
        name=None,
        title=f"{unit.name} for {show_usd(cents)}",
        unit=unit.name,
        credits=credits_,
        cents=cents,
    )


def _same(one: str, other: str) -> bool:
    return digest_of("token", (one,)) == digest_of("token", (other,))


def status_of(row: PaymentRow) -> str:
    """What people are told: what was paid, and how much of it went back."""
    if row.status != "paid":
        return {"new": "pending", "open": "pending", "unknown": "processing"}.get(row.status, row.status)
    if row.dispute_status in {"inquiry", "open"}:
        return "disputed"
    if row.dispute_status == "lost" and row.disputed_cents:
        return "charged_back"
    if row.refunded_cents >= row.amount_cents > 0:
        return "refunded"
    return "partially_refunded" if row.refunded_cents else "succeeded"
