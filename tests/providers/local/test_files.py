"""Files of a local sandbox."""

import pytest

from tallystick.ports.sandboxes import SandboxGone, SandboxRefused
from tests.providers.local.boxes import Box


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
