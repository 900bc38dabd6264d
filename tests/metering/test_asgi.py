"""A price on the routes of ASGI apps, asked by real clients: on both databases, and by a billing server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from litestar import Litestar, get
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from tallystick.core.errors import ConfigurationError, ServiceUnavailable
from tallystick.metering import Lease, Rule, TallyASGIMiddleware, remote
from tests.metering.till import Till, client_of

RULES: dict[str, Rule | None] = {
    "GET /search": Rule(meter="search"),
    "GET /rare": Rule(meter="rare"),
    "GET /query": Rule(meter="rows", quantity="request.query.n"),
    "GET /path/{n}": Rule(meter="rows", quantity="request.params.n"),
    "GET /header": Rule(meter="rows", quantity="request.headers.x-rows"),
    "POST /json": Rule(meter="rows", quantity="request.json.rows"),
    "POST /function": Rule(meter="rows", quantity=lambda request: len(request.json["rows"])),
    "POST /late": Rule(meter="rows", quantity=20, used="request.json.rows"),
    "GET /used": Rule(meter="rows", quantity=100, used="response.json.usage.rows"),
    "GET /used-header": Rule(meter="rows", quantity=100, used="response.headers.x-rows"),
    "GET /used-size": Rule(meter="rows", quantity=100, used="response.size_bytes"),
    "GET /used-function": Rule(meter="rows", quantity=100, used=lambda _, response: response.json["all"]),
    "GET /always/{status}": Rule(meter="search", charge_on="always"),
    "GET /some/{status}": Rule(meter="search", charge_on=[404]),
    "GET /status/{status}": Rule(meter="search"),
    "GET /raises": Rule(meter="search", charge_on="always"),
    "GET /unknown": Rule(meter="not_there"),
    "POST /slow": Rule(meter="search"),
    "POST /echo": Rule(meter="search"),
    "GET /slash": Rule(meter="search"),
    "GET /amount": Rule(amount=3, unit="credits"),
}


class Shop:
    """An app whose routes cost something."""

    def __init__(self, till: Till, **options: Any) -> None:
        self.till = till
        self.payer: str | None = "ann"
        self.calls: list[str] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.app = FastAPI()
        for path in ("search", "rare", "header", "unknown", "amount", "free"):
            self.app.get(f"/{path}")(self._answer)
        self.app.get("/slash/")(self._answer)
        self._add_measured()
        self._add_statuses()
        given: dict[str, Any] = {
            "client": till.metering,
            "rules": RULES,
            "customer": lambda _: self.payer,
        } | options
        self.app.add_middleware(TallyASGIMiddleware, **given)

    async def _answer(self, request: Request) -> dict[str, str]:
        self.calls.append(request.url.path)
        return {"found": "x"}

    def _add_measured(self) -> None:
        app = self.app

        async def rows(request: Request) -> Any:
            self.calls.append(request.url.path)
            return await request.json()

        for path in ("json", "function", "late"):
            app.post(f"/{path}")(rows)

        @app.get("/query")
        async def query(n: int) -> int:
            self.calls.append("query")
            return n

        @app.get("/path/{n}")
        async def path_of(n: int) -> int:
            return n

        @app.get("/used")
        async def used(n: int) -> dict[str, Any]:
            return {"usage": {"rows": n}}

        @app.get("/used-header")
        async def used_header(n: str) -> Response:
            return Response(headers={"X-Rows": n}, status_code=204)

        @app.get("/used-size")
        async def used_size(n: int) -> PlainTextResponse:
            return PlainTextResponse("x" * n)

        @app.get("/used-function")
        async def used_function() -> dict[str, Any]:
            return {"all": list(range(10))}

    def _add_statuses(self) -> None:
        app = self.app

        async def status(status: int) -> PlainTextResponse:
            return PlainTextResponse("x", status)

        for path in ("always", "some", "status"):
            app.get(f"/{path}/{{status}}")(status)

        @app.get("/raises")
        async def raises() -> None:
            raise RuntimeError

        @app.post("/slow")
        async def slow() -> str:
            self.calls.append("slow")
            self.begun.set()
            await self.open.wait()
            return "slow"

        @app.post("/echo")
        async def echo(request: Request) -> Response:
            self.calls.append("echo")
            body = await request.body()
            return Response(body, 500 if body == b"bad" else 200)

    def get(self, url: str, **headers: str) -> httpx.Response:
        """The answer to a GET."""
        return self.till.ask(self.app, "GET", url, headers=headers)

    def figures(self) -> tuple[int, int]:
        """The balance, and what is held of it."""
        return self.till.figures()


@pytest.fixture
def shop(till: Till) -> Shop:
    return Shop(till)


def code(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal, which must be a problem."""
    assert "application/problem+json" == answer.headers["content-type"]
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    assert answer.status_code == problem["status"]
    return answer.status_code, problem["code"]


