"""Grants, frozen wallets, plans and budgets over HTTP."""

from tests.doors.api.door import Door, problem


def test_a_grant_has_terms_of_its_own(door: Door) -> None:
    """What was asked is in the answer, in the list and in the balance."""
    terms = {
        "customer": "ann",
        "amount": 12.5,
        "category": "promotional_grant",
        "unit": "USD",
        "origin": "paid",
        "priority": 7,
        "expires_at": "2027-02-01T01:00:00+01:00",
        "reason": "sorry",
        "reference": "ticket 7",
    }
    made = door.post("/grants", terms)
    assert terms | {"customer": door.get("/customers/ann")["id"], "expires_at": "2027-02-01T00:00:00Z"} == {
        "reference": "ticket 7",
        **{name: made[name] for name in terms if name != "reference"},
    }
    assert (17.5, 17.5) == (made["balance"], made["available"])
    listed = door.get("/grants?customer=ann&unit=USD")["grants"]
    assert [(made["id"], "active", "ticket 7"), ("active", None)] == [
        (listed[0]["id"], listed[0]["status"], listed[0]["reference"]),
        (listed[1]["status"], listed[1]["reference"]),
    ]
    assert made["id"] == door.balance(unit="USD")["grants"][0]["id"]


def test_a_grant_may_begin_later(door: Door) -> None:
    """It is scheduled, and counts from its moment on."""
    made = door.post(
        "/grants",
        {"customer": "ann", "amount": 5, "category": "bonus", "effective_at": "2027-01-11T00:00:00Z"},
    )
    assert (100, "scheduled") == (made["balance"], door.get("/grants?customer=ann")["grants"][0]["status"])
    assert "2027-01-11T00:00:00Z" == door.balance()["next_grant_at"]
    door.clock.advance("P1D")
    assert 105 == door.available()


def test_grants_that_cannot_be(door: Door) -> None:
    """A category or an origin that is not known, a time that is none or has passed."""
    base: dict[str, object] = {"customer": "ann", "amount": 1, "category": "bonus"}
    cases: list[tuple[dict[str, object], str]] = [
        ({"category": "gift"}, "category"),
        ({"category": "usage"}, "category"),
        ({"origin": "stolen"}, "origin"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2027-13-01T00:00:00Z"}, "expires_at"),
        ({"effective_at": "2027-01-11 00:00:00"}, "effective_at"),
        ({"priority": -1}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"reason": ""}, "reason"),
        ({"reason": " \n "}, "reason"),
    ]
    for change, field in cases:
        answer = door.send("POST", "/grants", base | change)
        assert field == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
    problem(door.send("POST", "/grants", base | {"unit": "gold"}), 404, "UNKNOWN_UNIT")
    problem(door.send("POST", "/grants", base | {"customer": "nobody"}), 404, "UNKNOWN_CUSTOMER")
    assert 100 == door.balance()["balance"]


def test_a_void_and_a_clawback(door: Door) -> None:
    """A void takes what is left; a clawback takes all of it back, and what was spent becomes debt."""
    grant = door.balance()["grants"][0]["id"]
    door.charge("tiered", quantity=10)
    taken = door.post(f"/grants/{grant}/clawback", {"amount": 95, "reason": "disputed"})
    assert (95, 90, 5, 5, -5) == tuple(
        taken[name] for name in ("amount", "removed", "owed", "debt", "balance")
    )
    bonus = door.post("/grants", {"customer": "ann", "amount": 20, "category": "bonus"})
    assert (15, 15) == (bonus["balance"], bonus["available"])
    voided = door.post(f"/grants/{bonus['id']}/void", {"reason": "a mistake"})
    assert (15, 0) == (voided["amount"], voided["balance"])
    problem(door.send("POST", f"/grants/{bonus['id']}/void", {}), 409, "CONFLICT")
    problem(door.send("POST", f"/grants/{grant}/clawback", {"amount": 6}), 422, "EXCEEDS_REFUNDABLE")


def test_a_frozen_wallet_gives_nothing(door: Door) -> None:
    """And loses nothing; thawed it gives again."""
    frozen = door.post("/customers/ann/freeze", {"reason": "a dispute"}, key=None)
    assert (True, "2027-01-10T12:00:00Z", "credits") == (
        frozen["frozen"],
        frozen["frozen_at"],
        frozen["unit"],
    )
    problem(door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}), 403, "WALLET_FROZEN")
    assert not door.post("/customers/ann/thaw", key=None)["frozen"]
    assert 99 == door.charge()["balance"]


