"""Talking to the agent inside a sandbox: one connection for each request, a socket that keeps messages apart.

Every byte that comes from there may have been written by whoever attacks us. So messages are bounded, whatever is not one
that we expect ends the sandbox, and no time, count or state is believed that can be found out here.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from tallystick.ports.sandboxes import Command, Execution, OnOutput, SandboxBusy, SandboxRefused, Stream
from tallystick.providers.local.handles import Handle, now_ns

MESSAGE: Final = 1 << 16
REQUEST_MAX: Final = 3 << 16  # an environment and a command's own; the kernel takes a little more at a time
CODE_MAX: Final = 8 << 20
HANG_UP_SECONDS: Final = 5.0  # the agent ends and answers within this, or is not one any more
FILE_SECONDS: Final = 30.0
# What has not arrived so long after it was begun is given up inside. A process that stands still meanwhile is given up by
# the others after half a minute: then they may do the same again, and what comes from it late must not undo that.
ARRIVAL_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 10.0
_MILLION: Final = 1_000_000
_REASON_MAX: Final = 500
_KILLED: Final = 137
_EXIT: Final = re.compile(rb"\d{1,3}")
_STREAMS: Final[Mapping[bytes, Stream]] = {b"o": "stdout", b"e": "stderr"}


class AgentGone(Exception):  # noqa: N818 - a state
    """Nobody answers in the sandbox: it ends, or ended, at this moment. ``cut_off`` as of ``SandboxGone``."""

    cut_off: Execution | None = None


class AgentBroken(Exception):  # noqa: N818 - a state
    """What answers in the sandbox does not keep to what was agreed: it is not to be trusted any further."""


def packed(kind_to_fields: Mapping[str, Mapping[str, str]]) -> bytes:
    """Texts as the agent reads them. Raises ``SandboxRefused`` where one cannot be said."""
    found = []
    for kind, fields in kind_to_fields.items():
        for name, value in fields.items():
            if "\0" in name + value or "=" in name or not name:
                raise SandboxRefused(
                    "a name or value has a NUL in it, or a name is empty or has an equals sign"
                )
            found.append(f"{kind}:{name}={value}")
    return "\0".join(found).encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def address(folder: str, name: str) -> Iterator[str]:
    """A socket's path that is short enough whatever the folder: the kernel takes 108 bytes."""
    number = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{number}/{name}"
    finally:
        os.close(number)


def connect(connection: socket.socket, folder: str, name: str, *, seconds: float) -> None:
    """Call whoever listens there, and wait so long for each step, this first one too. Raises ``OSError``.

    The kernel is told how long: with a timeout of Python's own it would not wait at all where many call at once.
    """
    whole, rest = divmod(int(seconds * _MILLION), _MILLION)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", whole, rest))
    try:
        with address(folder, name) as path:
            connection.connect(path)
    except BlockingIOError as error:
        raise TimeoutError from error
    connection.settimeout(seconds)


