"""The first process inside of a local sandbox: it runs commands there, and reads and writes files, for the host.

It needs the standard library of Python 3.8 and nothing else. ``socket``, ``signal`` and ``json`` are left out on purpose:
they take longer to import than everything else here takes to start. Nothing that it says is trusted by the host.

What holds:

* As process 1 it takes no signal from anybody in the sandbox; it opens no message, and so nothing in one can harm it.
* Each request has a connection and a worker process. A worker of a command adopts all that the command leaves behind, so
  that descendants can be found and ended, whatever sessions they began and however often they forked.
* A worker that did not end by itself was attacked: then everything in the sandbox but process 1 ends.
* Whoever hangs up ends what it asked for; the connection is closed when all of it is dead.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import ctypes
import errno
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # typing, too, would take long to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOME = "/home/user"
ROOTS = (HOME, "/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own; each is a file system with no other in it
REQUEST = 1 << 18  # longer than any of the host, with an environment in it
MESSAGE = 1 << 16  # the longest piece of what comes with one
CHUNK = 1 << 15
INLINE_CODE = 96 << 10  # the kernel takes 128 KiB for one argument
_DUMPABLE = 4
_SUBREAPER = 36
_ROUNDS = 200
_KIND, _FILE = 0o170000, 0o100000
_NO_ACCESS = 126
_NOT_FOUND = 127
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE)  # now, and perhaps not later
_SPARE = 24  # processes that the agent may have beyond what its commands may

_libc = ctypes.CDLL(None, use_errno=True)


class _Refused(Exception):  # noqa: N818 - an answer
    """What was asked for cannot be done; the text is for the host."""

    kind = b"r"


class _Busy(_Refused):
    """It cannot be done now, for a reason that is not in what was asked for."""

    kind = b"b"


def fields_of(message: bytes) -> dict[str, dict[str, str]]:
    """Read ``kind:name=value`` texts, each ended by a NUL, as the host writes them."""
    found: dict[str, dict[str, str]] = {"what": {}, "env": {}, "limit": {}, "language": {}}
    for field in message.decode("utf-8", "surrogateescape").split("\0"):
        kind, _, rest = field.partition(":")
        name, _, value = rest.partition("=")
        if name:
            found.setdefault(kind, {})[name] = value
    return found


def main() -> None:
    """Get ready, say so, and serve for as long as the sandbox lives."""
    _prctl(_DUMPABLE, 0)  # nobody in the sandbox reads or writes our memory
    settings = fields_of(os.read(0, 1 << 20))
    os.dup2(int(settings["what"]["listener"]), 3)
    os.closerange(4, 1024)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _limit(settings, spare=_SPARE)
    os.chdir(HOME)
    _Agent(_socket.socket(fileno=3), settings).serve()


class _Agent:
    """Takes requests, and knows which worker answers which connection."""

    def __init__(self, listener: _socket.socket, settings: dict[str, dict[str, str]]) -> None:
        self._listener = listener
        self._settings = settings
        self._jobs: dict[int, int] = {}
        self._poll = select.poll()
        self._wake = _wake_at_child()

    def serve(self) -> None:
        self._listener.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._poll.register(self._listener.fileno(), select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        os.write(0, b"ready %d %d" % sys.version_info[:2])
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(null)
        while True:
            for number, _ in self._poll.poll():
                if number == self._listener.fileno():
                    self._accept()
                elif number == self._wake:
                    self._reap()
                else:
                    self._hung_up(number)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - it is there
        except OSError:
            return
        try:
            pid = os.fork()
        except OSError:
            _say(connection, _Busy.kind, b"the sandbox has no room for another process")
            os.close(connection)
            return
        if pid == 0:
            _work(connection, self._settings)
        self._jobs[pid] = connection
        self._poll.register(connection, select.POLLRDHUP)

    def _reap(self) -> set[int]:
        """Bury who died; a worker among them has answered, or was attacked."""
        _drain(self._wake)
        dead: set[int] = set()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return dead
            if pid == 0:
                return dead
            dead.add(pid)
            connection = self._jobs.pop(pid, None)
            if connection is None:
                continue
            if status != 0:
                _signal_to(-1, _signal.SIGKILL)  # all but this one, in one step: no fork escapes
                _clear(pid)
                _say(connection, b"k")
            self._close(connection)

    def _hung_up(self, connection: int) -> None:
        self._reap()
        worker = next((pid for pid, number in self._jobs.items() if number == connection), None)
        if worker is None:
            return
        tree = _freeze(worker)
        del self._jobs[worker]
        if tree is None or not self._end(tree):
            self._end_everything()
        _clear(worker)
        _say(connection, b"k")
        self._close(connection)

    def _end(self, tree: set[int]) -> bool:
        for pid in tree:
            _signal_to(pid, _signal.SIGKILL)
        pause = select.poll()
        for _ in range(_ROUNDS):
            tree -= self._reap()
            if not tree:
                return True
            pause.poll(1)
        return False

    def _end_everything(self) -> None:
        """End all processes but this one: the kernel does it in one step, so no fork escapes."""
        _signal_to(-1, _signal.SIGKILL)
        pause = select.poll()
        for _ in range(_ROUNDS):
            self._reap()
            if _childless():
                return
            pause.poll(1)

    def _close(self, connection: int) -> None:
        self._poll.unregister(connection)
        os.close(connection)


# --- processes -------------------------------------------------------------------------------------------------------


def _freeze(worker: int) -> set[int] | None:
    """Stop a worker and all its descendants, and name them; None when they are faster.

    Stopped processes keep their places, so whoever forks against this runs into the limit of processes.
    """
    stopped: set[int] = set()
    for _ in range(_ROUNDS):
        tree = _descendants(worker)
        fresh = tree - stopped
        if not fresh:
            return tree
        for pid in fresh:
            _signal_to(pid, _signal.SIGSTOP)
        stopped |= fresh
    return None


def _descendants(root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    todo = [root]
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo += children.get(pid, ())
    return found


def _childless() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _signal_to(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _limit(settings: dict[str, dict[str, str]], *, spare: int = 0) -> None:
    for name, text in settings["limit"].items():
        value = int(text) + (spare if name == "NPROC" else 0)
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _wake_at_child() -> int:
    """Make a pipe that can be read when a child has died."""
    reading, writing = os.pipe()
    for number in (reading, writing):
        os.set_blocking(number, False)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    return reading


def _drain(number: int) -> None:
    try:
        while os.read(number, CHUNK):
            pass
    except BlockingIOError:
        pass


# --- workers ---------------------------------------------------------------------------------------------------------


def _work(connection: int, settings: dict[str, dict[str, str]]) -> None:
    """Answer one request, in a process of its own, and end."""
    status = 1
    try:
        _signal.set_wakeup_fd(-1)
        os.dup2(connection, 3, inheritable=False)
        os.closerange(4, 1024)
        request = fields_of(os.read(3, REQUEST))
        operation = request["what"]["op"]
        try:
            _OPERATIONS[operation](request, settings)
        except _Refused as refusal:
            _say(3, refusal.kind, str(refusal).encode("utf-8", "replace"))
        except OSError as error:
            # Code is not at fault where it cannot be started.
            kind = _Busy.kind if operation == "run" or error.errno in _NO_ROOM else _Refused.kind
            _say(3, kind, (error.strerror or str(error)).encode("utf-8", "replace"))
        except ValueError as error:
            _say(3, _Refused.kind, str(error).encode("utf-8", "replace"))
        status = 0
    finally:
        os._exit(status)


def _say(connection: int, kind: bytes, content: bytes = b"") -> None:
    """Send one message; where nobody listens any more, process 1 sees it as well and acts on it."""
    try:
        os.write(connection, kind + content)
    except OSError:
        pass


def _check_time(what: dict[str, str]) -> int:
    """For how many milliseconds a request is still good: what comes later might undo what was done after it."""
    left = int(what["until"]) - time.monotonic_ns()
    if left <= 0:
        raise _Busy("what was asked for came too late")
    return left // 1_000_000 + 1


def _chunks(what: dict[str, str]) -> Iterator[bytes]:
    """What comes with a request, as it comes and while the request is good: a long file is never held whole."""
    size = int(what["size"])
    coming = select.poll()
    coming.register(3, select.POLLIN)
    while size > 0:
        if not coming.poll(_check_time(what)):
            continue  # to where it is refused
        chunk = os.read(3, MESSAGE)
        if not chunk:
            raise _Refused("the content ended early")
        size -= len(chunk)
        yield chunk


def _run(request: dict[str, dict[str, str]], settings: dict[str, dict[str, str]]) -> None:
    what = request["what"]
    command = settings["language"].get(what["language"])
    if command is None:
        raise _Refused(f"this sandbox runs no {what['language']}")
    interpreter, _, option = command.partition(" ")
    code = b"".join(_chunks(what))
    script = None
    if len(code) <= INLINE_CODE:
        arguments: list[str | bytes] = [interpreter, option, code]
    else:
        script = _script_of(os.getpid())
        _put(script, [code], what, mode=0o600)
        arguments = [interpreter, script]
    environment = dict(settings["env"])
    environment.update(request["env"])
    _prctl(_SUBREAPER, 1)
    wake = _wake_at_child()
    pipes = (os.pipe(), os.pipe())
    pid = os.fork()
    if pid == 0:
        _become(arguments, environment, settings, pipes[0][1], pipes[1][1])
    os.close(pipes[0][1])
    os.close(pipes[1][1])
    output = _Output({pipes[0][0]: b"o", pipes[1][0]: b"e"}, int(what["output"]))
    code_of_exit = output.follow(pid, wake)
    if script is not None:
        _remove(script)
    output.leave()
    _say(3, b"x", b"%d" % code_of_exit)


def _script_of(worker: int) -> str:
    return f"/tmp/code-{worker}"  # noqa: S108 - the sandbox's own


def _remove(path: str) -> None:
    """Take a file away; code may have done so itself, or closed its folder."""
    try:
        os.unlink(path)
    except OSError:
        pass


def _clear(worker: int) -> None:
    """Take away what a worker that was killed had begun to write."""
    for root in ROOTS:
        _remove(_part_of(worker, root))
    _remove(_script_of(worker))


def _become(
    arguments: list[str | bytes],
    environment: dict[str, str],
    settings: dict[str, dict[str, str]],
    out: int,
    err: int,
) -> None:
    """Turn a fresh child into the command."""
    status = _NO_ACCESS
    try:
        _signal.set_wakeup_fd(-1)
        for number in (_signal.SIGCHLD, _signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(HOME)
        _prctl(_DUMPABLE, 1)  # else /proc/self is not the command's own
        number = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(number, b"1000")  # before the agent, and before anything of the host
        os.nice(5)
        _limit(settings)
        os.execve(arguments[0], arguments, environment)  # noqa: S606 - what all this is for
    except FileNotFoundError as error:
        status = _NOT_FOUND
        os.write(2, f"{error}\n".encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        os.write(2, f"cannot start: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status)


class _Output:
    """Carries what a command writes to the host, up to so many bytes of each stream."""

    def __init__(self, streams: dict[int, bytes], limit: int) -> None:
        self._streams = streams
        self._open = set(streams)
        self._room = dict.fromkeys(streams, limit)
        self._poll = select.poll()
        for number in streams:
            os.set_blocking(number, False)
            self._poll.register(number, select.POLLIN)

    def follow(self, pid: int, wake: int) -> int:
        """Carry on until the command itself has ended, whoever else still holds its pipes, and give its exit code."""
        self._poll.register(wake, select.POLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number != wake:
                    self._carry(number)
                    continue
                _drain(wake)
                code = _buried(pid)
                if code is not None:
                    self._carry_rest()
                    return code

    def leave(self) -> None:
        """Let what runs on in the background write, to nobody: a server that logs would fail at a closed pipe."""
        if not self._open or os.fork() != 0:
            return
        try:
            os.close(3)
            while self._open:
                for number, _ in self._poll.poll():
                    if number not in self._open or not os.read(number, CHUNK):
                        self._poll.unregister(number)
                        self._open.discard(number)
        finally:
            os._exit(0)

    def _carry(self, number: int) -> int:
        """Carry a chunk, and say how long it was: 0 where there is none now."""
        try:
            chunk = os.read(number, CHUNK)
        except BlockingIOError:
            return 0
        if not chunk:
            self._poll.unregister(number)
            self._open.remove(number)
            return 0
        kept = chunk[: self._room[number]]
        self._room[number] -= len(kept)
        if kept:
            _say(3, self._streams[number], kept)
        return len(chunk)

    def _carry_rest(self) -> None:
        for number in tuple(self._open):
            left = (
                1 << 20
            )  # as much as a pipe can hold: whoever writes on in the background is not waited for
            while left > 0:
                count = self._carry(number)
                if count == 0:
                    break
                left -= count


def _buried(pid: int) -> int | None:
    """Bury dead children; the exit code of this one, if it is among them."""
    code = None
    while True:
        try:
            dead, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if dead == 0:
            return code
        if dead == pid:
            code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


# --- files -----------------------------------------------------------------------------------------------------------


def _write(request: dict[str, dict[str, str]], _: dict[str, dict[str, str]]) -> None:
    what = request["what"]
    if what["path"].endswith("/"):
        raise _Refused("this names a folder, and no file")
    path = os.path.realpath(os.path.join(HOME, what["path"]))
    _put(path, _chunks(what), what, mode=0o644)
    _say(3, b"x")


def _part_of(worker: int, folder: str) -> str:
    return f"{folder}/.part-{worker}"


def _put(path: str, content: Iterable[bytes], what: dict[str, str], *, mode: int) -> None:
    """Write a file whole and in time, or leave what was there.

    It is put together in the root folder, where process 1 finds it if this one is killed, and is moved from there.
    """
    try:
        found: os.stat_result | None = os.lstat(path)
    except FileNotFoundError:
        found = None
    if found is not None and not _is_file(found):
        raise _Refused("this is a folder or a device, and no file")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    root = next((root for root in ROOTS if path.startswith(f"{root}/")), os.path.dirname(path))
    part = _part_of(os.getpid(), root)
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            for chunk in content:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(number, view) :]
            if found is not None:
                os.fchmod(number, found.st_mode & 0o777)
        finally:
            os.close(number)
        _check_time(what)
        os.rename(part, path)
    except (OSError, _Refused):
        if os.path.lexists(part):
            os.unlink(part)
        raise


def _read(request: dict[str, dict[str, str]], _: dict[str, dict[str, str]]) -> None:
    what = request["what"]
    left = int(what["most"])
    number = os.open(os.path.join(HOME, what["path"]), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    found = os.fstat(number)
    if not _is_file(found):
        raise _Refused("this is a folder or a device, and no file")
    if found.st_size > left:
        raise _Refused(f"the file has more than {left} bytes")
    while True:
        chunk = os.read(number, CHUNK)
        if not chunk:
            _say(3, b"x")
            return
        left -= len(chunk)
        if left < 0:
            raise _Refused(f"the file has more than {what['most']} bytes")
        _say(3, b"d", chunk)


def _is_file(found: os.stat_result) -> bool:
    return (found.st_mode & _KIND) == _FILE


_OPERATIONS = {"run": _run, "write": _write, "read": _read}

if __name__ == "__main__":
    main()
