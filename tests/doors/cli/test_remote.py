"""A server that is slow, away, or loses its answers: nothing is done twice, and nothing is claimed."""

import json
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from tallystick.cli.frame import Session
from tallystick.cli.problems import Problem, advice_for
from tallystick.cli.remote import PAUSES_SECONDS, Remote
from tests.doors.cli.program import Program

Handler = Callable[[httpx.Request], httpx.Response]
TRIES = len(PAUSES_SECONDS) + 1


class Line:
    """A server that answers what it is told to, in order, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        transport = httpx.MockTransport(self.answer)
        self.remote = Remote("http://tally.test", "tly_key", transport=transport, sleep=self.slept.append)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The next answer; the last one again and again."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def keys(self) -> list[str]:
        """The idempotency key of each request."""
        return [request.headers["Idempotency-Key"] for request in self.requests]


def made(body: object = None) -> httpx.Response:
    """A good answer."""
    return httpx.Response(201, json={"id": "chg_1"} if body is None else body)


def away(**headers: str) -> httpx.Response:
    """The server's own 503."""
    return httpx.Response(503, json={"code": "SERVICE_UNAVAILABLE", "detail": "away"}, headers=headers)


REFUSED_CONNECTION = httpx.ConnectError("refused")
LOST_ANSWER = httpx.ReadError("reset by peer")


@pytest.mark.parametrize("first", [REFUSED_CONNECTION, LOST_ANSWER, httpx.ReadTimeout("slow"), away()])
def test_a_write_is_repeated_with_the_same_key(first: httpx.Response | Exception) -> None:
    """Whatever happens to the answer, the second try is the same request."""
    line = Line(first, made())
    assert {"id": "chg_1"} == line.remote.post("/charges", {"meter": "lookup", "customer": None})
    assert 2 == len(line.requests)
    assert 1 == len(set(line.keys))
    assert [b'{"meter":"lookup"}'] * 2 == [request.content for request in line.requests]
    assert {"Bearer tly_key"} == {request.headers["Authorization"] for request in line.requests}


def test_every_write_has_a_key_of_its_own() -> None:
    """Two commands are two requests; a given key is used as it is."""
    line = Line(made())
    for _ in range(2):
        line.remote.post("/charges", {})
    line.remote.put("/budgets", {})
    line.remote.delete("/keys/key_1")
    assert 4 == len(set(line.keys))
    line.remote.post("/charges", {}, key="mine")
    assert "mine" == line.keys[-1]


def test_reading_needs_no_key() -> None:
    """A GET is repeated too."""
    line = Line(LOST_ANSWER, httpx.Response(200, json={"a": 1}))
    assert {"a": 1} == line.remote.get("/prices", unit=None, limit=5)
    assert "Idempotency-Key" not in line.requests[0].headers
    assert "http://tally.test/api/v1/prices?limit=5" == str(line.requests[1].url)


def test_the_tries_are_few_and_further_and_further_apart() -> None:
    """A server that is not there is told with how to start one."""
    line = Line(REFUSED_CONNECTION)
    with pytest.raises(Problem) as caught:
        line.remote.post("/charges", {})
    assert "server_unreachable" == caught.value.code
    assert "tally serve" in str(caught.value.advice)
    assert TRIES == len(line.requests)
    assert list(PAUSES_SECONDS) == line.slept


def test_nobody_knows_is_said_with_the_key_to_repeat() -> None:
    """When the answer stays lost, the user gets the key that makes a repeat safe."""
    line = Line(LOST_ANSWER, REFUSED_CONNECTION)
    with pytest.raises(Problem) as caught:
        line.remote.post("/charges", {})
    assert "outcome_unknown" == caught.value.code
    assert f"--idempotency-key {line.keys[0]}" in str(caught.value.advice)
    assert line.keys[0] == caught.value.fields["idempotency_key"]


def test_what_keeps_no_keys_is_not_repeated_when_it_may_have_been_done() -> None:
    """A registration, a new key or a move of the clock could happen twice."""
    line = Line(LOST_ANSWER, made())
    with pytest.raises(Problem) as caught:
        line.remote.post("/keys", {}, repeatable=False)
    assert ("outcome_unknown", 1) == (caught.value.code, len(line.requests))
    assert "Look whether it was done" in str(caught.value.advice)

    line = Line(httpx.Response(504, text="gateway"), made())
    with pytest.raises(Problem) as caught:
        line.remote.post("/keys", {}, repeatable=False)
    assert ("outcome_unknown", 1) == (caught.value.code, len(line.requests))


def test_a_removal_whose_answer_was_lost_is_no_mistake() -> None:
    """The repeat finds it gone, which is what was wanted; without a loss it is not found."""
    gone = httpx.Response(404, json={"code": "NOT_FOUND", "detail": "gone"})
    assert Line(LOST_ANSWER, gone).remote.delete("/budgets/budget_1") is None
    for first in (gone, REFUSED_CONNECTION):
        with pytest.raises(Problem) as caught:
            Line(first, gone).remote.delete("/budgets/budget_1")
        assert "not_found" == caught.value.code


def test_what_was_surely_not_done_is_repeated() -> None:
    """No connection and a 503 are safe to repeat for anything."""
    line = Line(REFUSED_CONNECTION, away(), made())
    assert {"id": "chg_1"} == line.remote.post("/keys", {}, repeatable=False)
    assert 3 == len(line.requests)


