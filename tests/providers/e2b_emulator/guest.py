"""The agent inside a sandbox, and the proxy before it: processes, their streams and signals, files, health.

A stream is of Connect's frames: one byte of flags, four of length, a message in JSON; the last has the flag 2 and, where it
went wrong, an error. The agent lives as its original does: it kills the process that it has started when its time is over,
and none of what that has started; it lets a process run on whose listener has gone.
"""

import base64
import email.policy
import json
import shlex
import struct
import threading
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Any

from tallystick.ports.sandboxes import Command, SandboxGone, SandboxRefused
from tests.providers.e2b_emulator.machines import Ended, Machine, Process, Written
from tests.providers.e2b_emulator.messages import Answer, HangUp, Request, answer, refusal

FILE_MAX_BYTES = 1 << 28
LAST = 2
CHUNK = 1 << 16


class Guest:
    """All agents; ``drop_streams`` ends the next streams in the middle, as a bad network would."""

    def __init__(self, find: Callable[[str], Machine | None]) -> None:
        self._find = find
        self.drop_streams = 0
        self._replies: dict[tuple[str, str], Callable[[Machine, Request], Answer]] = {
            ("GET", "/health"): lambda *_: Answer(204),
            ("POST", "/process.Process/Start"): self._start,
            ("POST", "/process.Process/SendSignal"): _signal,
            ("POST", "/files"): _write,
            ("GET", "/files"): _read,
        }

    def reply(self, request: Request) -> Answer:
        """Answer a request to an agent."""
        name = request.headers.get("e2b-sandbox-id", "")
        machine = self._find(name)
        if machine is None:
            return answer(
                {"sandboxId": name, "message": "The sandbox was not found", "code": 502}, status=502
            )
        if request.headers.get("x-access-token") != machine.token:
            return refusal(401, "unauthorized")
        reply = self._replies.get((request.method, request.path))
        return refusal(501, "not emulated") if reply is None else reply(machine, request)

    def _start(self, machine: Machine, request: Request) -> Answer:
        [(_, message)] = _frames(request.body)
        wanted = message["process"]
        process = Process(
            machine,
            [wanted["cmd"], *wanted.get("args", [])],
            wanted.get("envs", {}),
            wanted.get("cwd"),
        )
        milliseconds = int(request.headers.get("connect-timeout-ms", 0))
        timer = threading.Timer(milliseconds / 1_000, lambda: process.kill(overdue=True))
        timer.daemon = True
        if milliseconds:
            timer.start()
        drop, self.drop_streams = self.drop_streams > 0, max(self.drop_streams - 1, 0)
        return Answer(200, _stream(process, timer, drop=drop), {"Content-Type": "application/connect+json"})


def _stream(process: Process, timer: threading.Timer, *, drop: bool) -> Iterator[bytes]:
    yield _frame({"event": {"start": {"pid": process.pid}}})
    if drop:
        raise HangUp
    while isinstance(event := process.events.get(), Written):
        data = base64.b64encode(event.data).decode()
        yield _frame({"event": {"data": {event.stream: data}}})
    timer.cancel()
    yield from _last(event)


def _last(ended: Ended) -> Iterator[bytes]:
    if ended.exit_code is None:
        lost = "the connection to the sandbox ended before the stream completed"
        yield _frame({"error": {"code": "unavailable", "message": lost}}, flags=LAST)
    elif ended.overdue:
        yield _frame(
            {"error": {"code": "deadline_exceeded", "message": "context deadline exceeded"}}, flags=LAST
        )
    else:
        by_signal = ended.exit_code < 0
        status = "signal: killed" if by_signal else f"exit status {ended.exit_code}"
        end: dict[str, Any] = {"exitCode": ended.exit_code, "exited": not by_signal, "status": status}
        if ended.exit_code:
            end["error"] = status
        yield _frame({"event": {"end": end}})
        yield _frame({}, flags=LAST)


def _signal(machine: Machine, request: Request) -> Answer:
    wanted = request.json()
    process = machine.processes.get(wanted["process"]["pid"])
    if process is None or not process.kill():
        return answer({"code": "not_found", "message": "no such process"}, status=404)
    return answer({})


def _write(machine: Machine, request: Request) -> Answer:
    path = request.parameter("path")
    form = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode() + request.body
    written = []
    for part in BytesParser(policy=email.policy.HTTP).parsebytes(form).iter_parts():
        name = path or str(part.get_filename())
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        try:
            machine.host.write_file(machine.handle, name, content)
        except SandboxRefused as refused:
            return _cannot_write(machine, name, refused.detail)
        except SandboxGone:
            raise HangUp from None
        written.append({"path": name, "name": PurePosixPath(name).name, "type": "file"})
    return answer(written)


def _read(machine: Machine, request: Request) -> Answer:
    try:
        content = machine.host.read_file(
            machine.handle, request.parameter("path") or "", max_bytes=FILE_MAX_BYTES
        )
    except SandboxRefused as refused:
        return _cannot_read(machine, request.parameter("path") or "", refused.detail)
    except SandboxGone:
        raise HangUp from None
    parts = (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
    return Answer(200, parts, {"Content-Type": "application/octet-stream"})


def _cannot_write(machine: Machine, path: str, why: str) -> Answer:
    if _kind(machine, path) == "folder":
        return refusal(400, f"path is a directory: {path}")
    if "space" in why:
        return refusal(507, "not enough disk space available")
    return refusal(500, f"error ensuring directories: mkdir {path}: not a directory")


def _cannot_read(machine: Machine, path: str, why: str) -> Answer:
    match _kind(machine, path):
        case "folder":
            return refusal(400, f"path '{path}' is a directory")
        case "nothing":
            return refusal(404, f"path '{path}' does not exist")
    return refusal(500, f"error opening file '{path}': {why}")


def _kind(machine: Machine, path: str) -> str:
    """What a path leads to: the host's own words for it are not E2B's."""
    test = f"[ -d {shlex.quote(path)} ] && echo folder || {{ [ -e {shlex.quote(path)} ] || echo nothing; }}"
    told = machine.host.execute(machine.handle, Command(language="bash", code=test, timeout_seconds=10))
    return told.stdout.decode().strip()


def _frame(message: dict[str, Any], *, flags: int = 0) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(body)) + body


def _frames(body: bytes) -> Iterator[tuple[int, Any]]:
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        yield flags, json.loads(body[5 : 5 + length])
        body = body[5 + length :]
