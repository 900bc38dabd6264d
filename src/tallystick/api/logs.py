"""Logs on stderr, never on stdout: JSON lines for machines, colours for a terminal. No secrets, and no bodies."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, Final, TextIO, cast

import msgspec
import structlog

QUIET_LIBRARIES: Final = (
    "alembic",
    "sqlalchemy",
    "asyncio",
    "httpx",
    "httpx2",
    "mcp",
    "multipart",
    "python_multipart",
)

_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class _Stream:
    """A stream that never fails: a full disk or a closed pipe costs lines of the log, and no request.

    Without a stream of its own it is whatever stands for stderr at that moment.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def _now(self) -> TextIO:
        return sys.stderr if self._stream is None else self._stream

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._now().write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._now().flush()

    def isatty(self) -> bool:
        """Whether a person reads along."""
        try:
            return self._now().isatty()
        except ValueError:  # closed
            return False


def configure(
    stream: TextIO | None = None, *, level: int = logging.INFO, as_json: bool | None = None
) -> None:
    """Set up our own logs and those of the libraries that we use."""
    out = cast("TextIO", _Stream(stream))
    ending = configure_own(out, level=level, as_json=as_json)
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def configure_own(stream: TextIO | None = None, *, level: int, as_json: bool | None = None) -> list[Any]:
    """Set up our own logs alone, as a guest in somebody's program; gives the processors that write a line."""
    out = cast("TextIO", _Stream(stream))
    # A traceback shows no variables: they hold keys.
    plain = structlog.dev.plain_traceback
    ending: list[Any] = [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    if as_json if as_json is not None else not out.isatty():
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
        ending = [structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=[*_SHARED, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    return ending


def _to_json(event: Any, **_options: object) -> str:  # noqa: ANN401 - a line of the log
    return msgspec.json.encode(event, enc_hook=str).decode()
