"""Deliveries by webhook: signed, at least once, retried over days, and never to where nobody may be sent."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tallystick.core.errors import Conflict, ValidationFailed
from tallystick.core.ids import to_text
from tallystick.core.sending import PAUSES
from tallystick.core.times import DAY, MINUTE
from tallystick.providers.webhooks import MOST_READ_BYTES, WebhookSender
from tallystick.services.context import SYSTEM
from tallystick.store.deliveries import DeliveryRow
from tests.receivers import Received, Receiver, answering, emit, listen, name_of, outgoing
from tests.tallies import USER, World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer, and deliveries that may go to this machine."""
    with World(database_url, tmp_path) as world:
        outgoing(world.tally)
        yield world


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who listens."""
    with Receiver() as receiver:
        yield receiver


def sent(world: World, **terms: Any) -> list[DeliveryRow]:
    """Deliveries of the customer, or with ``customer=""`` of the operator, oldest first."""
    customer = terms.pop("customer", USER) or None
    found = world.tally.endpoints.deliveries(SYSTEM, customer=customer, limit=100, **terms)
    return [each.delivery for each in reversed(found.items)]


# --- what a receiver gets -----------------------------------------------------------------------------------


def test_a_receiver_can_verify_what_it_gets(world: World, receiver: Receiver) -> None:
    """By the library, with the secret that was shown once; another secret verifies nothing."""
    made = listen(world.tally, receiver.url, customer=USER)
    grant = world.grant(5)
    assert {"webhooks": 1} == world.tally.delivery.run_once()
    [event] = receiver.events(made.secret)
    customer = world.tally.notifications.preferences(SYSTEM, customer=USER).customer_id
    assert ("credit_grant.created", "2027-01-10T12:00:00Z", 1) == (
        event["type"],
        event["timestamp"],
        event["sequence"],
    )
    assert (grant, 5) == (event["data"]["grant"], event["data"]["amount"])
    assert event["customer"].startswith("cust_")
    assert customer is not None
    [request] = receiver.received
    assert ("/hook", "application/json") == (request.path, request.headers["content-type"])
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 43 + "=").verify(request.body, request.headers)


def test_each_receiver_gets_what_it_asked_for(world: World, receiver: Receiver) -> None:
    """By type, by pattern, or everything; the operator's endpoint gets every customer's events, a customer's its own."""
    world.customer("bob")
    secrets = {
        path: listen(world.tally, receiver.url + path, customer=owner, types=types).secret
        for path, owner, types in [
            ("-all", USER, ()),
            ("-low", USER, ("balance.low",)),
            ("-balance", USER, ("balance.*", "hold.expired")),
            ("-bob", "bob", ()),
            ("-operator", None, ("balance.*",)),
        ]
    }
    for kind in ("balance.low", "balance.recovered", "payment.failed"):
        emit(world.tally, USER, kind)
    world.tally.delivery.run_once()
    found: dict[str, set[str]] = {}
    for request in receiver.received:
        path = request.path.removeprefix("/hook")
        event = Webhook(secrets[path]).verify(request.body, request.headers)
        found.setdefault(path, set()).add(event["type"])
    assert {
        "-all": {"balance.low", "balance.recovered", "payment.failed"},
        "-low": {"balance.low"},
        "-balance": {"balance.low", "balance.recovered"},
        "-operator": {"balance.low", "balance.recovered"},
    } == found


def test_a_new_endpoint_is_told_nothing_of_what_was_before(world: World, receiver: Receiver) -> None:
    """Also where that had not been sent to anybody yet."""
    emit(world.tally, USER)
    listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER, "payment.failed")
    world.tally.delivery.run_once()
    assert ["payment.failed"] == [json.loads(each.body)["type"] for each in receiver.received]


def test_while_a_secret_is_replaced_both_sign(world: World, receiver: Receiver) -> None:
    """For a day; then the old one is worth nothing."""
    made = listen(world.tally, receiver.url, customer=USER)
    rotated = world.tally.endpoints.rotate(SYSTEM, name_of(made))
    assert made.secret != rotated.secret
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    assert receiver.events(made.secret) == receiver.events(rotated.secret)
    world.clock.advance("PT24H")
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    assert 1 == len(receiver.received[1].headers["webhook-signature"].split())
    with pytest.raises(WebhookVerificationError):
        receiver.events(made.secret)
    assert 2 == len(receiver.events(rotated.secret))


