"""The client, the tools' server and the billing server are killed in turn: what was delivered is charged once."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chaos.clients import Client, open_customers
from tests.chaos.judgement import check_audit, wait_until
from tests.chaos.processes import Node, mistakes
from tests.chaos.tool_client import AGENTS, Book
from tests.servers import ADMIN_KEY, free_port

pytestmark = pytest.mark.slow

CREDITS = 100_000
TURNS = 6
MORE = 10
NAMES = [f"agent-{number}" for number in range(AGENTS)]


@contextmanager
def parties(folder: Path, url: str, policy: str) -> Iterator[dict[str, Node]]:
    """The three of them; the client repeats what its predecessor left open."""
    billing, port, book = Node(folder, url), free_port(), str(folder / "book.txt")
    where = f"http://127.0.0.1:{billing.port}"
    module = [sys.executable, "-m"]
    tools = [
        *module,
        "tests.chaos.tool_server",
        str(port),
        where,
        ADMIN_KEY,
        str(folder / "unsettled.db"),
        policy,
    ]
    client = [*module, "tests.chaos.tool_client", str(port), book]
    nodes = {
        "billing": billing,
        "tools": Node(folder, url, program=tools),
        "client": Node(folder, url, program=[*client, "1000000"]),
        "last": Node(folder, url, program=[*client, "0"]),
    }
    nodes["tools"].port = port
    try:
        billing.launch().wait()
        open_customers(billing.port, NAMES, credits_each=CREDITS)
        yield nodes
    finally:
        for node in nodes.values():
            node.close()


@pytest.mark.parametrize(("engine", "policy"), [("sqlite", "lend"), ("postgresql", "closed")])
def test_killed_in_turn(request: pytest.FixtureRequest, tmp_path: Path, engine: str, policy: str) -> None:
    """At any moment; in the end every call is answered, and each is charged exactly once."""
    url = request.getfixturevalue(f"empty_{engine}_url")
    chance = random.Random(f"{engine} {policy}")
    with parties(tmp_path, url, policy) as nodes:
        for name in ("tools", "client"):
            nodes[name].launch().wait()
        book, in_flight = tmp_path / "book.txt", 0
        for turn in range(TURNS):
            answered = len(Book(book).done)
            wait_until(lambda answered=answered: len(Book(book).done) >= answered + MORE)  # type: ignore[misc]
            time.sleep(chance.random() / 20)  # not always at the same place
            victim = nodes[("billing", "tools", "client")[turn % 3]]
            victim.kill()
            in_flight += len(Book(book).open)
            time.sleep(chance.random() / 2)
            victim.launch().wait()
        assert in_flight > TURNS  # or this shows nothing
        nodes["client"].kill()
        nodes["last"].launch().wait()
        wait_until(lambda: nodes["last"].process.poll() is not None)
        assert 0 == nodes["last"].process.returncode, nodes["last"].log
        where = f"http://127.0.0.1:{nodes['tools'].port}/unsettled"
        wait_until(lambda: not set(httpx.get(where, timeout=60).json()) - {"running"})
        check(book, nodes["billing"].port)
        check_audit(url)
        assert [] == mistakes([nodes["billing"]])


def check(path: Path, port: int) -> None:
    """Each call that was begun is answered and costs one credit; a key has one charge, and no charge two keys."""
    book = Book(path)
    assert set(book.begun) == set(book.done)
    charges = {
        key: {each["charge"] for each in receipts if not each.get("pending")}
        for key, receipts in book.done.items()
    }
    assert [] == [key for key, found in charges.items() if len(found) > 1]
    every = [charge for found in charges.values() for charge in found]
    assert len(every) == len(set(every))
    expected = {name: CREDITS - list(book.begun.values()).count(name) for name in NAMES}
    with Client(port) as client:
        found = {name: client.ask("GET", f"/billing/balance?customer={name}") for name in NAMES}
    assert expected == {name: each["balance"] for name, each in found.items()}
    assert {0} == {each["held"] for each in found.values()}