def test_a_request_is_charged_and_has_a_receipt(shop: Shop) -> None:
    """In the headers of its answer; a route without a rule costs nothing and has none."""
    answer = shop.get("/search")
    receipt = {name: text for name, text in answer.headers.items() if name.startswith("tally-")}
    assert {
        "tally-charge": receipt["tally-charge"],
        "tally-charged": "2",
        "tally-unit": "credits",
        "tally-balance": "98",
        "tally-meter": "search",
    } == receipt
    assert (True, {"found": "x"}) == (receipt["tally-charge"].startswith("chg_"), answer.json())
    assert [] == [name for name in shop.get("/free").headers if name.startswith("tally-")]
    assert (98, 0) == shop.figures()
    amount = shop.get("/amount").headers
    assert ("3", "95", None) == (amount["tally-charged"], amount["tally-balance"], amount.get("tally-meter"))


def starlette_app(options: dict[str, Any]) -> Any:
    async def search(_: Any) -> JSONResponse:
        return JSONResponse("found")

    app = Starlette(routes=[Mount("/api", routes=[Route("/search", search)])])
    app.add_middleware(TallyASGIMiddleware, **options)
    return app


def mounted_app(options: dict[str, Any]) -> Any:
    """The middleware is in the app that is mounted: its routes have their own names."""

    async def search(_: Any) -> JSONResponse:
        return JSONResponse("found")

    inner = Starlette(routes=[Route("/search", search)])
    rules = {name.replace("/api", ""): rule for name, rule in options["rules"].items()}
    inner.add_middleware(TallyASGIMiddleware, **{**options, "rules": rules})
    return Starlette(routes=[Mount("/api", inner)])


def litestar_app(options: dict[str, Any]) -> Any:
    @get("/api/search")
    async def search() -> str:
        return "found"

    return Litestar([search], middleware=[DefineMiddleware(TallyASGIMiddleware, **options)])


