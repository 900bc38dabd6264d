"""Registration, sessions, keys and customers over HTTP."""

from tests.doors.api.door import ADMIN, PASSWORD, Door, problem


def test_a_user_registers_and_begins_with_the_sign_up_grant(door: Door) -> None:
    """The answer has the user, the customer, a session and the balance."""
    made = door.register("Ada@Example.test")
    assert {"id": made["user"]["id"], "email": "ada@example.test", "role": "user"} == made["user"]
    assert ("usr_", "cust_", "tls_") == (
        made["user"]["id"][:4],
        made["customer"]["id"][:5],
        made["token"][:4],
    )
    assert "2027-02-09T12:00:00Z" == made["expires_at"]
    assert (100, 100) == (made["balance"]["balance"], made["balance"]["available"])
    assert door.get("/billing/balance", token=made["token"]) == made["balance"]


def test_an_email_is_taken_once(door: Door) -> None:
    """However it is written."""
    door.register()
    body = {"email": " ADA@example.test ", "password": PASSWORD}
    problem(door.send("POST", "/auth/register", body, token=None), 409, "EMAIL_TAKEN")


def test_registrations_that_cannot_be(door: Door) -> None:
    """An address or a password that is none is named."""
    for body, field in [
        ({"email": "ada", "password": PASSWORD}, "email"),
        ({"email": "ada@example.test", "password": "short"}, "password"),
        ({"email": "ada@example.test", "password": "a\x00bcdefgh"}, "password"),
        ({"email": "ada@example.test", "password": 12345678}, "password"),
        ({"email": "ada@example.test"}, "password"),
        ({"email": "ada@example.test", "password": PASSWORD, "role": "admin"}, "role"),
        ({"email": "ada@example.test", "password": PASSWORD, "referral_code": "c" * 101}, "referral_code"),
    ]:
        answer = door.send("POST", "/auth/register", body, token=None)
        assert field == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]


def test_a_session_begins_and_ends(door: Door) -> None:
    """Log in, be known, log out, be unknown."""
    made = door.register()
    body = {"email": "ada@example.test", "password": PASSWORD}
    session = door.post("/auth/login", body, token=None)
    assert ({"token", "expires_at", "user", "customer"}, made["customer"]["id"]) == (
        set(session),
        session["customer"],
    )
    me = door.get("/auth/me", token=session["token"])
    assert ("user", "ada@example.test", made["user"]["id"]) == (me["role"], me["email"], me["user"])
    assert 204 == door.send("POST", "/auth/logout", token=session["token"]).status_code
    problem(door.send("GET", "/auth/me", token=session["token"]), 401, "NOT_AUTHENTICATED")
    assert "user" == door.get("/auth/me", token=made["token"])["role"]
    problem(door.send("POST", "/auth/logout"), 403, "NOT_ALLOWED")


def test_wrong_credentials_do_not_say_which(door: Door) -> None:
    """An unknown email and a wrong password get the same answer."""
    door.register()
    found = [
        problem(
            door.send("POST", "/auth/login", {"email": email, "password": password}, token=None),
            401,
            "INVALID_CREDENTIALS",
        )
        for email, password in [("ada@example.test", "wrong password"), ("eve@example.test", PASSWORD)]
    ]
    assert len({(each["title"], each["detail"]) for each in found}) == 1


def test_too_many_logins_are_told_to_wait(door: Door) -> None:
    """With the headers that programs wait by, and no address in them."""
    body = {"email": "ada@example.test", "password": "wrong password"}
    for _ in range(10):
        problem(door.send("POST", "/auth/login", body, token=None), 401, "INVALID_CREDENTIALS")
    refused = door.send("POST", "/auth/login", body, token=None)
    problem(refused, 429, "RATE_LIMITED")
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert ";q=10;w=300" in refused.headers["ratelimit-policy"]
    assert "ada" not in refused.headers["ratelimit"]
    door.clock.advance("PT5M")
    problem(door.send("POST", "/auth/login", body, token=None), 401, "INVALID_CREDENTIALS")


def test_keys_are_made_listed_and_revoked(door: Door) -> None:
    """The key is shown once; afterwards only its prefix."""
    user = door.register()
    made = door.post(
        "/keys",
        {"name": "ci", "budget": {"amount": 2.5, "per": "day"}, "expires_at": "2027-06-01T00:00:00Z"},
        token=user["token"],
    )
    assert made["key"].startswith(made["prefix"])
    assert (user["customer"]["id"], "user", "2027-06-01T00:00:00Z") == (
        made["customer"],
        made["role"],
        made["expires_at"],
    )
    page = door.get("/keys", token=user["token"])
    [listed] = page["keys"]
    assert made["key"] not in str(page)
    assert (made["id"], None) == (listed["id"], listed["revoked_at"])
    door.charge("tiered", quantity=2, customer=None, token=made["key"])
    answer = door.send("POST", "/charges", {"meter": "lookup"}, token=made["key"])
    assert f"budget:key:{made['id']}" == problem(answer, 402, "BUDGET_EXCEEDED")["limit_source"]
    assert 204 == door.send("DELETE", f"/keys/{made['id']}", token=user["token"]).status_code
    problem(door.send("GET", "/auth/me", token=made["key"]), 401, "NOT_AUTHENTICATED")


def test_roles_are_given_by_admins_only(door: Door) -> None:
    """Nobody raises itself."""
    user, service = door.register(), door.service()
    for token in (user["token"], service):
        for role in ("service", "admin"):
            problem(door.send("POST", "/keys", {"name": "k", "role": role}, token=token), 403, "NOT_ALLOWED")
    answer = door.send("POST", "/keys", {"name": "k", "role": "root"})
    assert "role" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
    assert "admin" == door.post("/keys", {"name": "k", "role": "admin"})["role"]
    assert ("admin", None) == (door.get("/auth/me")["role"], door.get("/auth/me")["customer"])
    assert ADMIN not in str(door.get("/keys"))


def test_customers_are_created_once(door: Door) -> None:
    """A repeat gives the same customer."""
    body = {"external_id": "org-7", "email": "o@example.test", "metadata": {"tier": "gold", "seats": 7}}
    first, again = (
        door.send("POST", "/customers", body, key=None),
        door.send("POST", "/customers", body, key=None),
    )
    assert (201, first.json()) == (again.status_code, again.json())
    assert body == {name: first.json()[name] for name in body}
    assert first.json() == door.get("/customers/org-7") == door.get(f"/customers/{first.json()['id']}")
    problem(door.send("POST", "/customers", body, token=door.register()["token"]), 403, "NOT_ALLOWED")
    answer = door.send("POST", "/customers", {"external_id": first.json()["id"]})
    assert "external_id" == problem(answer, 422, "VALIDATION_FAILED")["errors"][0]["field"]
