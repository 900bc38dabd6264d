"""Files of a local sandbox."""

import time
from collections.abc import Mapping

import pytest

from tallystick.ports.sandboxes import SandboxBusy, SandboxGone, SandboxRefused
from tallystick.providers.local import conversation
from tallystick.providers.local.conversation import Conversation
from tallystick.providers.local.handles import Handle
from tests.providers.local.boxes import Box, until


def test_a_file_comes_back_as_it_was_put(box: Box) -> None:
    """Bytes of any length, with the folders that it needs."""
    content = bytes(range(256)) * 4_000
    box.local.write_file(box.handle, "a/b/c.bin", content)
    assert content == box.local.read_file(box.handle, "/home/user/a/b/c.bin", max_bytes=len(content))
    box.local.write_file(box.handle, "/tmp/empty", b"")
    assert b"" == box.local.read_file(box.handle, "/tmp/empty", max_bytes=0)


def test_a_file_is_replaced_and_keeps_its_mode(box: Box) -> None:
    """A program that is put anew can still be run."""
    box.shell("echo 'echo old' > run.sh; chmod 755 run.sh")
    box.local.write_file(box.handle, "run.sh", b"#!/bin/sh\necho new\n")
    assert "new\n" == box.shell("./run.sh")


def test_a_file_that_finds_no_room_leaves_the_old_one(box: Box) -> None:
    """All or nothing."""
    box.local.write_file(box.handle, "a", b"old")
    with pytest.raises(SandboxRefused, match=r"space|large"):
        box.local.write_file(box.handle, "a", bytes(160 << 20))
    assert b"old" == box.local.read_file(box.handle, "a", max_bytes=10)
    assert "a\n" == box.shell("ls -A")


@pytest.mark.parametrize(
    "path", ["/usr/a", "/etc/passwd", "/a", "/dev/null", "/proc/1/oom_score_adj", "/tmp", "", "a/"]
)
def test_what_is_not_a_place_for_files_is_refused(box: Box, path: str) -> None:
    """The machine's programs, devices and folders stay as they are."""
    with pytest.raises(SandboxRefused):
        box.local.write_file(box.handle, path, b"x")


@pytest.mark.parametrize(
    "path", ["missing", "/tmp", "fifo", "/dev/zero", "/dev/tty", "/proc/1/environ", "socket"]
)
def test_what_is_no_file_is_refused_at_once(box: Box, path: str) -> None:
    """A pipe without a writer would be waited for, and a device never ends."""
    box.shell("mkfifo fifo; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'")
    with pytest.raises(SandboxRefused):
        box.local.read_file(box.handle, path, max_bytes=1_000)


def test_writing_into_a_pipe_is_refused_at_once(box: Box) -> None:
    """As reading."""
    box.shell("mkfifo fifo")
    with pytest.raises(SandboxRefused):
        box.local.write_file(box.handle, "fifo", b"x")


def test_a_file_above_the_limit_is_refused(box: Box) -> None:
    """Also one whose length is not told beforehand."""
    box.local.write_file(box.handle, "a", b"12345")
    assert b"12345" == box.local.read_file(box.handle, "a", max_bytes=5)
    with pytest.raises(SandboxRefused, match="4 bytes"):
        box.local.read_file(box.handle, "a", max_bytes=4)
    with pytest.raises(SandboxRefused, match="10 bytes"):
        box.local.read_file(box.handle, "/proc/self/status", max_bytes=10)


def test_files_of_an_ended_sandbox_are_gone(box: Box) -> None:
    """Nothing is left of them."""
    box.kill()
    with pytest.raises(SandboxGone):
        box.local.write_file(box.handle, "a", b"x")
    with pytest.raises(SandboxGone):
        box.local.read_file(box.handle, "a", max_bytes=1)


def _begun(box: Box, path: str, content: bytes) -> tuple[Conversation, Mapping[str, str]]:
    """A connection for a write, and what is asked by it; nothing is sent yet."""
    what = {"op": "write", "path": path} | conversation.announced(content)
    return Conversation(Handle.parse(box.handle)), what


@pytest.mark.parametrize("sent", [0, 5])
def test_what_arrives_late_changes_nothing(box: Box, monkeypatch: pytest.MonkeyPatch, sent: int) -> None:
    """A process that stood still in the middle of a write, or before it: others have written meanwhile."""
    box.shell("mkdir deep")
    monkeypatch.setattr(conversation, "ARRIVAL_SECONDS", 0.3)
    late, what = _begun(box, "deep/a", b"old content")
    with late:
        if sent:
            late.ask(what, {}, b"old content"[:sent])
        monkeypatch.setattr(conversation, "ARRIVAL_SECONDS", 15.0)
        box.local.write_file(box.handle, "deep/a", b"new")
        time.sleep(0.4)
        if sent:
            late.ask({"the": "rest"}, {}, b"content")  # whatever it is
        else:
            late.ask(what, {}, b"old content")
        assert [(b"b", b"what was asked for came too late")] == list(late.answers(5.0))
    assert b"new" == box.local.read_file(box.handle, "deep/a", max_bytes=100)
    assert ".:\ndeep\n\n./deep:\na\n" == box.shell("ls -AR")


def test_what_arrives_in_pieces_is_over_at_its_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it comes."""
    monkeypatch.setattr(conversation, "ARRIVAL_SECONDS", 0.3)
    late, what = _begun(box, "a", bytes(1_000_000))
    with late:
        late.ask(what, {}, b"")
        for _ in range(40):
            late.ask({"a": "b"}, {}, b"")
            time.sleep(0.01)
        assert b"b" == next(late.answers(5.0))[0]
    assert "" == box.shell("ls -A")


def test_a_write_that_is_too_late_is_told_as_busy(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be asked for again; so can code, which has not run."""
    monkeypatch.setattr(conversation, "ARRIVAL_SECONDS", 0.0)
    with pytest.raises(SandboxBusy, match="too late"):
        box.local.write_file(box.handle, "a", b"a")
    with pytest.raises(SandboxBusy, match="too late"):
        box.run("touch a")
    monkeypatch.undo()
    assert "" == box.shell("ls -A")


def test_hanging_up_in_the_middle_of_a_write_leaves_nothing(box: Box) -> None:
    """Wherever the file was to be."""
    for path in ("a", "deep/er/b", "/tmp/c", "/dev/shm/d"):
        left, what = _begun(box, path, bytes(100))
        with left:
            left.ask(what, {}, bytes(50))
            find = "find /home/user /tmp /dev/shm -type f"
            until(lambda find=find: b".part-" in box.run(find).stdout)  # type: ignore[misc]
            left.hang_up()
        assert "" == box.shell(find)


def test_long_code_that_is_killed_leaves_nothing(box: Box) -> None:
    """It is put into a file to be run."""
    assert box.run(f"sleep 9 # {'x' * 200_000}", seconds=0.5).timed_out
    assert "" == box.shell("ls -A /tmp")
