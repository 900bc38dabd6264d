"""The server process: one set of services, its worker, and the REST door, started and ended in order."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, Protocol

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette

from tallystick.api import logs
from tallystick.api.app import create_app
from tallystick.api.metrics import Metrics
from tallystick.api.problems import Tell
from tallystick.bootstrap import Tally
from tallystick.config import Config
from tallystick.core.errors import ConfigurationError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
DRAIN_SECONDS: Final = 30
BACKLOG: Final = 2048
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Background(Protocol):
    """What runs beside the door: the worker."""

    lag_seconds: float

    def start(self) -> None:
        """Run in a thread."""

    def stop(self) -> None:
        """End after the current turn."""


log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, which says when it starts to close, and returns after a signal instead of dying of it."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, *, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._tally_app = app
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            _keep_what_is_there()
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and finish what runs; who asks meanwhile whether we are ready is told no."""
        self._tally_app.state.closing = True
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order on SIGINT and SIGTERM. uvicorn would raise them again, before the ledger is closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    config: Config,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    worker: Callable[[Tally], Background] | None = None,
    pages: Callable[[Tally], Sequence[APIRouter]] = lambda _tally: (),
    apps: Callable[[Tally], Mapping[str, Starlette]] = lambda _tally: {},
    tell: Tell = lambda *_: None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what runs, commit what is queued, and close.

    ``worker`` makes the worker that runs beside the door; without one, some other process has to do the due work.
    ``pages`` gives the routes of the doors beside this one, ``apps`` those that are applications of their own, and ``tell``
    the pages that people get for problems.
    ``say`` is told for people where the server listens and, on the first start, the new admin key. Raises
    ``ConfigurationError`` when it cannot start so.
    """
    logs.configure()
    metrics = Metrics()
    base = config.public_url or f"http://{_in_address(host)}:{port}"
    with (
        ExitStack() as ending
    ):  # in the opposite order: the worker stops, the ledger closes, the address is free
        listening = ending.enter_context(_listen(host, port))
        tally = ending.enter_context(
            Tally.from_config(
                config,
                public_url=base,
                observe=metrics.observe_batch,
                runs_sandboxes=worker is not None,
            )
        )
        key = tally.identity.ensure_admin_key(config.admin_key)
        lag: Callable[[], float] | None = None
        if worker is not None:
            background = worker(tally)
            ending.callback(background.stop)
            background.start()
            lag = lambda: background.lag_seconds  # noqa: E731 - one line says it
        others = apps(tally)
        app = create_app(
            tally,
            metrics=metrics,
            worker_lag=lag,
            extra_routes=pages(tally),
            extra_apps=others,
            tell=tell,
        )
        greet = partial(_greet, say, config, base=base, host=host, port=port, key=key, paths=list(others))
        try:
            _server(app, host, port, greet).run([listening])
        finally:
            gc.unfreeze()
    log.info("closed")


def _keep_what_is_there() -> None:
    """Modules, routes and models stay until the end: looking through them again for garbage stops everyone for 70 ms."""
    gc.collect()
    gc.freeze()


def _listen(host: str, port: int) -> socket.socket:
    """Take the address first, so that a server that cannot listen touches nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}; choose another") from error


def _server(app: FastAPI, host: str, port: int, on_start: Callable[[], None]) -> Server:
    options = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return Server(app, options, on_start=on_start)


def _in_address(host: str) -> str:
    """A host as it stands in an address that people can open."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - where it is served, not an offer to listen everywhere
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _greet(
    say: Callable[[str], None],
    config: Config,
    *,
    base: str,
    host: str,
    port: int,
    key: str | None,
    paths: Sequence[str],
) -> None:
    address = f"http://{_in_address(host)}:{port}"
    say(f"Tallystick ({config.economy} economy, {config.mode} mode) listens on {address}")
    doors = "".join(f"   {path.strip('/').upper()}: {base}{path}" for path in paths)
    say(f"  API: {base}/api/v1   docs: {base}/docs{doors}")
    if key is not None:
        say("  Admin key, shown this once (set TALLY_ADMIN_KEY to choose your own):")
        say(f"  {key}")
