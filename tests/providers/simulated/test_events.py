"""Events as a webhook gets them: signed, in order, again after a failure, and once whoever delivers them."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tallystick.core.times import SECOND
from tallystick.ports.payments import Event, SignatureInvalid
from tallystick.store.engine import Database
from tests.providers.conformance import bought, fresh
from tests.providers.simulated.simulation import Simulation


class Webhook:
    """Takes events, or fails to."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.taken: list[Event] = []
        self.sent: list[tuple[bytes, str]] = []
        self.failing: set[str] = set()
        self.guard = threading.Lock()

    def __call__(self, body: bytes, signature: str) -> None:
        """One request."""
        event = self.simulation.provider.read_event(body, signature)
        with self.guard:
            self.sent.append((body, signature))
            if event.type in self.failing:
                raise RuntimeError("the webhook fails")
            self.taken.append(event)

    @property
    def types(self) -> list[str]:
        """What was taken, in order."""
        return [event.type for event in self.taken]


def test_events_come_in_the_order_of_what_happened(simulation: Simulation) -> None:
    """A purchase and its refund are told one after the other, with what each is about, once."""
    payment = bought(simulation)
    simulation.provider.refund(payment.id, amount_cents=100, reference="refund_1", key=fresh("key"))
    webhook = Webhook(simulation)
    assert 5 == simulation.deliver(webhook)
    assert [
        "payment_intent.succeeded",
        "invoice.paid",
        "checkout.session.completed",
        "refund.created",
        "charge.refunded",
    ] == webhook.types
    assert ["payment", "invoice", "checkout", "payment", "payment"] == [
        each.subject for each in webhook.taken
    ]
    assert {payment.id, payment.invoice} < {each.subject_id for each in webhook.taken}
    assert {(simulation.now(), False)} == {(each.created_at, each.live) for each in webhook.taken}
    assert 0 == simulation.deliver(webhook)
    assert list(reversed(webhook.taken)) == list(simulation.provider.events(since=0))


def test_an_event_that_was_not_taken_comes_again(simulation: Simulation) -> None:
    """A failing webhook gets it later, ever more rarely; the others do not wait for it."""
    bought(simulation)
    webhook = Webhook(simulation)
    webhook.failing = {"invoice.paid"}
    assert {"simulated_event": 2, "simulated_event_failed": 1} == simulation.provider.deliver(webhook)
    assert ["payment_intent.succeeded", "checkout.session.completed"] == webhook.types
    waits = []
    for _ in range(4):
        before = simulation.now()
        while not simulation.provider.deliver(webhook)["simulated_event_failed"]:
            simulation.micros += SECOND
        waits.append((simulation.now() - before) // SECOND)
    assert [10, 40, 160, 640] == waits
    webhook.failing = set()
    simulation.advance("PT6H")
    assert 1 == simulation.deliver(webhook)
    assert "invoice.paid" == webhook.types[-1]


def test_an_event_that_nobody_takes_is_given_up_and_still_listed(simulation: Simulation) -> None:
    """After three days and some tries it is not sent any more; whoever looks finds it."""
    bought(simulation)
    webhook = Webhook(simulation)
    webhook.failing = {"invoice.paid"}
    for _ in range(30):
        simulation.deliver(webhook)
        simulation.advance("PT6H")
    tries = len(webhook.sent)
    simulation.advance("P9D")
    simulation.deliver(webhook)
    assert tries == len(webhook.sent)
    assert "invoice.paid" in [event.type for event in simulation.provider.events(since=0)]


def test_two_processes_deliver_each_event_once(simulation: Simulation, database_url: str) -> None:
    """Two that deliver at the same moment share the events between them."""
    for _ in range(10):
        bought(simulation)
    webhook = Webhook(simulation)
    other = Database(database_url)
    providers = [simulation.provider, simulation.open(other)]
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda provider: provider.deliver(webhook)["simulated_event"], providers))
    other.close()
    assert (30, 30) == (sum(counts), len({event.id for event in webhook.taken}))


def test_an_event_whose_carrier_died_is_delivered_by_another(simulation: Simulation) -> None:
    """What was claimed and not marked comes again after a minute."""
    bought(simulation)

    def die(_body: bytes, _signature: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.deliver(die)
    webhook = Webhook(simulation)
    simulation.deliver(webhook)
    assert "payment_intent.succeeded" not in webhook.types
    simulation.advance("PT1M")
    simulation.deliver(webhook)
    assert "payment_intent.succeeded" in webhook.types


def test_only_our_own_signature_is_believed(simulation: Simulation, database_url: str) -> None:
    """Another body, another moment, another secret or none: refused. Every process knows the secret."""
    bought(simulation)
    webhook = Webhook(simulation)
    simulation.deliver(webhook)
    body, signature = webhook.sent[0]
    provider = simulation.provider
    other = Database(database_url)
    assert webhook.taken[0] == simulation.open(other).read_event(body, signature)
    other.close()

    moment, _, digest = signature.partition(",v1=")
    forged = json.dumps(json.loads(body) | {"subject_id": "pi_sim_other"}).encode()
    wrong: list[tuple[bytes, str | None]] = [
        (forged, signature),
        (body, f"t={int(moment[2:]) + 1},v1={digest}"),
        (body, f"{moment},v1={'0' * 64}"),
        (body, None),
        (body, ""),
        (body, "t=,v1="),
        (body, f"t=¹,v1={digest}"),
        (body, f"{moment},v1=é"),
        (body, f"t={'9' * 5_000},v1={digest}"),
    ]
    for text, header in wrong:
        with pytest.raises(SignatureInvalid):
            provider.read_event(text, header)
    simulation.micros += 300 * SECOND
    assert webhook.taken[0] == provider.read_event(body, signature)
    simulation.micros += SECOND
    with pytest.raises(SignatureInvalid):
        provider.read_event(body, signature)


def test_all_events_are_listed_in_pages(simulation: Simulation) -> None:
    """More than fit into one read come all the same, each once, newest first, from a moment on."""
    for _ in range(70):
        bought(simulation)
    simulation.advance("PT1M")
    since = simulation.now()
    bought(simulation)
    everything = list(simulation.provider.events(since=0))
    assert (213, 213) == (len(everything), len({event.id for event in everything}))
    assert sorted((event.created_at for event in everything), reverse=True) == [
        event.created_at for event in everything
    ]
    assert everything[:3] == list(simulation.provider.events(since=since))
