"""Webhooks over HTTP: endpoints, what happened, what was sent, preferences; and who may see which of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.doors.api.door import ADMIN, Door, problem
from tests.receivers import Receiver, outgoing


@pytest.fixture
def receiver(door: Door) -> Iterator[Receiver]:
    """Somebody who listens, on this machine."""
    outgoing(door.tally)
    with Receiver() as receiver:
        yield receiver


def grant(door: Door, customer: str = "ann") -> Any:
    """Something that is told of."""
    return door.post("/grants", {"customer": customer, "amount": 1.5, "category": "bonus"})


def test_an_endpoint_from_its_birth_to_its_end(door: Door, receiver: Receiver) -> None:
    """Created with its secret, listed without, changed, tried, rotated, replayed, deleted."""
    body = {"url": receiver.url, "types": ["credit_grant.*"], "customer": "ann", "description": "mine"}
    made = door.post("/webhooks/endpoints", body)
    assert made["secret"].startswith("whsec_")
    path = f"/webhooks/endpoints/{made['id']}"
    [listed] = door.get("/webhooks/endpoints?customer=ann")["endpoints"]
    assert {name: value for name, value in made.items() if name != "secret"} == listed

    given = grant(door)
    door.post(f"{path}/ping")
    door.tally.delivery.run_once()
    events = {event["type"]: event for event in receiver.events(made["secret"])}
    assert {"credit_grant.created", "ping"} == set(events)
    assert (given["id"], 1.5) == (
        events["credit_grant.created"]["data"]["grant"],
        events["credit_grant.created"]["data"]["amount"],
    )
    [created, ping] = door.get(f"/webhooks/deliveries?endpoint={made['id']}")["deliveries"]
    assert (["delivered"] * 2, 204) == ([ping["status"], created["status"]], created["last_status"])
    [told] = door.get("/webhooks/notifications?customer=ann&type=credit_grant.*")["notifications"]
    assert (created["event"], 1, given["id"]) == (told["id"], told["sequence"], told["data"]["grant"])

    again = door.post(f"/webhooks/deliveries/{created['id']}/replay")
    assert ("pending", 0) == (again["status"], again["attempts"])
    assert 1 == door.post(f"{path}/replay", {"after_sequence": 0})["queued"]
    rotated = door.post(f"{path}/rotate")
    assert made["secret"] != rotated["secret"]
    changed = door.client.patch(path, json={"types": []}).json()
    assert ([], receiver.url, "mine") == (changed["types"], changed["url"], changed["description"])
    assert "enabled" == door.post(f"{path}/enable")["status"]
    assert 204 == door.send("DELETE", path).status_code
    problem(door.send("POST", f"{path}/ping"), 404, "NOT_FOUND")
    assert {"dropped", "delivered"} == {
        each["status"] for each in door.get("/webhooks/deliveries?customer=ann")["deliveries"]
    }


def test_another_customers_endpoints_are_not_there(door: Door, receiver: Receiver) -> None:
    """Nor its notifications, deliveries and preferences; nor are the operator's."""
    ada, bob = (door.register(f"{name}@example.test")["token"] for name in ("ada", "bob"))
    hers = door.post("/webhooks/endpoints", {"url": receiver.url}, token=ada)
    own = door.post("/webhooks/endpoints", {"url": receiver.url})
    assert (True, None) == (hers["customer"].startswith("cust_"), own["customer"])
    door.post(f"/webhooks/endpoints/{hers['id']}/ping", token=ada)
    door.post(f"/webhooks/endpoints/{own['id']}/ping")
    [delivery] = door.get("/webhooks/deliveries", token=ada)["deliveries"]
    [operators] = door.get("/webhooks/deliveries")["deliveries"]
    for endpoint in (hers, own):
        path = f"/webhooks/endpoints/{endpoint['id']}"
        calls: list[tuple[str, str, object]] = [
            ("PATCH", path, {"types": []}),
            ("DELETE", path, None),
            ("POST", f"{path}/rotate", None),
            ("POST", f"{path}/ping", None),
            ("POST", f"{path}/enable", None),
            ("POST", f"{path}/replay", {"after_sequence": 0}),
            ("GET", f"/webhooks/deliveries?endpoint={endpoint['id']}", None),
        ]
        for method, call, body in calls:
            problem(door.send(method, call, body, token=bob), 404, "NOT_FOUND")
    for each in (delivery, operators):
        problem(door.send("POST", f"/webhooks/deliveries/{each['id']}/replay", token=bob), 404, "NOT_FOUND")
    for call in (
        "/webhooks/endpoints",
        "/webhooks/notifications",
        "/webhooks/deliveries",
        "/notifications/preferences",
    ):
        problem(door.send("GET", f"{call}?customer={hers['customer']}", token=bob), 404, "UNKNOWN_CUSTOMER")
    for noun in ("endpoints", "deliveries"):
        assert [] == door.get(f"/webhooks/{noun}", token=bob)[noun]
        assert 1 == len(door.get(f"/webhooks/{noun}?customer={hers['customer']}")[noun])
        assert 1 == len(door.get(f"/webhooks/{noun}", token=ada)[noun])