def test_an_admin_sets_the_plan(door: Door) -> None:
    """With its allowance at once; an unlimited one has no number."""
    found = door.post("/billing/tier", {"customer": "ann", "tier": "pro"}, key=None)
    assert ("pro", "free", 300, "2027-01-10T12:00:00Z", {"credits": 300}) == tuple(
        found[name] for name in ("new_tier", "previous_tier", "monthly_credits", "effective_date", "granted")
    )
    assert "pro" == door.balance()["tier"]
    assert 400 == door.available()
    again = door.post("/billing/tier", {"customer": "ann", "tier": "pro"})
    assert {} == again["granted"]
    assert 400 == door.available()
    assert door.post("/billing/tier", {"customer": "ann", "tier": "unlimited"})["monthly_credits"] is None
    assert door.balance()["unlimited"]
    problem(door.send("POST", "/billing/tier", {"customer": "ann", "tier": "gold"}), 404, "UNKNOWN_PLAN")


def test_a_user_pays_for_a_plan_first(door: Door) -> None:
    """The answer is where; what is not sold by itself is refused, and the plan stays as it was."""
    token = door.register()["token"]
    answer = door.send("POST", "/billing/tier", {"tier": "pro"}, token=token)
    assert 200 == answer.status_code
    assert {"checkout_url"} == set(answer.json())
    path = "/billing/tier"
    found = problem(door.send("POST", path, {"tier": "unlimited"}, token=token), 402, "TIER_UPGRADE_FAILED")
    assert "ask the operator" in found["detail"]
    assert "free" == door.get("/billing/balance", token=token)["tier"]


def test_a_subscription_is_seen_and_ended(door: Door) -> None:
    """Pending until it is paid, then active, then with an end; the portal has an address."""
    token = door.register()["token"]
    assert ("none", None) == tuple(
        door.get("/billing/subscription", token=token)[name] for name in ("status", "tier")
    )
    problem(door.send("DELETE", "/billing/subscription", token=token), 404, "NOT_FOUND")
    page = door.send("POST", "/billing/tier", {"tier": "pro"}, token=token).json()["checkout_url"]
    seen = door.get("/billing/subscription", token=token)
    assert ("pending", "pro", page) == tuple(seen[name] for name in ("status", "tier", "checkout_url"))
    provider = door.tally.simulated_payments
    assert provider is not None
    assert "done" == provider.pay(page.rpartition("/")[2], "4242424242424242")
    seen = door.get("/billing/subscription", token=token)
    assert ("active", None, None) == tuple(seen[name] for name in ("status", "ends_at", "checkout_url"))
    assert "pro" == door.get("/billing/balance", token=token)["tier"]
    answer = door.send("DELETE", "/billing/subscription", token=token)
    assert (200, seen["period_end"], "free") == (
        answer.status_code,
        answer.json()["ends_at"],
        answer.json()["next_tier"],
    )
    found = door.send("POST", "/billing/portal", {}, token=token).json()
    assert found["url"].startswith("http")


def test_a_budget_refuses_and_is_lifted(door: Door) -> None:
    """402 with the budget's name, and no Retry-After: credits do not help, and waiting is told in the body."""
    budget = door.send(
        "PUT", "/budgets", {"level": "customer", "customer": "ann", "amount": 2, "per": "day"}
    ).json()
    assert (2, 0, "2027-01-11T00:00:00Z") == tuple(budget[name] for name in ("amount", "spent", "resets_at"))
    door.charge()
    refused = door.send("POST", "/charges", {"customer": "ann", "meter": "tiered", "quantity": 2})
    found = problem(refused, 402, "BUDGET_EXCEEDED")
    assert (2, 1, 1, "2027-01-11T00:00:00Z") == tuple(
        found[name] for name in ("required", "available", "shortfall", "reset_at")
    )
    assert budget["source"] == found["limit_source"]
    assert "retry-after" not in refused.headers
    assert [(budget["id"], 1)] == [
        (each["id"], each["spent"]) for each in door.get("/budgets?customer=ann")["budgets"]
    ]
    assert 204 == door.send("DELETE", f"/budgets/{budget['id']}").status_code
    problem(door.send("DELETE", f"/budgets/{budget['id']}"), 404, "NOT_FOUND")
    door.charge("tiered", quantity=2)


def test_budgets_of_others_are_not_found(door: Door) -> None:
    """A user lifts its own budgets and sees no others'."""
    user, service = door.register(), door.post("/keys", {"name": "s", "role": "service"})
    own = door.send(
        "PUT",
        "/budgets",
        {"level": "agent", "subject": "a", "amount": 1, "per": "month"},
        token=user["token"],
    )
    others = door.send("PUT", "/budgets", {"level": "customer", "customer": "ann", "amount": 1, "per": "day"})
    keys = door.send("PUT", "/budgets", {"level": "key", "subject": service["id"], "amount": 1, "per": "day"})
    for found in (others, keys):
        path = f"/budgets/{found.json()['id']}"
        problem(door.send("DELETE", path, token=user["token"]), 404, "NOT_FOUND")
    problem(door.send("DELETE", f"/budgets/{keys.json()['id']}", token=door.service("t")), 404, "NOT_FOUND")
    assert 204 == door.send("DELETE", f"/budgets/{own.json()['id']}", token=user["token"]).status_code
    assert 204 == door.send("DELETE", f"/budgets/{keys.json()['id']}").status_code
