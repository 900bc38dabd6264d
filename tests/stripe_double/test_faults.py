"""Ordered failures: what the SDK does about them, and that the work is done once."""

import time
from typing import Any

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes
from tests.stripe_double.faults import When

ASKED: Any = {"email": "ann@example.com"}


def keys(double: StripeDouble) -> list[str]:
    return [request.headers["idempotency-key"] for request in double.requests if request.method == "POST"]


@pytest.mark.parametrize("status", [500, 503, None])
@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_the_sdk_repeats_with_the_same_key(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, status: int | None, when: When
) -> None:
    """Whether the failed request had done its work or not, the repeats end in one customer."""
    stripe_double.faults.fail("/v1/customers", status=status, when=when)
    made = stripe_client.v1.customers.create(ASKED)
    assert [made.id] == [each["id"] for each in stripe_double.account.all("customer")]
    first, second = keys(stripe_double)
    assert first == second


def test_answers_can_be_lost_again_and_again(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The answer to a repeat can be lost as well; there is still one customer."""
    stripe_double.faults.fail("/v1/customers", status=None, when=When.AFTER, times=2)
    made = stripe_client.v1.customers.create(ASKED)
    assert [made.id] == [each["id"] for each in stripe_double.account.all("customer")]
    assert 3 == len(keys(stripe_double))
    assert 1 == len(set(keys(stripe_double)))


def test_without_repeats_a_lost_answer_is_an_unknown_outcome(stripe_double: StripeDouble) -> None:
    """The connection is closed after the card was charged; the same key finds the payment later."""
    client = stripe_double.client(retries=0)
    owner = scenes.customer(client)
    asked = scenes.refill(owner, stripe_double.save_card(owner)["id"])
    stripe_double.faults.fail("/v1/payment_intents", status=None, when=When.AFTER)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.payment_intents.create(asked, {"idempotency_key": "refill:1:1"})
    [charged] = client.v1.payment_intents.list({"customer": owner}).data
    again = client.v1.payment_intents.create(asked, {"idempotency_key": "refill:1:1"})
    assert (charged.id, "succeeded") == (again.id, again.status)
    assert 1 == len(stripe_double.account.all("charge"))


def test_a_failure_can_be_what_the_key_remembers(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Stripe keeps a 500 of an executed request: no repeat gets anything else, only a list shows what was done."""
    stripe_double.faults.fail("/v1/customers", when=When.REMEMBERED)
    with pytest.raises(stripe.APIError):
        stripe_client.v1.customers.create(ASKED)
    assert 3 == len(keys(stripe_double))
    assert 1 == len(stripe_client.v1.customers.list().data)


def test_too_many_requests_are_not_repeated(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The SDK hands a 429 to its caller; nothing was done, and the key is free."""
    stripe_double.faults.fail("/v1/customers", status=429)
    with pytest.raises(stripe.RateLimitError):
        stripe_client.v1.customers.create(ASKED, {"idempotency_key": "k"})
    assert 1 == len(stripe_double.requests)
    assert {} == stripe_double.account.objects
    assert stripe_client.v1.customers.create(ASKED, {"idempotency_key": "k"}).id


def test_a_delay_holds_one_request_up(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Only the next request waits."""
    stripe_double.faults.delay("/v1/customers", seconds=0.2)
    start = time.perf_counter()
    stripe_client.v1.customers.create(ASKED)
    waited = time.perf_counter() - start
    stripe_client.v1.customers.create(ASKED)
    assert waited >= 0.2
    assert time.perf_counter() - start - waited < 0.2


def test_failures_meet_only_what_they_match(stripe_double: StripeDouble) -> None:
    """Another address, another method and whatever comes after `clear` go through."""
    client = stripe_double.client(retries=0)
    stripe_double.faults.fail("/v1/products")
    made = client.v1.customers.create(ASKED)
    stripe_double.faults.fail("/v1/customers/.*", method="GET")
    with pytest.raises(stripe.APIError):
        client.v1.customers.retrieve(made.id)
    assert made.id == client.v1.customers.retrieve(made.id).id
    stripe_double.faults.clear()
    assert client.v1.products.create({"name": "Starter"}).id
