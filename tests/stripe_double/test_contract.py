"""The contract: what breaks it is found on both sides, and what is not implemented is not passed over."""

from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.stripe_double import StripeDouble, judged_double, scenes
from tests.stripe_double.contract import Contract, shared_contract


def test_a_request_that_breaks_the_contract_is_refused_and_recorded(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """A parameter that the API no longer has is refused, and the test would fail at its end."""
    asked: Any = {"mode": "payment", "payment_method_types": ["card"], "success_url": "https://shop.example"}
    with pytest.raises(stripe.InvalidRequestError, match="payment_method_types"):
        stripe_client.v1.checkout.sessions.create(asked)
    [violation] = stripe_double.violations
    assert "'payment_method_types' was unexpected" in violation
    stripe_double.violations.clear()


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"amount": "ten", "currency": "usd"}, "amount"),
        ({"currency": "usd"}, '"amount" is a required property'),
        ({"amount": 1000, "currency": "usd", "setup_future_usage": "for_ever"}, "setup_future_usage"),
        ({"amount": 1000, "currency": "usd", "confirm": "yes"}, "confirm"),
    ],
)
def test_wrong_values_break_the_contract(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, asked: Any, where: str
) -> None:
    """A value of the wrong type or outside an enumeration, and one that is missing, are violations."""
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.payment_intents.create(asked)
    [violation] = stripe_double.violations
    assert where in violation
    stripe_double.violations.clear()


def test_an_answer_that_breaks_the_contract_is_recorded(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The double's own answers are judged too, with the objects inside them."""
    owner = scenes.customer(stripe_client)
    stripe_double.account.objects[owner]["shoe_size"] = 42
    del stripe_double.account.objects[owner]["created"]
    stripe_client.v1.customers.list()
    assert 2 == len(stripe_double.violations), stripe_double.violations
    assert any("shoe_size" in each for each in stripe_double.violations)
    assert any('"created" is a required property' in each for each in stripe_double.violations)
    stripe_double.violations.clear()


def test_an_event_that_breaks_the_contract_is_recorded(stripe_double: StripeDouble) -> None:
    """Payloads of events are judged, and so are the types of events."""
    account = stripe_double.account
    account.emit("customer.promoted", {"id": "cus_1", "object": "customer"})
    assert any('"customer.promoted" is not one of' in each for each in stripe_double.violations)
    assert any("customer: the whole" in each for each in stripe_double.violations)
    stripe_double.violations.clear()


def test_what_stripe_has_and_the_double_has_not_answers_501(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """A call of the API that the double does not implement is an error and a violation."""
    with pytest.raises(stripe.APIError) as caught:
        stripe_double.client(retries=0).v1.coupons.create({"percent_off": 10, "duration": "once"})
    assert 501 == caught.value.http_status
    assert ["POST /v1/coupons is not implemented by the double"] == stripe_double.violations
    stripe_double.violations.clear()
    assert [] == stripe_client.v1.customers.list().data


def test_a_parameter_that_would_be_ignored_answers_501(stripe_double: StripeDouble) -> None:
    """A parameter that Stripe would heed and the double does not know is never passed over."""
    client = stripe_double.client(retries=0)
    asked: Any = {
        "amount": 1000,
        "currency": "usd",
        "transfer_group": "a",
        "automatic_payment_methods": {"enabled": True},
    }
    with pytest.raises(stripe.APIError, match="transfer_group"):
        client.v1.payment_intents.create(asked)
    [violation] = stripe_double.violations
    assert "does not implement ['transfer_group']" in violation
    stripe_double.violations.clear()


def test_an_address_that_nobody_calls_is_unknown(stripe_double: StripeDouble) -> None:
    """What is no call of the API at all answers 404, and is a violation."""
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as caught:
        stripe_double.client().raw_request("post", "/v1/wishes")
    assert 404 == caught.value.http_status
    assert 1 == len(stripe_double.violations)
    stripe_double.violations.clear()


def test_schemas_are_derived_once_and_kept(tmp_path: Path) -> None:
    """Another contract in the same folder says the same and reads it from there."""
    first = Contract(tmp_path)
    operation = first.operation("POST", "/v1/checkout/sessions")
    session = first.schema("checkout.session")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    second = Contract(tmp_path)
    assert operation == second.operation("POST", "/v1/checkout/sessions")
    assert session == second.schema("checkout.session")
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


def test_the_contract_is_the_one_of_the_installed_sdk() -> None:
    """The version of the API is the one that the SDK sends."""
    assert shared_contract().version == stripe.api_version


def test_forms_mean_what_the_sdk_meant() -> None:
    """Numbers, truths, lists, free texts and emptied groups come out of a form as they went in."""
    contract = shared_contract()
    operation = contract.operation("POST", "/v1/checkout/sessions")
    assert operation is not None
    form = (
        "mode=payment&expires_at=1800000000&invoice_creation[enabled]=true&metadata[number]=12&expand[0]=line_items"
        "&line_items[0][price]=price_1&line_items[0][quantity]=2&line_items[1][price]=price_2&line_items[1][quantity]=1"
    )
    expected = {
        "mode": "payment",
        "expires_at": 1800000000,
        "invoice_creation": {"enabled": True},
        "metadata": {"number": "12"},
        "expand": ["line_items"],
        "line_items": [{"price": "price_1", "quantity": 2}, {"price": "price_2", "quantity": 1}],
    }
    assert (expected, []) == contract.parameters(operation, form)
    update = contract.operation("POST", "/v1/customers/{customer}")
    assert update is not None
    assert ({"metadata": "", "name": ""}, []) == contract.parameters(update, "metadata=&name=")


def test_a_violation_fails_the_test_that_made_it() -> None:
    """The block that the fixture consists of fails at its end, and only if the contract was broken."""
    with judged_double() as double:
        double.client().v1.customers.list()
    asked: Any = {"nonsense": "1"}
    broken, refused = (
        pytest.raises(AssertionError, match="nonsense"),
        pytest.raises(stripe.InvalidRequestError),
    )
    with broken, judged_double() as double, refused:
        double.client().v1.customers.list(asked)
