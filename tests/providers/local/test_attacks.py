"""What hostile code in a sandbox tries, and what comes of it. Each attack runs where limits are held, and where watched."""

import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.ports.sandboxes import SandboxGone, SandboxRefused
from tallystick.providers.local.handles import Handle
from tests.providers.local.boxes import Box, Boxes, until

DENIED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def denied(*arguments):
    result = libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    assert result == -1, (arguments, result)
    return ctypes.get_errno()
"""


@contextmanager
def _others_are_served(boxes: Boxes) -> Iterator[None]:
    """Another sandbox answers while an attack runs, and this process's own work goes on."""
    other = boxes.make()
    slowest = [0.0]
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            started = time.monotonic()
            assert 0 == other.run("true").exit_code
            slowest[0] = max(slowest[0], time.monotonic() - started)
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join()
    assert 0.0 < slowest[0] < 1.0


# --- seeing the host -------------------------------------------------------------------------------------------------


def test_the_hosts_files_are_not_there(box: Box, tmp_path: Path) -> None:
    """Neither a secret of the host's nor the folders in which such things lie."""
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    assert 0 != box.run(f"cat {secret}").exit_code
    assert "bin dev etc home lib" == " ".join(box.shell("ls /").split()[:5])
    for path in (
        "/root",
        "/var",
        "/srv",
        "/sys",
        "/run",
        "/boot",
        "/opt",
        "/mnt",
        "/etc/shadow",
        "/etc/machine-id",
    ):
        assert 0 != box.run(f"ls {path}").exit_code, path
    assert "user\n" == box.shell("ls /home")
    assert b"hidden" not in box.run(f"cat /proc/*/root{secret} /proc/*/cwd/../../..{secret}").stdout


def test_links_in_the_workspace_lead_nowhere(box: Box, tmp_path: Path) -> None:
    """A link to a file of the host is followed inside, where there is none; writing through it changes nothing outside."""
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    box.shell(
        f"ln -s {secret} link; ln -s {tmp_path} folder; ln -s /proc/1/root root; ln -s /proc/self/fd/0 fd"
    )
    for path in ("link", "folder/secret", f"root{secret}", f"../../..{secret}", f"/proc/self/cwd/{secret}"):
        with pytest.raises(SandboxRefused):
            box.local.read_file(box.handle, path, max_bytes=100)
    box.local.write_file(box.handle, "link", b"changed")  # in the sandbox's own /tmp
    box.shell("echo changed > folder/secret")
    assert "hidden" == secret.read_text()


