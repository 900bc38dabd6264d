"""Bugs that other systems had at their doors (and one in their logs): each is a test of ours, by name and number."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from tests.doors.api.door import ADMIN, PASSWORD, Door, problem, wait_until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def door(database_url: str, tmp_path: Path) -> Iterator[Door]:
    """A server with one customer, ``ann``, who has 100 credits and 5 dollars."""
    with Door(database_url, tmp_path) as found:
        yield found


def _raw(door: Door, path: str, text: str) -> httpx.Response:
    headers = door.key() | {"Content-Type": "application/json"}
    return door.client.post(path, content=text.encode(), headers=headers)


def test_pitfall_13_dust_is_neither_free_nor_rounded_nor_a_credit(door: Door) -> None:
    """The smallest quantity costs the smallest amount; finer ones are refused; a negative charge credits nobody."""
    assert Decimal("0.000001") == door.charge("tokens", quantity=0.000001)["amount"]
    for _ in range(9):
        door.charge("tokens", quantity=0.1)
    assert Decimal("99.99999") == door.available()
    for number in ("0.0000001", "0.1234567", "-1", "-0.000001", "0", "-0", "0.0"):
        answer = _raw(door, "/charges", f'{{"customer": "ann", "meter": "lookup", "quantity": {number}}}')
        problem(answer, 422, "INVALID_QUANTITY")
    assert Decimal("99.99999") == door.available()
    for _ in range(10):
        door.post("/grants", {"customer": "ann", "amount": 0.1, "category": "bonus"})
    assert Decimal("100.99999") == door.balance()["balance"]


def test_pitfall_14_nan_infinity_huge_text_and_truth_are_no_amounts(door: Door) -> None:
    """Whatever the field, nothing is read as a number that is none, and the server never stumbles."""
    for value in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e-400",
        '"1"',
        "true",
        "false",
        '"NaN"',
        "9" * 6000,
    ):
        for path, field in (("/charges", "quantity"), ("/holds", "amount"), ("/grants", "amount")):
            body = f'{{"customer": "ann", "category": "bonus", "meter": "lookup", "{field}": {value}}}'
            answer = _raw(door, path, body)
            assert answer.status_code in {400, 422}, (path, value, answer.text)
            assert field in answer.text or "NaN" in answer.text or "Infinity" in answer.text
    assert (100, 0) == (door.balance()["balance"], door.balance()["held"])


def test_pitfall_16_one_key_twice_in_a_batch_is_done_once(door: Door) -> None:
    """The second is a repeat of the first, with its answer."""
    item = {"customer": "ann", "meter": "lookup", "idempotency_key": "same"}
    first, second = door.post("/charges/batch", {"charges": [item, item]}, key=None)["results"]
    assert first == second
    assert 99 == door.available()


def test_pitfall_17_one_key_with_another_amount_is_a_conflict(door: Door) -> None:
    """At every write that has a key, and also between two kinds of write."""
    door.send("POST", "/charges", {"customer": "ann", "meter": "tiered", "quantity": 1}, key="k")
    for path, body in [
        ("/charges", {"customer": "ann", "meter": "tiered", "quantity": 2}),
        ("/holds", {"customer": "ann", "meter": "tiered", "quantity": 1}),
        ("/grants", {"customer": "ann", "amount": 1, "category": "bonus"}),
    ]:
        problem(door.send("POST", path, body, key="k"), 422, "IDEMPOTENCY_KEY_REUSED")
    [found] = door.post(
        "/charges/batch",
        {"charges": [{"customer": "ann", "meter": "tiered", "quantity": 3, "idempotency_key": "k"}]},
        key=None,
    )["results"]
    assert "IDEMPOTENCY_KEY_REUSED" == found["error"]["code"]
    assert 99 == door.available()
    equal = _raw(door, "/charges", '{"quantity": 1.000, "meter": "tiered", "customer": "ann"}')
    assert 201 == equal.status_code


def test_pitfall_17_numbers_that_are_equal_are_one_request(door: Door) -> None:
    """``1``, ``1.0`` and ``1e0`` ask for the same."""
    answers = [
        door.client.post(
            "/charges",
            content=f'{{"customer": "ann", "meter": "tiered", "quantity": {text}}}'.encode(),
            headers={"Idempotency-Key": "same", "Content-Type": "application/json"},
        )
        for text in ("1", "1.0", "1e0", "10E-1")
    ]
    assert [201] * 4 == [answer.status_code for answer in answers]
    assert 1 == len({answer.content for answer in answers})
    assert 99 == door.available()


def test_a_key_that_is_still_in_flight_is_told_to_wait(door: Door) -> None:
    """409 while the first request runs, its answer afterwards, and one effect."""
    body = {"customer": "ann", "meter": "lookup"}
    found: list[httpx.Response] = []
    with door.tally.database.write() as connection:
        # Nobody else can write meanwhile, so that the first request stays on its way.
        connection.exec_driver_sql("UPDATE wallets SET sequence = sequence")
        first = threading.Thread(target=lambda: found.append(door.send("POST", "/charges", body, key="k")))
        first.start()
        wait_until(lambda: 'code="idempotency_in_flight"' in _metrics_after(door, body))
    first.join()
    assert 201 == found[0].status_code
    again = door.send("POST", "/charges", body, key="k")
    assert (201, found[0].content, "true") == (
        again.status_code,
        again.content,
        again.headers["idempotent-replayed"],
    )
    assert 99 == door.available()


def _metrics_after(door: Door, body: object) -> str:
    """The metrics, after another request with the same key, which may be the first to come and then gives up waiting."""
    try:
        answer = httpx.post(
            f"{door.url}/api/v1/charges",
            json=body,
            headers={"Authorization": f"Bearer {ADMIN}", "Idempotency-Key": "k"},
            timeout=0.5,
        )
    except httpx.TimeoutException:
        return ""
    problem(answer, 409, "IDEMPOTENCY_IN_FLIGHT")
    return httpx.get(f"{door.url}/metrics").text


def test_pitfall_40_every_place_shows_the_same_balance(door: Door) -> None:
    """Answers to writes, balance, statement, quote and explanation: one figure, also when something fell due."""
    door.post(
        "/grants",
        {"customer": "ann", "amount": 7, "category": "bonus", "expires_at": "2027-01-10T13:00:00Z"},
    )
    door.post("/holds", {"customer": "ann", "meter": "tiered", "quantity": 5, "expires_in": 60})
    made = door.charge("tiered", quantity=3)
    assert (104, 99) == (made["balance"], made["available"])
    assert _figures(door) == {"balance": {104}, "available": {99}}
    door.clock.advance("PT5M")  # the hold has ended; no worker runs
    assert _figures(door) == {"balance": {104}, "available": {104}}
    door.clock.advance("PT1H")  # what the hold had reserved of the bonus came back, and has expired
    assert _figures(door) == {"balance": {99}, "available": {99}}


def _figures(door: Door) -> dict[str, set[Decimal]]:
    balance = door.balance()
    [wallet] = [each for each in door.get("/customers/ann/explain")["wallets"] if each["unit"] == "credits"]
    quote = door.post("/quotes", {"customer": "ann", "meter": "ping"}, key=None)
    charge = door.charge("ping")
    line = door.get("/billing/transactions?customer=ann&limit=1")["transactions"][0]
    grants = sum(grant["remaining"] for grant in balance["grants"])
    return {
        "balance": {balance["balance"], wallet["balance"], charge["balance"], line["balance_after"], grants},
        "available": {balance["available"], wallet["available"], charge["available"], quote["available"]},
    }


def test_pitfall_41_nobody_grants_credits_to_itself(door: Door) -> None:
    """Neither by a grant, nor by a plan, a refund, a release, a key, or a registration."""
    user = door.register()
    own, token = user["customer"]["id"], user["token"]
    key = door.post("/keys", {"name": "own"}, token=token)["key"]
    hold = door.post("/holds", {"customer": own, "meter": "lookup"})["id"]
    charge = door.charge(customer=None, token=token)["id"]
    grant = door.get("/billing/balance", token=token)["grants"][0]["id"]
    for who in (token, key):
        for method, path, body in [
            ("POST", "/grants", {"customer": own, "amount": 100, "category": "bonus"}),
            ("POST", f"/charges/{charge}/refund", {}),
            ("POST", f"/holds/{hold}/release", None),
            ("POST", f"/grants/{grant}/void", {}),
            ("POST", f"/customers/{own}/thaw", {}),
            ("POST", "/customers", {"external_id": "mine"}),
            ("POST", "/keys", {"name": "up", "role": "admin"}),
            ("POST", "/test/clock", {"advance": "P1M"}),
        ]:
            problem(door.send(method, path, body, token=who), 403, "NOT_ALLOWED")
        tier = door.send("POST", "/billing/tier", {"tier": "unlimited"}, token=who)
        problem(tier, 402, "TIER_UPGRADE_FAILED")
    more = {"email": "eve@example.test", "password": PASSWORD, "balance": 1000}
    assert (
        "balance"
        == problem(door.send("POST", "/auth/register", more, token=None), 422, "VALIDATION_FAILED")["errors"][
            0
        ]["field"]
    )
    assert (99, 98) == tuple(
        door.get("/billing/balance", token=token)[name] for name in ("balance", "available")
    )


def test_pitfall_42_what_belongs_to_others_does_not_exist(door: Door) -> None:
    """Another customer's object and one that was never made get the same answer, word for word but for the id."""
    user = door.register()["token"]
    charge = door.charge()["id"]
    hold = door.post("/holds", {"customer": "ann", "meter": "lookup"})["id"]
    key = door.post("/keys", {"name": "k", "customer": "ann"})["id"]
    ann = door.get("/customers/ann")["id"]
    budget = door.send(
        "PUT", "/budgets", {"level": "customer", "customer": "ann", "amount": 1, "per": "day"}
    ).json()["id"]
    cases: list[tuple[str, str, str, str, Any]] = [
        ("GET", "/charges/{}", charge, "chg_0000000000000", None),
        ("POST", "/holds/{}/capture", hold, "hold_0000000000000", {}),
        ("POST", "/holds/{}/release", hold, "hold_0000000000000", None),
        ("DELETE", "/keys/{}", key, "key_0000000000000", None),
        ("DELETE", "/budgets/{}", budget, "budget_0000000000000", None),
        ("GET", "/customers/{}", ann, "cust_0000000000000", None),
        ("GET", "/customers/{}", "ann", "nobody", None),
        ("GET", "/billing/balance?customer={}", "ann", "nobody", None),
        ("GET", "/billing/transactions?customer={}", ann, "cust_0000000000000", None),
        ("GET", "/billing/usage?customer={}", "ann", "nobody", None),
        ("GET", "/grants?customer={}", "ann", "nobody", None),
        ("GET", "/holds?customer={}", "ann", "nobody", None),
        ("GET", "/keys?customer={}", "ann", "nobody", None),
        ("GET", "/budgets?customer={}", "ann", "nobody", None),
        ("GET", "/budgets?key={}", key, "key_0000000000000", None),
    ]
    for method, path, theirs, missing, body in cases:
        answers = []
        for name in (theirs, missing):
            answer = door.send(method, path.format(name), body, token=user)
            assert 404 == answer.status_code, (path, answer.text)
            shown = answer.json() | {"request_id": "", "id": ""}
            answers.append(str(shown).replace(name, "-"))
        assert answers[0] == answers[1]


