"""What a command writes, up to a limit for each stream."""

from __future__ import annotations

from tallystick.ports.sandboxes import OnOutput, Stream


class ToldInVain(Exception):  # noqa: N818 - carries an error of the caller's
    """Whoever is told what a command writes raised ``error``."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Output:
    """Keeps what is within the limit and tells it; drops the rest."""

    def __init__(self, *, max_bytes: int, on_output: OnOutput | None) -> None:
        self._kept: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._max_bytes = max_bytes
        self._on_output = on_output
        self.truncated = False
        self.begun = False  # whether the command has been started

    def add(self, stream: Stream, text: str) -> None:
        """Take what was written. Raises ``ToldInVain``."""
        kept, data = self._kept[stream], text.encode()
        room = self._max_bytes - len(kept)
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        kept += data
        if data and self._on_output is not None:
            try:
                self._on_output(stream, data)
            except Exception as error:
                raise ToldInVain(error) from error

    def of(self, stream: Stream) -> bytes:
        """All that was kept of a stream."""
        return bytes(self._kept[stream])