def test_retry_after_is_kept_within_reason() -> None:
    """The server says when to come back; an hour is too long for a terminal."""
    line = Line(away(**{"Retry-After": "2"}), away(**{"Retry-After": "3600"}), made())
    line.remote.post("/charges", {})
    assert [2.0, 5.0] == line.slept


def test_a_request_that_still_runs_is_waited_for() -> None:
    """Its first try may have been lost on the way back, and go on."""
    busy = httpx.Response(409, json={"code": "IDEMPOTENCY_IN_FLIGHT", "detail": "still running"})
    line = Line(LOST_ANSWER, busy, made())
    assert {"id": "chg_1"} == line.remote.post("/charges", {})


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 429, 500])
def test_refusals_are_not_repeated(status: int) -> None:
    """They would be refused again; the code is shown in lower case."""
    line = Line(httpx.Response(status, json={"code": "SOME_CODE", "detail": "no", "required": 2}))
    with pytest.raises(Problem) as caught:
        line.remote.post("/charges", {})
    assert ("some_code", "no", 1) == (caught.value.code, caught.value.detail, len(line.requests))
    assert {"required": 2} == caught.value.fields


def test_a_503_that_stays_is_shown() -> None:
    """After the last try the server's own words are told."""
    line = Line(away())
    with pytest.raises(Problem) as caught:
        line.remote.get("/prices")
    assert ("service_unavailable", TRIES) == (caught.value.code, len(line.requests))


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(404, text="nothing")])
def test_another_program_at_the_address_is_noticed(answer: httpx.Response) -> None:
    """Whatever answers there is not taken for Tallystick."""
    with pytest.raises(Problem) as caught:
        Line(answer).remote.get("/prices")
    assert "unexpected_answer" == caught.value.code
    assert "TALLY_URL" in str(caught.value.advice)


@pytest.mark.parametrize(
    "content", [b'{"amount": 1.5e99999999999999999999}', b"[" * 100_000], ids=["giant", "deep"]
)
def test_a_write_whose_answer_cannot_be_read_keeps_its_key(content: bytes) -> None:
    """It may have been done, and is repeated with the key."""
    line = Line(httpx.Response(201, content=content))
    with pytest.raises(Problem) as caught:
        line.remote.post("/charges", {})
    assert ("unexpected_answer", line.keys[0]) == (caught.value.code, caught.value.fields["idempotency_key"])
    assert f"--idempotency-key {line.keys[0]}" in str(caught.value.advice)
    with pytest.raises(Problem) as caught:
        line.remote.post("/keys", {}, repeatable=False)
    assert "idempotency_key" not in caught.value.fields


def test_numbers_are_exact_in_both_directions() -> None:
    """No float is in between."""
    line = Line(httpx.Response(201, text='{"amount": 0.1000000000000000055511151231257827}'))
    answer = line.remote.post("/holds", {"amount": Decimal("123456789.000001")})
    assert b'{"amount":123456789.000001}' == line.requests[0].content
    assert Decimal("0.1000000000000000055511151231257827") == answer["amount"]


@pytest.mark.parametrize(
    "url",
    ["foo", "ftp://tally.test", "http://", "http://[bad", "http://tally.test:port", "http://\udcff"],
    ids=ascii,
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    """TALLY_URL is named, with an example."""
    with pytest.raises(Problem) as caught:
        Remote(url, None)
    assert "configuration_error" == caught.value.code
    assert "TALLY_URL" in str(caught.value.advice)
    assert caught.value.detail.encode()


def test_a_token_that_no_header_can_carry_is_told() -> None:
    """A key pasted with a strange character is no crash."""
    with pytest.raises(Problem) as caught:
        Remote("http://tally.test", "tly_…")
    assert "TALLY_API_KEY" in str(caught.value.advice)


def test_there_is_advice_for_every_refusal() -> None:
    """Advice is this door's own or the class's, and none of it is about headers."""
    assert "tally auth login" in str(advice_for("not_authenticated"))
    assert "Ask the operator" in str(advice_for("wallet_frozen"))
    assert advice_for("no_such_code") is None


class Forgetful(httpx.BaseTransport):
    """Passes requests on to a real server, and loses the first answers."""

    def __init__(self, losses: int) -> None:
        self._real = httpx.HTTPTransport()
        self._losses = losses
        self.sent: list[bytes] = []

    def close(self) -> None:
        """As the real one."""
        self._real.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As the real one, for those who get an answer."""
        self.sent.append(request.read())
        answer = self._real.handle_request(request)
        if self._losses:
            self._losses -= 1
            answer.read()
            raise LOST_ANSWER
        return answer


def test_a_lost_answer_charges_once(admin: Program, customer: str) -> None:
    """The server charged, the answer was lost, the repeat gave the first answer."""
    transport = Forgetful(losses=2)
    session = Session(
        make_remote=lambda url, token: Remote(url, token, transport=transport, sleep=lambda _seconds: None)
    )
    charged = admin.ask("charge", "lookup", "--customer", customer, session=session)
    assert 3 == len(transport.sent)
    assert {"meter": "lookup", "customer": customer} == json.loads(transport.sent[0])
    assert (1, 99) == (charged["amount"], charged["balance"])
    assert 99 == admin.ask("ruv", "balance", "--customer", customer)["balance"]


def test_a_server_that_is_not_there_ends_with_1(local: Program) -> None:
    """People are told how to start one, programs get a code."""
    told = local.refused("charge", "lookup")
    assert "server_unreachable" in told
    assert "tally serve" in told
    assert "server_unreachable" == local.problem("ruv", "balance")["code"]
