"""A real server for the commands, one for all tests of a database, and the program as different callers."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.cli.program import ECONOMY, Program
from tests.postgres import temporary_database
from tests.servers import ADMIN_KEY, Server, running_server

SETTINGS = {"TALLY_WEBHOOKS_ALLOW_PRIVATE": "1"}  # receivers of webhooks are on this machine
_names = itertools.count(1)


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process with an economy of two units."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "terminal.toml").write_text(ECONOMY)
    if request.param == "sqlite":
        path = shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "tally.db")
        with running_server(
            folder, economy="terminal.toml", database_url=f"sqlite:///{path}", settings=SETTINGS
        ) as running:
            yield running
        return
    template = request.getfixturevalue("postgresql_template")
    with (
        temporary_database(request.getfixturevalue("postgres_server"), template=template) as url,
        running_server(folder, economy="terminal.toml", database_url=url, settings=SETTINGS) as running,
    ):
        yield running


@pytest.fixture
def admin(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program as the admin, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return Program(server.url, tmp_path, key=ADMIN_KEY)


@pytest.fixture
def visitor(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program as somebody who has no key and is not logged in."""
    monkeypatch.chdir(tmp_path)
    return Program(server.url, tmp_path, key=None)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program without any server."""
    monkeypatch.chdir(tmp_path)
    return Program("http://127.0.0.1:9", tmp_path, key=None)


@pytest.fixture
def name() -> str:
    """A customer's name that no other test uses."""
    return f"customer-{next(_names)}"


@pytest.fixture
def customer(admin: Program, name: str) -> str:
    """A customer with 100 credits and 5 dollars."""
    admin.ask("customers", "create", name)
    return name
