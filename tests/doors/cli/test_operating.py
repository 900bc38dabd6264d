"""What operators do: grants, customers, keys, budgets, plans and the clock."""

from decimal import Decimal

from tests.doors.cli.program import Program


def test_a_grant_has_its_terms(admin: Program, customer: str) -> None:
    """Category, origin, priority, expiry, reason and reference arrive."""
    terms = [
        "--category",
        "bonus",
        "--origin",
        "paid",
        "--priority",
        "5",
        "--reason",
        "thanks",
        "--reference",
        "r-1",
    ]
    made = admin.ask(
        "grants", "create", customer, "12.345678", *terms, "--expires-at", "2099-01-01T00:00:00Z"
    )
    assert (Decimal("12.345678"), "bonus", "paid", 5) == tuple(
        made[name] for name in ("amount", "category", "origin", "priority")
    )
    [listed] = [
        each
        for each in admin.ask("grants", "list", "--customer", customer)["grants"]
        if each["id"] == made["id"]
    ]
    assert ("thanks", "r-1", "2099-01-01T00:00:00Z") == (
        listed["reason"],
        listed["reference"],
        listed["expires_at"],
    )
    shown = admin.show("grants", "list", "--customer", customer)
    assert "12.345678" in shown
    assert "100.000000" in shown


def test_a_scheduled_grant_waits(admin: Program, customer: str) -> None:
    """It is listed, and not there yet."""
    admin.ask("grants", "create", customer, "7", "--effective-at", "2098-01-01T00:00:00Z")
    assert "scheduled" in admin.show("grants", "list", "--customer", customer)
    assert 100 == admin.ask("ruv", "balance", "--customer", customer)["available"]


def test_grants_are_voided_and_clawed_back(admin: Program, customer: str) -> None:
    """What is left goes; what was spent becomes debt."""
    first = admin.ask("grants", "create", customer, "10")["id"]
    assert f"Voided {first}." in admin.show("grants", "void", first, "--reason", "mistake")
    second = admin.ask("grants", "create", customer, "10", "--priority", "1")["id"]
    admin.ask("charge", "tokens", "--quantity", "2000000", "--customer", customer)
    taken = admin.ask("grants", "clawback", second, "10", "--reason", "chargeback")
    assert (1, 9) == (taken["removed"], taken["owed"])
    third = admin.ask("grants", "create", customer, "20")["id"]
    assert "Clawed back 1 of" in admin.show("grants", "clawback", third, "1")
    assert "not_found" == admin.problem("grants", "void", "grant_0000000000000")["code"]


def test_nobody_grants_themselves(visitor: Program, name: str) -> None:
    """A user's login does not do for what operators do."""
    made = visitor.ask("auth", "register", "-e", f"{name}@example.test", "-p", "correct horse")
    who = made["customer"]["id"]
    for arguments in (
        ["grants", "create", who, "1000"],
        ["customers", "create", "x"],
        ["clock", "advance", "P1D"],
        ["keys", "create", "k", "--role", "admin"],
    ):
        assert "not_allowed" == visitor.problem(*arguments)["code"], arguments
    assert "begins when it is paid" in visitor.show("billing", "tier", "pro")
    assert {"checkout_url"} == set(visitor.ask("billing", "tier", "pro"))
    seen = visitor.ask("billing", "subscription")
    assert ("pending", "pro") == (seen["status"], seen["tier"])
    assert "not_found" == visitor.problem("billing", "cancel")["code"]
    assert "/simulated/" in visitor.show("billing", "portal")
    assert 100 == visitor.ask("ruv", "balance")["credits"]


def test_bad_amounts_are_refused(admin: Program, customer: str) -> None:
    """Too fine, nothing at all, too much: the field is named and nothing changes."""
    for amount in ("0", "0.0000001", "1000000001"):
        problem = admin.problem("grants", "create", customer, amount)
        assert ("invalid_amount", "amount") == (problem["code"], problem["errors"][0]["field"])
    assert 2 == admin.call("grants", "create", customer, "-5").exit_code
    assert 2 == admin.call("grants", "create", customer, "ten").exit_code
    assert 100 == admin.ask("ruv", "balance", "--customer", customer)["credits"]


def test_customers_are_made_once(admin: Program, name: str) -> None:
    """A repeat gives the same customer; names that are no part of an address work too."""
    first = admin.ask("customers", "create", name, "--email", "a@b.test", "--metadata", "plan=gold")
    assert first == admin.ask("customers", "create", name)
    odd = f"{name}..ü?&#%"
    made = admin.ask("customers", "create", odd)
    assert made == admin.ask("customers", "show", odd)
    assert made["id"] in admin.show("customers", "show", odd)
    assert "metadata plan" in admin.show("customers", "show", name)
    assert "unknown_customer" == admin.problem("customers", "show", "nobody")["code"]


