"""What every provider of sandboxes must do, told by the port alone: the same scenarios run on each implementation.

A ``Driver`` lets time pass, and does what somebody else would do to a sandbox.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import pytest

from tallystick.ports import ProviderRefused
from tallystick.ports.sandboxes import (
    Command,
    Execution,
    Language,
    Made,
    OnOutput,
    SandboxGone,
    SandboxOrder,
    SandboxProvider,
    SandboxRefused,
    Stream,
)

MINUTE = 60.0
PATIENCE_SECONDS = 20.0
FOLDER = "/tmp"  # noqa: S108 - that of a sandbox
_numbers = itertools.count(1)


class Driver(Protocol):
    """The provider, time, and others. ``slack_ms`` is by how much its word on a life may differ from our clock."""

    @property
    def provider(self) -> SandboxProvider:
        """The provider under test."""
        ...

    @property
    def slack_ms(self) -> int:
        """How exact it is."""
        ...

    def pass_seconds(self, seconds: float) -> None:
        """Time passes."""
        ...

    def lose(self, handle: str) -> None:
        """Somebody else ends the sandbox."""
        ...


# --- words for the scenarios -----------------------------------------------------------------------------------------


def fresh(prefix: str = "sbx") -> str:
    """A reference of ours, or a key, that nobody used."""
    return f"{prefix}_{time.time_ns()}_{next(_numbers)}"


def template_for(driver: Driver, language: Language) -> str:
    """A template that runs a language."""
    return next(each.name for each in driver.provider.templates() if language in each.languages)


def order_of(
    driver: Driver,
    *,
    language: Language = "bash",
    seconds: float = MINUTE,
    env: Mapping[str, str] | None = None,
) -> SandboxOrder:
    """A small sandbox for a minute."""
    return SandboxOrder(
        reference=fresh(),
        template=template_for(driver, language),
        vcpu=1,
        memory_mib=512,
        seconds=seconds,
        env=env or {},
        metadata={"scenario": "conformance"},
    )


@contextmanager
def made(driver: Driver, order: SandboxOrder | None = None) -> Iterator[Made]:
    """A sandbox until the end of the block."""
    sandbox = driver.provider.create(order or order_of(driver), key=fresh("key"))
    try:
        yield sandbox
    finally:
        driver.provider.kill(sandbox.handle)


def run(
    driver: Driver,
    sandbox: Made,
    code: str,
    *,
    language: Language = "bash",
    seconds: float = 30,
    env: Mapping[str, str] | None = None,
    max_bytes: int = 1 << 20,
    on_output: OnOutput | None = None,
) -> Execution:
    """Run code."""
    command = Command(
        language=language, code=code, timeout_seconds=seconds, env=env or {}, output_max_bytes=max_bytes
    )
    return driver.provider.execute(sandbox.handle, command, on_output=on_output)


def words(text: bytes) -> list[str]:
    """What was written."""
    return text.decode().split()


def eventually(found: Callable[[], bool]) -> None:
    """It may take a moment."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < until
        time.sleep(0.05)


def assert_gone(driver: Driver, handle: str) -> None:
    """Nothing can be done in it any more, and it is not among those that run."""
    attempts: tuple[Callable[[], object], ...] = (
        lambda: driver.provider.execute(handle, Command(language="bash", code="true", timeout_seconds=5)),
        lambda: driver.provider.write_file(handle, "a.txt", b"a"),
        lambda: driver.provider.read_file(handle, "a.txt", max_bytes=10),
        lambda: driver.provider.set_deadline(handle, seconds=5),
    )
    for attempt in attempts:
        with pytest.raises(SandboxGone):
            attempt()
    assert handle not in driver.provider.running().values()


# --- making ----------------------------------------------------------------------------------------------------------


def made_and_listed(driver: Driver) -> None:
    """A sandbox is ready when it was made, has a size, lives, and is listed under our reference."""
    order = order_of(driver)
    with made(driver, order) as sandbox:
        assert sandbox.vcpu >= 1
        assert sandbox.memory_mib >= 128
        assert sandbox.handle == driver.provider.running()[order.reference]
        life = driver.provider.look(sandbox.handle)
        assert (True, None) == (life.running, life.reason)
        assert life.lived_ms is not None
        assert life.lived_ms >= 0
    assert order.reference not in driver.provider.running()


def key_makes_one(driver: Driver) -> None:
    """A repeat with the same key makes no second one; another key does."""
    order, key = order_of(driver), fresh("key")
    first = driver.provider.create(order, key=key)
    try:
        assert first == driver.provider.create(order, key=key)
        assert [first.handle] == [
            handle for name, handle in driver.provider.running().items() if name.startswith(order.reference)
        ]
        with made(driver) as other:
            assert first.handle != other.handle
    finally:
        driver.provider.kill(first.handle)


