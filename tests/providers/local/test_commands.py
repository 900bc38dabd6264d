"""Commands in a local sandbox."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tallystick.ports.sandboxes import Command, Execution, SandboxBusy, SandboxGone, SandboxRefused, Stream
from tallystick.providers.local.conversation import Conversation
from tallystick.providers.local.handles import Handle
from tests.providers.local.boxes import Box, Boxes, until


def test_a_command_answers_with_its_streams_and_its_exit_code(box: Box) -> None:
    """What it wrote, where it wrote it, and how it ended."""
    done = box.run("echo out; echo err >&2; exit 7")
    assert (7, b"out\n", b"err\n") == (done.exit_code, done.stdout, done.stderr)
    assert (False, False, False) == (done.timed_out, done.oom, done.truncated)
    assert 0 <= done.duration_ms < 5_000


def test_python_runs(box: Box) -> None:
    """Python is a language of its template."""
    assert "42\n" == box.python("print(6 * 7)")


def test_javascript_runs_where_there_is_node(boxes: Boxes) -> None:
    """Node.js is found on this machine."""
    names = [template.name for template in boxes.local.templates()]
    assert "node" in names, "this test needs Node.js in /usr/bin: install it"
    node = boxes.make(template="node", memory_mib=512)
    done = node.run("console.log(6 * 7)", language="javascript")
    assert (0, b"42\n") == (done.exit_code, done.stdout)


def test_a_language_that_a_template_lacks_is_refused(boxes: Boxes) -> None:
    """The refusal names it."""
    shell = boxes.make(template="bash")
    with pytest.raises(SandboxRefused, match="javascript"):
        shell.run("1", language="javascript")


def test_binary_output_arrives_as_it_is(box: Box) -> None:
    """Every byte, in order."""
    done = box.run("import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)", language="python")
    assert bytes(range(256)) * 300 == done.stdout


def test_output_arrives_while_a_command_runs(box: Box) -> None:
    """Whoever listens is told before the command ends."""
    seen: list[tuple[Stream, bytes, float]] = []
    started = time.monotonic()
    command = Command(
        language="python",
        code="import time, sys\nprint('a'); time.sleep(0.3); print('b', file=sys.stderr)",
        timeout_seconds=5.0,
    )
    box.local.execute(
        box.handle,
        command,
        on_output=lambda stream, chunk: seen.append((stream, chunk, time.monotonic() - started)),
    )
    assert b"a\n" == b"".join(chunk for stream, chunk, _ in seen if stream == "stdout")
    assert b"b\n" == b"".join(chunk for stream, chunk, _ in seen if stream == "stderr")
    assert seen[-1][2] - seen[0][2] > 0.25


def test_whoever_listens_may_end_it(box: Box) -> None:
    """An exception out of ``on_output`` kills the command with all it started, and is raised."""
    command = Command(language="bash", code="sleep 55 & echo a; sleep 56", timeout_seconds=30.0)

    def refuse(_: Stream, __: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        box.local.execute(box.handle, command, on_output=refuse)
    assert set() == box.processes()


@pytest.mark.parametrize("stream", ["1", "2"])
def test_what_is_too_much_is_dropped_and_said(box: Box, stream: str) -> None:
    """Each stream has its own room."""
    done = box.run(f"head -c 5000 /dev/zero >&{stream}; exit 3", output_max_bytes=1_000)
    assert 1_000 == len(done.stdout) + len(done.stderr)
    assert done.truncated
    assert 3 == done.exit_code


def test_output_of_just_the_permitted_length_is_whole(box: Box) -> None:
    """The limit is no excess."""
    done = box.run("head -c 1000 /dev/zero", output_max_bytes=1_000)
    assert (1_000, False) == (len(done.stdout), done.truncated)


def test_a_command_over_its_time_dies_with_all_that_it_started(box: Box) -> None:
    """Also children in sessions of their own, and children of children that are gone."""
    code = "setsid sleep 61 & (setsid sh -c 'sleep 62 & sleep 0.01' &) ; (sleep 63 &) ; echo begun; sleep 64"
    done = box.run(code, seconds=0.4)
    assert (137, True, b"begun\n") == (done.exit_code, done.timed_out, done.stdout)
    assert set() == box.processes()


def test_a_signal_is_told_by_the_exit_code(box: Box) -> None:
    """128 and the number of the signal."""
    assert 128 + 11 == box.run("kill -SEGV $$").exit_code
    assert 128 + 9 == box.run("kill -KILL $$").exit_code


def test_a_server_in_the_background_lives_on(box: Box) -> None:
    """Commands end by themselves, not by their pipes, and what they left works for the next."""
    serve = "cd /tmp && echo hello > page && python3 -m http.server 8000 & sleep 0.4"
    started = time.monotonic()
    assert 0 == box.run(serve).exit_code
    assert time.monotonic() - started < 5.0
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/page').read())"
    assert "b'hello\\n'\n" == box.python(fetch)


def test_another_commands_end_leaves_a_server_alone(box: Box) -> None:
    """A kill for being over time meets the one command only."""
    box.run("sleep 71 > /dev/null 2>&1 &")
    box.run("sleep 72", seconds=0.2)
    assert {"sleep 71"} == box.processes()


def test_the_environment_is_the_sandboxes_and_the_commands(boxes: Boxes) -> None:
    """A command's own values come last."""
    box = boxes.make(env={"A": "1", "B": "x=y\nz"})
    assert b"2 x=y\nz 3" == box.run('echo -n "$A $B $C"', env={"A": "2", "C": "3"}).stdout
    assert b"1" == box.run('echo -n "$A$C"').stdout


