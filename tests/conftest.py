"""Databases for the tests: each test gets one of its own, made from a migrated template in milliseconds.

A database that should be there and is not fails the test; nothing here skips.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.postgres import temporary_database, temporary_postgres

if TYPE_CHECKING:
    import stripe

    from tests.stripe_double import StripeDouble

# How long an example takes depends on the machine and on the database, not on what is tested.
hypothesis.settings.register_profile("tallystick", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tallystick")


# The suites against the services themselves are for whoever has an account there. They are not skipped without one, for a
# skip reads as if there were something to mend here: they are left out, and each run says so.
LIVE_SUITES = {
    "STRIPE_TEST_SECRET_KEY": ("Stripe's own test mode", "providers/test_stripe_live.py"),
    "E2B_API_KEY": ("E2B itself", "providers/test_e2b_live.py"),
}
LEFT_OUT = {key: suite for key, suite in LIVE_SUITES.items() if not os.environ.get(key)}
collect_ignore = [path for _, path in LEFT_OUT.values()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run."""
    for key, (what, _) in LEFT_OUT.items():
        terminalreporter.write_line(f"{what}: not run (no {key})")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of this test process's own, started when the first test asks for it."""
    with temporary_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database that others are copied from."""
    from tallystick.store.engine import migrate

    with temporary_database(postgres_server) as url:
        migrate(url)
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that others are copied from."""
    from tallystick.store.engine import migrate

    path = tmp_path_factory.mktemp("template") / "tally.db"
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the one file holds everything
    return path


@pytest.fixture
def postgresql_url(postgres_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database without any rows."""
    with temporary_database(postgres_server, template=postgresql_template) as url:
        yield url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite file without any rows."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'tally.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database without any rows: the test runs once on each engine."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that was never migrated: the test runs once on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'blank.db'}"
    else:
        with temporary_database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.fixture
def stripe_double() -> Iterator["StripeDouble"]:
    """Stripe for one test, which fails at its end if anybody broke Stripe's contract."""
    from tests.stripe_double import judged_double

    with judged_double() as double:
        yield double


@pytest.fixture
def stripe_client(stripe_double: "StripeDouble") -> "stripe.StripeClient":
    """The real SDK, talking to the double."""
    return stripe_double.client()


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """A test that configures logging leaves none of it to the next: its streams are closed by then."""
    import logging

    import structlog

    def state(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool, bool]:
        return list(logger.handlers), logger.level, logger.propagate, logger.disabled

    before = {
        name: state(logging.getLogger(name)) for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access")
    }
    yield
    for name, (handlers, level, propagate, disabled) in before.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)
    # A configuration from a dictionary silences every logger that it does not name.
    for known in logging.root.manager.loggerDict.values():
        if isinstance(known, logging.Logger) and known.name not in before:
            known.disabled = False
    structlog.reset_defaults()
