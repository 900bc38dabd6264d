"""`tally bench`: how many durable charges a second this machine does."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console, RenderableType

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.rendering import facts


def register(root: Noun) -> None:
    """Put the command under the root."""
    root.command("bench")(bench)


def bench(
    session: Session,
    *,
    engine: Annotated[
        Literal["sqlite", "postgresql"], typer.Option("--engine", help="Which database.")
    ] = "sqlite",
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", help="An empty PostgreSQL database; SQLite makes a file of its own."),
    ] = None,
    clients: Annotated[
        int, typer.Option("--clients", min=1, max=4096, help="How many charge at the same time.")
    ] = 64,
    seconds: Annotated[int, typer.Option("--seconds", min=1, max=3600, help="For how long.")] = 5,
    wallets: Annotated[
        int, typer.Option("--wallets", min=1, max=1_000_000, help="From how many wallets.")
    ] = 1000,
    kind: Annotated[
        Literal["coroutines", "threads"],
        typer.Option("--kind", help="What a client is: a coroutine, as behind the REST door, or a thread."),
    ] = "coroutines",
    http: Annotated[
        bool, typer.Option("--http", help="Then measure the same through the REST door.")
    ] = False,
) -> Output:
    """Measure durable charges through the services: a charge counts when it is on the disk."""
    from tallystick import bench_charges

    with session.busy(f"{clients} clients charge for {seconds} s…"):
        figures = bench_charges.run(
            engine=engine,
            url=database_url,
            clients=clients,
            seconds=float(seconds),
            wallets=wallets,
            kind=kind,
            http=http,
        )

    def show(out: Console) -> None:
        through_http = figures.get("http")
        out.print(_figures(figures, "Through the services" if through_http else None))
        if isinstance(through_http, dict):
            out.print(_figures(through_http, "Through the REST door"))

    return Output(figures, show)


def _figures(found: dict[str, object], title: str | None) -> RenderableType:
    shown = ((name.replace("_", " "), value) for name, value in found.items() if not isinstance(value, dict))
    return facts(((name, str(value)) for name, value in shown), title=title)