class Conversation:
    """One request and its answer. Leaving it hangs up, which ends what was asked for."""

    def __init__(self, handle: Handle) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            connect(self._socket, handle.folder, f"{handle.name}.sock", seconds=_CONNECT_SECONDS)
        except (FileNotFoundError, ConnectionError) as error:
            self._socket.close()
            raise AgentGone from error
        except OSError as error:  # it does not take calls any more
            self._socket.close()
            raise AgentBroken from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, what: Mapping[str, str], env: Mapping[str, str], content: bytes = b"") -> None:
        """Send a request, and what belongs to it."""
        message = packed({"what": what, "env": env})
        if len(message) > REQUEST_MAX:
            raise SandboxRefused("the environment or the path is too long")
        try:
            self._socket.send(message)
            for start in range(0, len(content), MESSAGE):
                self._socket.send(content[start : start + MESSAGE])
        except ConnectionError:
            return  # it has answered already, and that is read next
        except OSError as error:
            raise AgentBroken from error

    def answers(self, seconds: float) -> Iterator[tuple[bytes, bytes]]:
        """All messages until the agent hangs up, each a kind and what it says. Raises ``TimeoutError``."""
        until = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                message, _, flags, _ = self._socket.recvmsg(MESSAGE)
            except TimeoutError:
                raise
            except ConnectionResetError:  # told once, of what was left unread; answers may still be there
                continue
            except ConnectionError as error:
                raise AgentGone from error
            if flags & socket.MSG_TRUNC:
                raise AgentBroken
            if not message:
                return
            yield message[:1], message[1:]
            if time.monotonic() > until:  # whoever always has something to say is over the time as well
                raise TimeoutError

    def hang_up(self) -> None:
        """End what was asked for, and wait until all of it is dead."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            for _ in self.answers(HANG_UP_SECONDS):
                pass
        except TimeoutError as error:
            raise AgentBroken from error


def announced(content: bytes) -> dict[str, str]:
    """What the agent is told of content that comes with a request which begins now."""
    return {"size": str(len(content)), "until": str(now_ns() + int(ARRIVAL_SECONDS * 1_000_000_000))}


# --- commands --------------------------------------------------------------------------------------------------------


class _Output:
    """What a command writes, up to so many bytes of each stream."""

    def __init__(self, limit: int, on_output: OnOutput | None) -> None:
        self.kept: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.truncated = False
        self._limit = limit
        self._on_output = on_output

    def take(self, stream: Stream, chunk: bytes) -> None:
        kept = chunk[: self._limit - len(self.kept[stream])]
        self.truncated = self.truncated or len(kept) < len(chunk)
        if kept:
            self.kept[stream] += kept
            if self._on_output is not None:
                self._on_output(stream, kept)

    def ended(self, exit_code: int, started: int) -> Execution:
        """What came of the command, which began at this moment of the steady clock, in nanoseconds."""
        return Execution(
            exit_code=exit_code,
            stdout=bytes(self.kept["stdout"]),
            stderr=bytes(self.kept["stderr"]),
            duration_ms=(time.monotonic_ns() - started) // _MILLION,
            truncated=self.truncated,
        )


def execute(handle: Handle, command: Command, on_output: OnOutput | None) -> Execution:
    """Run a command. Raises ``AgentGone``, ``AgentBroken`` and ``SandboxRefused``."""
    code = command.code.encode("utf-8", "surrogateescape")
    if b"\0" in code:
        raise SandboxRefused("the code has a NUL in it")
    if len(code) > CODE_MAX:
        raise SandboxRefused(f"the code has more than {CODE_MAX} bytes: write it to a file")
    limit = max(0, command.output_max_bytes)  # one more is asked for, so that what is too much is seen here
    what = {"op": "run", "language": command.language, "output": str(limit + 1)} | announced(code)
    output = _Output(limit, on_output)
    killed_before = _killed_for_memory(handle)
    started = time.monotonic_ns()
    timed_out = False
    with Conversation(handle) as conversation:
        conversation.ask(what, command.env, code)
        try:
            exit_code = _follow(conversation.answers(command.timeout_seconds), output)
        except TimeoutError:
            timed_out, exit_code = True, _KILLED
            conversation.hang_up()
        except AgentGone as gone:
            gone.cut_off = output.ended(_KILLED, started)
            raise
        except (AgentBroken, SandboxRefused):
            raise
        except BaseException:
            conversation.hang_up()
            raise
    oom = _killed_for_memory(handle) > killed_before
    return replace(output.ended(exit_code, started), timed_out=timed_out, oom=oom)


def _follow(answers: Iterator[tuple[bytes, bytes]], output: _Output) -> int:
    """Take what a command writes until it has ended, and give its exit code."""
    exit_code: int | None = None
    for kind, content in answers:
        if exit_code is not None:
            raise AgentBroken
        if kind in _STREAMS:
            output.take(_STREAMS[kind], content)
        elif kind == b"x":
            if not _EXIT.fullmatch(content):
                raise AgentBroken
            exit_code = min(int(content), 255)
        elif kind == b"k" and not content:
            exit_code = _KILLED
        else:
            raise _refusal(kind, content)
    if exit_code is None:
        raise AgentGone
    return exit_code


def _refusal(kind: bytes, content: bytes) -> Exception:
    """What a refusal of the agent becomes: its words are kept short, and without anything that a terminal obeys."""
    refusal = {b"r": SandboxRefused, b"b": SandboxBusy}.get(kind)
    if refusal is None:
        return AgentBroken()
    text = content[:_REASON_MAX].decode("utf-8", "replace")
    return refusal("".join(sign if sign.isprintable() else "�" for sign in text))


def killed_for_memory(events: str) -> int:
    """How often the kernel killed something for want of memory; 0 where nobody counts."""
    if not events:
        return 0
    try:
        text = Path(events).read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def _killed_for_memory(handle: Handle) -> int:
    return killed_for_memory(handle.memory_events)


# --- files -----------------------------------------------------------------------------------------------------------


def write_file(handle: Handle, path: str, content: bytes) -> None:
    """Put a file. Raises as ``execute``."""
    what = {"op": "write", "path": path} | announced(content)
    with Conversation(handle) as conversation:
        conversation.ask(what, {}, content)
        for _ in _file_answers(conversation):
            raise AgentBroken


def read_file(handle: Handle, path: str, *, max_bytes: int) -> bytes:
    """Give a file. Raises as ``execute``."""
    found = bytearray()
    with Conversation(handle) as conversation:
        conversation.ask({"op": "read", "path": path, "most": str(max_bytes)}, {})
        for chunk in _file_answers(conversation):
            found += chunk
            if len(found) > max_bytes:
                raise AgentBroken
    return bytes(found)


def _file_answers(conversation: Conversation) -> Iterable[bytes]:
    done = False
    try:
        for kind, content in conversation.answers(FILE_SECONDS):
            if done:
                raise AgentBroken
            if kind == b"d":
                yield content
            elif kind == b"x" and not content:
                done = True
            elif kind == b"k" and not content:
                raise SandboxRefused("another process of the sandbox ended this")
            else:
                raise _refusal(kind, content)
    except TimeoutError:
        conversation.hang_up()
        raise SandboxRefused(f"this took longer than {FILE_SECONDS:g} s") from None
    if not done:
        raise AgentGone