def test_the_hosts_environment_is_not_there(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it reaches any process, the first one included, nor any command line on the host."""
    token = secrets.token_hex(8)
    monkeypatch.setenv("TALLY_TEST_SECRET", token)
    mine = secrets.token_hex(8)
    box = boxes.make(env={"MINE": mine})
    assert token not in box.shell(
        "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /proc/*/cmdline"
    )
    first = Path(f"/proc/{box.pid}")
    parent = first.parent / (first / "stat").read_text().rpartition(")")[2].split()[1]
    for process in (first, parent):
        told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        assert token.encode() not in told
        assert mine.encode() not in told


def test_the_hosts_processes_are_not_seen_or_reached(box: Box) -> None:
    """There are the sandbox's own, and their numbers mean nothing outside."""
    with subprocess.Popen(["sleep", "30"]) as victim:
        seen = box.shell("cat /proc/[0-9]*/comm")
        assert len(seen.split()) < 8
        assert 0 != box.run(f"kill -9 {victim.pid}").exit_code
        box.run("kill -9 -1")
        assert victim.poll() is None
        victim.kill()


def test_the_hosts_sockets_are_not_reached(box: Box) -> None:
    """Neither by path, nor by a name in the abstract, nor on the network of the host itself."""
    name = secrets.token_hex(8)
    path = f"/tmp/tally-test-{name}"
    with (
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket() as tcp,
    ):
        abstract.bind(f"\0{name}")
        named.bind(path)
        tcp.bind(("127.0.0.1", 0))
        for listening in (abstract, named, tcp):
            listening.listen()
        port = tcp.getsockname()[1]
        code = f"""
import socket
for family, address in ((1, "\\x00{name}"), (1, "{path}"), (2, ("127.0.0.1", {port}))):
    try:
        socket.socket(family).connect(address)
    except OSError as error:
        print(type(error).__name__)
"""
        assert ["ConnectionRefusedError", "FileNotFoundError", "ConnectionRefusedError"] == box.python(
            code
        ).split()
    Path(path).unlink()


def test_there_is_no_network(box: Box) -> None:
    """One interface, which leads nowhere; no raw packets, and none of the families that know no namespaces."""
    code = """
import errno, socket
print([name for _, name in socket.if_nameindex()])
for address in (("1.1.1.1", 53), ("169.254.169.254", 80), ("10.0.0.1", 80)):
    try:
        socket.socket().connect(address)
    except OSError as error:
        print(errno.errorcode[error.errno])
for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_VSOCK, socket.SOCK_STREAM),
                     (socket.AF_ALG, socket.SOCK_SEQPACKET), (socket.AF_INET, socket.SOCK_RAW)):
    try:
        socket.socket(family, kind, socket.IPPROTO_ICMP if family == socket.AF_INET else 0)
    except PermissionError:
        print("denied")
"""
    assert ["['lo']", *["ENETUNREACH"] * 3, *["denied"] * 4] == box.python(code).splitlines()


def test_other_sandboxes_are_not_seen_or_reached(boxes: Boxes) -> None:
    """Not their files, their processes, their sockets or their memory."""
    box, other = boxes.make(), boxes.make()
    other.run("echo hidden > /home/user/a; cp a /tmp/b; cp a /dev/shm/c; sleep 83 > /dev/null 2>&1 &")
    other.run("cd /tmp && python3 -m http.server 8000 > /dev/null 2>&1 & sleep 0.3")
    assert "" == box.shell("ls -A /home/user /tmp /dev/shm | grep -v : || true").strip()
    assert "sleep" not in box.shell("cat /proc/[0-9]*/comm")
    assert 0 != box.run("exec 3<>/dev/tcp/127.0.0.1/8000").exit_code
    box.run("kill -9 -1")
    assert b"hidden\n" == other.run("cat a").stdout
    assert "sleep 83" in other.processes()


def test_the_hosts_use_of_its_programs_is_not_watched(box: Box) -> None:
    """Their files are the same ones: whoever watched them would learn what others run, and when."""
    code = """
import errno, fcntl
column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
for numbers in ((253, 26), (294, 26), (254, 27), (300, 262), (301, 263)):
    found = denied(numbers[column], 0, 0, 0, 0, 0)
    assert found == errno.ENOSYS, (numbers, found)
folder = os.open("/usr/bin", os.O_RDONLY)
for request in (fcntl.F_NOTIFY, fcntl.F_NOTIFY | 1 << 32):  # the kernel reads the lower half only
    assert denied((72, 25)[column], folder, request, 1) == errno.EPERM
try:
    fcntl.fcntl(os.open("/usr/bin/env", os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
except PermissionError:
    print("held")
"""
    assert "held\n" == box.python(DENIED + code)


def test_what_would_watch_files_looks_again_instead(boxes: Boxes) -> None:
    """`tail -f` follows a file, and Node says that it cannot watch and can be asked to look from time to time."""
    box = boxes.make()
    code = (
        "echo one > a; (sleep 0.3; echo two >> a; sleep 0.3; touch b) & timeout 5 tail -f -s 0.1 a | head -2"
    )
    assert "one\ntwo\n" == box.shell(code)
    node = boxes.make(template="node", memory_mib=512)
    code = """
const fs = require('fs')
fs.writeFileSync('a', 'one')
try { fs.watch('a') } catch (error) { console.log(error.code) }
fs.watchFile('a', { interval: 50 }, () => { console.log('changed'); fs.unwatchFile('a') })
setTimeout(() => fs.writeFileSync('a', 'longer'), 200)
"""
    assert b"ENOSYS\nchanged\n" == node.run(code, language="javascript").stdout


# --- getting out -----------------------------------------------------------------------------------------------------


def test_ptrace_mount_unshare_and_their_like_are_denied(box: Box) -> None:
    """Each call fails, and the process that tried goes on."""
    code = """
import errno
calls = {"mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "ptrace": (101, 117),
    "pidfd_getfd": (438, 438), "process_vm_readv": (310, 270), "process_madvise": (440, 440), "kcmp": (312, 272),
    "bpf": (321, 280), "keyctl": (250, 219), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "open_by_handle_at": (304, 265), "pivot_root": (155, 41), "chroot": (161, 51),
    "init_module": (175, 105), "kexec_load": (246, 104), "reboot": (169, 142), "fsopen": (430, 430),
    "open_tree": (428, 428), "move_mount": (429, 429), "swapon": (167, 224), "settimeofday": (164, 170)}
column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
for name, numbers in calls.items():
    found = denied(numbers[column], 0, 0, 0, 0, 0)
    assert found == errno.EPERM, (name, found)
assert denied(435, 0, 0) == errno.ENOSYS  # clone3
clone = (56, 220)[column]
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x4000000, 0x8000000, 0x2000000):
    assert denied(clone, flag | 17, 0, 0, 0, 0) == errno.EPERM
print("held")
"""
    assert "held\n" == box.python(DENIED + code)


def test_no_rights_are_gained(box: Box) -> None:
    """No program that changes the user does, and nothing of the machine's can be changed."""
    code = """
for line in open("/proc/self/status"):
    if line.startswith(("Cap", "NoNewPrivs", "Seccomp:")):
        assert int(line.split()[1], 16) == {"NoNewPrivs:": 1, "Seccomp:": 2}.get(line.split()[0], 0), line
for path in ("/a", "/usr/a", "/etc/a", "/dev/a", "/proc/sys/kernel/core_pattern", "/.sandbox/agent.py", "/etc/passwd"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise AssertionError(path)
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.mknod("d", 0o20666, 1281)):
    try:
        call()
    except OSError:
        continue
    raise AssertionError(call)
print("held")
"""
    assert "held\n" == box.python(DENIED + code)


def test_no_descriptor_is_inherited(box: Box) -> None:
    """A command has its three streams, and nothing else."""
    assert "0 1 2 3" == " ".join(sorted(box.python("import os; print(*os.listdir('/proc/self/fd'))").split()))


def test_a_crash_leaves_no_dump_on_the_host(box: Box) -> None:
    """A limit of 0 would be ignored where the host has a program that takes dumps."""
    limits = box.python("import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))")
    assert limits in {"1 1\n", "0 0\n"}  # 0 where the host's own limit is that
    assert 139 == box.run("kill -SEGV $$").exit_code
    assert "" == box.shell("ls /home/user")


def test_a_terminal_of_the_host_is_not_reached(box: Box) -> None:
    """There is none to open, and none to type into."""
    assert 0 != box.run("echo a > /dev/tty").exit_code
    code = """
import errno, fcntl, pty
_, other = pty.openpty()
for request in (0x5412, 0x541C, 0x100005412):  # TIOCSTI, TIOCLINUX; the kernel reads the lower half only
    assert denied((16, 29)[os.uname().machine == "aarch64"], other, request, b"a") == errno.EPERM
"""
    box.python(DENIED + code)


# --- taking all there is ---------------------------------------------------------------------------------------------


def test_a_fork_bomb_is_bounded(boxes: Boxes) -> None:
    """It gets so many processes; others are served meanwhile; when its time is over all of it is dead."""
    box = boxes.make()
    with _others_are_served(boxes):
        done = box.run(":(){ :|:& };:; sleep 9", seconds=1.0)
        assert done.timed_out
        assert len(box.processes()) < 140
    until(lambda: not box.look().running or box.processes() == set())
    assert 0 == box.run("true").exit_code


def test_a_fork_bomb_that_outlives_its_command_is_bounded(boxes: Boxes) -> None:
    """It keeps its sandbox busy, which can be ended as any other."""
    box = boxes.make()
    with _others_are_served(boxes):
        box.run("(:(){ :|:& };:) > /dev/null 2>&1 &")
        time.sleep(0.5)
        assert len(box.processes()) < 140
        started = time.monotonic()
        assert "killed" == box.kill().reason
        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "code",
    [
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "import mmap\nx = []\nwhile True:\n x.append(mmap.mmap(-1, 1 << 20)); x[-1].write(bytes(1 << 20))",
    ],
    ids=["private", "shared"],
)
def test_filling_the_memory_ends_at_the_size(boxes: Boxes, code: str) -> None:
    """By whichever kind of memory: the command ends, or the sandbox does."""
    box = boxes.make(memory_mib=128)
    with _others_are_served(boxes):
        try:
            assert 0 != box.run(code, language="python", seconds=20.0).exit_code
        except SandboxGone:
            until(lambda: not box.look().running)
            assert "memory" == box.look().reason


