"""Two servers on one PostgreSQL act as one: limits, budgets, keys and the clock hold across them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clients import Client, open_customers
from tests.chaos.judgement import check_audit, in_threads
from tests.chaos.processes import Node, mistakes, running

pytestmark = pytest.mark.slow

# Far from the end of an hour, of a day and of a month, so that no window ends in the middle.
NOON = "2031-05-10T12:05:00Z"
Answer = tuple[int, dict[str, Any], bool]


@pytest.fixture
def pair(tmp_path: Path, empty_postgresql_url: str) -> Iterator[tuple[Node, Node]]:
    """Two servers that were started at the same moment on a database without tables."""
    with running(tmp_path, empty_postgresql_url, "serve", "serve") as nodes:
        first, second = nodes
        yield first, second
        assert [] == mistakes(nodes)
        check_audit(empty_postgresql_url)


@contextmanager
def clients_of(pair: tuple[Node, Node]) -> Iterator[tuple[Client, Client]]:
    """A client of each server."""
    with Client(pair[0].port) as first, Client(pair[1].port) as second:
        yield first, second


def at_once(pair: tuple[Node, Node], bodies: list[dict[str, Any]], keys: list[str]) -> list[Answer]:
    """Charge through both servers in turn, by twenty connections that begin together."""
    answers: list[Answer] = []

    def work(number: int) -> None:
        with Client(pair[number % 2].port) as client:
            for body, key in list(zip(bodies, keys, strict=True))[number::20]:
                answer = client.send("POST", "/charges", body, key=key)
                answers.append(answer)

    in_threads([lambda number=number: work(number) for number in range(20)])  # type: ignore[misc]
    return answers


def usage(customer: str, meter: str = "work") -> dict[str, Any]:
    """One of a meter."""
    return {"customer": customer, "meter": meter}


def keys(count: int) -> list[str]:
    """As many idempotency keys."""
    return [f"key {number}" for number in range(count)]


def test_limits_hold_across_processes(pair: tuple[Node, Node]) -> None:
    """Of many at once exactly as many pass as the hourly limit, the budget and the balance allow."""
    open_customers(pair[0].port, ["limited", "budgeted"], credits_each=1000)
    open_customers(pair[0].port, ["poor"], credits_each=50)
    with clients_of(pair) as (first, second):
        first.ask("POST", "/test/clock", {"now": NOON})
        budget = {"customer": "budgeted", "level": "customer", "amount": 30, "per": "day"}
        second.ask("PUT", "/budgets", budget)
    for customer, meter, count, expected in (
        ("limited", "limited", 300, {(201, None): 100, (429, "RATE_LIMITED"): 200}),
        ("budgeted", "work", 100, {(201, None): 30, (402, "BUDGET_EXCEEDED"): 70}),
        ("poor", "work", 100, {(201, None): 50, (402, "INSUFFICIENT_CREDITS"): 50}),
    ):
        found = at_once(
            pair, [usage(customer, meter)] * count, [f"{customer} {each}" for each in keys(count)]
        )
        assert expected == Counter((status, answer.get("code")) for status, answer, _ in found), customer


def test_one_key_through_both_doors_is_one_effect(pair: tuple[Node, Node]) -> None:
    """The same key at both servers at once: one does it, the others replay it or are told to wait."""
    open_customers(pair[0].port, ["ann"], credits_each=1000)
    for turn in range(25):
        found = at_once(pair, [usage("ann")] * 20, [f"turn {turn}"] * 20)
        assert {201, 409} >= {status for status, _, _ in found}, found
        done = [(answer["id"], replayed) for status, answer, replayed in found if status == 201]
        assert 1 == len({number for number, _ in done}), found
        assert 1 == sum(not replayed for _, replayed in done), found
        assert {"IDEMPOTENCY_IN_FLIGHT"} >= {answer["code"] for status, answer, _ in found if status == 409}
    with clients_of(pair) as (first, second):
        for client in (first, second):
            assert 975 == client.ask("GET", "/billing/balance?customer=ann")["balance"]


def test_a_revoked_key_is_refused_by_the_other_process_at_once(pair: tuple[Node, Node]) -> None:
    """However often it was used there just before."""
    open_customers(pair[0].port, ["ann"], credits_each=1000)
    with clients_of(pair) as (first, second):
        for turn in range(20):
            made = first.ask("POST", "/keys", {"name": f"key {turn}", "customer": "ann"})
            with Client(second.port, key=made["key"]) as user:
                user.ask("POST", "/charges", {"meter": "work"}, key=f"a {turn}")
                first.ask("DELETE", f"/keys/{made['id']}")
                status, answer, _ = user.send("POST", "/charges", {"meter": "work"}, key=f"b {turn}")
                assert (401, "NOT_AUTHENTICATED") == (status, answer["code"])
        assert 980 == second.ask("GET", "/billing/balance?customer=ann")["balance"]


def test_the_clock_is_one(pair: tuple[Node, Node]) -> None:
    """Moved in one process, it is followed by the other, and moves by both add up."""
    open_customers(pair[0].port, ["ann"], credits_each=10)
    with clients_of(pair) as (first, second):
        now = first.ask("POST", "/test/clock", {"now": NOON})["now"]
        for hour in range(13, 23):
            # At once: before the other process had a reason to look what time it is.
            client = (first, second)[hour % 2]
            now = client.ask("POST", "/test/clock", {"advance": "PT1H"})["now"]
            assert f"2031-05-10T{hour}:05" == now[:16]
        status, answer, _ = first.send("POST", "/test/clock", {"now": NOON})
        assert (409, "TEST_CLOCK_REFUSED") == (status, answer["code"])
        first.ask("POST", "/test/clock", {"now": "2031-06-10T12:00:00Z"})
        body = {"customer": "ann", "meter": "limited"}

        charge = second.ask("POST", "/charges", body, key="after")
        assert "2031-06-10T13:00:00Z" == charge["limit"]["reset_at"]
