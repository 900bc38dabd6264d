"""Charges, refunds, quotes and batches over HTTP."""

from decimal import Decimal

import httpx
import pytest

from tests.doors.api.door import Door, problem, read


def test_a_charge_has_the_fields_of_the_contract(door: Door) -> None:
    """Price, balance and the grants that paid are in the answer, exact."""
    made = door.charge("tokens", quantity=1_000_001, agent="a", description="d", metadata={"run": [1, 0.5]})
    [paid] = made["grants"]
    grant = door.balance()["grants"][0]
    assert {
        "id": made["id"],
        "meter": "tokens",
        "quantity": 1_000_001,
        "amount": Decimal("4.500005"),
        "unit": "credits",
        "amounts": {"credits": Decimal("4.500005")},
        "balance": Decimal("95.499995"),
        "available": Decimal("95.499995"),
        "grants": [{"grant": grant["id"], "amount": Decimal("4.500005"), "unit": "credits"}],
        "limit": None,
        "economy_version": door.get("/economy")["economy_version"],
    } == made
    assert made["id"].startswith("chg_")
    assert paid["grant"].startswith("grant_")


def test_numbers_are_read_and_shown_exactly(door: Door) -> None:
    """A quantity that no float can hold costs exactly its price, and is shown as it was sent."""
    answer = door.client.post(
        "/charges",
        content=b'{"customer":"ann","meter":"tiered","quantity":0.300000}',
        headers={**door.key(), "Content-Type": "application/json"},
    )
    assert 201 == answer.status_code
    assert '"quantity":0.3,"amount":0.3,' in answer.text
    assert '"balance":99.7,' in answer.text


def test_a_charge_in_several_meters_and_units_is_one_transaction(door: Door) -> None:
    """What is named in ``also`` is charged with it, or nothing is."""
    made = door.charge("both", also=[{"meter": "lookup"}, {"meter": "tiered", "quantity": 12}])
    assert {"credits": 13, "USD": Decimal("0.02")} == made["amounts"]
    assert ["credits", "USD"] == list({part["unit"]: None for part in made["grants"]})
    refused = door.send(
        "POST",
        "/charges",
        {"customer": "ann", "meter": "lookup", "also": [{"meter": "both", "quantity": 1000}]},
    )
    assert "USD" == problem(refused, 402, "INSUFFICIENT_CREDITS")["unit"]
    assert 87 == door.available()
    assert Decimal("4.98") == door.balance(unit="USD")["available"]


def test_a_repeat_gives_the_first_answer(door: Door) -> None:
    """The same key with the same request: first status, first body, and the header that says so."""
    body = {"customer": "ann", "meter": "limited"}
    first = door.send("POST", "/charges", body, key="once")
    door.charge()
    again = door.send("POST", "/charges", body, key="once")
    assert (201, first.content) == (again.status_code, again.content)
    assert "true" == again.headers["idempotent-replayed"]
    assert "idempotent-replayed" not in first.headers
    assert 98 == door.available()


def test_a_key_with_another_request_is_refused(door: Door) -> None:
    """One key, one request; what was done stays done."""
    door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}, key="once")
    other = door.send("POST", "/charges", {"customer": "ann", "meter": "lookup", "quantity": 2}, key="once")
    assert "Idempotency-Key" == problem(other, 422, "IDEMPOTENCY_KEY_REUSED")["errors"][0]["field"]
    assert 99 == door.available()


def test_a_refused_request_leaves_its_key_free(door: Door) -> None:
    """Only what was done is remembered."""
    body = {"customer": "ann", "meter": "tiered", "quantity": 500}
    problem(door.send("POST", "/charges", body, key="later"), 402, "INSUFFICIENT_CREDITS")
    door.post("/grants", {"customer": "ann", "amount": 1000, "category": "bonus"})
    again = door.send("POST", "/charges", body, key="later")
    assert (201, None) == (again.status_code, again.headers.get("idempotent-replayed"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/charges", {"customer": "ann", "meter": "lookup"}),
        ("/charges/chg_0000000000000/refund", {}),
        ("/holds", {"customer": "ann", "meter": "lookup"}),
        ("/holds", {"customer": "ann", "amount": 1}),
        ("/grants", {"customer": "ann", "amount": 1, "category": "bonus"}),
    ],
)
def test_what_moves_credits_needs_a_key(door: Door, path: str, body: object) -> None:
    """Without an Idempotency-Key nothing happens."""
    if "refund" in path:
        path = f"/charges/{door.charge('ping')['id']}/refund"
    problem(door.send("POST", path, body, key=None), 400, "IDEMPOTENCY_KEY_REQUIRED")
    assert 100 == door.balance()["balance"]


