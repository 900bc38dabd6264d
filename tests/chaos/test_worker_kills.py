"""Workers are killed in the middle of a big jump of the clock: each renewal and each expiry is booked exactly once."""

import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.bootstrap import Tally
from tallystick.core.times import add, parse_duration
from tallystick.services.context import SYSTEM
from tallystick.store.engine import Database
from tallystick.store.schema import entries, wallets
from tests.chaos.judgement import check_audit, wait_until
from tests.chaos.processes import ECONOMY, Node, mistakes, running
from tests.servers import PROGRAMS, clean_environ

pytestmark = pytest.mark.slow

CUSTOMERS = 1200
MONTHS = 4
KILLS = 3


def jump(url: str) -> None:
    """Customers with a monthly plan, and then months in which nobody was there to renew it."""
    with Tally.open(url, economy=str(ECONOMY)) as tally:

        def work(connection: sa.Connection) -> None:
            for number in range(CUSTOMERS):
                name = f"customer {number}"
                tally.customers.open(connection, external_id=name, email=None, metadata=None)

        tally.database.transact(work)
        for number in range(CUSTOMERS):
            tally.plans.change(SYSTEM, customer=f"customer {number}", plan="monthly")
        tally.clock.move_to(add(tally.clock.now(), parse_duration(f"P{MONTHS}M", field="months")))


def booked(url: str) -> Counter[tuple[int, str]]:
    """How often each kind of line stands in each wallet."""
    with closing(Database(url, pool_size=1)) as database, database.read() as connection:
        query = sa.select(entries.c.wallet_id, entries.c.type).join(wallets, wallets.c.id == entries.c.wallet_id)
        return Counter((row[0], row[1]) for row in connection.execute(query))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_killed_while_it_catches_up(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    """Two workers in turn are killed when they have done something; what is left is done by one that runs once."""
    url = request.getfixturevalue(f"{engine}_url")
    jump(url)
    with running(tmp_path, url) as _:
        nodes = [Node(tmp_path, url, command="worker") for _ in range(2)]
