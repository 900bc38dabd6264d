"""Agents and tasks over HTTP: the contract's requests, answers and problems."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.doors.api.door import Door, problem

HALF = Decimal("0.5")


@pytest.fixture
def agent(door: Door) -> str:
    """Bob's agent at 10 credits a task; ann has 100 credits."""
    door.post("/customers", {"external_id": "bob"})
    body = {
        "name": "Summarist",
        "price_per_task": 10,
        "description": "Makes long texts short",
        "capabilities": ["summaries", "translation"],
        "customer": "bob",
    }
    made: str = door.post("/agents", body)["id"]
    return made


def make(door: Door, agent: str, **more: Any) -> dict[str, Any]:
    """A task for ann."""
    body = {"agent": agent, "input": {"text": "long", "pi": 3.14}, "customer": "ann"} | more
    made: dict[str, Any] = door.post("/tasks", body)
    return made


def test_the_way_of_a_task(door: Door, agent: str) -> None:
    """Held at once, settled when it is done; the answer carries what was settled."""
    made = make(door, agent, max_price=10)
    assert ("created", "held", 10, 10, None) == tuple(
        made[name] for name in ("status", "billing", "price", "held", "settlement")
    )
    assert (Decimal(90), "open") == (door.available(), door.get(f"/holds/{made['hold']}")["status"])
    path = f"/tasks/{made['id']}"
    assert "accepted" == door.post(f"{path}/accept", {})["status"]
    done = door.post(f"{path}/complete", {"output": ["short"]})
    assert ("completed", {"price": 10, "fee": HALF, "payout": Decimal("9.5")}) == (
        done["status"],
        done["settlement"],
    )
    found = door.get(path)
    assert ({"text": "long", "pi": Decimal("3.14")}, ["short"], "Summarist") == (
        found["input"],
        found["output"],
        found["agent_name"],
    )
    [line, *_] = door.get("/billing/transactions?customer=ann")["transactions"]
    assert ("task_debit", -10, made["id"]) == (line["type"], line["amount"], line["metadata"]["task"])
    assert ("captured", None) == tuple(
        door.get(f"/holds/{made['hold']}")[name] for name in ("status", "charge")
    )


def test_what_cannot_be_hired(door: Door, agent: str) -> None:
    """Each refusal has its code; nothing is held, and there is no task."""
    body = {"agent": agent, "input": 1, "customer": "ann"}
    above = problem(door.send("POST", "/tasks", body | {"max_price": 9}), 409, "PRICE_ABOVE_MAXIMUM")
    assert (10, 9) == (above["price"], above["max_price"])
    dear = door.post("/agents", {"name": "Dear", "price_per_task": 101, "customer": "bob"})["id"]
    short = problem(door.send("POST", "/tasks", body | {"agent": dear}), 402, "INSUFFICIENT_CREDITS")
    assert (101, 100) == (short["required"], short["available"])
    problem(door.send("POST", "/tasks", body | {"agent": "agent_0000000000000"}), 404, "NOT_FOUND")
    problem(door.send("POST", "/tasks", body, key=None), 400, "IDEMPOTENCY_KEY_REQUIRED")
    problem(door.send("POST", "/tasks", body | {"input": "x" * 70_000}), 422, "VALIDATION_FAILED")
    for name in ("agent", "parent", "customer"):
        sent = json.dumps(body | {name: "\ud800"}).encode()
        answer = door.client.post(
            "/tasks", content=sent, headers=door.key() | {"Content-Type": "application/json"}
        )
        problem(answer, 404, "UNKNOWN_CUSTOMER" if name == "customer" else "NOT_FOUND")
    door.send("PATCH", f"/agents/{agent}", {"status": "paused"})
    problem(door.send("POST", "/tasks", body), 409, "AGENT_PAUSED")
    assert ([], Decimal(100)) == (door.get("/tasks")["tasks"], door.available())


def test_steps_out_of_order(door: Door, agent: str) -> None:
    """Each says what the task is."""
    path = f"/tasks/{make(door, agent)['id']}"
    early = problem(door.send("POST", f"{path}/complete", {}), 409, "TASK_NOT_READY")
    assert "created" == early["task_status"]
    door.post(f"{path}/cancel", {"reason": "no need"})
    for step, body in (("accept", {}), ("fail", {}), ("dispute", {"reason": "late"})):
        problem(door.send("POST", f"{path}/{step}", body), 409, "TASK_NOT_READY")
    problem(door.send("POST", "/tasks/task_0000000000000/accept", {}), 404, "NOT_FOUND")
    assert ("cancelled", "no need", Decimal(100)) == (
        door.get(path)["status"],
        door.get(path)["reason"],
        door.available(),
    )


def test_a_dispute_is_decided(door: Door, agent: str) -> None:
    """A part goes back, and stands in both statements."""
    path = f"/tasks/{make(door, agent)['id']}"
    for step in ("accept", "complete"):
        door.post(f"{path}/{step}", {})
    assert "disputed" == door.post(f"{path}/dispute", {"reason": "too short"})["status"]
    body = {"refund": 11, "reason": "all"}
    problem(door.send("POST", f"{path}/resolve", body), 422, "EXCEEDS_REFUNDABLE")
    for blank in ("", "   ", "\t\n"):
        refused = door.send("POST", f"{path}/resolve", {"refund": 1, "reason": blank})
        assert "reason" == problem(refused, 422, "VALIDATION_FAILED")["errors"][0]["field"]
    done = door.post(f"{path}/resolve", body | {"refund": 4})
    assert ("refunded", 4, Decimal(94)) == (done["status"], done["refunded"], door.available())
    [payout] = door.get("/payouts")["payouts"]
    assert ("bob", Decimal("5.7")) == (payout["external_id"], payout["waiting"] + payout["free"])
    csv = door.client.get("/billing/export/payouts")
    assert csv.text.startswith("customer,external_id,unit,earned,payable,waiting,disputed,free\r\n")


def test_agents_are_found(door: Door, agent: str) -> None:
    """By text, capability, price, owner and status."""
    other = door.post("/agents", {"name": "Echo", "price_per_task": 0, "customer": "ann"})["id"]

    def found(query: str) -> list[str]:
        return [each["id"] for each in door.get(f"/agents?{query}")["agents"]]

    assert [other, agent] == found("")
    assert [agent] == found("q=LONG+texts") == found("capability=summaries") == found("owner=bob")
    assert [other] == found("max_price=9.5") == found("q=echo")
    assert [] == found("capability=summ") == found("q=%25") == found("status=paused")
    again = door.post("/agents", {"name": "Echo", "price_per_task": 0, "customer": "ann"})
    assert other == again["id"]
    problem(
        door.send("POST", "/agents", {"name": "Echo", "price_per_task": 1, "customer": "ann"}),
        409,
        "CONFLICT",
    )
    good = {"name": "Good", "price_per_task": 1, "customer": "ann"}
    for bad in ({"name": " "}, {"capabilities": ["a\nb"]}, {"unit": 1}):
        problem(door.send("POST", "/agents", good | bad), 422, "VALIDATION_FAILED")
    problem(door.send("POST", "/agents", good | {"price_per_task": -1}), 422, "INVALID_AMOUNT")
    assert (
        Decimal("2.5")
        == door.send("PATCH", f"/agents/{other}", {"price_per_task": 2.5}).json()["price_per_task"]
    )