def test_pitfall_43_registration_soon_stops_telling_which_emails_exist(door: Door) -> None:
    """Ten taken addresses in an hour, then the same refusal for taken and free ones."""
    door.register("taken@example.test")
    for _ in range(10):
        body = {"email": "taken@example.test", "password": PASSWORD}
        problem(door.send("POST", "/auth/register", body, token=None), 409, "EMAIL_TAKEN")
    found = []
    for email in ("taken@example.test", "free@example.test"):
        answer = door.send("POST", "/auth/register", {"email": email, "password": PASSWORD}, token=None)
        shown = problem(answer, 429, "RATE_LIMITED") | {"request_id": ""}
        found.append((shown, answer.headers["retry-after"]))
    assert found[0] == found[1]


def test_pitfall_43_login_takes_as_long_for_an_email_that_nobody_has(
    database_url: str, tmp_path: Path
) -> None:
    """As much work is done for it, so that the time tells nothing."""
    with Door(database_url, tmp_path) as door:
        from argon2 import PasswordHasher

        from tallystick.services.identity import Identity
        from tallystick.services.passwords import Passwords

        # Strong enough that the hash outweighs everything else, as it does in production.
        strong = Passwords(PasswordHasher(time_cost=2, memory_cost=32_768, parallelism=1))
        door.tally.identity = Identity(door.tally.context, door.tally.customers, passwords=strong)
        door.register("known@example.test")
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        for _round, name in itertools.product(range(7), seconds):
            body = {"email": f"{name}@example.test", "password": "wrong password"}
            started = time.perf_counter()
            problem(door.send("POST", "/auth/login", body, token=None), 401, "INVALID_CREDENTIALS")
            seconds[name].append(time.perf_counter() - started)
        known, unknown = median(seconds["known"]), median(seconds["unknown"])
        assert 0.4 < known / unknown < 2.5, seconds


