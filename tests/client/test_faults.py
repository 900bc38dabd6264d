"""What the SDK does when the network, a proxy or a server misbehaves: repeat what is safe, and say what is known."""

import asyncio
import io
import time
from array import array
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

import httpx
import pytest

from tallystick.client import (
    AsyncTallyClient,
    ConfigurationError,
    OutcomeUnknown,
    Retries,
    ServerUnreachable,
    Settings,
    TallyClient,
    TallyError,
    Timeouts,
    UnexpectedAnswer,
)
from tallystick.client.requests import post
from tallystick.client.resources.charges import Charge
from tallystick.client.tries import Tries
from tests.client.faulty import FaultyServer, Seen, Step, answer, drop, problem, raw, silence, trickle
from tests.servers import free_port

CHARGE = {
    "id": "chg_1",
    "meter": "m",
    "quantity": 1,
    "amount": 0.1,
    "unit": "credits",
    "amounts": {"credits": 0.1},
    "balance": 5,
    "available": 5,
    "grants": [{"grant": "grant_1", "amount": 0.1, "unit": "credits"}],
    "limit": None,
    "economy_version": None,
}
SANDBOX: dict[str, object] = {
    "id": "sbx_1",
    "customer": "cust_1",
    "name": None,
    "template": "node",
    "provider": "hosted",
    "status": "running",
    "reason": None,
    "detail": None,
    "vcpu": 2,
    "memory_mib": 512,
    "unit": "USD",
    "per_hour": 0.1,
    "cost": 0,
    "seconds": 0,
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "ended_at": None,
    "ends_at": None,
    "paid_until": None,
    "metadata": None,
}
CARD = {"economy": "e", "economy_version": "v", "primary_unit": "credits", "meters": []}
BUSY = problem(503, "SERVICE_UNAVAILABLE")
PAGE = "<html><h1>502 Bad Gateway</h1></html>"
GIANT = b'{"balance":1.5e99999999999999999999}'
TOO_LARGE = raw(
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(GIANT), GIANT)
)
QUICK = Retries(first_pause_seconds=0.001, longest_pause_seconds=0.5)
LIMITS = Timeouts(total_seconds=5, connect_seconds=1)
KEY = "tly_1"
Act = Callable[[Any], Any]


def charge(client: Any) -> Any:
    return client.charges.create(meter="m")


def read(client: Any) -> Any:
    return client.prices.get()


def make_key(client: Any) -> Any:
    return client.keys.create(name="n")


def put_file(client: Any, *, key: str | None) -> Any:
    return client.sandboxes.write_file("sbx_1", path="a", content=b"1", idempotency_key=key)


def revoke(client: Any) -> Any:
    return client.keys.revoke("key_1")


class Run(Protocol):
    """Acts as one of the two clients."""

    def __call__(
        self, act: Act, url: str, *, key: str = KEY, retries: Retries = QUICK, timeouts: Timeouts = LIMITS
    ) -> Any:
        """Do it, and give what comes of it."""
        ...


def blocking(
    act: Act, url: str, *, key: str = KEY, retries: Retries = QUICK, timeouts: Timeouts = LIMITS
) -> Any:
    with TallyClient(base_url=url, api_key=key, retries=retries, timeouts=timeouts) as client:
        return act(client)


def awaited(
    act: Act, url: str, *, key: str = KEY, retries: Retries = QUICK, timeouts: Timeouts = LIMITS
) -> Any:
    async def run() -> Any:
        async with AsyncTallyClient(base_url=url, api_key=key, retries=retries, timeouts=timeouts) as client:
            return await act(client)

    return asyncio.run(run())


both = pytest.mark.parametrize("run", [blocking, awaited], ids=["blocking", "awaited"])


def keys(seen: list[Seen]) -> set[str | None]:
    return {each.key for each in seen}


