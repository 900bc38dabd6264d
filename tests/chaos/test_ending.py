"""SIGTERM under load: whatever was begun is finished and answered, and nothing else was begun."""

from pathlib import Path

import pytest

from tests.chaos.clients import open_customers
from tests.chaos.hammer import CUSTOMERS, START_CREDITS, Hammer
from tests.chaos.judgement import check_acknowledged, check_all, journal
from tests.chaos.processes import mistakes, running

pytestmark = pytest.mark.slow

TURNS = 3


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_sigterm_under_load(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    """The exit status is 0, and there is no charge whose client was not answered."""
    url = request.getfixturevalue(f"empty_{engine}_url")
    with running(tmp_path, url, "serve") as nodes:
        [server] = nodes
        open_customers(server.port, CUSTOMERS, credits_each=START_CREDITS)
        attempts = []
        for turn in range(TURNS):
            hammer = Hammer([server.port], clients=12, seed=turn, name=f"turn {turn}")
            with hammer.running():
                hammer.wait_for_more(150)
                assert 0 == server.terminate()
                hammer.stop()
            assert '"event":"closed"' in server.lines[-1]
            stored = journal(url)
            check_acknowledged(hammer.attempts, stored)
            unanswered = [each for each in hammer.attempts if not each.is_done and each.key in stored]
            assert [] == unanswered
            attempts += hammer.attempts
            server.launch().wait()
        check_all(url, server.port, attempts)
        assert [] == mistakes(nodes)
