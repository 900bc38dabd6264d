"""What hostile code has the kernel keep for it, in no file and in no process: each attack held, and watched.

A program here ends with 0 where it was given far more than its sandbox has.
"""

import pytest

from tallystick.ports.sandboxes import SandboxGone
from tests.providers.local.boxes import Boxes, until

MUCH = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def judge(count):
    time.sleep(1.0)  # whoever watches may take a moment
    sys.exit(0 if count > 128 << 20 else 1)
"""
SEMAPHORES = """
judge(64 * 32_000 * sum(libc.semget(0, 32_000, 0o1600) >= 0 for _ in range(100)))
"""
MESSAGES = """
message, count = ctypes.create_string_buffer(bytes([1] + [0] * 8_200)), 0
for queue in (libc.msgget(0, 0o1600) for _ in range(12_000)):
    count += sum(8_100 for _ in range(2) if libc.msgsnd(queue, message, 8_100, 0o4000) == 0)
judge(count)
"""
PAGE_TABLES = """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
size, count = 100 << 30, 0
start = libc.mmap(None, size, 1, 0x4022, 2**64 - 1, 0)
libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), 15)
for offset in range(0, size, 2 << 20):
    ctypes.string_at(start + offset, 1)  # reading maps the page of zeros, which is nobody's
    count += 4096
judge(count)
"""
FILL = """
count, kept = 0, []
def fill(*ends):
    global count
    kept.extend(ends)
    for end in ends:
        end.setblocking(False)
        try:
            while True:
                count += end.send(bytes(1 << 16))
        except BlockingIOError:
            pass
"""
UNIX = """
for _ in range(480):
    fill(*socket.socketpair())
judge(2 * count)
"""
TCP = """
server = socket.create_server(("127.0.0.1", 0))
for _ in range(40):
    fill(socket.create_connection(server.getsockname()), server.accept()[0])
judge(count)
"""


@pytest.mark.parametrize(
    "code",
    [SEMAPHORES, MESSAGES, PAGE_TABLES, FILL + UNIX, FILL + TCP],
    ids=["semaphores", "messages", "page-tables", "unix", "tcp"],
)
def test_memory_of_the_kernels_is_bounded(boxes: Boxes, code: str) -> None:
    """Held by the kernel, or not to be had, or the sandbox ends."""
    box = boxes.make(memory_mib=64)
    try:
        done = box.run(MUCH + code, language="python", seconds=20.0)
        assert 0 != done.exit_code, done.stderr.decode()
    except SandboxGone:
        until(lambda: not box.look().running)
        assert "memory" == box.look().reason


def test_many_sockets_that_are_idle_are_no_memory(boxes: Boxes) -> None:
    """A server with its connections, and programs that talk to each other, go on."""
    code = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
kept = [(socket.create_connection(server.getsockname()), server.accept()[0]) for _ in range(100)]
kept += [socket.socketpair() for _ in range(100)]
time.sleep(0.5)
print("ok")
"""
    assert "ok\n" == boxes.make().python(code)