def test_memory_that_no_process_maps_is_bounded(boxes: Boxes) -> None:
    """Held by the kernel, or else not to be had."""
    box = boxes.make(memory_mib=128)
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(40):
    number = os.memfd_create("a")
    os.write(number, bytes(8 << 20))
"""
    try:
        assert 0 != box.run(code, language="python").exit_code
    except SandboxGone:
        assert not box.look().running


def test_filling_the_disk_ends_at_its_size(box: Box) -> None:
    """Each folder has its own, and together they are less than the memory."""
    fill = "for d in /home/user /tmp /dev/shm; do head -c 300m /dev/zero > $d/a 2> /dev/null; done"
    code = f"{fill}; du -scm /home /tmp /dev/shm | tail -1"
    assert int(box.shell(code).split()[0]) <= 128 + 32 + 32
    assert box.look().running
    assert "ok\n" == box.shell("rm /home/user/a /tmp/a /dev/shm/a; echo ok")


def test_filling_the_disk_with_empty_files_ends(boxes: Boxes) -> None:
    """Each costs memory of the kernel's, and there are so many."""
    box = boxes.make(memory_mib=64)
    code = "import os\nfor n in range(10**6):\n os.close(os.open('/tmp/%d' % n, os.O_CREAT | os.O_WRONLY))"
    try:
        assert 0 != box.run(code, language="python", seconds=20.0).exit_code
    except SandboxGone:
        until(lambda: not box.look().running)
        assert box.look().reason in {"disk", "memory"}