@both
@pytest.mark.parametrize(
    "fault",
    [
        drop,
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        raw(b"\x00\x01 garbage\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n???"),
        answer(502, PAGE),
        answer(503, BUSY, retry_after="0"),
        answer(504, PAGE),
        answer(409, problem(409, "IDEMPOTENCY_IN_FLIGHT")),
        answer(429, problem(429, "RATE_LIMITED"), retry_after="0"),
    ],
    ids=["dropped", "cut off", "garbage", "not gzip", "502", "503", "504", "in flight", "429"],
)
def test_a_charge_is_repeated_with_its_key(run: Run, fault: Step) -> None:
    """Whatever happened to the first try, the second is the same request, and its answer the caller's."""
    with FaultyServer(fault, answer(201, CHARGE)) as server:
        made = run(charge, server.url)
    assert (Decimal("0.1"), "grant_1") == (made.amount, made.grants[0].grant)
    assert 2 == len(server.seen)
    assert 1 == len(keys(server.seen))
    assert None not in keys(server.seen)
    assert {"Bearer tly_1"} == {each.headers["authorization"] for each in server.seen}
    assert {b'{"meter":"m","quantity":1}'} == {each.body for each in server.seen}


@both
def test_a_file_is_sent_again_with_its_key(run: Run) -> None:
    """The same bytes under the same key, which is new where none was given."""
    for given in (None, "k"):
        with FaultyServer(drop, answer(200, SANDBOX)) as server:
            made = run(partial(put_file, key=given), server.url)
        assert ("sbx_1", 2) == (made.id, len(server.seen))
        [key] = keys(server.seen)
        assert key is not None
        assert given in {None, key}
        assert {b"1"} == {each.body for each in server.seen}


@both
def test_a_charge_whose_answer_is_lost_for_good_may_have_happened(run: Run) -> None:
    """The error has the key to repeat it with: it is tried four times and no more."""
    with FaultyServer(drop) as server, pytest.raises(OutcomeUnknown) as unknown:
        run(charge, server.url)
    assert 4 == len(server.seen)
    assert {unknown.value.idempotency_key} == keys(server.seen)
    assert ("OUTCOME_UNKNOWN", None) == (unknown.value.code, unknown.value.status)


@both
@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (answer(503, BUSY), "SERVICE_UNAVAILABLE", 503),
        (answer(409, problem(409, "IDEMPOTENCY_IN_FLIGHT")), "IDEMPOTENCY_IN_FLIGHT", 409),
        (answer(502, PAGE), "OUTCOME_UNKNOWN", 502),
        (answer(500, problem(500, "INTERNAL_ERROR")), "INTERNAL_ERROR", 500),
        (answer(500, PAGE), "UNEXPECTED_ANSWER", 500),
        (answer(200, PAGE), "UNEXPECTED_ANSWER", 200),
        (answer(200, {"id": 1}), "UNEXPECTED_ANSWER", 200),
        (TOO_LARGE, "UNEXPECTED_ANSWER", 200),
    ],
    ids=["503", "in flight", "502", "500", "500 page", "200 page", "another form", "too large"],
)
def test_a_write_that_nobody_answers_for_may_have_happened(
    run: Run, fault: Step, code: str, status: int
) -> None:
    """A busy server, a proxy, a server that failed, or an answer that cannot be read: the key is in the error."""
    with FaultyServer(fault) as server, pytest.raises(OutcomeUnknown) as unknown:
        run(charge, server.url)
    assert (code, status) == (unknown.value.code, unknown.value.status)
    assert {unknown.value.idempotency_key} == keys(server.seen)
    assert "idempotency_key" in str(unknown.value) or code == "UNEXPECTED_ANSWER"


@both
def test_a_write_that_keeps_no_key_is_tried_once(run: Run) -> None:
    """A second key could be made: so the caller is told to look."""
    for fault in (drop, answer(502, PAGE), answer(503, BUSY)):
        with FaultyServer(fault) as server, pytest.raises(OutcomeUnknown, match="look whether") as unknown:
            run(make_key, server.url)
        assert [None] == [each.key for each in server.seen]
        assert unknown.value.idempotency_key is None


