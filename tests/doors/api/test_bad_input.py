"""Requests that cannot be right: each gets the contract's error, names what was wrong, and changes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.doors.api.door import ADMIN, Door, problem

AMOUNTS: list[tuple[str, str]] = [
    ("-1", "a number that is not negative"),
    ("0", "a number above 0"),
    ("0.0000001", "at most 6 decimals"),
    ("1.0000001", "at most 6 decimals"),
    ("1e-400", "at most 6 decimals"),
    ("1000000000.000001", "at most 1000000000"),
    ("1e400", "at most 1000000000"),
    ("9" * 5000, "at most 1000000000"),
    ("-" + "9" * 5000, "a number that is not negative"),
    ('"5"', "a plain decimal number"),
    ("true", "a plain decimal number"),
    ("null", "a plain decimal number"),
    ("[1]", "a plain decimal number"),
    ("{}", "a plain decimal number"),
]
FIELDS = [
    ("/charges", "quantity", '"customer": "ann", "meter": "lookup"', "INVALID_QUANTITY"),
    ("/quotes", "quantity", '"customer": "ann", "meter": "lookup"', "INVALID_QUANTITY"),
    ("/holds", "amount", '"customer": "ann"', "INVALID_AMOUNT"),
    ("/grants", "amount", '"customer": "ann", "category": "bonus"', "INVALID_AMOUNT"),
]


def raw(door: Door, path: str, body: bytes, *, kind: str | None = "application/json") -> httpx.Response:
    """A POST of exactly these bytes."""
    headers = door.key() | ({} if kind is None else {"Content-Type": kind})
    return door.client.post(path, content=body, headers=headers)


@pytest.fixture
def untouched(door: Door) -> Iterator[Door]:
    """A server on which, after the test, nothing has happened."""
    before = door.balance(), door.get("/billing/transactions?customer=ann"), door.get("/holds?customer=ann")
    yield door
    after = door.balance(), door.get("/billing/transactions?customer=ann"), door.get("/holds?customer=ann")
    assert before == after


@pytest.mark.parametrize(("path", "field", "others", "code"), FIELDS)
def test_numbers_that_are_no_amounts(untouched: Door, path: str, field: str, others: str, code: str) -> None:
    """Negative, zero, too fine, too large or no number at all: the field and what was expected of it are named."""
    for text, expected in AMOUNTS:
        if text == "null" and path == "/holds":
            continue  # an amount that is left out
        answer = raw(untouched, path, f'{{{others}, "{field}": {text}}}'.encode())
        [found] = problem(answer, 422, code)["errors"]
        assert field == found["field"]
        assert expected in found["message"], (text, found)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json(untouched: Door, text: str) -> None:
    """JSON knows no such numbers, so the body cannot be read."""
    for path, field, others, _ in FIELDS:
        found = problem(
            raw(untouched, path, f'{{{others}, "{field}": {text}}}'.encode()), 400, "MALFORMED_REQUEST"
        )
        assert text in found["detail"]


def test_an_amount_is_refused_wherever_one_is_read(untouched: Door) -> None:
    """Also deep inside a body, with the place of the field."""
    cases: list[tuple[str, str, object, str]] = [
        (
            "POST",
            "/charges",
            {"customer": "ann", "meter": "lookup", "also": [{"meter": "lookup", "quantity": -1}]},
            "also.0.quantity",
        ),
        ("POST", "/keys", {"name": "k", "budget": {"amount": -1, "per": "day"}}, "budget.amount"),
        ("PUT", "/budgets", {"level": "customer", "customer": "ann", "amount": "5", "per": "day"}, "amount"),
        ("POST", "/charges/chg_x/refund", {"amount": 0}, "amount"),
        ("POST", "/holds/hold_x/capture", {"quantity": 0}, "quantity"),
        ("POST", "/grants/grant_x/clawback", {"amount": 0}, "amount"),
    ]
    for method, path, body, field in cases:
        answer = untouched.send(method, path, body)
        assert 422 == answer.status_code, answer.text
        assert [field] == [each["field"] for each in answer.json()["errors"]]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"not json",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b'{"meter": "lookup",}',
        b'{"meter": "lookup"} {}',
        b'{"meter": "\xff"}',
        b'\xef\xbb\xbf{"meter": "lookup"}',
        '{"meter": "lookup"}'.encode("utf-16"),
        b'{"customer": "ann", "meter": "lookup", "meter": "ping"}',
        b'{"customer": "ann", "meter": "lookup", "metadata": {"a": 1, "a": 2}}',
        b'{"meter": "lookup", "quantity": 01}',
        b'{"meter": "lookup", "quantity": 1e99999999999999999999}',
        b'{"meter": "a\x00b"}',
        b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
)
def test_bodies_that_cannot_be_read(untouched: Door, body: bytes) -> None:
    """What is no JSON object, or could mean two things, is malformed."""
    answer = raw(untouched, "/charges", body)
    if body:
        problem(answer, 400, "MALFORMED_REQUEST")
    else:
        assert "body" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]


def test_only_json_is_read(untouched: Door) -> None:
    """Another type of body is refused; a type with parameters, or none at all, is JSON."""
    body = b'{"customer": "ann", "meter": "ping"}'
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "nonsense",
    ):
        assert (
            kind.partition(";")[0]
            in problem(raw(untouched, "/quotes", body, kind=kind), 400, "MALFORMED_REQUEST")["detail"]
        )
    for known in (None, "application/json; charset=utf-8", "application/vnd.tally+json"):
        assert 200 == raw(untouched, "/quotes", body, kind=known).status_code


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"customer": "ann", "meter": "nope"}, 404, "UNKNOWN_METER"),
        ({"customer": "ann", "meter": "lookup", "also": [{"meter": "nope"}]}, 404, "UNKNOWN_METER"),
        ({"customer": "ann", "meter": "a\x00b"}, 404, "UNKNOWN_METER"),
        ({"customer": "ann", "meter": "\ud800"}, 404, "UNKNOWN_METER"),
        ({"customer": "nobody", "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": "cust_0000000000000", "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": "", "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": "a\x00b", "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": "\ud800", "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": "x" * 5000, "meter": "lookup"}, 404, "UNKNOWN_CUSTOMER"),
        ({"customer": 7, "meter": "lookup"}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": ["lookup"]}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann"}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "quantty": 2}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "description": "a\x00b"}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "description": "\udfff"}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "description": "d" * 501}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "agent": ""}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "metadata": {"a": "\x00"}}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "metadata": {"\ud800": 1}}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "metadata": {"a": 2**70}}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "metadata": {"a": "b" * 5000}}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "metadata": [1]}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "lookup", "also": [{"meter": "ping"}] * 21}, 422, "VALIDATION_FAILED"),
        ({"customer": "ann", "meter": "tokens", "quantity": 10**9}, 402, "INSUFFICIENT_CREDITS"),
    ],
)
def test_charges_that_mean_nothing(untouched: Door, body: dict[str, Any], status: int, code: str) -> None:
    """What is not known is 404, what cannot be is 422 and names its field, what is too dear is 402."""
    found = problem(raw(untouched, "/charges", json.dumps(body).encode()), status, code)
    if status == 422:
        assert found["errors"][0]["field"].split(".")[0] in {*body, "meter"}


def test_metadata_numbers_out_of_range(untouched: Door) -> None:
    """What no reader could show again is not stored."""
    for number in ("1e400", "-1e301", "9" * 1000):
        body = f'{{"customer": "ann", "meter": "lookup", "metadata": {{"a": [{number}]}}}}'
        found = problem(raw(untouched, "/charges", body.encode()), 422, "VALIDATION_FAILED")
        assert "metadata" == found["errors"][0]["field"]


@pytest.mark.parametrize(
    ("path", "code", "status", "field"),
    [
        ("/billing/balance?customer=ann&unit=gold", "UNKNOWN_UNIT", 404, None),
        ("/billing/balance?customer=ann&unit=%00", "UNKNOWN_UNIT", 404, None),
        ("/billing/balance?customer=nobody", "UNKNOWN_CUSTOMER", 404, None),
        ("/billing/balance?customer=%00", "UNKNOWN_CUSTOMER", 404, None),
        ("/billing/balance?customer=%ff%fe", "UNKNOWN_CUSTOMER", 404, None),
        ("/billing/balance", "VALIDATION_FAILED", 422, "customer"),
        ("/billing/transactions?customer=ann&limit=0", "VALIDATION_FAILED", 422, "limit"),
        ("/billing/transactions?customer=ann&limit=101", "VALIDATION_FAILED", 422, "limit"),
        ("/billing/transactions?customer=ann&limit=x", "VALIDATION_FAILED", 422, "limit"),
        ("/billing/transactions?customer=ann&limit=" + "9" * 5000, "VALIDATION_FAILED", 422, "limit"),
        ("/billing/transactions?customer=ann&cursor=garbage", "INVALID_CURSOR", 422, "cursor"),
        ("/billing/transactions?customer=ann&cursor=%00", "INVALID_CURSOR", 422, "cursor"),
        ("/billing/transactions?customer=ann&cursor=", "INVALID_CURSOR", 422, "cursor"),
        ("/billing/transactions?customer=ann&type=gift", "VALIDATION_FAILED", 422, "type"),
        ("/billing/transactions?customer=ann&from=yesterday", "VALIDATION_FAILED", 422, "from"),
        ("/billing/transactions?customer=ann&to=2027-01-01", "VALIDATION_FAILED", 422, "to"),
        ("/billing/usage?customer=ann&period=1y", "VALIDATION_FAILED", 422, "period"),
        ("/holds?customer=ann&status=lost", "VALIDATION_FAILED", 422, "status"),
        ("/holds?customer=ann&cursor=ZW50cmllczox", "INVALID_CURSOR", 422, "cursor"),
        ("/grants?customer=ann&unit=gold", "UNKNOWN_UNIT", 404, None),
        ("/keys?cursor=!!!", "INVALID_CURSOR", 422, "cursor"),
        ("/budgets?key=key_x", "NOT_FOUND", 404, None),
        ("/customers/ann/explain?at=2028-01-01T00:00:00Z", "VALIDATION_FAILED", 422, "at"),
    ],
)
def test_questions_that_have_no_answer(
    door: Door, path: str, code: str, status: int, field: str | None
) -> None:
    """Malformed cursors, unknown units, limits out of range: each named."""
    found = problem(door.send("GET", path, key=None), status, code)
    if field is not None:
        assert field == found["errors"][0]["field"]


@pytest.mark.parametrize(
    "garbage", ["x", "chg_", "chg_zzzzzzzzzzzzz", "%00", "%ff", "..", "chg_%F0%9F%92%A9", "9" * 3000]
)
def test_ids_of_any_kind_are_not_found(door: Door, garbage: str) -> None:
    """Whatever stands where an id belongs is 404, never an error of the server."""
    paths: list[tuple[str, str, object]] = [
        ("GET", "/charges/{}", None),
        ("POST", "/charges/{}/refund", {}),
        ("POST", "/holds/{}/capture", {}),
        ("POST", "/holds/{}/release", None),
        ("POST", "/grants/{}/void", {}),
        ("POST", "/grants/{}/clawback", {"amount": 1}),
        ("GET", "/customers/{}", None),
        ("GET", "/customers/{}/explain", None),
        ("POST", "/customers/{}/freeze", {}),
        ("DELETE", "/keys/{}", None),
        ("DELETE", "/budgets/{}", None),
    ]
    for method, path, body in paths:
        answer = door.send(method, path.format(garbage), body)
        assert 404 == answer.status_code, (method, path, answer.text)
        assert "application/problem+json" == answer.headers["content-type"]


def test_unknown_addresses_and_methods(door: Door) -> None:
    """They are problems too."""
    problem(door.send("GET", "/nothing"), 404, "NOT_FOUND")
    problem(httpx.get(f"{door.url}/api"), 404, "NOT_FOUND")
    wrong = door.send("DELETE", "/charges")
    problem(wrong, 405, "METHOD_NOT_ALLOWED")
    assert "POST" == wrong.headers["allow"]


def test_a_body_that_is_too_large(untouched: Door) -> None:
    """More than a mebibyte is refused, whether its length is told or it comes in pieces."""
    body = b'{"customer": "ann", "meter": "lookup", "description": "' + b"a" * 1024 * 1024 + b'"}'
    assert 1024 * 1024 == problem(raw(untouched, "/charges", body), 413, "BODY_TOO_LARGE")["maximum_bytes"]

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = untouched.key() | {"Content-Type": "application/json"}
    chunked = untouched.client.post("/charges", content=pieces(), headers=headers)
    problem(chunked, 413, "BODY_TOO_LARGE")
    huge = raw(untouched, "/charges", body * 12)
    problem(huge, 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic dGx5Og==",
        f"bearer-ish {ADMIN}",
        f"Bearer {ADMIN}x",
        "Bearer tls_nope",
        "Bearer " + "k" * 3000,
    ],
)
def test_whoever_is_not_known_gets_nothing(untouched: Door, header: str | None) -> None:
    """A missing, malformed or unknown key is 401, before anything else is looked at."""
    headers = {} if header is None else {"Authorization": header}
    with httpx.Client(base_url=untouched.client.base_url, headers=headers) as client:
        for method, path in [
            ("POST", "/charges"),
            ("GET", "/billing/balance"),
            ("GET", "/charges/x"),
            ("POST", "/keys"),
        ]:
            answer = client.request(method, path, content=b"{", headers={"Idempotency-Key": "k"})
            problem(answer, 401, "NOT_AUTHENTICATED")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_scheme_is_read_in_any_case(door: Door) -> None:
    """``bearer`` is as good as ``Bearer``."""
    answer = httpx.get(f"{door.url}/api/v1/auth/me", headers={"Authorization": f"bearer {ADMIN}"})
    assert (200, "admin") == (answer.status_code, answer.json()["role"])


def test_a_revoked_or_expired_key_gets_nothing(door: Door) -> None:
    """At once, and for every request after."""
    made = door.post("/keys", {"name": "k", "role": "service"})
    lapsing = door.post("/keys", {"name": "l", "role": "service", "expires_at": "2027-01-10T12:30:00Z"})
    for key in (made["key"], lapsing["key"]):
        assert 200 == door.send("GET", "/billing/balance?customer=ann", token=key).status_code
    door.send("DELETE", f"/keys/{made['id']}")
    door.clock.advance("PT30M")
    for key in (made["key"], lapsing["key"]):
        problem(
            door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}, token=key),
            401,
            "NOT_AUTHENTICATED",
        )
    assert 100 == door.available()