def test_capture_release_void_and_clawback_need_a_key(door: Door) -> None:
    """Nor do those that give back or take back."""
    hold = door.post("/holds", {"customer": "ann", "meter": "lookup"})["id"]
    grant = door.balance()["grants"][0]["id"]
    for path, body in [
        (f"/holds/{hold}/capture", {}),
        (f"/holds/{hold}/release", None),
        (f"/grants/{grant}/void", {}),
        (f"/grants/{grant}/clawback", {"amount": 1}),
    ]:
        problem(door.send("POST", path, body, key=None), 400, "IDEMPOTENCY_KEY_REQUIRED")
    assert (100, 1) == (door.balance()["balance"], door.balance()["held"])


def test_a_key_is_too_long_or_unprintable(door: Door) -> None:
    """A key of 256 characters names its header."""
    answer = door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}, key="k" * 256)
    assert "Idempotency-Key" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]


def test_refunds_give_back_in_parts(door: Door) -> None:
    """Each refund says what went back now and in all; more than was drawn is refused."""
    charge = door.charge("tiered", quantity=10)["id"]
    first = door.post(f"/charges/{charge}/refund", {"amount": 3, "reason": "slow"})
    assert (3, 3, 7, "slow") == tuple(
        first[name] for name in ("refunded", "refunded_total", "refundable", "reason")
    )
    refused = door.send("POST", f"/charges/{charge}/refund", {"amount": 8})
    assert (8, 7) == tuple(
        problem(refused, 422, "EXCEEDS_REFUNDABLE")[name] for name in ("requested", "refundable")
    )
    rest = door.post(f"/charges/{charge}/refund")
    assert (7, 10, 0, 100) == tuple(
        rest[name] for name in ("refunded", "refunded_total", "refundable", "balance")
    )


def test_a_user_refunds_nothing(door: Door) -> None:
    """Refunds are for services and admins."""
    user = door.register()
    charge = door.charge(customer=None, token=user["token"])["id"]
    problem(door.send("POST", f"/charges/{charge}/refund", {}, token=user["token"]), 403, "NOT_ALLOWED")


def test_a_charge_explains_itself(door: Door) -> None:
    """Its owner sees the working: price lines, grants, balances, refunds, and that nobody edited it."""
    user = door.register()
    charge = door.charge("tiered", quantity=12, customer=None, token=user["token"])["id"]
    door.post(f"/charges/{charge}/refund", {"amount": 1})
    found = door.get(f"/charges/{charge}", token=user["token"])
    explained = found["explain"]
    assert (11, 1, 10) == (found["amount"], found["refunded"], found["refundable"])
    assert [(10, 1, 10, 1), (2, Decimal("0.5"), 1, 2)] == [
        (line["quantity"], line["per_unit"], line["amount"], line["tier"])
        for line in explained["prices"][0]["lines"]
    ]
    assert [{"unit": "credits", "before": 100, "after": 89}] == explained["balances"]
    assert [(11, 1)] == [(lot["amount"], lot["refunded"]) for lot in explained["lots"]]
    assert explained["seal_ok"]


def test_a_charge_in_two_units_says_what_went_back_of_each(door: Door) -> None:
    """The single figures are of its first unit alone."""
    charge = door.charge("both", quantity=3)["id"]
    door.post(f"/charges/{charge}/refund", {"amount": 1})
    found = door.get(f"/charges/{charge}")
    assert (1, 0) == (found["refunded"], found["refundable"])
    assert [
        {"unit": "credits", "refunded": 1, "refundable": 0},
        {"unit": "USD", "refunded": 0, "refundable": Decimal("0.06")},
    ] == found["refunds"]


def test_a_quote_draws_nothing(door: Door) -> None:
    """It says the price, what is there, and why it would be refused."""
    fits = door.post("/quotes", {"customer": "ann", "meter": "limited"}, key=None)
    assert (1, 100, True, None) == tuple(
        fits[name] for name in ("amount", "available", "affordable", "refused_by")
    )
    assert {"limit": 3, "remaining": 3, "reset_at": "2027-01-10T13:00:00Z"} == fits["rate_limit"]
    dear = door.post("/quotes", {"customer": "ann", "meter": "tiered", "quantity": 1000}, key=None)
    assert (505, False, "INSUFFICIENT_CREDITS") == (dear["amount"], dear["affordable"], dear["refused_by"])
    assert 100 == door.balance()["balance"]
    assert "0.02" == str(
        door.post("/quotes", {"customer": "ann", "meter": "both"}, key=None)["amounts"]["USD"]
    )


