"""Workers are killed in the middle of a big jump of the clock: each renewal and each expiry is booked exactly once."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.bootstrap import Tally
from tallystick.core.times import add, parse_duration
from tallystick.store.engine import Database
from tallystick.store.schema import entries, wallets
from tests.chaos.judgement import check_audit, wait_until
from tests.chaos.processes import ECONOMY, Node, mistakes

pytestmark = pytest.mark.slow

CUSTOMERS = 1200
MONTHS = 4
KILLS = 2
ALL_LINES = CUSTOMERS * (1 + 2 * MONTHS)  # the first grant; then, each month, an expiry and a renewal


def jump(url: str, economy: Path) -> None:
    """Customers of a monthly plan, and then months in which nobody was there to renew it."""
    with Tally.open(url, economy=str(economy)) as tally:

        def work(connection: sa.Connection) -> None:
            for number in range(CUSTOMERS):
                tally.customers.open(connection, external_id=f"customer {number}", email=None)

        tally.database.transact(work)
        tally.clock.move_to(add(tally.clock.now(), parse_duration(f"P{MONTHS}M", field="months")))


def booked(url: str) -> Counter[tuple[int, str]]:
    """How often each kind of line stands in each wallet."""
    with closing(Database(url, pool_size=1)) as database, database.read() as connection:
        joined = entries.join(wallets, wallets.c.id == entries.c.wallet_id)
        query = sa.select(entries.c.wallet_id, entries.c.type).select_from(joined)
        return Counter((row[0], row[1]) for row in connection.execute(query))


def count(watcher: Database) -> int:
    """How many lines there are."""
    with watcher.read() as connection:
        found: int = connection.scalar(sa.select(sa.func.count()).select_from(entries)) or 0
    return found


def catch_up_and_die(nodes: Sequence[Node], watcher: Database) -> int:
    """Start both workers and kill both as soon as something more was done; gives how often something was left."""
    in_the_middle = 0
    for _ in range(KILLS):
        before = count(watcher)
        if before == ALL_LINES:
            break
        for node in nodes:
            node.launch()
        wait_until(lambda before=before: count(watcher) > before)  # type: ignore[misc]
        for node in nodes:
            node.kill()
        in_the_middle += count(watcher) < ALL_LINES
    return in_the_middle


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_killed_while_it_catches_up(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    """Two workers are killed again and again while they work; in the end nothing is missing or double."""
    url = request.getfixturevalue(f"{engine}_url")
    economy = tmp_path / "economy.toml"
    economy.write_text(ECONOMY.read_text().replace('default_plan = "none"', 'default_plan = "monthly"'))
    jump(url, economy)
    nodes = [Node(tmp_path, url, command="worker", economy=economy) for _ in range(2)]
    with closing(Database(url, pool_size=1)) as watcher:
        try:
            assert catch_up_and_die(nodes, watcher) > 0  # or they were too quick, and this shows nothing
            for node in nodes:
                node.launch().wait()
            wait_until(lambda: count(watcher) >= ALL_LINES)
            assert [0, 0] == [node.terminate() for node in nodes]
        finally:
            for node in nodes:
                node.close()
    assert [] == mistakes(nodes)
    lines = booked(url)
    assert {1 + MONTHS} == {count for (_, kind), count in lines.items() if kind == "monthly_grant"}
    assert {MONTHS} == {count for (_, kind), count in lines.items() if kind == "expiry"}
    assert (2 * CUSTOMERS, ALL_LINES) == (len(lines), lines.total())
    check_audit(url)
