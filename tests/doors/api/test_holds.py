"""Holds over HTTP: reserve, capture, release, list."""

from decimal import Decimal

from tests.doors.api.door import Door, problem


def test_a_hold_is_made_and_captured(door: Door) -> None:
    """It lowers what is available, and the capture becomes a charge that can be explained and refunded."""
    made = door.post("/holds", {"customer": "ann", "meter": "tiered", "quantity": 10})
    assert (10, 90, 100, "open", "2027-01-10T13:00:00Z") == tuple(
        made[name] for name in ("amount", "available", "balance", "status", "expires_at")
    )
    captured = door.post(f"/holds/{made['id']}/capture", {"quantity": 4})
    assert (made["id"], "captured", 4, 6, 96) == tuple(
        captured[name] for name in ("id", "status", "captured", "released", "balance")
    )
    assert (4, made["id"]) == tuple(
        door.get(f"/charges/{captured['charge']}")[name] for name in ("amount", "hold")
    )
    assert 4 == door.post(f"/charges/{captured['charge']}/refund")["refunded"]
    assert 100 == door.available()


def test_a_hold_of_an_amount(door: Door) -> None:
    """An amount in any unit; captured by an amount, even nothing of it."""
    made = door.post(
        "/holds", {"customer": "ann", "amount": Decimal("2.5").__float__(), "unit": "USD", "expires_in": 60}
    )
    assert (Decimal("2.5"), "USD", None, "2027-01-10T12:01:00Z") == tuple(
        made[name] for name in ("amount", "unit", "meter", "expires_at")
    )
    captured = door.post(f"/holds/{made['id']}/capture", {"amount": 0})
    assert (0, Decimal("2.5"), 5) == tuple(captured[name] for name in ("captured", "released", "balance"))


def test_a_capture_without_a_body_takes_all(door: Door) -> None:
    """And a repeat gives the same answer."""
    hold = door.post("/holds", {"customer": "ann", "meter": "lookup"})["id"]
    first = door.send("POST", f"/holds/{hold}/capture", key="c")
    again = door.send("POST", f"/holds/{hold}/capture", key="c")
    assert (200, first.content, "true") == (
        again.status_code,
        again.content,
        again.headers["idempotent-replayed"],
    )
    assert 1 == first.json()["captured"]


def test_a_hold_ends_once(door: Door) -> None:
    """What is captured, released or expired stays so; the refusal says which."""
    body = {"customer": "ann", "meter": "lookup", "expires_in": 60}
    ended = [door.post("/holds", body)["id"] for _ in range(3)]
    door.post(f"/holds/{ended[0]}/capture")
    door.post(f"/holds/{ended[1]}/release")
    door.clock.advance("PT2M")
    for hold, status in zip(ended, ("captured", "released", "expired"), strict=True):
        for action in ("capture", "release"):
            answer = door.send("POST", f"/holds/{hold}/{action}")
            assert status == problem(answer, 409, "HOLD_NOT_OPEN")["hold_status"]
    assert 99 == door.available()


def test_only_the_maker_resolves_a_hold(door: Door) -> None:
    """A customer never releases a service's hold, nor one service another's; an admin may."""
    user, maker, other = door.register(), door.service("maker"), door.service("other")
    own = user["customer"]["id"]
    hold = door.post("/holds", {"customer": own, "meter": "lookup"}, token=maker)["id"]
    for token in (user["token"], other):
        for action in ("capture", "release"):
            problem(door.send("POST", f"/holds/{hold}/{action}", token=token), 403, "NOT_ALLOWED")
    assert "released" == door.post(f"/holds/{hold}/release", token=maker)["status"]
    second = door.post("/holds", {"customer": own, "meter": "lookup"}, token=user["token"] and maker)["id"]
    assert "released" == door.post(f"/holds/{second}/release")["status"]
    stranger = door.register("eve@example.test")
    third = door.post("/holds", {"customer": own, "meter": "lookup"}, token=maker)["id"]
    problem(door.send("POST", f"/holds/{third}/release", token=stranger["token"]), 404, "NOT_FOUND")


