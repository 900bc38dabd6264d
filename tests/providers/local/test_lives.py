"""How local sandboxes begin and end, and who can reach them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.sandboxes import leftovers
from tallystick.ports import ProviderRefused
from tallystick.ports.sandboxes import Life, SandboxElsewhere, SandboxGone, SandboxOrder
from tallystick.providers.local import LocalSandboxes
from tallystick.providers.local.handles import Handle, start_of
from tests.providers.local.boxes import Box, Boxes, until

ROOT = Path(__file__).parents[3]
ORDER = SandboxOrder(reference="sbx_1", template="bash", vcpu=1, memory_mib=64, seconds=60.0)


def test_a_life_is_measured_from_ready_to_the_end(box: Box) -> None:
    """By the steady clock, to the millisecond, and it stays as it was."""
    started = time.monotonic()
    life = box.look()
    assert (True, None) == (life.running, life.reason)
    time.sleep(0.2)
    ended = box.kill()
    assert ended.lived_ms is not None
    assert life.lived_ms is not None
    assert 190 <= ended.lived_ms - life.lived_ms <= (time.monotonic() - started) * 1_000 + 5
    assert (False, "killed") == (ended.running, ended.reason)
    assert ended == box.look() == box.kill()


def test_a_sandbox_dies_at_its_deadline(boxes: Boxes) -> None:
    """By itself, and its life is as long as was said."""
    box = boxes.make(seconds=0.3)
    until(lambda: not box.look().running, 2.0)
    life = box.look()
    assert "deadline" == life.reason
    assert life.lived_ms is not None
    assert 300 <= life.lived_ms < 500


def test_a_deadline_is_moved_either_way(boxes: Boxes) -> None:
    """Later, and sooner."""
    box = boxes.make(seconds=0.4)
    box.local.set_deadline(box.handle, seconds=60.0)
    time.sleep(0.6)
    assert box.look().running
    box.local.set_deadline(box.handle, seconds=0.05)
    until(lambda: not box.look().running, 1.0)
    assert "deadline" == box.look().reason
    with pytest.raises(SandboxGone):
        box.local.set_deadline(box.handle, seconds=1.0)


def test_a_sandbox_whose_first_process_dies_has_crashed(boxes: Boxes) -> None:
    """Whoever on this machine killed it."""
    box = boxes.make()
    os.kill(box.pid, signal.SIGKILL)
    until(lambda: not box.look().running)
    assert "crashed" == box.look().reason


def test_the_same_key_makes_one_sandbox(boxes: Boxes) -> None:
    """Also when asked at the same time, and after its end."""
    order = replace(ORDER, reference="sbx_same")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: boxes.local.create(order, key="same"), range(4)))
    assert 1 == len({each.handle for each in made})
    assert "sbx_same" in boxes.local.running()
    boxes.local.kill(made[0].handle)
    assert made[0] == boxes.local.create(order, key="same")
    assert "sbx_same" not in boxes.local.running()


@pytest.mark.parametrize(
    "change",
    [
        {"template": "cobol"},
        {"vcpu": 0},
        {"vcpu": 10_000},
        {"memory_mib": 1},
        {"memory_mib": 1 << 30},
        {"seconds": 0.0},
        {"env": {"A": "a\0b"}},
        {"env": {"A": "a" * 200_000}},
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(local: LocalSandboxes, change: dict[str, Any]) -> None:
    """Nothing is left of it, and the same key may be tried again with something better."""
    key = f"refused:{change}"
    with pytest.raises(ProviderRefused):
        local.create(replace(ORDER, **change), key=key)
    assert {} == dict(local.running())
    local.kill(local.create(ORDER, key=key).handle)


def test_twenty_are_made_at_the_same_time(boxes: Boxes) -> None:
    """Each works, and each is its own."""
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: boxes.make(template="bash", memory_mib=64), range(20)))
        done = list(
            pool.map(lambda box: box.run("cat /proc/sys/kernel/random/boot_id; echo $$ > a; ls"), made)
        )
    assert [0] * 20 == [each.exit_code for each in done]
    assert 20 == len({box.pid for box in made})


def test_a_sandbox_of_another_machine_is_elsewhere(box: Box) -> None:
    """It can only be reached from there; one of an earlier start of this machine is gone."""
    known = Handle.parse(box.handle)
    there = replace(known, host=replace(known.host, boot="another", machine="another")).dump()
    for act in (
        lambda: box.local.look(there),
        lambda: box.local.kill(there),
        lambda: box.local.set_deadline(there, seconds=1.0),
        lambda: box.local.read_file(there, "a", max_bytes=1),
    ):
        with pytest.raises(SandboxElsewhere):
            act()
    if known.host.machine:
        before = replace(known, host=replace(known.host, boot="another")).dump()
        assert Life(running=False, lived_ms=None, reason="gone") == box.local.look(before)
        assert Life(running=False, lived_ms=None, reason="gone") == box.local.kill(before)
    assert box.look().running


def test_a_number_that_was_used_again_is_not_killed(box: Box) -> None:
    """A process is told by when it started as well."""
    with subprocess.Popen(["sleep", "30"]) as other:
        known = replace(Handle.parse(box.handle), name="unknown", pid=other.pid)
        assert not box.local.kill(known.dump()).running
        assert not box.local.look(known.dump()).running
        with pytest.raises(SandboxGone):
            box.local.read_file(known.dump(), "a", max_bytes=1)
        assert other.poll() is None
        other.kill()


def test_a_zombie_is_dead(local: LocalSandboxes) -> None:
    """Though its number is still taken."""
    assert local.name == "local"
    with subprocess.Popen(["sleep", "30"]) as other:
        assert start_of(other.pid) is not None
        other.kill()
        until(lambda: start_of(other.pid) is None)
        assert Path(f"/proc/{other.pid}").exists()


def test_what_is_no_handle_is_an_error(local: LocalSandboxes) -> None:
    """It is not taken for a sandbox that is gone."""
    for text in ("", "{}", "[]", '{"host": 1}'):
        with pytest.raises(ValueError, match=r"handle|Expecting"):
            local.look(text)


# --- two processes ---------------------------------------------------------------------------------------------------

_OWNER = """
import sys
from tallystick.ports.sandboxes import SandboxOrder
from tallystick.providers.local import LocalSandboxes
local = LocalSandboxes(state_dir=sys.argv[1])
order = SandboxOrder(reference="sbx_other", template="bash", vcpu=1, memory_mib=64, seconds=float(sys.argv[2]))
print(local.create(order, key="other").handle, flush=True)
sys.stdin.read()
local.close()
"""


@contextmanager
def _owner(state: Path, seconds: float = 60.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that makes a sandbox, and the sandbox's handle."""
    command = [sys.executable, "-c", textwrap.dedent(_OWNER), str(state), str(seconds)]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            if process.stdin is not None:
                process.stdin.close()  # then it closes its provider
            process.wait(timeout=10)