def template_is_unknown(driver: Driver) -> None:
    """A template that does not exist is refused, and nothing is left."""
    order = SandboxOrder(reference=fresh(), template="no-such-one", vcpu=1, memory_mib=512, seconds=MINUTE)
    with pytest.raises(ProviderRefused) as refused:
        driver.provider.create(order, key=fresh("key"))
    assert refused.value.detail
    assert order.reference not in driver.provider.running()


# --- running code ----------------------------------------------------------------------------------------------------


def bash_runs(driver: Driver) -> None:
    """Both streams, the exit code, and how long it took; what one command leaves, the next one finds."""
    with made(driver) as sandbox:
        ended = run(driver, sandbox, "echo out; echo err >&2; echo kept > note; exit 3")
        assert (3, b"out\n", b"err\n") == (ended.exit_code, ended.stdout, ended.stderr)
        assert (False, False, False) == (ended.timed_out, ended.oom, ended.truncated)
        assert ended.duration_ms >= 0
        assert b"kept\n" == run(driver, sandbox, "cat note").stdout


def python_runs(driver: Driver) -> None:
    """Its traceback is an error of the code's, and no error of ours."""
    with made(driver, order_of(driver, language="python")) as sandbox:
        assert b"42\n" == run(driver, sandbox, "print(6 * 7)", language="python").stdout
        failed = run(driver, sandbox, "raise ValueError('so')", language="python")
        assert 1 == failed.exit_code
        assert b"ValueError: so" in failed.stderr


def javascript_runs(driver: Driver) -> None:
    """As Python does."""
    with made(driver, order_of(driver, language="javascript")) as sandbox:
        assert b"42\n" == run(driver, sandbox, "console.log(6 * 7)", language="javascript").stdout
        failed = run(driver, sandbox, "throw new Error('so')", language="javascript")
        assert 0 != failed.exit_code
        assert b"Error: so" in failed.stderr


def code_is_taken_as_it_is(driver: Driver) -> None:
    """Quotes, dollars, new lines, signs of other scripts, and what looks like an option."""
    with made(driver) as sandbox:
        text = 'it\'s "so" $HOME `id` \\ ü✓'
        quoted = text.replace("'", "'\\''")
        assert f"{text}\n".encode() == run(driver, sandbox, f"printf '%s\\n' \\\n'{quoted}'").stdout
        assert 0 != run(driver, sandbox, "--version").exit_code
        with pytest.raises(SandboxRefused):
            run(driver, sandbox, "echo a\0b")


def long_code_runs(driver: Driver) -> None:
    """Code may be longer than an argument of a program can be."""
    with made(driver) as sandbox:
        assert ["250001"] == words(run(driver, sandbox, f"echo '{'x' * 250_000}' | wc -c").stdout)
    with made(driver, order_of(driver, language="python")) as sandbox:
        code = f"print(len('{'é' * 250_000}'))"
        assert ["250000"] == words(run(driver, sandbox, code, language="python").stdout)


def environment_is_given(driver: Driver) -> None:
    """That of the sandbox, and that of the command, which is stronger; none of ours."""
    with made(driver, order_of(driver, env={"ONE": "order", "TWO": "order"})) as sandbox:
        ended = run(driver, sandbox, 'echo "$ONE $TWO $THREE"', env={"TWO": "command", "THREE": "3"})
        assert ["order", "command", "3"] == words(ended.stdout)
        assert ["order"] == words(run(driver, sandbox, "echo $TWO").stdout)
        assert b"PYTEST" not in run(driver, sandbox, "env").stdout


def nothing_to_read(driver: Driver) -> None:
    """Who reads finds the end at once."""
    with made(driver) as sandbox:
        assert (0, b"") == (run(driver, sandbox, "cat").exit_code, run(driver, sandbox, "cat").stdout)


def signals_are_told(driver: Driver) -> None:
    """As 128 and the number of the signal, without words of a shell that is not the code's."""
    with made(driver) as sandbox:
        killed = run(driver, sandbox, "kill -KILL $$")
        assert (137, b"", False) == (killed.exit_code, killed.stderr, killed.timed_out)
        assert 143 == run(driver, sandbox, "kill -TERM 0").exit_code
        assert 0 == run(driver, sandbox, "true").exit_code