def test_a_hold_is_for_a_meter_or_an_amount(door: Door) -> None:
    """Neither, or both, or a quantity of nothing, is refused."""
    cases: list[tuple[dict[str, object], str]] = [
        ({}, "meter"),
        ({"meter": "lookup", "amount": 1}, "meter"),
        ({"amount": 1, "quantity": 1}, "quantity"),
        ({"amount": 1, "also": [{"meter": "lookup"}]}, "quantity"),
        ({"meter": "lookup", "unit": "USD"}, "unit"),
        ({"amount": 1, "expires_in": 0}, "expires_in"),
        ({"amount": 1, "expires_in": 1.5}, "expires_in"),
        ({"amount": 1, "expires_in": 10**9}, "expires_in"),
    ]
    for body, field in cases:
        answer = door.send("POST", "/holds", {"customer": "ann", **body})
        assert field == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
    problem(
        door.send("POST", "/holds", {"customer": "ann", "amount": 1, "unit": "gold"}), 404, "UNKNOWN_UNIT"
    )
    problem(door.send("POST", "/holds", {"customer": "ann", "amount": 101}), 402, "INSUFFICIENT_CREDITS")


def test_a_capture_names_what_the_hold_can_give(door: Door) -> None:
    """A quantity needs a meter, and not both an amount and a quantity."""
    hold = door.post("/holds", {"customer": "ann", "amount": 5})["id"]
    for body, field in [({"quantity": 1}, "quantity"), ({"amount": 1, "quantity": 1}, "quantity")]:
        answer = door.send("POST", f"/holds/{hold}/capture", body)
        assert field == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
    problem(door.send("POST", f"/holds/{hold}/capture", {"amount": 106}), 402, "INSUFFICIENT_CREDITS")
    assert 5 == door.balance()["held"]
    assert 100 == door.post(f"/holds/{hold}/capture", {"amount": 100})["captured"]


def test_holds_are_listed_newest_first(door: Door) -> None:
    """In pages, and by status."""
    made = [door.post("/holds", {"customer": "ann", "meter": "lookup"})["id"] for _ in range(5)]
    charge = door.post(f"/holds/{made[0]}/capture")["charge"]
    page = door.get("/holds?customer=ann&limit=3")
    assert (made[:1:-1], True) == ([each["id"] for each in page["holds"]], page["has_more"])
    rest = door.get(f"/holds?customer=ann&limit=3&cursor={page['next_cursor']}")
    assert (made[1::-1], False, None) == (
        [each["id"] for each in rest["holds"]],
        rest["has_more"],
        rest["next_cursor"],
    )
    [captured] = door.get("/holds?customer=ann&status=captured")["holds"]
    assert (made[0], charge, 1) == (captured["id"], captured["charge"], captured["captured"])


def test_one_hold_is_shown_as_it_is_now(door: Door) -> None:
    """Open, captured with the receipt of its charge, released or expired, whoever looks first."""
    body = {"customer": "ann", "meter": "tiered", "quantity": 10, "expires_in": 60}
    open_, captured, released, expired = (door.post("/holds", body)["id"] for _ in range(4))
    end = door.post(f"/holds/{captured}/capture", {"quantity": 4})
    door.post(f"/holds/{released}/release")
    found = door.get(f"/holds/{captured}")
    assert (captured, "captured", 10, 4, end["charge"]) == tuple(
        found[name] for name in ("id", "status", "amount", "captured", "charge")
    )
    assert found["receipt"] == {
        "charge": end["charge"],
        "amount": 4,
        "unit": "credits",
        "balance": end["balance"],
        "created_at": end["resolved_at"],
    }
    for hold, status in [(open_, "open"), (released, "released")]:
        found = door.get(f"/holds/{hold}")
        assert (status, None, None) == (found["status"], found["captured"], found["receipt"])
    door.clock.advance("PT2M")
    assert "expired" == door.get(f"/holds/{expired}")["status"]


def test_one_hold_is_shown_to_its_customer_and_to_services(door: Door) -> None:
    """For anybody else it does not exist."""
    user, service, stranger = door.register(), door.service(), door.register("eve@example.test")
    hold = door.post("/holds", {"customer": user["customer"]["id"], "amount": 5}, token=service)["id"]
    for token in (user["token"], service):
        assert 5 == door.get(f"/holds/{hold}", token=token)["amount"]
    for token, name in [(stranger["token"], hold), (service, "hold_none"), (service, hold[:-1])]:
        problem(door.send("GET", f"/holds/{name}", token=token, key=None), 404, "NOT_FOUND")