@both
def test_reading_is_repeated_and_never_unknown(run: Run) -> None:
    """Nothing can have been changed."""
    with FaultyServer(drop, answer(503, BUSY), answer(200, CARD)) as server:
        assert "e" == run(read, server.url).economy
    for fault, kind, code in [
        (drop, ServerUnreachable, "SERVER_UNREACHABLE"),
        (answer(502, PAGE), ServerUnreachable, "SERVER_UNREACHABLE"),
        (answer(503, BUSY), TallyError, "SERVICE_UNAVAILABLE"),
        (answer(200, PAGE), UnexpectedAnswer, "UNEXPECTED_ANSWER"),
        (answer(302, "", location="/x"), UnexpectedAnswer, "UNEXPECTED_ANSWER"),
        (answer(404, PAGE), UnexpectedAnswer, "UNEXPECTED_ANSWER"),
        (answer(200, ["a"]), UnexpectedAnswer, "UNEXPECTED_ANSWER"),
    ]:
        with FaultyServer(fault) as server, pytest.raises(TallyError) as failed:
            run(read, server.url)
        assert (kind, code) == (type(failed.value), failed.value.code)


@both
def test_a_server_that_is_not_there_is_unreachable(run: Run) -> None:
    """Nothing was sent, so a write is known not to have happened, even one that keeps no key."""
    url = f"http://127.0.0.1:{free_port()}"
    for act in (read, charge, make_key):
        with pytest.raises(ServerUnreachable, match=url):
            run(act, url)


@both
@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel", "x" * 256, "\ud800", 5], ids=ascii)
def test_a_key_that_cannot_be_sent_is_refused_at_once(run: Run, key: str) -> None:
    """It is known that nothing was sent, so nothing is repeated. An empty one would name no request."""

    def charge_with(client: Any) -> Any:
        return client.charges.create(meter="m", idempotency_key=key)

    with FaultyServer(answer(201, CHARGE)) as server, pytest.raises(ConfigurationError):
        run(charge_with, server.url)
    assert 0 == len(server.seen)


@both
@pytest.mark.parametrize(
    "content", [None, "text", 5, ["a"], io.BytesIO(b"a")], ids=["None", "text", "number", "list", "file"]
)
def test_what_is_no_content_of_a_file_is_refused_at_once(run: Run, content: Any) -> None:
    """Nothing is sent: nothing at all would have emptied the file."""
    with FaultyServer(answer(200, SANDBOX)) as server, pytest.raises(ConfigurationError, match="content:"):
        run(lambda client: client.sandboxes.write_file("sbx_1", path="a", content=content), server.url)
    assert 0 == len(server.seen)


@both
@pytest.mark.parametrize(
    "content",
    [b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"axb")[::2], array("B", b"ab")],
    ids=["bytes", "bytearray", "memoryview", "every other byte", "array"],
)
def test_a_file_is_sent_from_whatever_has_its_bytes(run: Run, content: Any) -> None:
    """As they are at the moment of the call."""
    with FaultyServer(answer(200, SANDBOX)) as server:
        run(lambda client: client.sandboxes.write_file("sbx_1", path="a", content=content), server.url)
    assert [b"ab"] == [each.body for each in server.seen]


@both
@pytest.mark.parametrize("name", ["", ".", "..", "x" * 256], ids=["none", "dot", "dots", "long"])
def test_what_is_no_id_asks_for_no_other_path(run: Run, name: str) -> None:
    """Nothing is sent."""
    with FaultyServer(answer(200, PAGE)) as server:
        for act in (
            lambda client: client.tasks.get(name),
            lambda client: client.customers.freeze(name),
            lambda client: client.keys.revoke(name),
        ):
            with pytest.raises(ValueError, match="expected an id"):
                run(act, server.url)
    assert 0 == len(server.seen)


@both
def test_a_question_that_is_too_long_is_not_sent(run: Run) -> None:
    """It fits into no address."""
    with pytest.raises(ConfigurationError):
        run(lambda client: client.agents.list(q="x" * 100_000), "http://127.0.0.1:9")


