"""What code writes while it runs, read from server-sent events; the last one is the ordinary answer. No I/O is done here.

A stream that breaks off is asked for again with the same idempotency key: it then begins anew, with what was written before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import httpx

from tallystick.client import exact

Stream: TypeAlias = Literal["stdout", "stderr"]
OnOutput: TypeAlias = Callable[[Stream, str], object]

EVENTS: Final = "text/event-stream"
_END: Final = "tallystick.end"


class ToldInVain(Exception):  # noqa: N818 - carries an error of the caller's
    """Whoever is told what code writes raised ``error``."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def own_errors() -> Iterator[None]:
    """What the caller's own function raised reaches the caller as it is, and is no failure of the connection."""
    raised: Exception | None = None
    try:
        yield
    except ToldInVain as told:
        raised = told.error
    if raised is not None:
        raise raised


def may_have_run(answer: httpx.Response) -> bool:
    """Whether code may have been run before this answer, at the end of a stream or not: a repeat could run it again."""
    return _END in answer.extensions or (answer.is_server_error and b'"SANDBOX_FAILED"' in answer.content)


class Hearing:
    """One stream. ``told`` counts the characters that the caller knows of each stream, from this one or one before it."""

    def __init__(self, answer: httpx.Response, told: dict[Stream, int]) -> None:
        self._answer = answer
        self._told = told
        self._heard: dict[Stream, int] = {}
        self._left = b""
        self._end: httpx.Response | None = None

    def feed(self, piece: bytes) -> list[tuple[Stream, str]]:
        """Read on; gives what the caller does not know yet."""
        *blocks, self._left = (self._left + piece).split(b"\n\n")
        found = [self._read(block) for block in blocks]
        return [each for each in found if each is not None]

    @property
    def end(self) -> httpx.Response:
        """What stands at the end, as the answer that it is without a stream. Raises ``httpx.RemoteProtocolError``."""
        if self._end is None:
            raise httpx.RemoteProtocolError("the stream broke off before its end")
        return self._end

    def _read(self, block: bytes) -> tuple[Stream, str] | None:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
        name, data = fields.get(b"event"), fields.get(b"data", b"")
        if name is None or self._end is not None:  # a sign of life
            return None
        try:
            if name == b"output":
                return self._new(exact.decode(data))
            status = self._answer.status_code if name == b"result" else int(exact.decode(data)["status"])
        except (ValueError, TypeError, KeyError):
            self._end = self._ends(self._answer.status_code, EVENTS, block)
        else:
            self._end = self._ends(status, "application/json", data)
        return None

    def _ends(self, status: int, kind: str, content: bytes) -> httpx.Response:
        kept = {name: text for name, text in self._answer.headers.items() if name == "idempotent-replayed"}
        headers = kept | {"content-type": kind}
        return httpx.Response(status, headers=headers, content=content, extensions={_END: True})

    def _new(self, output: Any) -> tuple[Stream, str] | None:  # noqa: ANN401 - JSON
        stream: Stream = "stderr" if output["stream"] == "stderr" else "stdout"
        before = self._heard.get(stream, 0)
        after = self._heard[stream] = before + len(output["text"])
        known = self._told.get(stream, 0)
        if after <= known:
            return None
        self._told[stream] = after
        return stream, output["text"][max(known - before, 0) :]
