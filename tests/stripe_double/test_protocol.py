"""What holds for every call: keys, versions, idempotency, lists, expansion, errors, many calls at once."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes


def test_a_wrong_key_is_refused(stripe_double: StripeDouble) -> None:
    """Another account's key gets 401 and changes nothing."""
    stranger = stripe.StripeClient(
        "sk_test_other", base_addresses={"api": stripe_double.url}, max_network_retries=0
    )
    with pytest.raises(stripe.AuthenticationError):
        stranger.v1.customers.create({"email": "ann@example.com"})
    assert {} == stripe_double.account.objects


def test_another_version_of_the_api_is_refused(stripe_double: StripeDouble) -> None:
    """The contract holds for one version of the API, so a request for another one is a violation."""
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        stripe_double.client().v1.customers.list(options={"stripe_version": "2020-08-27"})
    assert ["GET /v1/customers: version 2020-08-27 of the API"] == stripe_double.violations
    stripe_double.violations.clear()


def test_the_same_key_gets_the_first_answer(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """A repeated request is executed once; the answer is the first one, even if the object has changed since."""
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    first = stripe_client.v1.customers.create({"email": "ann@example.com"}, options)
    stripe_client.v1.customers.update(first.id, {"email": "bob@example.com"})
    again = stripe_client.v1.customers.create({"email": "ann@example.com"}, options)
    assert (first.id, "ann@example.com") == (again.id, again.email)
    assert again.last_response is not None
    assert "true" == again.last_response.headers["Idempotent-Replayed"]
    assert 1 == len(stripe_double.account.all("customer"))


def test_the_same_key_with_something_else_is_refused(stripe_client: stripe.StripeClient) -> None:
    """A key belongs to its parameters and to its address."""
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    stripe_client.v1.customers.create({"email": "ann@example.com"}, options)
    with pytest.raises(stripe.IdempotencyError):
        stripe_client.v1.customers.create({"email": "bob@example.com"}, options)
    with pytest.raises(stripe.IdempotencyError):
        stripe_client.v1.products.create({"name": "Starter"}, options)


def test_a_declined_payment_stays_declined_under_its_key(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The answer to an executed request is kept although it is an error: only another key tries again."""
    owner = scenes.customer(stripe_client)
    method = stripe_double.save_card(owner, "insufficient_funds")["id"]
    asked = scenes.refill(owner, method)
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            stripe_client.v1.payment_intents.create(asked, {"idempotency_key": "refill:1:1"})
    assert 1 == len(stripe_double.account.all("payment_intent"))
    stripe_double.change_card(method, "visa")
    with pytest.raises(stripe.CardError):
        stripe_client.v1.payment_intents.create(asked, {"idempotency_key": "refill:1:1"})
    paid = stripe_client.v1.payment_intents.create(asked, {"idempotency_key": "refill:1:2"})
    assert "succeeded" == paid.status


def test_a_request_that_was_not_executed_leaves_its_key_free(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """What the validation of parameters refuses is not kept: the same request may be sent again."""
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.payment_intents.create({"amount": 10, "currency": "usd"}, options)
    paid = stripe_client.v1.payment_intents.create({"amount": 1000, "currency": "usd"}, options)
    assert [paid.id] == [each["id"] for each in stripe_double.account.all("payment_intent")]


def test_a_key_is_forgotten_after_a_day(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """After a day the same key makes another customer."""
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    first = stripe_client.v1.customers.create({"email": "ann@example.com"}, options)
    stripe_double.advance(days=1)
    assert first.id != stripe_client.v1.customers.create({"email": "ann@example.com"}, options).id


def test_a_key_in_use_is_a_conflict(stripe_double: StripeDouble) -> None:
    """While the first request with a key is executed, a second one gets 409 and no second effect."""
    stripe_double.faults.delay("/v1/customers", seconds=0.3)
    with ThreadPoolExecutor(2) as pool:

        def create() -> str:
            return (
                stripe_double.client(retries=0)
                .v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
                .id
            )

        slow = pool.submit(create)
        while not stripe_double.requests:
            time.sleep(0.005)
        with pytest.raises(stripe.StripeError) as caught:
            create()
        assert slow.result()
    assert (409, "idempotency_key_in_use") == (
        caught.value.http_status,
        caught.value.error and caught.value.error.code,
    )
    assert 1 == len(stripe_double.account.all("customer"))


def test_the_sdk_waits_for_a_key_in_use(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The SDK repeats after a conflict, so both callers get the same customer."""
    stripe_double.faults.delay("/v1/customers", seconds=0.2)
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda _: (
                    stripe_client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"}).id
                ),
                range(2),
            )
        )
    assert 1 == len(set(found))


def test_lists_go_by_pages(stripe_client: stripe.StripeClient) -> None:
    """The newest comes first; every page says whether there is more; the SDK goes through all of them."""
    names = [scenes.customer(stripe_client) for _ in range(7)][::-1]
    first = stripe_client.v1.customers.list({"limit": 3})
    assert (names[:3], True) == ([each.id for each in first.data], first.has_more)
    last = stripe_client.v1.customers.list({"limit": 3, "starting_after": names[5]})
    assert (names[6:], False) == ([each.id for each in last.data], last.has_more)
    back = stripe_client.v1.customers.list({"limit": 2, "ending_before": names[5]})
    assert (names[3:5], True) == ([each.id for each in back.data], back.has_more)
    assert names == [each.id for each in stripe_client.v1.customers.list({"limit": 2}).auto_paging_iter()]


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_has_its_limits(stripe_client: stripe.StripeClient, limit: int) -> None:
    """A page holds one to a hundred objects."""
    with pytest.raises(stripe.InvalidRequestError, match="between 1 and 100"):
        stripe_client.v1.customers.list({"limit": limit})