def test_an_hourly_limit_is_told_in_headers(door: Door) -> None:
    """A limited meter shows what is left, and then refuses with Retry-After, whatever the balance."""
    body = {"customer": "ann", "meter": "limited"}
    made = door.send("POST", "/charges", body)
    assert {"remaining": 2, "reset_at": "2027-01-10T13:00:00Z"} == made.json()["limit"]
    assert '"hourly";q=3;w=3600' == made.headers["ratelimit-policy"]
    assert '"hourly";r=2;t=3600' == made.headers["ratelimit"]
    door.charge("limited")
    door.charge("limited")
    door.clock.advance("PT20M")
    refused = door.send("POST", "/charges", body)
    found = problem(refused, 429, "RATE_LIMITED")
    assert (3, 0, "meter:limited") == (found["limit"], found["remaining"], found["limit_source"])
    assert "2400" == refused.headers["retry-after"]
    assert '"hourly";q=3;w=3600' == refused.headers["ratelimit-policy"]
    assert '"hourly";r=0;t=2400' == refused.headers["ratelimit"]
    door.clock.advance("PT40M")
    assert 201 == door.send("POST", "/charges", body).status_code


def test_a_batch_answers_each_charge_in_order(door: Door) -> None:
    """One bad item never spoils another; one key twice in a batch is done once."""
    items: list[object] = [
        {"customer": "ann", "meter": "lookup", "idempotency_key": "a"},
        {"customer": "ann", "meter": "nope", "idempotency_key": "b"},
        {"customer": "ann", "meter": "lookup", "quantity": "2", "idempotency_key": "c"},
        {"customer": "ann", "meter": "tiered", "quantity": 1000, "idempotency_key": "d"},
        {"customer": "ann", "meter": "lookup", "idempotency_key": "a"},
        {"customer": "ann", "meter": "tiered", "quantity": 7, "idempotency_key": "a"},
        7,
        {"customer": "ann", "meter": "lookup"},
        {"customer": "nobody", "meter": "lookup", "idempotency_key": "e"},
    ]
    results = door.post("/charges/batch", {"charges": items}, key=None)["results"]
    assert [201, 404, 422, 402, 201, 422, 422, 422, 404] == [each["status"] for each in results]
    assert [
        "UNKNOWN_METER",
        "INVALID_QUANTITY",
        "INSUFFICIENT_CREDITS",
        "IDEMPOTENCY_KEY_REUSED",
        "VALIDATION_FAILED",
        "VALIDATION_FAILED",
        "UNKNOWN_CUSTOMER",
    ] == [each["error"]["code"] for each in results if "error" in each]
    assert results[0]["charge"] == results[4]["charge"]
    assert "idempotency_key" == results[7]["error"]["errors"][0]["field"]
    assert 99 == door.available()


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_charges(door: Door, count: int) -> None:
    """More or fewer are refused as a whole."""
    items = [{"customer": "ann", "meter": "ping", "idempotency_key": str(number)} for number in range(count)]
    answer = door.send("POST", "/charges/batch", {"charges": items}, key=None)
    assert "charges" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]


def test_a_thousand_charges_at_once(door: Door) -> None:
    """A full batch: each is made once, and a repeat of the whole batch makes none."""
    door.post("/grants", {"customer": "ann", "amount": 900, "category": "bonus"})
    items = [{"customer": "ann", "meter": "lookup", "idempotency_key": str(number)} for number in range(1000)]
    first = door.post("/charges/batch", {"charges": items}, key=None)["results"]
    assert {201} == {each["status"] for each in first}
    assert 0 == door.available()
    assert first == door.post("/charges/batch", {"charges": items}, key=None)["results"]


def test_a_service_charges_any_customer_and_a_user_only_itself(door: Door) -> None:
    """A service names the customer by its own id or ours; a user needs to name nobody, and may name nobody else."""
    service, user = door.service(), door.register()
    own = user["customer"]["id"]
    assert 99 == door.charge(customer="ann", token=service)["balance"]
    assert 99 == door.charge(customer=own, token=service)["balance"]
    assert 98 == door.charge(customer=None, token=user["token"])["balance"]
    assert 97 == door.charge(customer=own, token=user["token"])["balance"]
    for other in ("ann", "nobody"):
        answer = door.send("POST", "/charges", {"customer": other, "meter": "lookup"}, token=user["token"])
        assert other == problem(answer, 404, "UNKNOWN_CUSTOMER")["id"]
    answer = door.send("POST", "/charges", {"meter": "lookup"}, token=service)
    assert "customer" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]


def test_every_answer_has_a_request_id(door: Door) -> None:
    """A plain one is taken from the request, anything else is replaced."""
    given = httpx.get(f"{door.url}/healthz", headers={"X-Request-Id": "abc-1.2"})
    assert "abc-1.2" == given.headers["x-request-id"]
    replaced = httpx.get(f"{door.url}/healthz", headers={"X-Request-Id": 'a" <script>'})
    assert replaced.headers["x-request-id"].startswith("req_")
    assert read(given) == {"status": "ok"}
