"""`tally billing export`: to standard output or whole into a file, never half."""

import csv
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.cli.exports import whole_file
from tests.doors.cli.program import Program
from tests.servers import ADMIN_KEY, PROGRAMS, Server, clean_environ

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/csv; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    b"9\r\nid,line\r\n\r\n"
)


@pytest.fixture
def broken() -> Iterator[str]:
    """A server that begins a file and never ends it: of a path with `usage` it hangs up, of others it waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                asked = connection.recv(65536)
                connection.sendall(HEAD)
                if b"/usage" in asked:
                    connection.close()
                else:
                    kept.append(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("name", ["transactions", "usage", "payments"])
def test_a_file_is_what_is_printed(admin: Program, customer: str, name: str, tmp_path: Path) -> None:
    """The same bytes, whichever way they go."""
    admin.ask("charge", "lookup", "--customer", customer)
    terms = ["billing", "export", name, "--customer", customer, "--from", "2020-01-01T00:00:00Z"]
    printed = admin.call(*terms)
    assert (0, "") == (printed.exit_code, printed.stderr)
    assert b"\r\n" in printed.stdout_bytes
    written = admin.call(*terms, "--output", "found.csv")
    assert (0, "") == (written.exit_code, written.stderr)
    assert "Wrote found.csv" in written.stdout
    assert printed.stdout_bytes == (tmp_path / "found.csv").read_bytes()
    size = (tmp_path / "found.csv").stat().st_size
    assert {"file": "found.csv", "bytes": size} == admin.ask(*terms, "--output", "found.csv")
    assert ["found.csv"] == [path.name for path in tmp_path.glob("*.csv*")]


def test_a_statement_from_the_command_line_adds_up(admin: Program, customer: str, tmp_path: Path) -> None:
    """Units and bounds arrive."""
    admin.ask("charge", "disk", "--customer", customer)
    terms = ["billing", "export", "transactions", "--customer", customer, "--output", "found.csv"]
    admin.show(*terms, "--unit", "USD")
    with (tmp_path / "found.csv").open(newline="") as file:
        assert ["5", "-0.25"] == [line["amount"] for line in csv.DictReader(file)]
    admin.show(*terms, "--to", "2020-01-01T00:00:00Z")
    assert 1 == len((tmp_path / "found.csv").read_bytes().splitlines())
    assert 0 == admin.call("billing", "export", "payments", "--all").exit_code


def test_what_is_refused_leaves_no_file(admin: Program, customer: str, tmp_path: Path) -> None:
    """A stranger, a bad time, a folder that is not there; an older file keeps its name."""
    (tmp_path / "found.csv").write_text("older")
    terms = ["billing", "export", "transactions", "--customer"]
    assert "unknown_customer" == admin.problem(*terms, "nobody", "--output", "found.csv")["code"]
    bad = [*terms, customer, "--from", "yesterday"]
    assert "validation_failed" == admin.problem(*bad, "--output", "new.csv")["code"]
    assert "cannot_write" == admin.problem(*terms, customer, "--output", "none/new.csv")["code"]
    assert "is no file" in admin.refused(*terms, customer, "--output", str(tmp_path))
    assert 2 == admin.call(*terms, customer, "--json").exit_code
    assert ["found.csv"] == [path.name for path in tmp_path.iterdir()]
    assert "older" == (tmp_path / "found.csv").read_text()


def test_a_file_keeps_who_may_read_it(admin: Program, customer: str, tmp_path: Path) -> None:
    """What was private before stays so."""
    path = tmp_path / "found.csv"
    path.touch(0o600)
    admin.show("billing", "export", "usage", "--customer", customer, "--output", str(path))
    assert 0o600 == path.stat().st_mode & 0o777
    assert path.read_bytes().startswith(b"date,")


def test_an_answer_that_breaks_off_is_told(broken: str, local: Program, tmp_path: Path) -> None:
    """No half file is left, and the older one is as it was."""
    (tmp_path / "found.csv").write_text("older")
    local.environ["TALLY_URL"] = broken
    terms = ["billing", "export", "usage"]
    assert "answer_incomplete" == local.problem(*terms, "--output", "found.csv")["code"]
    printed = local.call(*terms)
    assert (1, "id,line\n") == (printed.exit_code, printed.stdout)
    assert "answer_incomplete" in printed.stderr
    assert ["found.csv"] == [path.name for path in tmp_path.iterdir()]
    assert "older" == (tmp_path / "found.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_export_leaves_no_half_file(broken: str, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or a time-out: what was written so far is gone."""
    command: list[str | Path] = [
        PROGRAMS / "tally",
        "billing",
        "export",
        "transactions",
        "--output",
        "found.csv",
    ]
    environ = clean_environ() | {"TALLY_URL": broken, "TALLY_API_KEY": "k"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".found.csv*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_a_read_is_not_missed(tmp_path: Path, number: signal.Signals) -> None:
    """It comes just before the read begins to wait, so that nothing interrupts that."""

    def come() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), number)  # noted for the main thread, which goes on waiting

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        thread = threading.Thread(target=come)
        begun = time.monotonic()
        with pytest.raises((SystemExit, KeyboardInterrupt)), whole_file(tmp_path / "found.csv"):  # noqa: PT012
            thread.start()
            ours.recv(1)
        took = time.monotonic() - begun
    thread.join()
    assert took < 10
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_terminal_sees_progress(server: Server, customer: str, tmp_path: Path) -> None:
    """On standard error; the file has nothing of it."""
    ours, theirs = pty.openpty()
    command: list[str | Path] = [
        PROGRAMS / "tally",
        "billing",
        "export",
        "usage",
        "--customer",
        customer,
        "--output",
        "u.csv",
    ]
    environ = clean_environ() | {"TALLY_URL": server.url, "TALLY_API_KEY": ADMIN_KEY, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            while part := screen.read(4096):
                shown += part
        except OSError:
            pass  # the other side of a terminal that is gone
    output, _ = process.communicate(timeout=60)
    assert b"usage" in shown
    assert b"bytes" in shown
    assert b"Wrote u.csv" in output
    assert (tmp_path / "u.csv").read_bytes().startswith(b"date,customer,meter")