def test_a_test_event_goes_to_one_endpoint_and_counts_for_nobody(world: World, receiver: Receiver) -> None:
    """It has the number 0, whatever the endpoint asked for."""
    made = listen(world.tally, receiver.url, customer=USER, types=("balance.low",))
    listen(world.tally, receiver.url + "-other", customer=USER)
    world.tally.endpoints.ping(SYSTEM, name_of(made))
    world.tally.delivery.run_once()
    [event] = receiver.events(made.secret)
    assert ("ping", 0, {"endpoint": name_of(made)}) == (event["type"], event["sequence"], event["data"])
    assert 1 == emit(world.tally, USER)


# --- retries ------------------------------------------------------------------------------------------------


def test_failures_are_retried_over_days_and_then_given_up(world: World, receiver: Receiver) -> None:
    """With the pauses that are promised, under one id, ten times in all."""
    receiver.answer = answering(500)
    made = listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    for pause in PAUSES:
        assert {"webhooks_failed": 1} == world.tally.delivery.run_once()
        world.clock.micros += pause - 1
        assert {} == world.tally.delivery.run_once()
        world.clock.micros += 1
    assert {"webhooks_failed": 1} == world.tally.delivery.run_once()
    world.clock.advance("P9D")
    assert {} == world.tally.delivery.run_once()
    assert (10, 1) == (len(receiver.received), len(set(receiver.ids())))
    [row] = sent(world)
    assert ("failed", 10, 500, "answered 500") == (row.status, row.attempts, row.last_status, row.last_error)
    assert 10 == len(receiver.events(made.secret))
    assert 3 * DAY < sum(PAUSES) < 5 * DAY


def test_the_pauses_are_spread_by_chance(world: World, receiver: Receiver) -> None:
    """By up to a tenth, either way."""
    receiver.answer = answering(503)
    found = []
    for chance in (0.0, 0.999):
        outgoing(world.tally, random=lambda chance=chance: chance)  # type: ignore[misc] # bound early
        listen(world.tally, receiver.url, customer=USER)
        emit(world.tally, USER)
        before = world.clock.micros
        world.tally.delivery.run_once()
        found.append(sent(world)[-1].next_at - before)
        world.clock.advance("PT1H")
    assert found[0] == PAUSES[0] * 9 // 10
    assert PAUSES[0] * 109 // 100 < found[1] <= PAUSES[0] * 11 // 10


def test_only_success_is_success(world: World, receiver: Receiver) -> None:
    """A redirect is not followed, and no status but 2xx counts."""
    made = listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    for status in (301, 302, 307, 308, 400, 404, 429, 500):
        receiver.answer = answering(status, {"Location": f"{receiver.url}-elsewhere"})
        assert {"webhooks_failed": 1} == world.tally.delivery.run_once()
        world.clock.advance("P1D")
        world.tally.endpoints.enable(SYSTEM, name_of(made))
    receiver.answer = answering(201)
    assert {"webhooks": 1} == world.tally.delivery.run_once()
    assert {"/hook"} == {each.path for each in receiver.received}
    [row] = sent(world)
    assert ("delivered", 201, None) == (row.status, row.last_status, row.last_error)
    assert world.clock.micros == row.delivered_at


def test_an_endpoint_that_fails_rests(world: World, receiver: Receiver) -> None:
    """What is new waits until it is tried again, and one success lets everything through."""
    receiver.answer = answering(500)
    made = listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    emit(world.tally, USER)
    assert {} == world.tally.delivery.run_once()
    receiver.answer = answering(200)
    world.clock.micros += PAUSES[0]
    assert {"webhooks": 2} == world.tally.delivery.run_once()
    [row] = world.tally.endpoints.list(SYSTEM, customer=USER).items
    assert (None, 0) == (row.failing_since, row.resume_at)
    assert [1, 2] == sorted(event["sequence"] for event in receiver.events(made.secret)[1:])


# --- giving up ----------------------------------------------------------------------------------------------