@contextmanager
def _local(state: Path) -> Iterator[LocalSandboxes]:
    provider = LocalSandboxes(state_dir=state)
    try:
        yield provider
    finally:
        provider.close()


def test_another_process_works_with_a_sandbox(state: Path) -> None:
    """By its handle alone: commands, files, deadline, life, and end; and the owner says how it was."""
    with _local(state) as local, _owner(state) as (_, handle):
        box = Box(local, handle, "sbx_other")
        assert {"sbx_other": handle} == dict(local.running())
        local.write_file(handle, "a", b"1")
        assert b"1" == box.run("cat a").stdout
        assert box.look().running
        local.set_deadline(handle, seconds=50.0)
        life = box.kill()
        assert (False, "killed") == (life.running, life.reason)
        assert life == box.look() == box.kill()
        assert {} == dict(local.running())


def test_another_process_moves_a_deadline(state: Path) -> None:
    """The owner sees it at once, and the other learns how it ended."""
    with _local(state) as local, _owner(state) as (_, handle):
        local.set_deadline(handle, seconds=0.0)
        until(lambda: not local.look(handle).running, 0.25)
        assert "deadline" == local.look(handle).reason


def test_the_same_key_makes_one_sandbox_with_two_processes(state: Path) -> None:
    """Whoever asks second is given what the first has made, also after its end."""
    with _local(state) as local, _owner(state) as (_, handle):
        order = replace(ORDER, reference="sbx_other")
        assert handle == local.create(order, key="other").handle
    with _local(state) as local, _owner(state) as (_, handle):
        local.kill(handle)
        assert handle == local.create(order, key="other").handle


