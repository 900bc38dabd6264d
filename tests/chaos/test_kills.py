"""Servers and workers are killed while clients hammer them: what was acknowledged is there, exactly once."""

from pathlib import Path

import pytest

from tests.chaos.clients import open_customers
from tests.chaos.hammer import CUSTOMERS, START_CREDITS, Hammer
from tests.chaos.judgement import check_all
from tests.chaos.processes import mistakes, running

pytestmark = pytest.mark.slow

SETTINGS = [
    ("sqlite", ["serve"]),
    ("sqlite", ["serve", "serve", "worker"]),
    ("postgresql", ["serve"]),
    ("postgresql", ["serve", "serve", "serve", "worker"]),
]


@pytest.mark.parametrize(
    ("engine", "commands"), SETTINGS, ids=[f"{engine}-{len(commands)}" for engine, commands in SETTINGS]
)
def test_killed_again_and_again(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, commands: list[str]
) -> None:
    """Each node in turn is killed under load and started again; every request was done once or not at all."""
    url = request.getfixturevalue(f"empty_{engine}_url")
    with running(tmp_path, url, *commands) as nodes:
        servers = [node for node, command in zip(nodes, commands, strict=True) if command == "serve"]
        open_customers(servers[0].port, CUSTOMERS, credits_each=START_CREDITS)
        hammer = Hammer([server.port for server in servers])
        with hammer.running():
            for turn in range(max(3, len(nodes))):
                hammer.wait_for_more(60 + 37 * turn)  # not always at the same place
                victim = nodes[turn % len(nodes)]
                victim.kill()
                victim.launch().wait()
            hammer.wait_for_more(50)
        assert hammer.count(None) > 0  # or nothing was in flight, and this shows nothing
        check_all(url, servers[-1].port, hammer.attempts)
        assert [] == mistakes(nodes)