def test_an_endpoint_that_failed_for_days_is_disabled_and_its_owner_told(
    world: World, receiver: Receiver
) -> None:
    """It gets nothing any more; the operator hears of it; enabled again, it is sent what it missed when asked to."""
    broken = listen(world.tally, receiver.url + "-broken", customer=USER)
    operator = listen(world.tally, receiver.url + "-operator", types=("endpoint.*",))

    def answer(request: Received, handler: BaseHTTPRequestHandler) -> None:
        answering(500 if request.path.endswith("-broken") else 200)(request, handler)

    receiver.answer = answer
    for _ in range(6):
        emit(world.tally, USER)
        world.tally.delivery.run_once()
        world.clock.advance("P1D")
    [row] = world.tally.endpoints.list(SYSTEM, customer=USER).items
    assert "disabled" == row.status
    assert "2027-01-10T12:00:00Z" in (row.reason or "")
    world.tally.delivery.run_once()
    notice = receiver.received[-1]
    event = Webhook(operator.secret).verify(notice.body, notice.headers)
    assert ("endpoint.disabled", name_of(broken)) == (event["type"], event["data"]["endpoint"])
    assert {"dropped"} == {row.status for row in sent(world, endpoint=name_of(broken))} - {"failed"}

    before = len(receiver.received)
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    assert before == len(receiver.received)
    with pytest.raises(Conflict):
        world.tally.endpoints.replay(SYSTEM, name_of(broken), after_sequence=0)

    receiver.answer = answering(204)
    world.tally.endpoints.enable(SYSTEM, name_of(broken))
    replay = world.tally.endpoints.replay(SYSTEM, name_of(broken), after_sequence=0)
    assert (8, True) == (replay.queued, replay.complete)
    while world.tally.delivery.run_once():
        pass
    numbers = [json.loads(each.body)["sequence"] for each in receiver.received[before:]]
    assert list(range(1, 9)) == sorted(numbers)


def test_a_receiver_that_is_gone_is_disabled_at_once(world: World, receiver: Receiver) -> None:
    """410 says that it wants no more, and what else waits for it is dropped."""
    receiver.answer = answering(410)
    made = listen(world.tally, receiver.url, customer=USER)
    for _ in range(6):
        emit(world.tally, USER)
    world.tally.delivery.run_once()
    assert "disabled" == world.tally.endpoints.list(SYSTEM, customer=USER).items[0].status
    assert len(receiver.received) <= 4
    rows = sent(world, endpoint=name_of(made))
    assert {"dropped"} == {row.status for row in rows}
    disabled = world.tally.notifications.list(SYSTEM, customer=USER, event_type="endpoint.disabled").items
    assert 1 == len(disabled)


# --- replay -------------------------------------------------------------------------------------------------


def test_a_delivery_is_replayed_by_hand(world: World, receiver: Receiver) -> None:
    """Whatever came of it, and under the id that it had."""
    made = listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    [row] = world.tally.endpoints.deliveries(SYSTEM, endpoint=name_of(made)).items
    world.tally.endpoints.replay_delivery(SYSTEM, to_text("whd", row.delivery.id))
    assert {"webhooks": 1} == world.tally.delivery.run_once()
    assert 2 == len(receiver.ids())
    assert 1 == len(set(receiver.ids()))


def test_everything_since_a_moment_is_replayed(world: World, receiver: Receiver) -> None:
    """Also what happened before the endpoint was there; only of the types that it asked for."""
    world.customer("bob")
    emit(world.tally, USER, "balance.low")
    world.clock.advance("PT1H")
    since = world.clock.micros
    emit(world.tally, USER, "balance.low")
    emit(world.tally, USER, "payment.failed")
    emit(world.tally, "bob", "balance.depleted")
    world.tally.delivery.run_once()
    made = listen(world.tally, receiver.url, types=("balance.*",))
    replay = world.tally.endpoints.replay(SYSTEM, name_of(made), since=since)
    assert (2, True) == (replay.queued, replay.complete)
    world.tally.delivery.run_once()
    assert {"balance.low", "balance.depleted"} == {event["type"] for event in receiver.events(made.secret)}
    with pytest.raises(ValidationFailed):
        world.tally.endpoints.replay(SYSTEM, name_of(made), after_sequence=1)
    with pytest.raises(ValidationFailed):
        world.tally.endpoints.replay(SYSTEM, name_of(made))


# --- where nobody may be sent -------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - an address that must not be called
    "224.0.0.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[fe80::1%25eth0]",
    "[::1%lo]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "2130706433",
    "0x7f.1",
    "localhost",
)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_refused_when_it_is_set(sqlite_url: str, tmp_path: Path, host: str) -> None:
    """However it is written, also by a name."""
    with World(sqlite_url, tmp_path) as world:
        outgoing(world.tally, allow_private=False)
        with pytest.raises(ValidationFailed) as refused:
            listen(world.tally, f"http://{host}/hook", customer=USER)
        assert "public address" in refused.value.detail


