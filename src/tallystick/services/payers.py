"""Customers as the payment provider knows them, and the money that people name."""

from __future__ import annotations

from decimal import Decimal

from tallystick.core import errors
from tallystick.core.amounts import MICROS_PER_CENT, parse_amount
from tallystick.core.ids import to_text
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import PaymentProvider
from tallystick.services.context import Context
from tallystick.store import customers
from tallystick.store import payments as store


def payer_of(context: Context, provider: PaymentProvider, customer_id: int) -> str:
    """What the provider knows a customer as; made known now if it is not yet."""
    with context.database.read() as connection:
        found = store.payer_of(connection, provider.name, customer_id)
        gone_at = store.payer_gone_at(connection, provider.name, customer_id)
        row = customers.by_id(connection, customer_id)
    if found is not None:
        return found
    reference = to_text("cust", customer_id)
    email = None if row is None else row.email
    key = f"payer:{reference}" if gone_at is None else f"payer:{reference}:{gone_at}"
    with provider_errors():
        made = provider.create_payer(reference=reference, email=email, key=key)
    now = context.now()
    context.database.transact(
        lambda connection: store.put_payer(connection, provider.name, customer_id, made, now=now)
    )
    return made


class provider_errors:  # noqa: N801 - used as a function
    """What a provider raises becomes a refusal of ours: an unknown outcome may be repeated, a refused request may not."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        """Translate."""
        if isinstance(error, OutcomeUnknown):
            raise errors.PaymentsUnavailable from error
        if isinstance(error, ProviderRefused):
            raise errors.PaymentFailed(error.detail, reason=error.code) from error


def parse_usd(value: Decimal | int | str, *, field: str = "amount") -> int:
    """US dollars as cents. Raises ``InvalidAmount`` for anything but a plain number above 0 with at most two decimals."""
    micros = parse_amount(value, field=field)
    if micros % MICROS_PER_CENT:
        raise errors.InvalidAmount("US dollars with at most two decimals", field=field)
    return micros // MICROS_PER_CENT


def show_usd(cents: int) -> str:
    """Cents as people write dollars: ``$10`` or ``$10.50``."""
    return f"${cents // 100:,}" if cents % 100 == 0 else f"${cents // 100:,}.{cents % 100:02d}"