def test_a_key_with_a_budget_manages_no_webhooks(door: Door, receiver: Receiver) -> None:
    """It may spend, and no more."""
    token = door.register()["token"]
    body = {"name": "agent", "budget": {"amount": 1, "per": "day"}}
    key = door.post("/keys", body, token=token)["key"]
    answer = door.send("POST", "/webhooks/endpoints", {"url": receiver.url}, token=key)
    problem(answer, 403, "NOT_ALLOWED")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://example.test/"}, "url"),
        ({"url": "http://user@example.test/"}, "url"),
        ({"url": "http://127.0.0.1/", "types": ["balance.lo"]}, "types"),
        ({"url": "http://127.0.0.1/", "types": ["ping"]}, "types"),
        ({"url": "http://127.0.0.1/", "types": ["*"]}, "types"),
        ({"url": "http://127.0.0.1/", "types": "balance.low"}, "types"),
        ({"url": "http://127.0.0.1/\x00"}, "url"),
        ({}, "url"),
    ],
)
def test_a_wrong_endpoint_is_explained(
    door: Door, receiver: Receiver, body: dict[str, Any], field: str
) -> None:
    """By the field that is wrong."""
    found = problem(door.send("POST", "/webhooks/endpoints", body), 422, "VALIDATION_FAILED")
    assert field == found["errors"][0]["field"]
    assert [] == receiver.received


def test_private_addresses_are_refused_unless_allowed(door: Door) -> None:
    """A door of an installation that was told nothing."""
    found = problem(
        door.send("POST", "/webhooks/endpoints", {"url": "https://169.254.169.254/latest"}),
        422,
        "VALIDATION_FAILED",
    )
    assert "public address" in found["detail"]


def test_there_are_only_so_many_endpoints(door: Door, receiver: Receiver) -> None:
    """Twenty for each owner."""
    for _ in range(20):
        door.post("/webhooks/endpoints", {"url": receiver.url, "customer": "ann"})
    answer = door.send("POST", "/webhooks/endpoints", {"url": receiver.url, "customer": "ann"})
    problem(answer, 409, "CONFLICT")
    first = door.get("/webhooks/endpoints?customer=ann&limit=15")
    rest = door.get(f"/webhooks/endpoints?customer=ann&cursor={first['next_cursor']}")
    assert (15, 5, False) == (len(first["endpoints"]), len(rest["endpoints"]), rest["has_more"])


def test_preferences_are_read_and_set(door: Door) -> None:
    """By the customer itself; a type that is not mailed is refused."""
    token = door.register()["token"]
    found = door.get("/notifications/preferences", token=token)
    assert (True, "ada@example.test", False) == (found["email"], found["address"], found["available"])
    assert "balance.low" in found["types"]
    body: dict[str, Any] = {"email": False, "types": ["balance.low"]}
    changed = door.client.put(
        "/notifications/preferences", json=body, headers={"Authorization": f"Bearer {token}"}
    ).json()
    assert (False, ["balance.low"]) == (changed["email"], changed["types"])
    wrong = door.send("PUT", "/notifications/preferences", {"types": ["hold.expired"]}, token=token)
    problem(wrong, 422, "VALIDATION_FAILED")
    problem(door.send("GET", "/notifications/preferences", token=ADMIN), 422, "VALIDATION_FAILED")