def based_app(options: dict[str, Any]) -> Any:
    """Between the app and us is a middleware that takes answers to pieces."""

    async def search(_: Any) -> JSONResponse:
        return JSONResponse("found")

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = Starlette(routes=[Route("/api/search", search)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(TallyASGIMiddleware, **options)
    return app


@pytest.mark.parametrize("made", [starlette_app, mounted_app, litestar_app, based_app])
def test_every_framework(till: Till, made: Callable[[dict[str, Any]], Any]) -> None:
    """Each serves, charges and refuses; none has a way around the price by another spelling of the path."""
    app = made(
        {
            "client": till.metering,
            "rules": {"GET /api/search": Rule(meter="search", quantity=1)},
            "customer": "ann",
        }
    )
    answer = till.ask(app, "GET", "/api/search")
    assert (200, "98") == (answer.status_code, answer.headers["tally-balance"])
    for path in ("/api/search/", "//api//search", "/api/./search"):
        answer = till.ask(app, "GET", f"http://app.test{path}")
        assert (answer.status_code < 300) == ("tally-charge" in answer.headers)
    balance = till.figures()[0]
    for _ in range(balance // 2):
        assert 200 == till.ask(app, "GET", "/api/search").status_code
    assert (402, "INSUFFICIENT_CREDITS") == code(till.ask(app, "GET", "/api/search"))
    assert (0, 0) == till.figures()


@pytest.mark.parametrize(
    ("method", "url", "more", "cost"),
    [
        ("GET", "/query?n=20", {}, 10),
        ("GET", "/path/20", {}, 10),
        ("GET", "/header", {"headers": {"X-Rows": "20"}}, 10),
        ("POST", "/json", {"json": {"rows": 20}}, 10),
        ("POST", "/json", {"json": {"rows": list(range(20))}}, 10),
        ("POST", "/json", {"json": {"rows": "twenty characters !!"}}, 10),
        ("POST", "/function", {"json": {"rows": list(range(20))}}, 10),
        ("POST", "/late", {"json": {"rows": 6}}, 3),
        ("GET", "/used?n=6", {}, 3),
        ("GET", "/used?n=0", {}, 0),
        ("GET", "/used?n=1000", {}, 50),
        ("GET", "/used-header?n=6", {}, 3),
        ("GET", "/used-header?n=many", {}, 50),
        ("GET", "/used-size?n=6", {}, 3),
        ("GET", "/used-function", {}, 5),
    ],
)
def test_a_quantity_is_told_by_the_request_or_its_answer(
    shop: Shop, method: str, url: str, more: dict[str, Any], cost: int
) -> None:
    """What is held and what is charged, at most what was held; what an answer does not tell is charged as held."""
    answer = shop.till.ask(shop.app, method, url, **more)
    assert answer.status_code < 300, answer.text
    assert ((100 - cost, 0), cost > 0) == (shop.figures(), "tally-charge" in answer.headers)
    if method == "POST":
        assert more["json"] == answer.json()  # the app has the whole body


@pytest.mark.parametrize(
    ("method", "url", "more"),
    [
        ("GET", "/query", {}),
        ("GET", "/query?n=x", {}),
        ("GET", "/query?n=-1", {}),
        ("GET", "/query?n=1&n=1000", {}),
        ("GET", "/query?n=1&%6e=1000", {}),
        ("GET", "/header", {"headers": [("X-Rows", "1"), ("X-Rows", "100")]}),
        ("POST", "/json", {"json": {}}),
        ("POST", "/json", {"json": {"rows": "1000"}}),
        ("POST", "/json", {"json": {"rows": True}}),
        ("POST", "/json", {"json": {"rows": -5}}),
        ("POST", "/json", {"content": b'{"rows": NaN}'}),
        ("POST", "/json", {"content": b"{"}),
        ("POST", "/json", {"content": b"[" * 100_000}),
        ("POST", "/function", {"content": b"{"}),
        ("POST", "/function", {"json": []}),
    ],
)
def test_what_tells_no_quantity_is_refused(shop: Shop, method: str, url: str, more: dict[str, Any]) -> None:
    """Also what another reader might take for a larger number; nothing is held, and the app does not run."""
    answer = shop.till.ask(shop.app, method, url, **more)
    assert 422 == code(answer)[0]
    assert answer.json()["errors"]
    assert ([], (100, 0)) == (shop.calls, shop.figures())


def test_a_body_is_read_up_to_a_limit(till: Till) -> None:
    """And only where the price depends on it."""
    shop = Shop(till, most_bytes=100)
    answer = shop.till.ask(shop.app, "POST", "/json", json={"rows": "x" * 100})
    assert (413, "BODY_TOO_LARGE") == code(answer)
    assert b"x" * 1000 == shop.till.ask(shop.app, "POST", "/echo", content=b"x" * 1000).content
    assert ((98, 0), ["echo"]) == (shop.figures(), shop.calls)


@pytest.mark.parametrize(
    ("url", "cost"),
    [
        ("/status/204", 2),
        ("/status/302", 2),
        ("/status/400", 0),
        ("/status/500", 0),
        ("/always/503", 2),
        ("/some/404", 2),
        ("/some/200", 0),
        ("/raises", 0),
        ("/slash", 0),
        ("/slash/", 2),
        ("/nowhere", 0),
    ],
)
def test_which_answers_cost(shop: Shop, url: str, cost: int) -> None:
    """Success, or always, or some statuses; never an exception, nor a router's redirect to the same with a slash."""
    answer = shop.get(url)
    assert ((100 - cost, 0), cost > 0) == (shop.figures(), "tally-charge" in answer.headers)


@pytest.mark.parametrize(
    ("status", "url", "cost"),
    [
        (307, "/go/", 0),
        (308, "//go", 2),  # another host
        (307, "http://app.test/go/", 0),
        (302, "/go/", 2),
        (307, "/go", 2),
        (307, "/go/?id=secret", 2),
        (307, "/go/#secret", 2),
        (307, "https://cdn.example.com/go/", 2),
        (303, "/go?id=secret", 2),
        (307, "go/", 2),
    ],
)
def test_only_a_redirect_to_the_same_with_a_slash_is_free(
    till: Till, status: int, url: str, cost: int
) -> None:
    """One that leads to a result is a result, and costs."""
    app = FastAPI()
    app.get("/go")(lambda: RedirectResponse(url, status))
    app.add_middleware(
        TallyASGIMiddleware,
        client=till.metering,
        rules={"GET /go": Rule(meter="search")},
        customer="ann",
    )
    answer = till.ask(app, "GET", "http://app.test/go")
    assert (status, (100 - cost, 0)) == (answer.status_code, till.figures())


def test_no_spelling_of_a_path_runs_a_handler_for_nothing(till: Till) -> None:
    """Routers are given the path as it came, and some of them read it otherwise; one that fits two prices is refused."""
    ran: list[str] = []

    async def handler(request: Any) -> JSONResponse:
        ran.append(request.url.path)
        return JSONResponse("found")

    templates = ("/lookup/{id}", "/files/{rest:path}", "/dear")
    app = Starlette(routes=[Route(template, handler) for template in templates])
    rule = Rule(meter="search")
    rules = {f"GET {template}": rule for template in templates[:2]} | {"GET /dear": Rule(meter="rows")}
    paid = TallyASGIMiddleware(app, client=till.metering, rules=rules, customer="ann")

    async def get_raw(path: str) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
        await paid(scope, receive, send)
        return int(sent[0]["status"])

    paths = ["/lookup/..", "/lookup/.", "/files/", "/files/../about", "/files/a/../../about", "/lookup/7\n"]
    for number, path in enumerate(paths, 1):
        assert (200, 100 - 2 * number) == (till.run(get_raw(path)), till.figures()[0]), path
    assert 422 == till.run(get_raw("/files/../dear"))
    assert (len(paths), (88, 0)) == (len(ran), till.figures())


def test_methods_that_only_look_cost_nothing(shop: Shop) -> None:
    """HEAD and OPTIONS, unless a route names them."""
    assert 405 == shop.till.ask(shop.app, "HEAD", "/search").status_code
    assert 405 == shop.till.ask(shop.app, "OPTIONS", "/search").status_code
    assert (100, 0) == shop.figures()


def test_refusals(shop: Shop) -> None:
    """As problems with what helps, before the app runs; what is wrong behind it is nobody's business."""
    for _ in range(3):
        assert 200 == shop.get("/rare").status_code
    limited = shop.get("/rare")
    assert (429, "RATE_LIMITED") == code(limited)
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= set(limited.headers)
    shop.calls.clear()
    short = shop.get("/header", **{"X-Rows": "1000"})
    assert (402, "INSUFFICIENT_CREDITS") == code(short)
    assert (500, 100, 400) == tuple(short.json()[name] for name in ("required", "available", "shortfall"))
    assert "retry-after" not in short.headers
    assert (422, "INVALID_QUANTITY") == code(shop.get("/query?n=0"))
    assert (500, "INTERNAL_ERROR") == code(shop.get("/unknown"))
    assert "not_there" not in shop.get("/unknown").text
    shop.payer = "nobody"
    assert (403, "UNKNOWN_CUSTOMER") == code(shop.get("/search"))
    shop.payer = None
    anonymous = shop.get("/search")
    assert (401, "NOT_AUTHENTICATED") == code(anonymous)
    assert "www-authenticate" in anonymous.headers
    assert ([], (100, 0)) == (shop.calls, shop.figures())


def test_a_mistake_in_front_of_the_app_is_not_shown(till: Till) -> None:
    """Where the operator's own function raises, nothing runs and nothing leaks."""

    def customer(_: Any) -> str:
        raise KeyError("a secret")

    shop = Shop(till, customer=customer)
    answer = shop.get("/search")
    assert ((500, "INTERNAL_ERROR"), False) == (code(answer), "secret" in answer.text)
    assert ([], (100, 0)) == (shop.calls, shop.figures())


def test_who_pays_may_be_looked_up(till: Till) -> None:
    """By an async function of the request, or as the authentication in front has it; never by a header alone."""

    async def customer(request: Any) -> str | None:
        await asyncio.sleep(0)
        return {"secret": "ann"}.get(request.headers.get("x-key", ""))

    shop = Shop(till, customer=customer)
    assert 200 == shop.get("/search", **{"X-Key": "secret"}).status_code
    assert 401 == shop.get("/search").status_code

    class Person(SimpleUser):
        identity = "ann"

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
            return (AuthCredentials(), Person("Ann")) if "authorization" in conn.headers else None

    async def search(_: Any) -> JSONResponse:
        return JSONResponse("found")

    middleware = [
        Middleware(AuthenticationMiddleware, backend=Backend()),
        Middleware(TallyASGIMiddleware, client=till.metering, rules={"GET /": Rule(meter="search")}),
    ]
    app = Starlette(routes=[Route("/", search)], middleware=middleware)
    assert (
        401 == till.ask(app, "GET", "/", headers={"X-Customer": "ann", "Tally-Customer": "ann"}).status_code
    )
    assert 200 == till.ask(app, "GET", "/", headers={"Authorization": "x"}).status_code
    assert (96, 0) == till.figures()


def test_a_key_pays_once(shop: Shop) -> None:
    """A repeat has the first answer and its receipt; another request is refused; after a failure it is a new try."""

    def echo(content: bytes, key: str, url: str = "/echo") -> httpx.Response:
        return shop.till.ask(shop.app, "POST", url, content=content, headers={"Idempotency-Key": key})

    first, again = echo(b"x", "k"), echo(b"x", "k")
    assert (b"x", first.headers["tally-charge"]) == (again.content, again.headers["tally-charge"])
    assert (None, "true") == tuple(each.headers.get("idempotent-replayed") for each in (first, again))
    assert ((98, 0), ["echo"]) == (shop.figures(), shop.calls)
    assert (422, "IDEMPOTENCY_KEY_REUSED") == code(echo(b"y", "k"))
    assert (422, "IDEMPOTENCY_KEY_REUSED") == code(echo(b"x", "k", "/echo?more"))
    for _ in range(3):
        assert 500 == echo(b"bad", "f").status_code
    assert (98, 0) == shop.figures()


def test_a_key_is_forgotten_after_ten_minutes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not good for another call, but says so."""
    headers = {"Idempotency-Key": "k"}
    assert 200 == shop.till.ask(shop.app, "POST", "/echo", headers=headers).status_code
    shop.till.test_clock("PT11M")
    since = remote.seconds_since
    monkeypatch.setattr(remote, "seconds_since", lambda moment: since(moment) + 660)
    assert (409, "CONFLICT") == code(shop.till.ask(shop.app, "POST", "/echo", headers=headers))


def test_a_key_belongs_to_a_customer(shop: Shop) -> None:
    """One's answer is nothing of another's."""
    shop.till.add("bob")
    charges = set()
    for shop.payer in ("ann", "bob"):
        answer = shop.till.ask(shop.app, "POST", "/echo", headers={"Idempotency-Key": "k"})
        charges.add(answer.headers["tally-charge"])
        assert "idempotent-replayed" not in answer.headers
    assert (2, (98, 0), (98, 0)) == (len(charges), shop.figures(), shop.till.figures("bob"))


def test_a_repeat_waits_for_the_first(shop: Shop) -> None:
    """While it runs, the same key is told to come again: what it does is paid once."""

    async def work() -> list[httpx.Response]:
        async with client_of(shop.app) as client:
            headers = {"Idempotency-Key": "k"}
            first = asyncio.create_task(client.post("/slow", headers=headers))
            await shop.begun.wait()
            second = await client.post("/slow", headers=headers)
            shop.open.set()
            return [await first, second, await client.post("/slow", headers=headers)]

    first, second, third = shop.till.run(work())
    assert (409, "IDEMPOTENCY_IN_FLIGHT") == code(second)
    assert (200, "slow", "slow") == (first.status_code, first.json(), third.json())
    assert (["slow"], (98, 0)) == (shop.calls, shop.figures())


def test_200_requests_at_once_with_credits_for_50(shop: Shop) -> None:
    """Exactly 50 succeed, and nothing is left or held."""

    async def work() -> list[httpx.Response]:
        async with client_of(shop.app) as client:
            return list(await asyncio.gather(*(client.get("/search") for _ in range(200))))

    answers = shop.till.run(work())
    good = [each for each in answers if each.status_code == 200]
    assert (50, 50, (0, 0)) == (len(good), len(shop.calls), shop.figures())
    assert {(402, "INSUFFICIENT_CREDITS")} == {code(each) for each in answers if each.status_code != 200}


def test_the_same_middleware_twice_charges_once(shop: Shop) -> None:
    """As in an app and in one that is mounted in it; another rule is another price, with the same key."""
    twice = TallyASGIMiddleware(shop.app, client=shop.till.metering, rules=RULES, customer="ann")
    assert 200 == shop.till.ask(twice, "GET", "/search").status_code
    assert (98, 0) == shop.figures()
    entrance: dict[str, Rule | None] = {"* /*": Rule(meter="rows", quantity=2)}
    both = TallyASGIMiddleware(twice, client=shop.till.metering, rules=entrance, customer="ann")
    for _ in range(2):
        assert 200 == shop.till.ask(both, "GET", "/search", headers={"Idempotency-Key": "k"}).status_code
    assert (95, 0) == shop.figures()


def test_an_answer_that_cannot_be_charged_is_not_given(till: Till) -> None:
    """Nobody gets for nothing what cannot be charged: here, the wallet was frozen meanwhile."""
    app = FastAPI()

    @app.get("/search")
    def search() -> str:
        till.freeze()
        return "never seen"

    app.add_middleware(TallyASGIMiddleware, client=till.metering, rules=RULES, customer="ann")
    answer = till.ask(app, "GET", "/search")
    assert (403, "WALLET_FROZEN") == code(answer)
    assert ("never seen" in answer.text, (100, 0)) == (False, till.figures())


@pytest.mark.parametrize("when_away", ["closed", "open"])
def test_while_the_server_is_away(till: Till, monkeypatch: pytest.MonkeyPatch, when_away: Any) -> None:
    """A route is closed, or open for nothing where its rule says so."""

    async def away(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    shop = Shop(till, rules={"GET /search": Rule(meter="search", when_away=when_away)})
    monkeypatch.setattr(till.tally.holds, "create_async", away)
    answer = shop.get("/search")
    if when_away == "closed":
        assert (503, "SERVICE_UNAVAILABLE") == code(answer)
        assert answer.headers["retry-after"]
    assert (["/search"] if when_away == "open" else []) == shop.calls


def test_a_server_that_goes_away_meanwhile_is_told_later(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """The customer has the answer and a pending receipt, and pays once when the server is back."""

    async def away(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    def away_too(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    app = FastAPI()
    app.get("/search")(lambda: "x")
    metered = TallyASGIMiddleware(app, client=till.metering, rules=RULES, customer="ann")
    with monkeypatch.context() as patch:
        patch.setattr(till.tally.holds, "capture_async", away)
        patch.setattr(till.tally.holds, "capture", away_too)
        answer = till.ask(metered, "GET", "/search")
        assert {"tally-pending": "true", "tally-quantity": "1", "tally-meter": "search"} == {
            name: text for name, text in answer.headers.items() if name.startswith("tally-")
        }
        assert ("x", {"owed": 1}) == (answer.json(), metered.metering.settle())
    assert {} == metered.metering.settle()
    assert (98, 0) == till.figures()


def test_rules_are_checked_at_the_start(till: Till) -> None:
    """One that lends needs a place to write it down, and the route is named."""
    rules = {"GET /x": Rule(meter="search", when_away=Lease(quantity=1))}
    with pytest.raises(ConfigurationError, match=r"^GET /x: expected Metering"):
        TallyASGIMiddleware(FastAPI(), client=till.metering, rules=rules)


def test_what_is_no_request_passes(till: Till) -> None:
    """Lifespan and websockets are the app's own."""
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    metered = TallyASGIMiddleware(app, client=till.metering, rules={"* /*": Rule(meter="search")})
    for kind in ("lifespan", "websocket"):
        till.run(metered({"type": kind, "path": "/"}, None, None))
    assert ["lifespan", "websocket"] == seen


def test_a_stream_over_http(till: Till) -> None:
    """It is charged at its end by what it gave, and kept for a repeat with its key."""
    app = FastAPI()

    async def events() -> AsyncIterator[str]:
        for number in range(10):
            yield f"data: {number}\r\n\r\n"

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    rule = Rule(meter="rows", quantity=100, used=lambda _, response: response.events)
    app.add_middleware(TallyASGIMiddleware, client=till.metering, rules={"GET /stream": rule}, customer="ann")
    headers = {"Idempotency-Key": "k"}
    first, again = (till.ask(app, "GET", "/stream", headers=headers) for _ in range(2))
    assert (first.text, "true") == (again.text, again.headers["idempotent-replayed"])
    assert (95, 0) == till.figures()