def test_pitfall_46_the_figures_shown_are_the_ones_that_decided(door: Door) -> None:
    """A refusal shows what can be spent: credits that are expired or held do not count."""
    door.post(
        "/grants",
        {"customer": "ann", "amount": 50, "category": "bonus", "expires_at": "2027-01-10T13:00:00Z"},
    )
    door.post("/holds", {"customer": "ann", "amount": 98, "expires_in": 86_400})
    door.clock.advance("PT2H")
    found = problem(
        door.send("POST", "/charges", {"customer": "ann", "meter": "tiered", "quantity": 200}),
        402,
        "INSUFFICIENT_CREDITS",
    )
    balance = door.balance()
    assert balance["available"] == found["available"]
    assert (found["required"] - found["available"], "wallet:credits") == (
        found["shortfall"],
        found["limit_source"],
    )
    assert str(found["available"]) in found["detail"]
    assert 52 == found["available"]
    door.post("/holds", {"customer": "ann", "amount": 52})
    assert 0 == door.available()


def test_pitfall_47_a_top_up_counts_at_once(door: Door) -> None:
    """Refused, topped up, accepted: nobody between the caller and the ledger remembers a balance."""
    user = door.register()
    door.charge("tiered", quantity=190, customer=None, token=user["token"])
    body = {"meter": "lookup"}
    problem(door.send("POST", "/charges", body, token=user["token"], key="k"), 402, "INSUFFICIENT_CREDITS")
    door.post("/grants", {"customer": user["customer"]["id"], "amount": 1, "category": "purchase"})
    assert 201 == door.send("POST", "/charges", body, token=user["token"], key="k").status_code
    for path in ("/billing/balance", "/prices"):
        assert "no-store" == door.send("GET", path, token=user["token"]).headers["cache-control"]


