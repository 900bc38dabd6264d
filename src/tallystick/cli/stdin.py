"""Standard input that ends with a signal.

A server on stdio waits in a read that nothing can interrupt. So it reads a pipe of ours instead, which a thread fills: on
SIGTERM or SIGINT the pipe ends, and the server ends in order, as it does when its client hangs up.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_PIECE: Final = 65536
_INPUT: Final = 0


@contextmanager
def ends_with_signals() -> Iterator[None]:
    """Let standard input end on SIGTERM and SIGINT, until the end of the block."""
    given = os.dup(_INPUT)
    ended, end = os.pipe()
    piped, pipe = os.pipe()
    os.set_blocking(end, False)
    os.dup2(piped, _INPUT)
    os.close(piped)

    def ask(_number: int, _frame: object) -> None:
        with suppress(BlockingIOError):  # asked often enough
            os.write(end, b"x")

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    # A daemon: when the client neither writes nor hangs up, nobody waits for it.
    threading.Thread(target=_fill, args=(given, pipe, ended), name="stdin", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(end, b"x")
        os.dup2(given, _INPUT)


def _fill(source: int, pipe: int, ended: int) -> None:
    try:
        while True:
            ready, _, _ = select.select([source, ended], [], [])
            piece = b"" if ended in ready else os.read(source, _PIECE)
            if not piece:
                return
            while piece:
                piece = piece[os.write(pipe, piece) :]
    except OSError:
        return  # nobody reads any more
    finally:
        os.close(pipe)