def test_huge_output_is_cut_and_the_host_keeps_little_of_it(boxes: Boxes) -> None:
    """Whoever writes without an end is over its time, and others are served meanwhile."""
    box = boxes.make()
    with _others_are_served(boxes):
        done = box.run("cat /dev/zero", seconds=0.7, output_max_bytes=10_000)
    assert (True, True, 10_000) == (done.timed_out, done.truncated, len(done.stdout))


# --- fighting the agent ----------------------------------------------------------------------------------------------


def test_the_agent_is_not_killed_or_stopped(box: Box) -> None:
    """It is the first process, which takes no signal from those inside."""
    box.run(
        "for s in HUP INT QUIT ILL ABRT KILL SEGV PIPE TERM STOP TSTP USR1 USR2 CHLD; do kill -$s 1; done"
    )
    assert 0 == box.run("true").exit_code
    assert 0 != box.run("cat /proc/1/mem; cat /proc/1/environ; ls /proc/1/fd").exit_code


def test_killing_ones_worker_ends_everything_inside(box: Box) -> None:
    """What it was to end can no longer be told from the rest, so all of it ends; the sandbox goes on."""
    box.run("sleep 91 > /dev/null 2>&1 &")
    done = box.run("(setsid sleep 92 &); sleep 0.1; kill -9 $PPID; sleep 93")
    assert (137, False) == (done.exit_code, done.timed_out)
    until(lambda: box.processes() == set())
    assert 0 == box.run("true").exit_code


