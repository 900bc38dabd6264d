"""The controls of simulated payments over REST, and the clock that moves them."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallystick.api.openapi import document_of
from tallystick.bootstrap import Tally
from tallystick.core.errors import NotSimulated
from tallystick.core.times import HOUR
from tallystick.ports.payments import CheckoutMode, CheckoutOrder
from tallystick.providers.simulated import SimulatedPayments
from tallystick.services.context import SYSTEM
from tallystick.services.simulated_controls import ACTIONS, SimulatedControls
from tests.doors.api.door import Door


@pytest.fixture
def door(database_url: str, tmp_path: Path) -> Iterator[Door]:
    """A server in test mode."""
    with Door(database_url, tmp_path, test_mode=True) as found:
        yield found


def provider_of(tally: Tally) -> SimulatedPayments:
    """The simulated provider of a server."""
    assert tally.simulated_payments is not None
    assert tally.payment_provider is tally.simulated_payments
    return tally.simulated_payments


def bought(door: Door, card: str = "4242424242424242", *, mode: CheckoutMode = "payment") -> str:
    """Something for 12.50 that was just bought; gives our own id of it."""
    provider = provider_of(door.tally)
    reference = f"pay_{door.tally.context.new_id()}"
    order = CheckoutOrder(
        reference=reference,
        mode=mode,
        payer=provider.create_payer(reference="cust_1", email=None, key=f"payer {reference}"),
        title="Pack",
        success_url="https://shop.example.test/done",
        cancel_url="https://shop.example.test/back",
        expires_at=door.tally.context.now() + HOUR,
        amount_cents=1_250,
    )
    page = provider.create_checkout(order, key=reference)
    assert "done" == provider.pay(page.id, card)
    return page.id if mode == "subscription" else reference


def act(door: Door, payment: str, action: str, body: object = None) -> Any:
    """One control."""
    return door.post(f"/test/payments/{payment}/{action}", body, key=None)


def test_a_payment_is_refunded_and_disputed_by_hand(door: Door) -> None:
    """Each control answers with the payment as it is then, by our id and by the provider's."""
    payment = bought(door)
    refunded = act(door, payment, "refund", {"amount": 2.5})
    assert (payment, Decimal("12.5"), Decimal("2.5"), "succeeded", "usd", []) == (
        refunded["reference"], refunded["amount"], refunded["refunded"], refunded["status"],
        refunded["currency"], refunded["disputes"],
    )  # fmt: skip
    [dispute] = act(door, refunded["id"], "dispute")["disputes"]
    assert ("open", 10, 10) == (dispute["status"], dispute["amount"], dispute["withdrawn"])
    [dispute] = act(door, payment, "win")["disputes"]
    assert ("won", 0) == (dispute["status"], dispute["withdrawn"])
    assert Decimal("12.5") == act(door, payment, "refund")["refunded"]
    assert "failed" == act(door, bought(door, "4000000000002305"), "fail")["status"]
    assert "succeeded" == act(door, bought(door, "4000000000002305"), "settle")["status"]


@pytest.mark.parametrize(
    ("action", "body", "status", "code"),
    [
        ("win", None, 409, "CONFLICT"),
        ("settle", None, 409, "CONFLICT"),
        ("refund", {"amount": 12.51}, 409, "CONFLICT"),
        ("refund", {"amount": 0.001}, 422, "INVALID_AMOUNT"),
        ("refund", {"amount": 0}, 422, "INVALID_AMOUNT"),
        ("refund", {"cents": 1}, 422, "VALIDATION_FAILED"),
        ("dispute", {"amount": 1}, 422, "VALIDATION_FAILED"),
        ("steal", None, 422, "VALIDATION_FAILED"),
    ],
)
def test_what_cannot_be_done_is_refused(
    door: Door, action: str, body: object, status: int, code: str
) -> None:
    """A state, an amount or an action that does not fit changes nothing."""
    payment = bought(door)
    answer = door.send("POST", f"/test/payments/{payment}/{action}", body, key=None)
    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert 0 == act(door, payment, "refund", {"amount": 0.01})["refunded"] - Decimal("0.01")


def test_only_admins_have_a_hand_in_it(door: Door) -> None:
    """A user and a service are refused; a payment that is not there is not found."""
    payment = bought(door)
    for token in (door.register()["token"], door.service()):
        answer = door.send("POST", f"/test/payments/{payment}/dispute", token=token, key=None)
        assert 403 == answer.status_code
    assert 401 == door.send("POST", f"/test/payments/{payment}/dispute", token=None, key=None).status_code
    assert 404 == door.send("POST", "/test/payments/pay_none/dispute", key=None).status_code
    assert 404 == door.send("POST", "/test/payments/%00/dispute", key=None).status_code


def test_every_action_of_the_service_has_its_address(door: Door) -> None:
    """REST knows the actions that there are, and no others."""
    operation = document_of(door.app)["paths"]["/api/v1/test/payments/{payment}/{action}"]["post"]
    [action] = [each for each in operation["parameters"] if each["name"] == "action"]
    assert sorted(ACTIONS) == sorted(action["schema"]["enum"])


def test_real_payments_are_nobodys_to_simulate() -> None:
    """In live mode, and where the provider is another, each control is refused."""
    for controls in (SimulatedControls(None, test_mode=True), SimulatedControls(None, test_mode=False)):
        with pytest.raises(NotSimulated):
            controls.act(SYSTEM, "pay_1", "dispute")


def test_live_mode_has_no_controls(database_url: str, tmp_path: Path) -> None:
    """Even where payments are simulated, nothing is done by hand out of test mode."""
    with Door(database_url, tmp_path, test_mode=False) as live:
        answer = live.send("POST", f"/test/payments/{bought(live)}/dispute", key=None)
        assert (409, "NOT_SIMULATED") == (answer.status_code, answer.json()["code"])


def test_the_test_clock_moves_the_provider(door: Door) -> None:
    """Months that pass at once renew the plan in each of them, before the answer."""
    page = bought(door, mode="subscription")
    ran = door.post("/test/clock", {"advance": "P3M"}, key=None)["ran"]
    assert {"job": "simulated_renewal", "count": 3} in ran
    found = provider_of(door.tally).checkout(page)
    assert found is not None
    subscription = provider_of(door.tally).subscription(str(found.subscription))
    assert subscription is not None
    assert subscription.period_start <= door.tally.context.now() < subscription.period_end