def test_lists_are_filtered_by_when_things_were_made(stripe_client: stripe.StripeClient) -> None:
    """Each bound of `created` is heeded, and so is a single moment."""
    with StripeDouble(start=1_800_000_000) as double:
        client = double.client()
        names = []
        for _ in range(3):
            names.append(scenes.customer(client))
            double.advance(seconds=10)

        def found(**bounds: int) -> list[str]:
            asked: Any = {"created": bounds}
            return [each.id for each in client.v1.customers.list(asked).data]

        assert names[:0:-1] == found(gte=1_800_000_010)
        assert names[:1:-1] == found(gt=1_800_000_010)
        assert names[1::-1] == found(lte=1_800_000_010)
        assert names[:1] == found(lt=1_800_000_010)
        assert [names[1]] == [each.id for each in client.v1.customers.list({"created": 1_800_000_010}).data]
    assert [] == stripe_client.v1.customers.list().data


def test_ids_are_expanded_on_demand(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> None:
    """An id becomes the object, through several levels and in lists; without asking it stays an id."""
    session = scenes.pack(stripe_client, scenes.customer(stripe_client))
    stripe_double.complete(session)
    plain = stripe_client.v1.checkout.sessions.retrieve(session)
    assert isinstance(plain.payment_intent, str)
    assert "line_items" not in plain
    found = stripe_client.v1.checkout.sessions.retrieve(
        session,
        {"expand": ["line_items", "payment_intent.latest_charge.balance_transaction", "invoice.payments"]},
    ).to_dict()
    assert 1000 == found["line_items"]["data"][0]["amount_total"]
    assert 1000 == found["payment_intent"]["latest_charge"]["balance_transaction"]["amount"]
    assert "paid" == found["invoice"]["payments"]["data"][0]["status"]
    rows = stripe_client.v1.checkout.sessions.list({"expand": ["data.customer"]}).to_dict()["data"]
    assert "customer" == rows[0]["customer"]["object"]


def test_only_what_can_be_expanded_is(stripe_client: stripe.StripeClient) -> None:
    """A field that holds no id of an object is refused."""
    owner = scenes.customer(stripe_client)
    for path in ("email", "nothing", "created"):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            stripe_client.v1.customers.retrieve(owner, {"expand": [path]})


def test_errors_have_stripes_form(stripe_double: StripeDouble) -> None:
    """An unknown object is `resource_missing`, in the JSON that Stripe writes."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_double.client().v1.customers.retrieve("cus_nobody")
    assert (404, "resource_missing", "id") == (
        caught.value.http_status,
        caught.value.code,
        caught.value.param,
    )
    headers = {"Authorization": f"Bearer {stripe_double.api_key}", "Stripe-Version": stripe.api_version}
    answer = httpx.get(f"{stripe_double.url}/v1/customers/cus_nobody", headers=headers).json()
    assert {"error": {"message", "type", "code", "param"}} == {key: set(each) for key, each in answer.items()}


def test_many_callers_at_once_are_safe(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Each of many simultaneous requests has one effect, and no connection is mixed up with another."""
    owner = scenes.customer(stripe_client)
    method = stripe_double.save_card(owner)["id"]

    def pay(place: int) -> tuple[int, str]:
        asked = scenes.refill(owner, method, amount=1000 + place, metadata={"place": str(place)})
        intent = stripe_client.v1.payment_intents.create(asked)
        return intent.amount, intent.metadata["place"]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(pay, range(100)))
    assert [(1000 + place, str(place)) for place in range(100)] == found
    assert 100 == len(stripe_double.account.all("charge"))


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the SDK calls httpx is not ours
def test_the_asynchronous_client_works_too(stripe_double: StripeDouble) -> None:
    """The SDK's asynchronous calls go over another HTTP library and get the same answers."""

    async def create() -> str:
        library = stripe.HTTPXClient()
        client = stripe.StripeClient(
            stripe_double.api_key, base_addresses={"api": stripe_double.url}, http_client=library
        )
        found = await client.v1.customers.create_async({"email": "ann@example.com"})
        await client.v1.customers.retrieve_async(found.id)
        await library.close_async()  # type: ignore[no-untyped-call]
        return found.id

    assert [asyncio.run(create())] == [each["id"] for each in stripe_double.account.all("customer")]


def test_a_double_answers_quickly(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> None:
    """A hundred small calls take far less than the forty milliseconds each that Nagle's algorithm would cost."""
    scenes.customer(stripe_client)
    start = time.perf_counter()
    for _ in range(100):
        stripe_client.v1.customers.list({"limit": 1})
    assert time.perf_counter() - start < 2
    assert 101 == len(stripe_double.requests)


def test_events_name_the_request_that_caused_them(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """An event of a call has that call's id and key; one that happened by itself has none."""
    made = stripe_client.v1.customers.create({"email": "ann@example.com"}, {"idempotency_key": "k"})
    stripe_double.delete_customer(made.id)
    assert made.last_response is not None
    by_call, by_itself = stripe_double.outbox.pending()
    assert {"id": made.last_response.request_id, "idempotency_key": "k"} == by_call["request"]
    assert {"id": None, "idempotency_key": None} == by_itself["request"]


def test_a_broken_handler_is_reported(stripe_double: StripeDouble) -> None:
    """An error inside the double is never an unexplained answer: the test that met it fails."""
    client = stripe_double.client(retries=0)
    owner = scenes.customer(client)
    del stripe_double.account.objects[owner]["metadata"]
    with pytest.raises(stripe.APIError, match="The double broke"):
        client.v1.customers.update(owner, {"name": "Ann"})
    assert any("KeyError" in each for each in stripe_double.violations)
    stripe_double.violations.clear()