def output_is_told_meanwhile(driver: Driver) -> None:
    """Each stream in its order, before the command ends; all of it is in the result too."""
    with made(driver) as sandbox:
        told: list[tuple[Stream, bytes]] = []
        first = threading.Event()

        def hear(stream: Stream, data: bytes) -> None:
            told.append((stream, data))
            if not first.is_set():
                driver.provider.write_file(sandbox.handle, "go", b"")
                first.set()

        ended = run(
            driver,
            sandbox,
            "echo one; until [ -e go ]; do sleep 0.02; done; echo two; echo three >&2",
            on_output=hear,
        )
        assert 0 == ended.exit_code
        assert b"one\ntwo\n" == ended.stdout == b"".join(data for name, data in told if name == "stdout")
        assert b"three\n" == ended.stderr == b"".join(data for name, data in told if name == "stderr")


def output_is_bounded(driver: Driver) -> None:
    """What goes beyond the limit is dropped and said to be; the command goes on to its end."""
    with made(driver) as sandbox:
        told: list[bytes] = []
        code = "head -c 300000 /dev/zero | tr '\\0' x; echo small >&2; exit 4"
        ended = run(driver, sandbox, code, max_bytes=1_000, on_output=lambda _, data: told.append(data))
        assert (4, b"x" * 1_000, b"small\n", True) == (
            ended.exit_code, ended.stdout, ended.stderr, ended.truncated
        )  # fmt: skip
        assert 1_006 == sum(map(len, told))


def time_is_over(driver: Driver) -> None:
    """The command is killed with all that it started, and the sandbox can be used further."""
    with made(driver) as sandbox:
        code = "echo begun; (setsid sleep 333 &); (sleep 333 &); sleep 333"
        ended = run(driver, sandbox, code, seconds=1)
        assert (True, 137, b"begun\n") == (ended.timed_out, ended.exit_code, ended.stdout)
        assert 900 <= ended.duration_ms <= 15_000
        left = "grep -lzx '33[3]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
        eventually(lambda: words(run(driver, sandbox, left).stdout) == ["0"])


def listener_fails(driver: Driver) -> None:
    """An exception of whoever is told kills the command, and is raised."""
    with made(driver) as sandbox:

        def hear(_stream: Stream, _data: bytes) -> None:
            raise ZeroDivisionError("of the listener")

        with pytest.raises(ZeroDivisionError, match="of the listener"):
            run(driver, sandbox, "echo one; sleep 444", on_output=hear)
        left = "grep -lzx '44[4]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
        eventually(lambda: words(run(driver, sandbox, left).stdout) == ["0"])


def commands_run_side_by_side(driver: Driver) -> None:
    """Two commands of one sandbox wait for each other, which they could not do one after the other."""
    with made(driver) as sandbox:
        ended: list[int] = []

        def meet(mine: str, other: str) -> None:
            code = f"touch {mine}; until [ -e {other} ]; do sleep 0.02; done"
            ended.append(run(driver, sandbox, code).exit_code)

        both = [threading.Thread(target=meet, args=pair) for pair in (("a", "b"), ("b", "a"))]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert [0, 0] == ended


# --- files -----------------------------------------------------------------------------------------------------------


def files_go_in_and_out(driver: Driver) -> None:
    """Any bytes, into folders that did not exist; commands see them, and files that commands wrote are read."""
    with made(driver) as sandbox:
        content = bytes(range(256)) * 1_000
        driver.provider.write_file(sandbox.handle, "deep/er/data.bin", content)
        assert content == driver.provider.read_file(sandbox.handle, "deep/er/data.bin", max_bytes=1 << 20)
        assert ["256000"] == words(run(driver, sandbox, "wc -c < deep/er/data.bin").stdout)
        driver.provider.write_file(sandbox.handle, "deep/er/data.bin", b"")
        assert b"" == driver.provider.read_file(sandbox.handle, "deep/er/data.bin", max_bytes=1)

        assert 0 == run(driver, sandbox, f"echo theirs > made.txt; echo far > {FOLDER}/far.txt").exit_code
        assert b"theirs\n" == driver.provider.read_file(sandbox.handle, "made.txt", max_bytes=100)
        assert b"far\n" == driver.provider.read_file(sandbox.handle, f"{FOLDER}/far.txt", max_bytes=100)


def files_are_refused(driver: Driver) -> None:
    """One that is not there, one that is too large, a folder, and a path through a file."""
    with made(driver) as sandbox:
        driver.provider.write_file(sandbox.handle, "ten", b"0123456789")
        assert b"0123456789" == driver.provider.read_file(sandbox.handle, "ten", max_bytes=10)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: driver.provider.read_file(sandbox.handle, "ten", max_bytes=9),
            lambda: driver.provider.read_file(sandbox.handle, "nothing", max_bytes=9),
            lambda: driver.provider.read_file(sandbox.handle, FOLDER, max_bytes=9),
            lambda: driver.provider.write_file(sandbox.handle, FOLDER, b"x"),
            lambda: driver.provider.write_file(sandbox.handle, "ten/below", b"x"),
        )
        for attempt in attempts:
            with pytest.raises(SandboxRefused) as refused:
                attempt()
            assert refused.value.detail