def test_an_environment_as_large_as_may_be_asked_for_arrives(boxes: Boxes) -> None:
    """64 KiB for the sandbox, and as much for a command; also in many small pieces."""
    box = boxes.make(env={"A": "a" * 65_000})
    done = box.run("echo ${#A} ${#B}", env={"A": "a" * 65_000, "B": "b" * 65_000})
    assert b"65000 65000\n" == done.stdout, done.stderr
    many = {f"B{number}": "" for number in range(11_000)}
    box = boxes.make(env=many)
    assert b"11000\n" == box.run("env | grep -c ^B", env=many).stdout


def test_text_that_cannot_be_passed_is_refused(box: Box) -> None:
    """A NUL ends a text for the kernel, so none is taken."""
    with pytest.raises(SandboxRefused):
        box.run("echo a\0b")
    with pytest.raises(SandboxRefused):
        box.run("true", env={"A": "a\0b"})
    with pytest.raises(SandboxRefused):
        box.run("true", env={"A=B": "a"})
    with pytest.raises(SandboxRefused):
        box.run("true", env={"A": "a" * 200_000})


def test_long_code_runs(box: Box) -> None:
    """Beyond what the kernel takes as an argument, code comes in a file, which is gone afterwards."""
    padding = "# " + "x" * 200_000 + "\n"
    assert b"ok\n" == box.run(f"{padding}echo ok").stdout
    assert "ok\n" == box.python(f"{padding}print('ok')")
    assert "" == box.shell("ls /tmp")


def test_long_code_may_clear_the_folder_that_it_lies_in(box: Box) -> None:
    """It ends as any other, though its file is gone already."""
    done = box.run("rm -rf /tmp/*; echo done; exit 3\n" + "#" * 200_000)
    assert (3, b"done\n") == (done.exit_code, done.stdout)


def test_commands_run_beside_each_other(box: Box) -> None:
    """One that waits keeps no other one waiting."""
    found: list[Execution] = []
    waiting = threading.Thread(target=lambda: found.append(box.run("sleep 0.5; echo slow")))
    waiting.start()
    assert b"fast\n" == box.run("echo fast", seconds=0.45).stdout
    waiting.join()
    assert b"slow\n" == found[0].stdout


def test_a_command_that_cannot_be_started_says_so(box: Box) -> None:
    """Where there is no working folder to be entered, as where there is no program."""
    assert 127 == box.run("nothing-of-this-name").exit_code
    box.run("chmod 0 /home/user")
    done = box.run("true")
    assert 126 == done.exit_code
    assert b"cannot start" in done.stderr


def test_a_sandbox_that_ends_meanwhile_is_gone(box: Box) -> None:
    """Whoever waits for a command in it is told at once."""
    timer = threading.Timer(0.3, box.kill)
    timer.start()
    with pytest.raises(SandboxGone):
        box.run("sleep 30", seconds=30.0)
    timer.join()
    with pytest.raises(SandboxGone):
        box.run("true")


def _fill_twice(box: Box, code: str) -> None:
    """One program that wants too much, then several that do so together."""
    assert b"MemoryError" in box.run(code, language="python").stderr
    box.run("for i in 1 2 3 4; do (head -c 150m /dev/zero | tail) & done; wait")


def test_memory_that_runs_out_is_told_or_ends_the_sandbox(box: Box) -> None:
    """Where the kernel holds it, the command dies and says why; where it is watched, the sandbox ends."""
    held = box.local.capabilities.limits == "enforced"
    code = "import time\nx = []\nfor _ in range(400): x.append(bytearray(1 << 20)); time.sleep(0.001)\ntime.sleep(9)"
    if held:
        done = box.run(code, language="python")
        assert (137, True) == (done.exit_code, done.oom)
        assert box.look().running
        assert not box.run("true").oom
    else:
        with pytest.raises(SandboxGone):  # by the watch, unless the one program is refused more before
            _fill_twice(box, code)
        until(lambda: not box.look().running)
        assert "memory" == box.look().reason


def test_many_commands_at_once_wait_for_each_other(box: Box) -> None:
    """The sandbox is not given up where more call than its agent takes at a time."""
    with ThreadPoolExecutor(100) as pool:
        done = list(pool.map(lambda _: _exit_code(box), range(100)))
    assert {0, None} >= set(done)
    assert 64 < done.count(0)
    assert box.look().running


def _exit_code(box: Box) -> int | None:
    """How a command ended; None where there was no room for it."""
    try:
        return box.run("exec sleep 0.1").exit_code
    except SandboxBusy:
        return None


FULL = """
import os, time
while True:
    try:
        if os.fork() == 0:
            os.close(1), os.close(2), time.sleep(97), os._exit(0)
    except BlockingIOError:
        break
"""


def test_a_full_sandbox_blames_no_code_for_it(box: Box) -> None:
    """Where no process can be made for it, the agent's or its own: it can be asked for again, and then it is done."""
    box.python(FULL)
    refused = set()
    with ExitStack() as stack:
        for _ in range(40):  # the agent has a few places more, and each of these takes one
            stack.enter_context(Conversation(Handle.parse(box.handle)))
            try:
                box.run("true")
            except SandboxBusy as busy:
                refused.add(busy.detail)
        with pytest.raises(SandboxBusy, match="no room"):
            box.local.write_file(box.handle, "a", b"a")
    assert {"Resource temporarily unavailable", "the sandbox has no room for another process"} == refused
    until(lambda: _exit_code(box) == 0)
