"""What admins do by hand to simulated payments: all that a bank or the provider's own pages would do to real ones."""

from __future__ import annotations

from typing import Final, Protocol

from tallystick.core import errors
from tallystick.core.amounts import MICROS_PER_CENT, parse_amount
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Payment
from tallystick.services.context import Caller

ACTIONS: Final = (
    "dispute",
    "inquiry",
    "win",
    "lose",
    "refund",
    "fail-refund",
    "settle",
    "fail",
    "detach-card",
)


class Simulation(Protocol):
    """What a simulated provider has beyond the port."""

    def act(self, payment: str, action: str, *, amount_cents: int | None = None) -> Payment | None:
        """Do something by hand to a payment, named by the provider's id or ours; None when there is none."""
        ...


class SimulatedControls:
    """For admins, in test mode, where payments are simulated."""

    def __init__(self, simulation: Simulation | None, *, test_mode: bool) -> None:
        self._simulation = simulation if test_mode else None

    def act(self, caller: Caller, payment: str, action: str, *, amount: object = None) -> Payment:
        """Do one of ``ACTIONS`` to a payment; ``amount`` in the payment's currency, for a refund of a part.

        Raises ``NotSimulated``, ``NotFound``, or ``Conflict`` when the payment's state does not allow it.
        """
        if not caller.is_admin:
            raise errors.NotAllowed("the controls of simulated payments are for admins")
        if self._simulation is None:
            raise errors.NotSimulated
        if action not in ACTIONS:
            raise errors.ValidationFailed([("action", f"expected one of {', '.join(ACTIONS)}")])
        cents = None if amount is None else _cents(amount)
        if cents is not None and action != "refund":
            raise errors.ValidationFailed([("amount", "expected none: only a refund has one")])
        try:
            found = self._simulation.act(payment, action, amount_cents=cents)
        except ProviderRefused as refused:
            raise errors.Conflict(refused.detail) from None
        if found is None:
            raise errors.NotFound("payment", payment)
        return found


def _cents(amount: object) -> int:
    micros = parse_amount(amount)
    if micros % MICROS_PER_CENT:
        raise errors.InvalidAmount("an amount of whole cents")
    return micros // MICROS_PER_CENT
