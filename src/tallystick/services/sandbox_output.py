"""What code writes, as a text that every database can store: all at once, or told while it is written.

Both make the same text: the pieces that were told, put together, are what is kept.
"""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from tallystick.ports.sandboxes import Stream

_DECODER: Final = codecs.getincrementaldecoder("utf-8")


class Audience(Protocol):
    """Whoever is told of an execution, in the thread that carries it out. What it raises ends the code."""

    def begun(self) -> None:
        """The code is run from now on; of one that is refused before that nothing is told."""
        ...

    def wrote(self, stream: Stream, text: str) -> None:
        """The code wrote this."""
        ...


class Texts:
    """Tells an audience what code writes, however its bytes are cut."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._texts: dict[Stream, _Text] = {"stdout": _Text(), "stderr": _Text()}

    def add(self, stream: Stream, piece: bytes) -> None:
        """Tell what can be read by now."""
        self._tell(stream, piece, final=False)

    def end(self) -> None:
        """Tell what was cut off in the middle of a character."""
        for stream in self._texts:
            self._tell(stream, b"", final=True)

    def _tell(self, stream: Stream, piece: bytes, *, final: bool) -> None:
        text = self._texts[stream].add(piece, final=final)
        if text:
            self._audience.wrote(stream, text)


class _Text:
    def __init__(self) -> None:
        self._decoder = _DECODER(errors="replace")

    def add(self, piece: bytes, *, final: bool) -> str:
        return self._decoder.decode(piece, final).replace("\x00", "\ufffd")


def output_text(output: bytes) -> str:
    """All that was written to a stream."""
    return _Text().add(output, final=True)
