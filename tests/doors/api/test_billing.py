"""Balances, statements, usage and explanations over HTTP; the economy, its prices, and the test clock."""

from decimal import Decimal
from pathlib import Path

import httpx

from tests.doors.api.door import Door, problem


def test_a_balance_has_the_fields_of_the_contract(door: Door) -> None:
    """``balance = available + held − debt``, and the grants behind it."""
    door.charge("tiered", quantity=7)
    door.post("/holds", {"customer": "ann", "amount": 3})
    found = door.balance()
    [grant] = found.pop("grants")
    assert {
        "customer": door.get("/customers/ann")["id"],
        "unit": "credits",
        "balance": 93,
        "available": 90,
        "held": 3,
        "debt": 0,
        "granted": 100,
        "purchased": 0,
        "earned": 0,
        "spent": 7,
        "expired": 0,
        "removed": 0,
        "tier": "free",
        "unlimited": False,
        "auto_refill": False,
        "threshold": 10,
        "next_grant_at": None,
        "frozen_at": None,
    } == found
    assert {
        "id": grant["id"],
        "category": "initial_grant",
        "origin": "free",
        "amount": 100,
        "remaining": 93,
        "held": 3,
        "priority": 30,
        "effective_at": "2027-01-10T12:00:00Z",
        "expires_at": None,
        "reason": "Welcome",
    } == grant


def test_a_statement_is_read_in_pages(door: Door) -> None:
    """Newest first, each line with the balance after it; by type and by time too."""
    door.clock.advance("P1D")
    charges = [door.charge(description=f"call {number}", metadata={"n": number})["id"] for number in range(5)]
    page = door.get("/billing/transactions?customer=ann&limit=4")
    assert (True, charges[:0:-1]) == (page["has_more"], [line["reference"] for line in page["transactions"]])
    rest = door.get(f"/billing/transactions?customer=ann&limit=4&cursor={page['next_cursor']}")
    lines = page["transactions"] + rest["transactions"]
    assert ["usage"] * 5 + ["initial_grant"] == [line["type"] for line in lines]
    assert [95, 96, 97, 98, 99, 100] == [line["balance_after"] for line in lines]
    assert (False, None) == (rest["has_more"], rest["next_cursor"])
    assert {
        "id": lines[0]["id"],
        "date": "2027-01-11T12:00:00Z",
        "type": "usage",
        "category": "data",
        "meter": "lookup",
        "unit": "credits",
        "amount": -1,
        "balance_after": 95,
        "description": "call 4",
        "reference": charges[4],
        "agent": None,
        "metadata": {"n": 4},
    } == lines[0]
    by_type = door.get("/billing/transactions?customer=ann&type=initial_grant")["transactions"]
    before = door.get("/billing/transactions?customer=ann&to=2027-01-11T12:00:00%2B00:00")["transactions"]
    assert lines[-1:] == by_type == before
    assert 5 == len(door.get("/billing/transactions?customer=ann&from=2027-01-11T00:00:00Z")["transactions"])


def test_usage_by_day_and_meter(door: Door) -> None:
    """Seven days, today last, refunds taken off."""
    door.charge("tiered", quantity=4)
    door.clock.advance("P1D")
    charge = door.charge("lookup")["id"]
    door.charge("lookup")
    door.post(f"/charges/{charge}/refund")
    found = door.get("/billing/usage?customer=ann&period=7d")
    assert ("7d", "2027-01-05T00:00:00Z", 7) == (found["period"], found["from"], len(found["days"]))
    assert [
        {"date": "2027-01-10", "spent": 4, "earned": 0, "by_meter": {"tiered": 4}},
        {"date": "2027-01-11", "spent": 1, "earned": 0, "by_meter": {"lookup": 1}},
    ] == found["days"][-2:]
    assert {"spent": 5, "earned": 0, "by_meter": {"tiered": 4, "lookup": 1}} == found["totals"]


def test_an_admin_sees_a_balance_as_of_a_moment(door: Door) -> None:
    """With the grants behind it; nobody else does."""
    door.clock.advance("P1D")
    door.charge("tiered", quantity=10)
    then = door.get("/customers/ann/explain?at=2027-01-11T00:00:00Z")
    now = door.get("/customers/ann/explain")
    assert [(100, True), (5, True)] == [
        (each["balance"], each["statement_agrees"]) for each in then["wallets"]
    ]
    assert [(90, 90)] == [
        (wallet["balance"], wallet["grants"][0]["remaining"])
        for wallet in now["wallets"]
        if wallet["unit"] == "credits"
    ]
    for token in (door.service(), door.register()["token"]):
        assert door.send("GET", "/customers/ann/explain", token=token).status_code in {403, 404}


def test_prices_and_the_economy_are_public(door: Door) -> None:
    """Anybody may read what things cost, with the version that it belongs to."""
    with httpx.Client(base_url=door.client.base_url) as client:
        prices = client.get("/prices").json(parse_float=Decimal)
        economy = client.get("/economy").json()
    assert prices["economy_version"] == economy["economy_version"] == door.charge("ping")["economy_version"]
    meters = {meter["meter"]: meter for meter in prices["meters"]}
    assert Decimal("0.0000045") == meters["tokens"]["prices"][0]["per_unit"]
    assert [(10, 1), (None, Decimal("0.5"))] == [
        (tier["up_to"], tier["per_unit"]) for tier in meters["tiered"]["prices"][0]["tiers"]
    ]
    assert (3, ["credits", "USD"]) == (
        meters["limited"]["hourly_limit"],
        [price["unit"] for price in meters["both"]["prices"]],
    )
    assert (["free", "pro", "unlimited"], ["small"], "credits") == (
        [plan["plan"] for plan in economy["plans"]],
        [pack["pack"] for pack in economy["packs"]],
        economy["primary_unit"],
    )
    assert {"unit": "credits", "min_usd": 10, "max_usd": 1000, "credits_per_usd": 10} == economy["purchase"]


def test_the_test_clock_is_moved_by_admins_in_test_mode(database_url: str, tmp_path: Path) -> None:
    """It goes forwards only, and does what became due on the way."""
    with Door(database_url, tmp_path, test_mode=True) as door:
        door.post("/billing/tier", {"customer": "ann", "tier": "pro"})
        moved = door.post("/test/clock", {"advance": "P1M"})
        assert "2027-02-10T12:00:00Z" == moved["now"]
        assert {"monthly_grant"} <= {each["job"] for each in moved["ran"]}
        assert 400 == door.available()
        assert "2027-03-01T00:00:00Z" == door.post("/test/clock", {"now": "2027-03-01T00:00:00Z"})["now"]
        back = door.send("POST", "/test/clock", {"now": "2027-01-01T00:00:00Z"})
        problem(back, 409, "TEST_CLOCK_REFUSED")
        for body, field in [
            ({}, "advance"),
            ({"advance": "P1D", "now": "x"}, "advance"),
            ({"advance": "1 day"}, "advance"),
            ({"advance": "P70Y"}, "advance"),
            ({"now": "2089-01-01T00:00:00Z"}, "now"),
        ]:
            answer = door.send("POST", "/test/clock", body)
            assert field == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
        problem(
            door.send("POST", "/test/clock", {"advance": "P1D"}, token=door.service()), 403, "NOT_ALLOWED"
        )


def test_there_is_no_test_clock_in_live_mode(door: Door) -> None:
    """Real time is nobody's to move."""
    problem(door.send("POST", "/test/clock", {"advance": "P1D"}), 409, "TEST_CLOCK_REFUSED")