def test_a_frozen_wallet_waits(admin: Program, customer: str) -> None:
    """Nothing is drawn until it is thawed."""
    assert f"Froze {customer}." in admin.show("customers", "freeze", customer, "--reason", "review")
    assert "wallet_frozen" == admin.problem("charge", "lookup", "--customer", customer)["code"]
    assert "frozen since" in admin.show("billing", "balance", "--customer", customer)
    assert f"Thawed {customer}." in admin.show("customers", "thaw", customer)
    admin.ask("charge", "lookup", "--customer", customer)


def test_a_key_is_shown_once_and_works_until_it_is_revoked(admin: Program, customer: str) -> None:
    """Its first characters are listed; afterwards it opens nothing."""
    made = admin.ask("keys", "create", "laptop", "--customer", customer)
    own = Program(admin.url, admin.folder, key=made["key"])
    assert 100 == own.ask("ruv", "balance")["credits"]
    assert "laptop" in own.show("keys", "list")
    shown = admin.show("keys", "create", "phone", "--customer", customer)
    assert "not shown again" in shown
    assert made["key"] not in admin.show("keys", "list", "--customer", customer)
    assert "works no longer" in admin.show("keys", "revoke", made["id"])
    assert {"id": made["id"], "revoked": True} == admin.ask("keys", "revoke", made["id"])
    assert "not_authenticated" == own.problem("ruv", "balance")["code"]


def test_a_key_keeps_to_its_budget(admin: Program, customer: str) -> None:
    """The refusal names the budget, and the list shows what was spent of it."""
    made = admin.ask("keys", "create", "agent", "--customer", customer, "--budget", "1.5", "--per", "day")
    own = Program(admin.url, admin.folder, key=made["key"])
    own.ask("charge", "lookup")
    problem = own.problem("charge", "lookup")
    assert ("budget_exceeded", Decimal("0.5")) == (problem["code"], problem["available"])
    assert "budget" in problem["limit_source"]
    [listed] = own.ask("budgets", "list", "--key", made["id"])["budgets"]
    assert (Decimal("1.5"), 1, "day") == (listed["amount"], listed["spent"], listed["per"])


def test_budgets_are_set_changed_and_removed(admin: Program, customer: str) -> None:
    """One budget for each level, subject, unit and period."""
    where = ["--customer", customer]
    made = admin.ask("budgets", "set", "customer", "1", *where)
    assert made["id"] == admin.ask("budgets", "set", "customer", "2", *where)["id"]
    admin.ask("budgets", "set", "agent", "1", "--subject", "bot", "--per", "day", *where)
    shown = admin.show("budgets", "list", *where)
    assert "bot" in shown
    assert "month" in shown
    admin.ask("charge", "lookup", "--agent", "bot", *where)
    assert "budget_exceeded" == admin.problem("charge", "lookup", "--agent", "bot", *where)["code"]
    assert f"Removed {made['id']}." in admin.show("budgets", "remove", made["id"])
    assert ["agent"] == [each["level"] for each in admin.ask("budgets", "list", *where)["budgets"]]


def test_the_plan_is_changed(admin: Program, customer: str) -> None:
    """Its allowance is there at once; a plan that is none is told with the nearest."""
    changed = admin.ask("billing", "tier", "pro", "--customer", customer)
    assert ("pro", 300) == (changed["new_tier"], changed["monthly_credits"])
    assert 400 == admin.ask("ruv", "balance", "--customer", customer)["credits"]
    assert "pro" in admin.show("billing", "tier", "pro", "--customer", customer)
    assert "did you mean pro?" in admin.refused("billing", "tier", "prp", "--customer", customer)


def test_time_passes_when_told(admin: Program, customer: str) -> None:
    """A grant expires on the way, and the clock never goes back."""
    now = admin.ask("clock", "advance", "PT1S")["now"]
    expires = admin.ask("clock", "advance", "PT1S")["now"]
    day = int(now[:4]) + 1
    grant = admin.ask("grants", "create", customer, "10", "--expires-at", f"{day}-12-31T00:00:00Z")["id"]
    assert expires > now
    moved = admin.ask("clock", "set", f"{day}-12-31T00:00:01Z")
    assert f"{day}-12-31T00:00:01" == moved["now"][:19]
    assert 1 <= {each["job"]: each["count"] for each in moved["ran"]}["expiry"]
    listed = admin.ask("grants", "list", "--customer", customer)["grants"]
    assert [0] == [each["remaining"] for each in listed if each["id"] == grant]
    assert "test_clock_refused" == admin.problem("clock", "set", now)["code"]
    assert "validation_failed" == admin.problem("clock", "advance", "soon")["code"]
    assert "It is" in admin.show("clock", "advance", "PT1H")
