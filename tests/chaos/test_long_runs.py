"""After thousands of requests a server has the memory and the open files that it had after hundreds."""

from pathlib import Path

import pytest

from tests.chaos.clients import Client, open_customers
from tests.chaos.hammer import CUSTOMERS, START_CREDITS
from tests.chaos.judgement import in_threads
from tests.chaos.processes import Node, mistakes, running

pytestmark = pytest.mark.slow

WARM_UP = 1200
LONG_RUN = 3000
CLIENTS = 6
MOST_GROWTH_BYTES = 12 * 2**20  # caches of the database still fill; 4 KiB for each request would be seen
MOST_FILES_MORE = 12  # four connections to the database; files kept for each request would be hundreds


def run(server: Node, requests: int, name: str) -> None:
    """Charges, balances, and connections that are opened for one request."""

    def work(number: int) -> None:
        with Client(server.port) as client:
            for turn in range(requests // CLIENTS):
                customer = CUSTOMERS[(number + turn) % len(CUSTOMERS)]
                usage = {"customer": customer, "meter": "work"}
                client.ask("POST", "/charges", usage, key=f"{name} {number} {turn}")
                if turn % 10 == 0:
                    client.ask("GET", f"/billing/balance?customer=customer+{number}")
                    client.close()

    in_threads([lambda number=number: work(number) for number in range(CLIENTS)])  # type: ignore[misc]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nothing_grows(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    """Neither memory nor open files."""
    url = request.getfixturevalue(f"empty_{engine}_url")
    with running(tmp_path, url, "serve") as nodes:
        [server] = nodes
        open_customers(server.port, CUSTOMERS, credits_each=START_CREDITS)
        run(server, WARM_UP, "warm-up")
        memory, files = server.resident_bytes(), server.open_files()
        run(server, LONG_RUN, "long run")
        assert server.resident_bytes() - memory < MOST_GROWTH_BYTES
        assert server.open_files() - files <= MOST_FILES_MORE
        assert [] == mistakes(nodes)
