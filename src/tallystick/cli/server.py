"""`tally serve` and `tally worker`: the long-running ones."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.local import DatabaseOption, EconomyOption, read_config, without_password
from tallystick.cli.rendering import text
from tallystick.cli.tables import Column, table


def register(root: Noun) -> None:
    """Put the commands under the root."""
    root.command("serve")(serve)
    root.command("worker")(worker)


def serve(
    session: Session,
    *,
    host: Annotated[str, typer.Option("--host", help="Which address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Which port to listen on.")] = 8080,
    database_url: DatabaseOption = None,
    economy: EconomyOption = None,
) -> Output:
    """Run the server with its worker, until SIGTERM or Ctrl-C; --json prints one object a line."""
    from tallystick.api.server import serve as run
    from tallystick.mcp import http
    from tallystick.web import routers, tell
    from tallystick.worker import Worker

    def say(line: str) -> None:
        if session.as_json:
            line = json.dumps({"message": line.strip()})
        typer.echo(line)  # at once, also into a pipe

    config = read_config(database_url=database_url, economy=economy)
    apps = partial(http.applications, hosts=config.mcp_hosts)
    run(config, host=host, port=port, worker=Worker, pages=routers, apps=apps, tell=tell, say=say)
    return Output(None, lambda _out: None)


def worker(
    _session: Session,
    *,
    database_url: DatabaseOption = None,
    economy: EconomyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, and leave: for cron.")] = False,
) -> Output:
    """Do due work alone, until SIGTERM: expiry, ended holds, new periods, deliveries. Any number may run."""
    import structlog

    from tallystick.api import logs
    from tallystick.bootstrap import Tally
    from tallystick.worker import Worker

    config = read_config(database_url=database_url, economy=economy)
    logs.configure()
    endings = {signal.SIGTERM, signal.SIGINT}
    # Before any thread starts, so that all of them leave these signals to us.
    before = set() if once else signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    try:
        with Tally.from_config(config) as tally:
            if once:
                return _done(tally.run_all())
            structlog.get_logger(__name__).info("worker runs", database=without_password(config.database_url))
            running = Worker(tally)
            running.start()
            ended_by = signal.Signals(signal.sigwait(endings))
            running.stop()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Output({"ended_by": ended_by.name}, lambda out: out.print(text(f"ended by {ended_by.name}")))


def _done(counts: dict[str, int]) -> Output:
    rows = [{"job": name, "count": count} for name, count in sorted(counts.items()) if count]
    columns = (Column("done", "job"), Column("count", "count", "amount"))

    def show(out: Console) -> None:
        out.print(table(rows, columns, empty="nothing was due"))

    return Output({"ran": rows}, show)
