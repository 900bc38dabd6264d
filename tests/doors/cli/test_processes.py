"""The program itself, in processes of its own: `serve` and `worker`, signals and exit statuses."""

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import httpx
import pytest

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.doors.cli.program import ECONOMY, Program
from tests.servers import PROGRAMS, clean_environ, free_port

PATIENCE_SECONDS = 60

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an economy file."""
    (tmp_path / "terminal.toml").write_text(ECONOMY)
    return tmp_path


def tally(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAMS / "tally", *arguments],
        cwd=folder,
        env=clean_environ() | {"XDG_CONFIG_HOME": str(folder)} | environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program beside the test, its output in files; it must end by itself after a signal."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [PROGRAMS / "tally", *arguments], cwd=folder, env=clean_environ(), stdout=out, stderr=err
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for something that the process does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert process.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < deadline, (folder / "err").read_text()
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def test_from_nothing_to_a_charge(folder: Path, blank_database_url: str) -> None:
    """`init`, `serve`, and a charge, as a new user would; SIGTERM ends the server with status 0."""
    made = tally(folder, "init", "--database-url", blank_database_url, "--economy", "terminal.toml", "--json")
    key = json.loads(made.stdout)["admin_key"]
    port = free_port()
    with running(folder, "serve", "--port", str(port)) as server:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), server, folder)
        program = Program(url, folder, key=key)
        program.ask("customers", "create", "ann")
        assert 99 == program.ask("charge", "lookup", "--customer", "ann")["balance"]
        tokens = ["charge", "tokens", "--quantity", "1e9", "--customer", "ann"]
        ended = tally(folder, *tokens, TALLY_URL=url, TALLY_API_KEY=key)
        assert (1, "") == (ended.returncode, ended.stdout)
        assert "insufficient_credits" in ended.stderr
        server.send_signal(signal.SIGTERM)
        assert 0 == server.wait(PATIENCE_SECONDS)
    said = (folder / "out").read_text()
    assert f"listens on {url}" in said
    assert key not in said
    audited = tally(folder, "audit", "--json")
    assert (0, True) == (audited.returncode, json.loads(audited.stdout)["ok"])


def test_serving_in_json_is_one_object_a_line(folder: Path) -> None:
    """Also the admin key of a first start is in a line of JSON."""
    port = free_port()
    with running(folder, "serve", "--json", "--economy", "terminal.toml", "--port", str(port)) as server:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}"), server, folder)
        wait_for(lambda: "tly_" in (folder / "out").read_text(), server, folder)
        server.send_signal(signal.SIGINT)
        assert 0 == server.wait(PATIENCE_SECONDS)
    messages = [json.loads(line)["message"] for line in (folder / "out").read_text().splitlines()]
    assert any(f"listens on http://127.0.0.1:{port}" in message for message in messages)
    assert any(message.startswith("tly_") for message in messages)


def test_a_port_that_is_taken_ends_with_1(folder: Path) -> None:
    """The log says why."""
    port = free_port()
    with running(folder, "serve", "--economy", "terminal.toml", "--port", str(port)) as first:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}"), first, folder)
        second = tally(folder, "serve", "--economy", "terminal.toml", "--port", str(port))
        assert 1 == second.returncode
        assert f"port {port}" in second.stderr
        assert "Traceback" not in second.stderr


def test_a_worker_runs_alone_until_it_is_told_to_end(folder: Path, database_url: str) -> None:
    """What becomes due meanwhile is booked without any server, and SIGTERM ends it with status 0."""
    with Tally.open(database_url, economy=str(folder / "terminal.toml")) as seen:
        seen.customers.create(SYSTEM, external_id="ann")
        seen.holds.create_amount(SYSTEM, amount=40, customer="ann", expires_in=2, idempotency_key="hold")
        with running(
            folder, "worker", "--database-url", database_url, "--economy", "terminal.toml"
        ) as worker:
            wait_for(lambda: "hold_expiry" in (folder / "err").read_text(), worker, folder)
            worker.send_signal(signal.SIGTERM)
            assert 0 == worker.wait(PATIENCE_SECONDS)
        [hold] = seen.holds_view.list(SYSTEM, customer="ann").items
        assert "expired" == hold.status
    assert "ended by SIGTERM" in (folder / "out").read_text()


def test_the_program_ends_with_its_status(folder: Path) -> None:
    """0 done, 1 refused, 2 wrong usage; with `--json` all three are JSON on standard output."""
    nowhere = {"TALLY_URL": "http://127.0.0.1:9"}
    for arguments, status in ((["economy", "list"], 0), (["prices"], 1), (["charge"], 2), (["nosuch"], 2)):
        told = tally(folder, *arguments, **nowhere)
        assert (status, bool(status)) == (told.returncode, bool(told.stderr))
        told = tally(folder, "--json", *arguments, **nowhere)
        assert (status, "") == (told.returncode, told.stderr)
        found = json.loads(told.stdout)
        assert ("error" in found) == bool(status)
        if status == 2:
            assert "usage" == found["error"]["code"]
            assert found["error"]["detail"]


def test_a_reader_that_leaves_early_is_no_crash() -> None:
    """`tally economy show | head -1` ends without a traceback."""
    command = f"'{PROGRAMS / 'tally'}' economy show flow-nexus | head -1"
    ended = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True)
    assert "Flow-Nexus" in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments", [["economy", "list"], ["economy", "list", "--json"], ["--help"]], ids=" ".join
)
def test_output_that_cannot_be_written_is_no_crash(arguments: list[str]) -> None:
    """A full disk, or a standard output that is closed: status 1 and one line, which says whether it was done."""
    words = " ".join(arguments)
    for target in (">/dev/full", ">&-"):
        command = f"'{PROGRAMS / 'tally'}' {words} {target}"
        ended = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True)
        assert (1, 1) == (ended.returncode, len(ended.stderr.splitlines())), ended.stderr
        assert "tally: " in ended.stderr
        if "economy" in words:
            assert "done, but what came of it could not be written" in ended.stderr
    both = subprocess.run(["/bin/sh", "-c", f"'{PROGRAMS / 'tally'}' {words} >&- 2>&-"], check=False)
    assert 1 == both.returncode


def test_a_terminal_without_signs_gets_escapes(folder: Path) -> None:
    """Nothing is lost, and nothing crashes."""
    text = ECONOMY.replace('"Terminal"', '"Caf\u00e9"')
    (folder / "terminal.toml").write_text(text, encoding="utf-8")
    shown = tally(folder, "economy", "show", "terminal.toml", PYTHONIOENCODING="ascii")
    assert 0 == shown.returncode, shown.stderr
    assert "Caf\\xe9" in shown.stdout
    found = tally(folder, "economy", "show", "terminal.toml", "--json", PYTHONIOENCODING="ascii")
    assert "Caf\\u00e9" in found.stdout


def test_a_terminal_sees_progress_and_a_file_does_not(folder: Path) -> None:
    """The audit's bars and the wait for time to pass go to a terminal's standard error, and nowhere else."""
    tally(folder, "init")
    quiet = tally(folder, "audit")
    assert (0, "") == (quiet.returncode, quiet.stderr)

    shown, output = _at_a_terminal(folder, "audit")
    assert "transactions" in shown
    assert quiet.stdout.splitlines()[1:] == output.splitlines()[1:]


def test_a_terminal_sees_the_steps_of_a_build(folder: Path) -> None:
    """Each step of a template's building has a bar."""
    build = ("sandbox", "build-template", "hello", "--base", "bash", "--templates", "templates")
    shown, output = _at_a_terminal(folder, *build)
    assert "the template" in shown
    assert "1/1" in shown
    assert "hello" in output


def _at_a_terminal(folder: Path, *arguments: str) -> tuple[str, str]:
    """What a terminal shows of standard error, and what a file gets of standard output."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [PROGRAMS / "tally", *arguments],
            cwd=folder,
            env=clean_environ() | {"TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown = _all_of(screen)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return shown, output.decode()


def _all_of(screen: FileIO) -> str:
    """Everything that was shown, until the program hung up."""
    parts = []
    try:
        while part := screen.read(4096):
            parts.append(part)
    except OSError:
        pass  # The other side of a terminal that is gone.
    return b"".join(parts).decode()
