"""Two services on one database, and one of them is killed: no sandbox runs unbilled, and none is billed after its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tallystick.client import TallyClient
from tests.chaos.judgement import check_audit
from tests.chaos.processes import Node
from tests.servers import ADMIN_KEY

pytestmark = pytest.mark.slow

BEAT_SECONDS = 5
PATIENCE_SECONDS = 120
ECONOMY = Path("flow-nexus")


@pytest.fixture
def nodes(blank_database_url: str, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two servers of one installation."""
    first = Node(tmp_path, blank_database_url, economy=ECONOMY)
    second = Node(tmp_path, blank_database_url, economy=ECONOMY)
    try:
        first.launch().wait()
        second.launch().wait()
        yield first, second
    finally:
        first.close()
        second.close()


def client_of(node: Node) -> TallyClient:
    """A client of one of them, as the admin."""
    return TallyClient(api_key=ADMIN_KEY, base_url=f"http://127.0.0.1:{node.port}")


def marked(mark: str) -> list[str]:
    """The processes of this machine whose command line has the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_killed_service_leaves_no_sandbox_behind(nodes: tuple[Node, Node], blank_database_url: str) -> None:
    """Its sandboxes end with it, the other closes their bills where they were last seen, and makes new ones."""
    first, second = nodes
    mark = f"mark-{uuid.uuid4().hex}"
    with client_of(first) as ours, client_of(second) as theirs:
        customer = ours.customers.create(external_id="ann").id
        made = [ours.sandboxes.create(template="bash", customer=customer, timeout=600) for _ in range(2)]
        begun = time.monotonic()
        for sandbox in made:
            # The other service reaches what the first one made.
            run = theirs.sandboxes.execute(sandbox.id, code=f"(exec -a {mark} sleep 500) & echo here")
            assert "here\n" == run.stdout
        assert 2 == len(marked(mark))
        time.sleep(BEAT_SECONDS + 2)
        first.kill()
        lived = time.monotonic() - begun
        deadline = time.monotonic() + 5
        while marked(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [] == marked(mark)

        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(theirs.sandboxes.get(each.id).status == "running" for each in made):
            assert time.monotonic() < deadline, second.log
            time.sleep(1)
        for each in made:
            ended = theirs.sandboxes.get(each.id)
            assert ("stopped", "host_restart") == (ended.status, ended.reason)
            assert lived - BEAT_SECONDS - 3 <= ended.seconds <= lived + 1
            bill = theirs.sandboxes.explain(each.id)
            assert ended.cost == sum(
                (line.amounts["USD"] for line in bill.lines if line.operation == "running"), Decimal(0)
            )
        balance = theirs.billing.get_balance(customer=customer, unit="USD")
        assert 0 == balance.held
        again = theirs.sandboxes.create(template="bash", customer=customer)
        assert 0 == theirs.sandboxes.execute(again.id, code="true").exit_code
    assert 0 == second.terminate()
    check_audit(blank_database_url)


def test_a_service_that_ends_in_order_bills_to_its_end(
    nodes: tuple[Node, Node], blank_database_url: str
) -> None:
    """SIGTERM: what it made ends, and its bill is closed at that moment."""
    first, second = nodes
    with client_of(first) as ours, client_of(second) as theirs:
        customer = ours.customers.create(external_id="ann").id
        made = ours.sandboxes.create(template="bash", customer=customer, timeout=600)
        begun = time.monotonic()
        time.sleep(2)
        assert 0 == first.terminate()
        lived = time.monotonic() - begun
        ended = theirs.sandboxes.get(made.id)
        assert ("stopped", "host_restart") == (ended.status, ended.reason)
        assert 2 <= ended.seconds <= lived + 1
    check_audit(blank_database_url)
