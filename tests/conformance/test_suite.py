"""The official conformance suite, for both versions of the specification, against a server whose tools have prices."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.amounts import MICROS
from tallystick.services.billing import EntryView
from tallystick.services.context import SYSTEM
from tests.chaos.judgement import check_audit
from tests.conformance import node
from tests.conformance.conftest import FIGURES
from tests.conformance.fixture import CUSTOMER, ECONOMY, Seen, Witness, application
from tests.doors.api.door import ThreadServer

# The suite asks for logging and sampling, which the newer version has given up.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated as of 2026-07-28")
PATIENCE: Final = ["--timeout", "120000"]  # milliseconds for one scenario
GRANTED: Final = 10_000
EXCEPTIONS: Final = Path(__file__).with_name("exceptions.toml")
# How many scenarios count for a version, and how many more are run and told.
SCENARIOS: Final = {"2025-11-25": (30, 3), "2026-07-28": (37, 13)}
_FOLDER: Final = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@dataclass
class Shop:
    """A server that runs, what it books in, and what was seen of its calls."""

    tally: Tally
    url: str
    witness: Witness

    def statement(self) -> list[EntryView]:
        """What the customer was charged, each a whole call."""
        return list(self.tally.billing.transactions(SYSTEM, customer=CUSTOMER, type="usage", limit=100).items)


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    economy = tmp_path / "conformance.toml"
    economy.write_text(ECONOMY)
    with Tally.open(database_url, economy=str(economy)) as tally:
        tally.customers.create(SYSTEM, external_id=CUSTOMER)
        tally.grants.create(
            SYSTEM, customer=CUSTOMER, amount=GRANTED, category="bonus", idempotency_key="start"
        )
        witness = Witness()
        server = ThreadServer(application(tally, witness))
        try:
            yield Shop(tally, f"{server.url}/mcp", witness)
        finally:
            server.stop()


@pytest.mark.parametrize("version", list(SCENARIOS))
def test_the_suite_passes_and_every_call_is_paid(
    shop: Shop, database_url: str, version: str, tmp_path: Path, record_property: Any
) -> None:
    """What counts passes, what does not is as the list says, and the ledger has each finished call once."""
    results = tmp_path / "results"
    terms = ["server", "--url", shop.url, "--requirements", version, "--output-dir", str(results), *PATIENCE]
    done = node.run("conformance", *terms, folder=tmp_path)
    assert 0 == done.returncode, done.stdout + done.stderr

    found = {folder.name: json.loads((folder / "checks.json").read_text()) for folder in results.iterdir()}
    assert sum(SCENARIOS[version]) == len(found), done.stdout
    excused = exceptions(version)
    assert excused == not_passed(found, excused), done.stdout
    calls = judge(shop, database_url)
    counts = Counter(check["status"] for checks in found.values() for check in checks)
    required, others = SCENARIOS[version]
    record_property(
        FIGURES,
        f"MCP {version}: {required} of {required} required scenarios pass, {others} others are run, "
        f"{counts['SUCCESS']} checks passed; {calls} calls paid ({database_url.partition(':')[0]})",
    )


def test_a_refusal_of_the_middleware_reaches_an_official_client(shop: Shop, tmp_path: Path) -> None:
    """Whatever the tool's own output schema: an agent has to hear that credits are short, not of a malformed answer."""
    shop.tally.wallets.freeze(SYSTEM, customer=CUSTOMER, reason="a try")
    terms = ["--cli", "--format", "json", "--quiet", "--server-url", shop.url]
    done = node.run(
        "mcp-inspector", *terms, "--method", "tools/call", "--tool-name", "test_simple_text", folder=tmp_path
    )
    [seen] = shop.witness.seen
    assert ("error", None) == (seen.end, seen.receipt)
    assert "wallet_frozen" in done.stdout, done.stdout + done.stderr


def exceptions(version: str) -> set[str]:
    """The scenarios and checks that are known not to pass."""
    groups = tomllib.loads(EXCEPTIONS.read_text())["exceptions"]
    return {name for group in groups if group["version"] == version for name in group["names"]}


def not_passed(found: dict[str, list[dict[str, Any]]], excused: set[str]) -> set[str]:
    """The checks that failed, warned or were left out: by their scenario where that is excused as a whole."""
    names = set()
    for folder, checks in found.items():
        match = _FOLDER.fullmatch(folder)
        assert match, folder
        scenario = match["scenario"]
        missed = {check["id"] for check in checks if check["status"] not in {"SUCCESS", "INFO"}}
        names |= {scenario if scenario in excused else f"{scenario}:{check}" for check in missed}
    return names


def judge(shop: Shop, database_url: str) -> int:
    """What was finished was paid, by the receipt that the client got; nothing else was, and nothing is held."""
    finished = [seen for seen in shop.witness.seen if seen.end == "done"]
    unpaid = [seen for seen in shop.witness.seen if seen.end != "done"]
    assert {"asked", "raised"} >= {seen.end for seen in unpaid}
    assert [] == [seen for seen in unpaid if seen.receipt is not None]
    assert len(finished) >= 10
    charged = [(entry.reference, -entry.amount) for entry in shop.statement()]
    assert Counter(map(paid, finished)) == Counter(charged)
    balance = shop.tally.billing.balance(SYSTEM, customer=CUSTOMER)
    spent = sum(amount for _, amount in charged)
    assert (GRANTED * MICROS - spent, 0) == (balance.balance, balance.held)
    check_audit(database_url)
    return len(finished)


def paid(seen: Seen) -> tuple[str, int]:
    """The charge on a call's receipt, and its amount in micro-units: all prices here have two decimals at most."""
    assert seen.receipt is not None, seen
    return seen.receipt["charge"], round(seen.receipt["charged"] * 100) * MICROS // 100