def test_pitfall_48_retry_after_is_only_said_where_waiting_helps(door: Door) -> None:
    """For want of credits: never, unless a grant is due that is large enough; then until that very moment."""
    body = {"customer": "ann", "meter": "tiered", "quantity": 300}
    never = door.send("POST", "/charges", body)
    found = problem(never, 402, "INSUFFICIENT_CREDITS")
    assert (False, None) == (found["retryable"], found["reset_at"])
    assert "retry-after" not in never.headers

    door.post("/billing/tier", {"customer": "ann", "tier": "pro"})
    door.charge("tiered", quantity=760)
    waits = door.send("POST", "/charges", body)
    found = problem(waits, 402, "INSUFFICIENT_CREDITS")
    assert (True, "2027-02-01T00:00:00Z") == (found["retryable"], found["reset_at"])
    assert str(int(21.5 * 86_400)) == waits.headers["retry-after"]
    door.clock.set("2027-02-01T00:00:00Z")
    assert 201 == door.send("POST", "/charges", body).status_code

    too_dear = door.send("POST", "/charges", body | {"quantity": 5000})
    found = problem(too_dear, 402, "INSUFFICIENT_CREDITS")
    assert (False, None) == (found["retryable"], found["reset_at"])
    assert "retry-after" not in too_dear.headers


def test_pitfall_45_nothing_but_answers_is_written_to_stdout(tmp_path: Path) -> None:
    """A library's warning, a log line, an exception: all go to stderr, so that a protocol may own stdout."""
    program = (
        "import logging, structlog\n"
        "from tallystick.api import logs\n"
        "from tallystick.bootstrap import Tally\n"
        "logs.configure()\n"
        f"with Tally.open('sqlite:///{tmp_path / 'tally.db'}') as tally:\n"
        "    tally.due_work.run_once()\n"
        "    structlog.get_logger('x').error('ours')\n"
        "    logging.getLogger('library').error('theirs')\n"
        "print('the answer')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "the answer\n" == done.stdout
    assert "ours" in done.stderr
    assert "theirs" in done.stderr