def test_stopping_ones_worker_does_not_save_from_the_end(box: Box) -> None:
    """The time is kept outside."""
    done = box.run("kill -STOP $PPID; setsid sleep 94 & sleep 95", seconds=0.4)
    assert (137, True) == (done.exit_code, done.timed_out)
    assert set() == box.processes()


def test_forking_away_does_not_escape_the_end(box: Box) -> None:
    """A process that is always another one by the time it is looked for."""
    code = """
import os, signal, time
for number in range(1, 32):
    if number not in (9, 17, 18, 19):
        signal.signal(number, signal.SIG_IGN)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
"""
    done = box.run(f"python3 -c '{code}' & sleep 30", seconds=0.6)
    assert done.timed_out
    until(lambda: not box.processes())
    assert 0 == box.run("true").exit_code


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0",
        b"x",
        b"x-1",
        b"x9999",
        b"x0\n",
        b"xNaN",
        b"z" * 65_536,
        b"k more",
        b"o" + bytes(65_536),
        b"x0|o after the end",
        b"d",
        b"\xff\xfe",
    ],
)
def test_an_agent_that_talks_garbage_is_ended(boxes: Boxes, garbage: bytes) -> None:
    """What answers in its place is never believed, and its sandbox ends."""
    box = boxes.make()
    with _answering(box, garbage.split(b"|")), pytest.raises(SandboxGone):
        box.run("true")
    assert not box.look().running


def test_an_agent_that_never_answers_is_ended(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the command is over its time, then the patience with the agent is."""
    monkeypatch.setattr("tallystick.providers.local.conversation.HANG_UP_SECONDS", 0.3)
    box = boxes.make()
    with _answering(box, None), pytest.raises(SandboxGone):
        box.run("true", seconds=0.1)
    assert "crashed" == box.look().reason


def test_an_agent_that_always_talks_is_over_its_time(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it listened to for ever."""
    monkeypatch.setattr("tallystick.providers.local.conversation.HANG_UP_SECONDS", 0.3)
    box = boxes.make()
    with _answering(box, [b"o" + bytes(1_000)] * 1_000_000), pytest.raises(SandboxGone):
        box.run("true", seconds=0.2, output_max_bytes=100)


def test_a_refusal_is_short_and_has_nothing_that_a_terminal_obeys(boxes: Boxes) -> None:
    """Its words come from inside."""
    box = boxes.make()
    with _answering(box, [b"r\x1b[2Jred\n\x07" + b"x" * 9_000]), pytest.raises(SandboxRefused) as refused:
        box.run("true")
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) <= 500


def test_a_file_longer_than_asked_for_is_not_taken(boxes: Boxes) -> None:
    """An agent that sends more than it may ends."""
    box = boxes.make()
    with _answering(box, [b"d" + bytes(10_000)]), pytest.raises(SandboxGone):
        box.local.read_file(box.handle, "a", max_bytes=9_999)


@contextmanager
def _answering(box: Box, messages: list[bytes] | None) -> Iterator[None]:
    """Somebody else listens where the agent did, as if user code had taken its place."""
    handle = Handle.parse(box.handle)
    path = Path(handle.folder) / f"{handle.name}.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5.0)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.settimeout(3.0)
                try:
                    for message in messages or ():
                        connection.send(message)
                    if messages is None:
                        time.sleep(1.0)
                except OSError:
                    return

        answering = threading.Thread(target=answer)
        answering.start()
        yield
        answering.join()
