"""The how-to of hiring agents, gone through as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallystick.client import TallyClient
from tests.docs.test_how_to import DOCS, blocks
from tests.servers import ADMIN_KEY, PROGRAMS, Server, running_server

pytestmark = pytest.mark.slow

REWARDS = DOCS / "how-to" / "reward-customers.md"
PAGE = DOCS / "how-to" / "hire-agents.md"


@pytest.fixture
def server(sqlite_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server whose customers have nothing but what they are given."""
    with running_server(tmp_path, economy="nexus", database_url=sqlite_url) as running:
        yield running


def run_commands(commands: str, server: Server, folder: Path, names: dict[str, str]) -> str:
    """Run each line with the names that are known, and remember those that its answer gives; gives the last answer."""
    text = ""
    for line in commands.splitlines():
        words = [names.get(word, word) for word in shlex.split(line)]
        assert "tally" == words[0]
        done = subprocess.run(
            [PROGRAMS / "tally", "--json", *words[1:]],
            env={**os.environ, "TALLY_URL": server.url, "TALLY_API_KEY": ADMIN_KEY},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout
        assert 0 == done.returncode, text + done.stderr
        for prefix in ("agent", "task"):
            if (found := re.search(rf'"id": "({prefix}_\w+)"', text)) is not None:
                names[prefix.upper()] = found[1]
    return text


def test_rewards_are_given_as_the_page_says(sqlite_url: str, tmp_path: Path) -> None:
    """With the economy that it names; twice, and the second time nothing comes of it."""
    [commands] = blocks(REWARDS, "sh")
    with running_server(tmp_path, economy="starter", database_url=sqlite_url) as server:
        for _ in range(2):
            run_commands(commands, server, tmp_path, {})
        with TallyClient(base_url=server.url, api_key=ADMIN_KEY) as admin:
            balances = [admin.billing.get_balance(customer=name) for name in ("ann", "bob")]
        assert [Decimal(95), Decimal(50)] == [balance.earned for balance in balances]


def test_the_page_is_true(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command and every program does what is said, in order, with the names that the answers gave."""
    offer, hire, settle = blocks(PAGE, "sh")
    programs = blocks(PAGE, "python")
    names: dict[str, str] = {}

    def tally(commands: str) -> None:
        run_commands(commands, server, tmp_path, names)

    def run(program: str, customer: str) -> dict[str, Any]:
        with TallyClient(base_url=server.url, api_key=ADMIN_KEY) as admin:
            key = admin.keys.create(name="own", role="user", customer=customer).key
        monkeypatch.setenv("TALLY_URL", server.url)
        monkeypatch.setenv("TALLY_API_KEY", key)
        found: dict[str, Any] = {"TallyClient": TallyClient}
        exec(program, found)  # noqa: S102 - the program of the document
        return found

    tally(offer)
    tally(hire)
    first = names["TASK"]
    hired, work, part = programs
    second = run(hired, "ann")["task"].id
    run(work, "bob")
    assert 2 == capsys.readouterr().out.count("payout=Decimal('9.5')")
    with TallyClient(base_url=server.url, api_key=ADMIN_KEY) as admin:
        assert {"completed"} == {admin.tasks.get(task).status for task in (first, second)}
        admin.tasks.dispute(first, reason="too long")
        open_task = admin.tasks.create(agent=names["AGENT"], input=1, customer="ann").id
        admin.tasks.accept(open_task)
        admin.customers.create(external_id="cleo")
        theirs = admin.agents.create(name="Translator", price_per_task=4, customer="cleo").id
        sub_task = run(part.replace("agent_…", theirs).replace("task_…", open_task), "bob")["part"]
        assert (open_task, 4) == (sub_task.parent, sub_task.held)
        names["TASK"] = first
        tally(settle)
        assert ("refunded", Decimal(4)) == (admin.tasks.get(first).status, admin.tasks.get(first).refunded)
        [payout] = admin.payouts.list().payouts
        assert Decimal("15.2") == payout.waiting + payout.free