def test_a_client_that_was_closed_says_so() -> None:
    """Both of them, and nothing is sent."""

    async def used() -> None:
        client = AsyncTallyClient(base_url="http://127.0.0.1:9")
        await client.aclose()
        await client.prices.get()

    client = TallyClient(base_url="http://127.0.0.1:9")
    client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        client.prices.get()
    with pytest.raises(ConfigurationError, match="closed"):
        asyncio.run(used())


def test_a_client_belongs_to_its_event_loop() -> None:
    """In another one it is refused at once, always, and the first may go on."""
    with FaultyServer(answer(200, CARD)) as server, asyncio.Runner() as runner:
        client = AsyncTallyClient(base_url=server.url)

        async def ask() -> str:
            return (await client.prices.get()).economy

        assert "e" == runner.run(ask())
        for _ in range(2):
            with asyncio.Runner() as other, pytest.raises(ConfigurationError, match="event loop"):
                other.run(ask())
        assert "e" == runner.run(ask())
        runner.run(client.aclose())


@both
def test_a_list_that_goes_round_in_a_circle_ends(run: Run) -> None:
    """A server that gives a cursor twice would be asked for ever."""

    def page(cursor: str) -> Step:
        return answer(200, {"tasks": [], "has_more": True, "next_cursor": cursor})

    def every(client: Any) -> Any:
        if isinstance(client, TallyClient):
            return list(client.tasks.list())

        async def collect() -> Any:
            return [each async for each in client.tasks.list()]

        return collect()

    with (
        FaultyServer(page("a"), page("b"), page("a")) as server,
        pytest.raises(UnexpectedAnswer, match="circle"),
    ):
        run(every, server.url)
    assert 3 == len(server.seen)


@both
def test_a_refusal_stands(run: Run) -> None:
    """A 402 is never repeated, not even where a grant is due; neither is a long 429, or anything else."""
    short = problem(402, "INSUFFICIENT_CREDITS", required=0.2, available=0.1, retryable=True, errors=[])
    for fault, code in [
        (answer(402, short, retry_after="1"), "INSUFFICIENT_CREDITS"),
        (answer(429, problem(429, "RATE_LIMITED"), retry_after="60"), "RATE_LIMITED"),
        (answer(429, problem(429, "RATE_LIMITED")), "RATE_LIMITED"),
        (answer(409, problem(409, "CONFLICT")), "CONFLICT"),
        (
            answer(422, problem(422, "VALIDATION_FAILED", errors=[{"field": "f", "message": "m"}])),
            "VALIDATION_FAILED",
        ),
    ]:
        with FaultyServer(fault) as server, pytest.raises(TallyError) as refused:
            run(charge, server.url)
        assert (TallyError, code, 1) == (type(refused.value), refused.value.code, len(server.seen))


@both
def test_a_refusal_at_the_door_says_nothing_about_a_lost_try(run: Run) -> None:
    """A key that was revoked in between may have charged before; a want of credits says that it did not."""
    for status, code, kind in [
        (401, "NOT_AUTHENTICATED", OutcomeUnknown),
        (403, "NOT_ALLOWED", OutcomeUnknown),
        (429, "RATE_LIMITED", OutcomeUnknown),
        (402, "INSUFFICIENT_CREDITS", TallyError),
    ]:
        with (
            FaultyServer(drop, answer(status, problem(status, code))) as server,
            pytest.raises(TallyError) as said,
        ):
            run(charge, server.url)
        assert (kind, code, 2) == (type(said.value), said.value.code, len(server.seen))


@both
def test_a_key_that_is_gone_was_revoked(run: Run) -> None:
    """When the answer of the first try was lost, to find nothing is success; at the first try it is a refusal."""
    gone = answer(404, problem(404, "NOT_FOUND"))
    with FaultyServer(drop, gone) as server:
        run(revoke, server.url)
    with FaultyServer(gone) as server, pytest.raises(TallyError):
        run(revoke, server.url)