# --- lives -----------------------------------------------------------------------------------------------------------


def life_is_measured(driver: Driver) -> None:
    """What was lived grows with our clock, and does not when the sandbox has ended."""
    began = time.monotonic()
    with made(driver) as sandbox:
        driver.pass_seconds(2)
        killed = driver.provider.kill(sandbox.handle)
    assert (False, "killed") == (killed.running, killed.reason)
    assert killed.lived_ms is not None
    passed_ms = int((time.monotonic() - began) * 1_000)
    assert 2_000 - driver.slack_ms <= killed.lived_ms <= passed_ms + 2_000 + driver.slack_ms
    driver.pass_seconds(1)
    assert killed == driver.provider.look(sandbox.handle)


def kill_is_idempotent(driver: Driver) -> None:
    """The second one tells what the first one told, and so does who looks."""
    with made(driver) as sandbox:
        first = driver.provider.kill(sandbox.handle)
        assert (False, "killed") == (first.running, first.reason)
        assert first == driver.provider.kill(sandbox.handle) == driver.provider.look(sandbox.handle)
        assert_gone(driver, sandbox.handle)


def deadline_comes(driver: Driver) -> None:
    """A sandbox dies by itself, at its time; its end is told by whoever looks, or kills it in vain."""
    with made(driver, order_of(driver, seconds=1)) as sandbox:
        driver.pass_seconds(1)
        eventually(lambda: not driver.provider.look(sandbox.handle).running)
        life = driver.provider.look(sandbox.handle)
        assert "deadline" == life.reason
        assert life.lived_ms is not None
        assert abs(life.lived_ms - 1_000) <= driver.slack_ms
        assert life == driver.provider.kill(sandbox.handle)
        assert_gone(driver, sandbox.handle)


def deadline_is_moved(driver: Driver) -> None:
    """Later, and then sooner, than was said before."""
    with made(driver, order_of(driver, seconds=2)) as sandbox:
        driver.provider.set_deadline(sandbox.handle, seconds=30)
        driver.pass_seconds(3)
        assert driver.provider.look(sandbox.handle).running
        assert 0 == run(driver, sandbox, "true").exit_code
        driver.provider.set_deadline(sandbox.handle, seconds=1)
        driver.pass_seconds(1)
        eventually(lambda: not driver.provider.look(sandbox.handle).running)
        life = driver.provider.look(sandbox.handle)
        assert "deadline" == life.reason
        assert life.lived_ms is not None
        assert life.lived_ms >= 4_000 - driver.slack_ms


def somebody_ends_it(driver: Driver) -> None:
    """It does not run any more: nothing can be done in it, and killing it is no error."""
    with made(driver) as sandbox:
        driver.lose(sandbox.handle)
        eventually(lambda: not driver.provider.look(sandbox.handle).running)
        assert_gone(driver, sandbox.handle)
        life = driver.provider.kill(sandbox.handle)
        assert not life.running
        assert life.reason in ("gone", "crashed", "killed")


def somebody_ends_it_meanwhile(driver: Driver) -> None:
    """A command whose sandbox ends is told to be gone, with what it wrote until then; one that begins later has nothing."""
    with made(driver) as sandbox:

        def hear(_stream: Stream, _data: bytes) -> None:
            driver.lose(sandbox.handle)

        with pytest.raises(SandboxGone) as cut:
            run(driver, sandbox, "echo begun; sleep 20", on_output=hear)
        assert cut.value.cut_off is not None
        assert (137, b"begun\n") == (cut.value.cut_off.exit_code, cut.value.cut_off.stdout)
        with pytest.raises(SandboxGone) as late:
            run(driver, sandbox, "echo begun")
        assert late.value.cut_off is None


SCENARIOS: tuple[Callable[[Driver], None], ...] = (
    made_and_listed,
    key_makes_one,
    template_is_unknown,
    bash_runs,
    python_runs,
    javascript_runs,
    code_is_taken_as_it_is,
    long_code_runs,
    environment_is_given,
    nothing_to_read,
    signals_are_told,
    output_is_told_meanwhile,
    output_is_bounded,
    time_is_over,
    listener_fails,
    commands_run_side_by_side,
    files_go_in_and_out,
    files_are_refused,
    life_is_measured,
    kill_is_idempotent,
    deadline_comes,
    deadline_is_moved,
    somebody_ends_it,
    somebody_ends_it_meanwhile,
)