def test_killing_the_owner_ends_its_sandboxes(state: Path) -> None:
    """With all that ran in them; others find nothing running, and sweep what was left."""
    with _local(state) as local, _owner(state) as (process, handle):
        Box(local, handle, "").run("sleep 98 > /dev/null 2>&1 &")
        known = Handle.parse(handle)
        groups = json.loads((state / f"{known.name}.json").read_text())["groups"]
        process.kill()
        process.wait()
        until(lambda: not local.look(handle).running)
        assert Life(running=False, lived_ms=None, reason="gone") == local.look(handle)
        assert Life(running=False, lived_ms=None, reason="gone") == local.kill(handle)
        assert {} == dict(local.running())
        with pytest.raises(SandboxGone):
            local.read_file(handle, "a", max_bytes=1)
        assert 1 == len(list(state.iterdir()))  # the socket of this process
        assert [] == [folder for folder in groups if Path(folder).exists()]


@pytest.mark.parametrize("text", ["", '{"reference": "sbx_', "[]", "{}"])
def test_a_note_that_was_cut_off_is_taken_away(state: Path, text: str) -> None:
    """As by a machine that lost its power, or by another version: whoever begins next goes on without it."""
    state.mkdir(mode=0o700)
    (state / "cut.json").write_text(text)
    with _local(state) as local:
        assert {} == local.running()
        assert not (state / "cut.json").exists()


def test_an_owner_that_hangs_keeps_nobody_from_killing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does it, whoever asks."""
    monkeypatch.setattr("tallystick.providers.local.keeper.ANSWER_SECONDS", 0.1)
    with _local(state) as local, _owner(state) as (process, handle):
        process.send_signal(signal.SIGSTOP)
        life = local.kill(handle)
        assert (False, "killed") == (life.running, life.reason)
        assert life.lived_ms is not None
        process.send_signal(signal.SIGCONT)


def test_closing_ends_all_that_this_process_made(state: Path) -> None:
    """And leaves an empty folder and no thread."""
    before = threading.active_count()
    local = LocalSandboxes(state_dir=state)
    made = [local.create(ORDER, key=f"{number}") for number in range(3)]
    local.close()
    local.close()
    assert [] == [each for each in made if start_of(Handle.parse(each.handle).pid) is not None]
    assert [] == list(state.iterdir())
    assert before == threading.active_count()
    assert "killed" == local.look(made[0].handle).reason


def test_the_thread_that_makes_a_sandbox_may_end(boxes: Boxes) -> None:
    """The kernel ties a sandbox to a thread, which is the provider's own."""
    made: list[Box] = []
    thread = threading.Thread(target=lambda: made.append(boxes.make()))
    thread.start()
    thread.join()
    assert 0 == made[0].run("true").exit_code


# --- what is left ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("hold", [True, False])
def test_nothing_is_left_of_many(state: Path, hold: bool) -> None:  # noqa: FBT001
    """No process, mount, group, file, descriptor or thread, after sandboxes that were used and killed in a row."""
    local = LocalSandboxes(state_dir=state, hold=hold)
    before = leftovers(state)
    for number in range(60):
        box = Box(local, local.create(replace(ORDER, reference=f"sbx_{number}"), key=str(number)).handle, "")
        assert 0 == box.run("echo a > a; sleep 100 & true").exit_code
        box.kill()
    assert before == leftovers(state)
    local.close()