@both
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_server_says_how_long_to_wait(run: Run, form: str) -> None:
    """In either form of Retry-After; a wait that is too long is the caller's to decide about."""
    soon = (
        "1" if form == "seconds" else time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    )
    patient = Retries(first_pause_seconds=0.001, longest_pause_seconds=5)
    with FaultyServer(answer(503, BUSY, retry_after=soon), answer(201, CHARGE)) as server:
        started = time.monotonic()
        run(charge, server.url, retries=patient)
        assert 0.9 <= time.monotonic() - started
    late = "6" if form == "seconds" else "Fri, 01 Jan 2100 00:00:00 GMT"
    with FaultyServer(answer(503, BUSY, retry_after=late)) as server, pytest.raises(OutcomeUnknown):
        run(charge, server.url, retries=patient)
    assert 1 == len(server.seen)


@both
@pytest.mark.parametrize(
    "slow",
    [
        silence(1.5),
        trickle(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b" " * 1000, pause=0.02),
    ],
    ids=["silent", "trickling"],
)
def test_a_call_has_one_deadline(run: Run, slow: Step) -> None:
    """All its tries and pauses together, however the answer is delayed."""
    with FaultyServer(slow) as server:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            run(charge, server.url, timeouts=Timeouts(total_seconds=0.7))
        assert 0.5 <= time.monotonic() - started <= 1.4


def test_headers_that_drip_in_end_with_the_time_of_an_awaited_call() -> None:
    """A blocking one ends when they have come."""
    drip = trickle(b"HTTP/1.1 200 OK\r\n" + b"x-more: 1\r\n" * 9, pause=0.02)
    with FaultyServer(drip) as server:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            awaited(charge, server.url, timeouts=Timeouts(total_seconds=0.7))
        assert 0.5 <= time.monotonic() - started <= 1.4


@both
@pytest.mark.parametrize(
    "asked",
    ["Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 21 Oct 99999999999999 07:28:00 GMT", "9" * 5000, "soon"],
    ids=["far", "farther", "digits", "words"],
)
def test_a_wait_that_nobody_understands_is_none(run: Run, asked: str) -> None:
    """Or is too long: the call ends with what the server said either way."""
    with FaultyServer(answer(429, problem(429, "RATE_LIMITED"), retry_after=asked)) as server:
        with pytest.raises(TallyError, match="RATE_LIMITED"):
            run(charge, server.url)
        assert 1 == len(server.seen)


def test_a_refusal_in_another_form_is_read_as_far_as_it_goes() -> None:
    """What cannot be read is None."""
    for moment in ("tomorrow", "2027-01-01T00:00:00", 5):
        assert TallyError("X", "x", fields={"reset_at": moment}).reset_at is None
    odd = TallyError("X", "x", fields={"retry_after_seconds": True, "required": True})
    assert (None, None) == (odd.retry_after_seconds, odd.required)


@pytest.mark.parametrize(("chance", "expected"), [(0.0, [0.5, 1, 2, 3, 3]), (1.0, [1, 2, 4, 6, 6])], ids=str)
def test_pauses_grow_with_some_chance_in_them(chance: float, expected: list[float]) -> None:
    """Each is between half and all of twice the one before, up to the longest."""
    retries = Retries(tries=6, first_pause_seconds=1, longest_pause_seconds=6)
    settings = Settings(base_url="http://x", api_key=None, retries=retries)
    request = post("/charges", Charge, {})
    tries = Tries(request, settings, now=lambda: 0.0, chance=lambda: chance)
    refused = httpx.ConnectError("refused")
    assert expected == [tries.after_failure(refused) for _ in expected]
    with pytest.raises(ServerUnreachable):
        tries.after_failure(refused)


def test_unknown_fields_are_kept() -> None:
    """A newer server may say more."""
    newer = CHARGE | {"carbon": 1, "limit": {"remaining": 1, "reset_at": "2027-01-01T00:00:00Z", "more": []}}
    with FaultyServer(answer(201, newer)) as server:
        made = blocking(charge, server.url)
    assert {"carbon": 1} == made.extra
    assert {"more": []} == made.limit.extra
    assert set(newer) == set(made.raw)
