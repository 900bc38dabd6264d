"""What code in a sandbox writes, printed while it runs: for real, and over a connection that breaks."""

import json
import subprocess

import httpx
import pytest

from tallystick.cli.problems import Problem
from tallystick.cli.remote import PAUSES_SECONDS, Remote
from tallystick.client.events import Stream
from tests.client.test_streams import RAN, event, output
from tests.doors.cli.program import Program
from tests.doors.cli.test_remote import TRIES, Line
from tests.servers import ADMIN_KEY, PROGRAMS, Server, clean_environ

IN_FLIGHT = httpx.Response(409, json={"code": "IDEMPOTENCY_IN_FLIGHT", "detail": "runs"})
LOST = httpx.ReadError("reset by peer")


@pytest.fixture
def sandbox(admin: Program, customer: str) -> str:
    """A real sandbox with a shell."""
    made = admin.ask("sandbox", "create", "--template", "bash", "--customer", customer)
    found: str = made["id"]
    return found


@pytest.mark.slow
def test_output_is_printed_while_code_runs(admin: Program, server: Server, sandbox: str) -> None:
    """Code that waits for a file comes to its end when its first line was seen, and the file was sent."""
    code = "echo one; echo bad >&2; until [ -e go ]; do sleep 0.05; done; echo two; exit 3"
    command = [str(PROGRAMS / "tally"), "sandbox", "execute", "--id", sandbox, "--code", code]
    environ = clean_environ() | {"TALLY_URL": server.url, "TALLY_API_KEY": ADMIN_KEY}
    (admin.folder / "go").touch()
    with subprocess.Popen(
        command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert ("one\n", "bad\n") == (process.stdout.readline(), process.stderr.readline())
            admin.ask("sandbox", "upload", "--id", sandbox, "--file", "go")
            rest, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (["two", "exit", "code", "3"], "", 1) == (rest.split(), told, process.returncode)


def test_an_upload_with_a_key_is_done_once(admin: Program, sandbox: str) -> None:
    """A script that runs twice does it once, and another file under the same key is refused."""
    upload = ("sandbox", "upload", "--id", sandbox, "--path", "a", "--idempotency-key", f"{sandbox} a")
    for content in ("one", "two"):
        (admin.folder / content).write_text(content)
    for _ in range(2):
        admin.ask(*upload, "--file", "one")
    assert "idempotency_key_reused" in admin.call(*upload, "--file", "two").stderr
    shown = admin.call("sandbox", "execute", "--id", sandbox, "--code", "cat a")
    assert (0, "one\n") == (shown.exit_code, shown.stdout)


def test_a_bill_shows_what_was_refunded(admin: Program, sandbox: str) -> None:
    """And comes to what was paid after it."""
    explain = ("sandbox", "explain", "--id", sandbox)
    admin.ask("sandbox", "execute", "--id", sandbox, "--code", "sleep 0.3")
    admin.ask("sandbox", "stop", "--id", sandbox)
    before = admin.ask(*explain)
    transaction = before["lines"][0]["transaction"]
    admin.ask("refund", transaction.replace("txn_", "chg_"), "--reason", "it was slow")
    bill = admin.ask(*explain)
    [back] = bill["refunds"]
    assert (transaction, "it was slow") == (back["of"], back["reason"])
    paid = {unit: amount - back["amounts"].get(unit, 0) for unit, amount in before["paid"].items()}
    assert paid == bill["paid"] != before["paid"]
    shown = admin.call(*explain).stdout
    assert "Refunds" in shown
    assert "were paid" in shown


def test_output_cannot_rewrite_a_terminal(admin: Program, sandbox: str) -> None:
    """Each stream goes to its own, its last line is ended, and programs get what they always got."""
    run = ("sandbox", "execute", "--id", sandbox, "--code")
    done = admin.call(*run, r"printf '\033[2Jone\ntwo'; printf '\rbad' >&2")
    assert (0, "\ufffd[2Jone\ntwo\n", "\ufffdbad\n") == (done.exit_code, done.stdout, done.stderr)
    asked = admin.ask(*run, r"printf '\033[2Jone\ntwo'; printf '\rbad' >&2")
    assert ("\033[2Jone\ntwo", "\rbad") == (asked["stdout"], asked["stderr"])
    assert (0, "", "") == ((silent := admin.call(*run, "true")).exit_code, silent.stdout, silent.stderr)


def test_a_refusal_is_told_as_ever(admin: Program, sandbox: str) -> None:
    """Nothing was run, so there is nothing but the refusal."""
    admin.ask("sandbox", "stop", "--id", sandbox)
    assert "sandbox_not_running" in admin.refused("sandbox", "execute", "--id", sandbox, "--code", "true")


def streamed(*events: bytes) -> httpx.Response:
    """A stream, as far as it came."""
    return httpx.Response(201, headers={"Content-Type": "text/event-stream"}, content=b"".join(events))


def run(remote: Remote, told: list[tuple[Stream, str]], *, seconds: float = 60) -> object:
    """Run code."""
    return remote.post_live(
        "/sandboxes/sbx_1/execute",
        {"code": "true"},
        key=None,
        timeout_seconds=seconds,
        on_output=lambda *each: told.append(each),
    )


def test_a_stream_that_breaks_off_is_gone_on_with() -> None:
    """With its key, when the code that still runs is done; nothing is printed twice."""
    whole = streamed(output("stdout", "one\n\u2028two"), output("stderr", "bad"), event("result", RAN))
    line = Line(streamed(output("stdout", "one")), LOST, *[IN_FLIGHT] * (3 * TRIES), whole)
    told: list[tuple[Stream, str]] = []
    assert RAN == run(line.remote, told)
    assert [("stdout", "one"), ("stdout", "\n\u2028two"), ("stderr", "bad")] == told
    assert (3 + 3 * TRIES, 1) == (len(line.requests), len(set(line.keys)))
    assert {"text/event-stream"} == {each.headers["Accept"] for each in line.requests}


def test_an_execution_in_flight_is_not_waited_for_longer_than_it_may_take() -> None:
    """Then it is told as it is."""
    line = Line(IN_FLIGHT)
    with pytest.raises(Problem) as problem:
        run(line.remote, [], seconds=10)
    assert "idempotency_in_flight" == problem.value.code
    assert 10 <= sum(line.slept) <= 10 + 2 * sum(PAUSES_SECONDS) + 10


def test_an_execution_that_may_have_run_is_not_repeated() -> None:
    """Programs, which get no stream, are told as well."""
    line = Line(httpx.Response(503, json={"code": "SANDBOX_FAILED", "detail": "gone"}))
    with pytest.raises(Problem, match="gone"):
        line.remote.post("/sandboxes/sbx_1/execute", {"code": "true"}, key="one")
    assert 1 == len(line.requests)


def test_what_a_stream_ends_with_stands() -> None:
    """A failure after the code had begun is not repeated by itself: that could run it twice."""
    failed = {"status": 503, "code": "SANDBOX_FAILED", "detail": "gone"}
    line = Line(streamed(output("stdout", "one"), event("error", failed)))
    with pytest.raises(Problem, match="gone") as problem:
        run(line.remote, [])
    assert ("sandbox_failed", 1) == (problem.value.code, len(line.requests))


@pytest.mark.parametrize(
    "strange",
    [
        httpx.Response(201, content=json.dumps(RAN)),
        streamed(event("result", [])),
        streamed(b"event: output\ndata: 1\n\n"),
    ],
    ids=["JSON", "a list", "a number"],
)
def test_what_is_no_stream_of_ours_may_have_happened(strange: httpx.Response) -> None:
    """The key to repeat it with is told."""
    line = Line(strange)
    with pytest.raises(Problem) as problem:
        run(line.remote, [])
    assert "unexpected_answer" == problem.value.code
    assert [problem.value.fields["idempotency_key"]] == line.keys
