"""Which route a request is charged by."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.core.errors import ConfigurationError, ValidationFailed
from tallystick.metering import Rule
from tallystick.metering.http_answers import Answers, Kept
from tallystick.metering.http_routes import Routes

RULE = Rule(meter="m")
ROUTES = Routes(
    {
        "GET /files/free/*": None,
        "GET /files/*": RULE,
        "POST /enrich/{id}": RULE,
        "POST /rows/{id:int}/x-{part}": RULE,
        "HEAD /head": RULE,
        "* /any": RULE,
        "PUT /tree/{rest:path}": RULE,
        "GET /a+b": RULE,
        "DELETE /": RULE,
    }
)


def found(request: str, root_path: str = "") -> tuple[str, dict[str, str]] | None:
    method, _, path = request.partition(" ")
    route = ROUTES.find({"method": method, "path": path, "root_path": root_path})
    return None if route is None else (route.name, dict(route.params))


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET /files/a", ("GET /files/*", {})),
        ("GET /files/a/b", ("GET /files/*", {})),
        ("GET /files", ("GET /files/*", {})),
        ("GET /filesystem", None),
        ("GET /files/free/a", None),
        ("GET /files/free/../a", ("GET /files/*", {})),
        ("GET /x/../files/a", ("GET /files/*", {})),
        ("POST /files/a", None),
        ("HEAD /files/a", None),
        ("POST /enrich/7", ("POST /enrich/{id}", {"id": "7"})),
        ("post /enrich/7", ("POST /enrich/{id}", {"id": "7"})),
        ("POST /enrich/7/", ("POST /enrich/{id}", {"id": "7"})),
        ("POST //enrich//7", ("POST /enrich/{id}", {"id": "7"})),
        ("POST /enrich/7\n", ("POST /enrich/{id}", {"id": "7\n"})),
        ("POST /enrich/7/8", None),
        ("POST /enrich/", None),
        ("POST /rows/5/x-y", ("POST /rows/{id:int}/x-{part}", {"id": "5", "part": "y"})),
        ("HEAD /head", ("HEAD /head", {})),
        ("GET /head", None),
        ("PATCH /any", ("* /any", {})),
        ("HEAD /any", None),
        ("OPTIONS /any", None),
        ("PUT /tree/a/b", ("PUT /tree/{rest:path}", {"rest": "a/b"})),
        ("PUT /tree", None),
        ("PUT /tree/", ("PUT /tree/{rest:path}", {"rest": ""})),
        ("PUT /tree/..", ("PUT /tree/{rest:path}", {"rest": ".."})),
        ("PUT /tree/a/../../about", ("PUT /tree/{rest:path}", {"rest": "a/../../about"})),
        ("POST /enrich/..", ("POST /enrich/{id}", {"id": ".."})),
        ("POST /enrich/.", ("POST /enrich/{id}", {"id": "."})),
        ("POST //enrich//../", ("POST /enrich/{id}", {"id": ".."})),
        ("GET /files/../about", ("GET /files/*", {})),
        ("GET /files/x/../free/a", ("GET /files/*", {})),
        ("GET /files/free//a/", None),
        ("GET /a+b\n", ("GET /a+b", {})),
        ("GET /a+b", ("GET /a+b", {})),
        ("GET /aab", None),
        ("DELETE /", ("DELETE /", {})),
        ("DELETE ", ("DELETE /", {})),
    ],
)
def test_the_first_route_that_fits_counts(request_line: str, expected: Any) -> None:
    """Methods as they are named, parameters by segments; nothing is free that any router may read as what has a price."""
    assert expected == found(request_line)


@pytest.mark.parametrize("path", ["/dear/../cheap", "/dear//../cheap", "/b//c"])
def test_a_path_that_fits_two_prices_is_refused(path: str) -> None:
    """Routers differ in which of the two they run; the same price, or a closing slash, is no question."""
    cheap, dear = Rule(meter="cheap"), Rule(meter="dear")
    rules: dict[str, Rule | None] = {"GET /cheap": cheap, "GET /b/c": cheap, "GET /dear/{rest:path}": dear}
    routes = Routes({**rules, "GET /b/{rest:path}": dear})
    with pytest.raises(ValidationFailed):
        routes.find({"method": "GET", "path": path})
    same = Routes(dict.fromkeys([*rules, "GET /b/{rest:path}"], dear)).find({"method": "GET", "path": path})
    closing = routes.find({"method": "GET", "path": "/dear/x/"})
    assert (dear, "x/") == (same and same.rule, closing and closing.params["rest"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/enrich/7", True),
        ("/enrich/7", True),  # servers differ in whether the path has the root
        ("/junk/api/enrich/7", True),  # and so do routers in where they look for it
        ("/apix/enrich/7", False),
        ("/api/api/enrich/7", False),
    ],
)
def test_routes_are_those_below_the_root(path: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """An app that is mounted, or behind a proxy that says where, has its routes' own names."""
    assert expected == (found(f"POST {path}", "/api") is not None)


@pytest.mark.parametrize(
    ("route", "rule"),
    [
        ("/enrich", RULE),
        ("get /enrich", RULE),
        ("GET enrich", RULE),
        ("GET /a/*/b", RULE),
        ("GET /a*", RULE),
        ("GET /{a}/{a}", RULE),
        ("GET /{a", RULE),
        ("GET /{a-b}", RULE),
        ("GET /x", "search"),
        ("GET /x", Rule(meter="m", quantity="arguments.n")),
        ("GET /x", Rule(meter="m", used="result.n")),
        ("GET /x", Rule(meter="m", quantity="request")),
        ("GET /x", Rule(meter="m", quantity="request.cookies.n")),
        ("GET /x", Rule(meter="m", quantity="request.query")),
        ("GET /x", Rule(meter="m", quantity="request.headers.X-Rows")),
        ("GET /x", Rule(meter="m", quantity="request.params.id")),
        ("GET /x", Rule(meter="m", used="response.text")),
    ],
)
def test_what_is_no_route_is_told_by_its_name(route: str, rule: Any) -> None:
    """When the app starts, and not when somebody asks."""
    with pytest.raises(ConfigurationError) as told:
        Routes({"GET /fine": RULE, route: rule})
    assert told.value.detail.startswith(f"{route}: expected ")


def test_answers_are_kept_within_limits() -> None:
    """The newest of them: so many, and so many bytes."""
    answers = Answers()
    for number in range(5000):
        answers.put(str(number), Kept(200, [], b""))
    assert (None, None) == (answers.get("0"), answers.get("no such key"))
    assert None is not answers.get("4999")
    for number in range(5):
        answers.put(f"large {number}", Kept(200, [], b"x" * 2**23))
    found = [number for number in range(5) if answers.get(f"large {number}") is not None]
    assert [1, 2, 3, 4] == found
