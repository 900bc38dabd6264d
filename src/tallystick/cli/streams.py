"""Standard output that cannot take what is written: a full disk, a reader that left, a terminal that knows ASCII alone.

None of them is a crash: what was done is done, and whoever started the program is told so.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

_FAILED: Final = 1


def prepare() -> None:
    """Let a stream write what its encoding has no sign for as an escape, and one that is closed fail like a full disk."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(
            os.open(os.devnull, os.O_RDONLY), "w"
        )  # so it takes the number that was closed
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def printing(lost: str) -> Iterator[None]:
    """Print in this block. Where that fails, people are told what was ``lost``, and the program ends with status 1."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        fail(lost, error)


def fail(lost: str, error: OSError) -> NoReturn:
    """End with status 1, and say why on standard error, if that can be written to."""
    with suppress(OSError, ValueError):
        # Python writes what is left when it ends, and would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with suppress(OSError):
        sys.stderr.write(f"tally: {lost}: {error.strerror or error}\n")
        sys.stderr.flush()
    raise SystemExit(_FAILED) from None
