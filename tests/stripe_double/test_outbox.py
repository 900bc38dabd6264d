"""Events on their way: signed, delivered, lost, repeated, reordered, forged; and what the log says about it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes


class Shop:
    """A receiver that verifies signatures with the SDK and keeps what it accepted."""

    def __init__(self, double: StripeDouble) -> None:
        self.double = double
        self.status = 200
        self.accepted: list[str] = []

    def __call__(self, body: bytes, signature: str) -> int:
        """Answer a delivery as a webhook does."""
        try:
            event = self.double.client().construct_event(body, signature, self.double.outbox.secret)
        except stripe.SignatureVerificationError:
            return 400
        if self.status == 200:
            self.accepted.append(event.type)
        return self.status


@pytest.fixture
def shop(stripe_double: StripeDouble) -> Shop:
    """A shop that knows the secret of the webhook."""
    return Shop(stripe_double)


@pytest.fixture
def paid(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> list[str]:
    """The types of the three events of a payment, which are all that is queued."""
    scenes.paid(stripe_double, stripe_client)
    stripe_double.outbox.drop(*stripe_double.outbox.pending("customer.created", "payment_method.attached"))
    return scenes.types(stripe_double, "")


def undelivered(client: stripe.StripeClient) -> list[str]:
    found: list[str] = [event.type for event in client.v1.events.list({"delivery_success": False}).data]
    return found[::-1]


def test_events_are_delivered_in_order_and_once(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, shop: Shop, paid: list[str]
) -> None:
    """What was accepted is delivered: the queue is empty, and the log says so."""
    assert ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"] == paid
    assert [200, 200, 200] == stripe_double.outbox.deliver_all(shop)
    assert paid == shop.accepted
    assert [] == stripe_double.outbox.pending()
    assert ["customer.created", "payment_method.attached"] == undelivered(stripe_client)
    delivered = stripe_client.v1.events.list({"delivery_success": True}).data
    assert paid[::-1] == [event.type for event in delivered]


def test_what_is_not_accepted_stays(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, shop: Shop, paid: list[str]
) -> None:
    """An answer other than 2xx leaves the event queued and undelivered."""
    shop.status = 500
    assert [500, 500, 500] == stripe_double.outbox.deliver_all(shop)
    assert paid == scenes.types(stripe_double, "")
    assert set(paid) <= set(undelivered(stripe_client))


def test_lost_events_are_found_in_the_log(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, shop: Shop, paid: list[str]
) -> None:
    """A dropped event is never delivered by itself, but the log has it, by type and by time."""
    [lost] = stripe_double.outbox.pending("payment_intent.succeeded")
    stripe_double.outbox.drop(lost)
    stripe_double.outbox.deliver_all(shop)
    assert paid[:-1] == shop.accepted
    found = stripe_client.v1.events.list(
        {
            "types": ["payment_intent.succeeded"],
            "created": {"gte": lost["created"]},
            "delivery_success": False,
        }
    ).data
    assert [lost["id"]] == [event.id for event in found]
    assert lost["data"]["object"]["id"] == stripe_client.v1.events.retrieve(lost["id"]).data.object["id"]
    assert 200 == stripe_double.outbox.deliver(lost, shop)
    assert (
        []
        == stripe_client.v1.events.list({"type": "payment_intent.succeeded", "delivery_success": False}).data
    )


def test_events_come_twice_and_in_any_order(stripe_double: StripeDouble, shop: Shop, paid: list[str]) -> None:
    """The queue can hold an event more than once, and can be put into any order."""
    stripe_double.outbox.duplicate(stripe_double.outbox.pending()[0], copies=2)
    stripe_double.outbox.reorder([2, 4, 0, 1, 3])
    first, second, third = paid
    assert [third, first, first, second, first] == scenes.types(stripe_double, "")
    stripe_double.outbox.deliver_all(shop)
    assert [third, first, first, second, first] == shop.accepted
    with pytest.raises(ValueError, match="0 events are queued"):
        stripe_double.outbox.reorder([0])


def test_events_come_at_once(stripe_double: StripeDouble, shop: Shop, paid: list[str]) -> None:
    """Several threads deliver, each event several times; all of it arrives."""
    statuses = stripe_double.outbox.deliver_concurrently(shop, copies=4)
    assert [200] * 12 == statuses
    assert sorted(paid * 4) == sorted(shop.accepted)


@pytest.mark.usefixtures("paid")
def test_forged_and_altered_events_are_refused(stripe_double: StripeDouble, shop: Shop) -> None:
    """The SDK refuses a body that was changed, a secret that is wrong, and a signature that is old."""
    outbox = stripe_double.outbox
    [event, *_] = outbox.pending()
    assert 400 == outbox.send(outbox.with_other_body(event), shop)
    assert 400 == outbox.send(outbox.with_other_secret(event), shop)
    outbox.signing_time = lambda: 1_000_000_000
    assert 400 == outbox.send(outbox.message(event), shop)
    assert [] == shop.accepted


def test_the_sdks_own_function_accepts_a_signature(stripe_double: StripeDouble, paid: list[str]) -> None:
    """`Webhook.construct_event` reads a delivery."""
    message = stripe_double.outbox.message(stripe_double.outbox.pending()[-1])
    event = stripe.Webhook.construct_event(message.body, message.signature, stripe_double.outbox.secret)
    assert (message.event, paid[-1], stripe.api_version) == (event.id, event.type, event.api_version)


def test_an_event_shows_its_object_as_it_was(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Later changes do not reach earlier events; an update says what was before."""
    owner = scenes.customer(stripe_client)
    stripe_client.v1.customers.update(owner, {"name": "Ann", "metadata": {"plan": "pro"}})
    created, updated = stripe_double.outbox.pending()
    assert created["data"]["object"]["name"] is None
    assert "previous_attributes" not in created["data"]
    assert {"name": None, "metadata": {}} == updated["data"]["previous_attributes"]
    assert "Ann" == updated["data"]["object"]["name"]


def test_only_subscribed_types_are_delivered(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """An event that no endpoint wants is logged, and has nothing left to deliver."""
    stripe_double.outbox.subscribed = frozenset({"payment_intent.succeeded"})
    scenes.paid(stripe_double, stripe_client)
    assert ["payment_intent.succeeded"] == scenes.types(stripe_double, "")
    assert ["payment_intent.succeeded"] == undelivered(stripe_client)


@pytest.fixture
def address() -> Iterator[tuple[str, list[tuple[bytes, str]]]]:
    """The address of a webhook over HTTP, and what has arrived there."""
    arrived: list[tuple[bytes, str]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append((body, self.headers["Stripe-Signature"]))
            self.send_response_only(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/webhook", arrived
        server.shutdown()
        thread.join()


def test_events_are_delivered_over_http(
    stripe_double: StripeDouble, shop: Shop, paid: list[str], address: tuple[str, list[tuple[bytes, str]]]
) -> None:
    """A receiver can be an address: body and signature arrive there unchanged."""
    url, arrived = address
    assert [204, 204, 204] == stripe_double.outbox.deliver_all(url)
    assert [] == stripe_double.outbox.pending()
    assert [200, 200, 200] == [shop(body, signature) for body, signature in arrived]
    assert paid == shop.accepted
