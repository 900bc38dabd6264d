"""What code writes, printed while it runs: to the stream of its name, with nothing in it that could rewrite a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallystick.cli.rendering import harmless
from tallystick.cli.streams import printing

if TYPE_CHECKING:
    from tallystick.client.events import OnOutput, Stream


@contextmanager
def printed() -> Iterator[OnOutput]:
    """Give what prints output as it comes; at the end of the block, lines that were left open are ended."""
    unended: set[Stream] = set()

    def write(stream: Stream, text: str) -> None:
        if text.endswith("\n"):
            unended.discard(stream)
        else:
            unended.add(stream)
        _write(stream, harmless(text))

    try:
        yield write
    finally:
        for stream in sorted(unended, reverse=True):
            _write(stream, "\n")


def _write(stream: Stream, text: str) -> None:
    out = sys.stdout if stream == "stdout" else sys.stderr
    with printing("the code was not interrupted, but what it wrote could not be written"):
        out.write(text)
        out.flush()
