"""Settlements over HTTP."""

from decimal import Decimal

from tests.doors.api.door import Door, problem

HUNDRED = Decimal(100)


def test_a_settlement_pays_the_price_less_the_fee(door: Door) -> None:
    """The payer pays 10, the payee gets 9.5 and the platform 0.5; both statements say so."""
    bob = door.post("/customers", {"external_id": "bob"})["id"]
    body = {"from": "ann", "to": "bob", "price": 10, "description": "a summary"}
    made = door.post("/settlements", body)
    assert {
        "payee": bob,
        "unit": "credits",
        "price": 10,
        "fee": Decimal("0.5"),
        "payout": Decimal("9.5"),
    } == {name: made[name] for name in ("payee", "unit", "price", "fee", "payout")}
    assert (Decimal(90), Decimal("109.5")) == (door.available(), door.available("bob"))
    for customer, entry_type, amount in [("ann", "task_debit", -10), ("bob", "task_credit", Decimal("9.5"))]:
        [line, *_] = door.get(f"/billing/transactions?customer={customer}")["transactions"]
        assert (made["id"], entry_type, amount, "a summary") == (
            line["id"],
            line["type"],
            line["amount"],
            line["description"],
        )


def test_a_repeated_settlement_is_done_once(door: Door) -> None:
    """The same key gives the first answer; with another price it is refused."""
    door.post("/customers", {"external_id": "bob"})
    body = {"from": "ann", "to": "bob", "price": 10}
    first = door.send("POST", "/settlements", body, key="job 1")
    second = door.send("POST", "/settlements", body, key="job 1")
    assert (201, first.content, "true") == (
        second.status_code,
        second.content,
        second.headers["idempotent-replayed"],
    )
    assert Decimal(90) == door.available()
    problem(
        door.send("POST", "/settlements", body | {"price": 11}, key="job 1"), 422, "IDEMPOTENCY_KEY_REUSED"
    )


def test_settlements_that_cannot_be(door: Door) -> None:
    """More than there is, somebody unknown, a bad price, no key, a user: each is refused, nothing moves."""
    door.post("/customers", {"external_id": "bob"})
    body = {"from": "ann", "to": "bob", "price": 10}
    short = problem(door.send("POST", "/settlements", body | {"price": 101}), 402, "INSUFFICIENT_CREDITS")
    assert (101, 100) == (short["required"], short["available"])
    problem(door.send("POST", "/settlements", body | {"to": "nobody"}), 404, "UNKNOWN_CUSTOMER")
    problem(door.send("POST", "/settlements", body | {"from": "nobody"}), 404, "UNKNOWN_CUSTOMER")
    bad = problem(door.send("POST", "/settlements", body | {"price": -1}), 422, "INVALID_AMOUNT")
    assert ["price"] == [each["field"] for each in bad["errors"]]
    problem(door.send("POST", "/settlements", body, key=None), 400, "IDEMPOTENCY_KEY_REQUIRED")
    user = door.register()["token"]
    problem(door.send("POST", "/settlements", body, token=user), 403, "NOT_ALLOWED")
    assert (HUNDRED, HUNDRED) == (door.available(), door.available("bob"))


def test_settlements_that_move_nothing(door: Door) -> None:
    """A price of 0, and one's own agent."""
    door.post("/customers", {"external_id": "bob"})
    for body in ({"from": "ann", "to": "bob", "price": 0}, {"from": "ann", "to": "ann", "price": 10}):
        made = door.post("/settlements", body)
        assert (0, 0, 0) == (made["price"], made["fee"], made["payout"])
    assert (HUNDRED, HUNDRED) == (door.available(), door.available("bob"))