def test_a_private_address_is_refused_at_every_call(world: World, receiver: Receiver) -> None:
    """A name that was public when it was set, and is not any more, leads nowhere."""
    addresses = ["93.184.215.14"]
    outgoing(world.tally, allow_private=False, resolve=lambda _host, _port: addresses)
    listen(world.tally, f"http://receiver.example:{receiver.port}/hook", customer=USER)
    for private in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.8"):
        addresses[:] = [private]
        emit(world.tally, USER)
        world.tally.delivery.run_once()
        row = sent(world)[-1]
        assert "not a public address" in (row.last_error or ""), private
        world.clock.advance("PT6M")
    addresses[:] = ["93.184.215.14", "127.0.0.1"]
    emit(world.tally, USER)
    world.tally.delivery.run_once()
    assert [] == receiver.received


def test_the_connection_goes_to_the_address_that_was_judged(receiver: Receiver) -> None:
    """A name is resolved once for each call: one that changes in between is not asked again. The host stays named."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    sender = WebhookSender(allow_private=True, resolve=resolve)
    attempt = sender.send(f"http://receiver.example:{receiver.port}/x", headers={}, body=b"{}")
    assert (True, 204, ["receiver.example"]) == (attempt.ok, attempt.status, asked)
    assert f"receiver.example:{receiver.port}" == receiver.received[0].headers["host"]


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look the name up by itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert WebhookSender(allow_private=True).send(receiver.url, headers={}, body=b"{}").ok


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/hook",
        "https://",
        "https:///hook",
        "https://user:pass@example.com/hook",
        "https://example.com:99999/hook",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com/#part",
        "example.com/hook",
        "https://[::1",
    ],
)
def test_a_url_that_cannot_be_called_is_refused(sqlite_url: str, tmp_path: Path, url: str) -> None:
    """With the field's name."""
    with World(sqlite_url, tmp_path) as world:
        outgoing(world.tally, resolve=lambda _host, _port: ["127.0.0.1"])
        with pytest.raises(ValidationFailed) as refused:
            listen(world.tally, url, customer=USER)
        assert refused.value.detail.startswith("url: ")


def test_live_mode_takes_https_only(sqlite_url: str, tmp_path: Path) -> None:
    """Signed is not secret."""
    with World(sqlite_url, tmp_path) as world:
        outgoing(world.tally, https_only=True, resolve=lambda _host, _port: ["93.184.215.14"])
        listen(world.tally, "https://receiver.example/hook")
        with pytest.raises(ValidationFailed):
            listen(world.tally, "http://receiver.example/hook")


# --- bad receivers ------------------------------------------------------------------------------------------


def test_a_slow_receiver_is_given_up_at_its_deadline(world: World, receiver: Receiver) -> None:
    """Also one that says a byte now and then; and it does not keep the others from being told."""
    outgoing(world.tally, deadline_seconds=1.0)
    ended = threading.Event()

    def drip(request: Received, handler: BaseHTTPRequestHandler) -> None:
        if not request.path.endswith("-slow"):
            answering(200)(request, handler)
            return
        while not ended.wait(0.1):
            handler.wfile.write(b"H")
            handler.wfile.flush()

    receiver.answer = drip
    slow = listen(world.tally, receiver.url + "-slow", customer=USER)
    fine = listen(world.tally, receiver.url, customer=USER)
    for _ in range(12):
        emit(world.tally, USER)
    started = time.monotonic()
    assert {"webhooks": 12, "webhooks_failed": 4} == world.tally.delivery.run_once()
    ended.set()
    assert time.monotonic() - started < 6
    assert {"delivered"} == {row.status for row in sent(world, endpoint=name_of(fine))}
    errors = {row.last_error for row in sent(world, endpoint=name_of(slow)) if row.attempts}
    assert {"no complete answer within 1 seconds"} == errors


def test_of_a_huge_answer_only_a_little_is_read(world: World, receiver: Receiver) -> None:
    """The status counts, and the rest is left where it is."""
    written = []

    def flood(_request: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(b"x" * 65536)
                written.append(65536)
        except OSError:
            pass

    receiver.answer = flood
    listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    assert {"webhooks": 1} == world.tally.delivery.run_once()
    assert sum(written) < 64 * 1024 * 1024
    assert MOST_READ_BYTES < 65536


def test_whatever_a_receiver_does_is_an_outcome(world: World, receiver: Receiver) -> None:
    """Nobody there, hanging up, and speaking something else are failures that are told."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        listen(world.tally, nobody, customer=USER)

        def babble(request: Received, handler: BaseHTTPRequestHandler) -> None:
            if request.path.endswith("-babble"):
                handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            handler.close_connection = True

        receiver.answer = babble
        for path in ("-babble", "-hang-up"):
            listen(world.tally, receiver.url + path, customer=USER)
        listen(world.tally, f"https://127.0.0.1:{receiver.port}/no-tls", customer=USER)
        emit(world.tally, USER)
        assert {"webhooks_failed": 4} == world.tally.delivery.run_once()
    assert all((row.last_error or "").startswith("the call failed: ") for row in sent(world))


# --- several processes --------------------------------------------------------------------------------------


def test_two_processes_send_each_delivery_once(world: World, receiver: Receiver) -> None:
    """Both look for what is due at the same time, and each delivery is claimed by one of them."""
    made = listen(world.tally, receiver.url, customer=USER)
    listen(world.tally, receiver.url + "-operator")
    for _ in range(60):
        emit(world.tally, USER)
    other = world.open()
    outgoing(other)
    start = threading.Barrier(2)

    def work(index: int) -> int:
        start.wait()
        tally, total = (world.tally, other)[index], 0
        while counts := tally.delivery.run_once():
            total += sum(counts.values())
        return total

    with ThreadPoolExecutor(2) as pool:
        totals = list(pool.map(work, range(2)))
    other.close()
    assert 120 == sum(totals) == len(receiver.received)
    own = [each for each in receiver.received if each.path == "/hook"]
    assert 60 == len({each.headers["webhook-id"] for each in own})
    assert {"delivered"} == {row.status for row in sent(world, endpoint=name_of(made))}


def test_what_was_claimed_and_not_recorded_is_sent_again_under_the_same_id(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between sending and recording: once the lease is over, and not before."""
    made = listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    delivery = world.tally.delivery

    class Killed(BaseException):
        pass

    def die(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "_record", die)
        with pytest.raises(Killed):
            delivery.run_once()
    world.clock.micros += 3 * MINUTE - 1
    assert {} == delivery.run_once()
    world.clock.micros += 1
    assert {"webhooks": 1} == delivery.run_once()
    assert (2, 1) == (len(receiver.ids()), len(set(receiver.ids())))
    assert 2 == len(receiver.events(made.secret))
    assert ("delivered", 2) == (sent(world)[0].status, sent(world)[0].attempts)


def test_a_worker_that_stops_leaves_the_rest_to_the_next(world: World, receiver: Receiver) -> None:
    """Nothing that was not tried counts as an attempt."""
    listen(world.tally, receiver.url, customer=USER)
    emit(world.tally, USER)
    world.tally.delivery.stop()
    assert {} == world.tally.delivery.run_once()
    assert [("pending", 0)] == [(row.status, row.attempts) for row in sent(world)]
    outgoing(world.tally)
    assert {"webhooks": 1} == world.tally.delivery.run_once()


def test_an_endpoint_is_disabled_by_hand_and_enabled_again(world: World, receiver: Receiver) -> None:
    """What waited is dropped, nothing new is sent meanwhile, and disabling it twice changes nothing."""
    name = name_of(listen(world.tally, receiver.url, customer=USER))
    world.tally.endpoints.ping(SYSTEM, name)
    disabled = world.tally.endpoints.disable(SYSTEM, name)
    assert disabled == world.tally.endpoints.disable(SYSTEM, name)
    assert ("disabled", "disabled by hand") == (disabled.status, disabled.reason)
    world.grant(1)
    world.tally.delivery.run_once()
    assert ["dropped"] == [each.status for each in sent(world)]
    assert "enabled" == world.tally.endpoints.enable(SYSTEM, name).status
    assert "enabled" == world.tally.endpoints.get(SYSTEM, name).status
    world.tally.endpoints.ping(SYSTEM, name)
    world.tally.delivery.run_once()
    assert 1 == len(receiver.received)
