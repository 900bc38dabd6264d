"""`tally bench`: how many durable charges a second this machine does."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

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
) -> Output:
    """Measure durable charges through the services: a charge counts when it is on the disk."""
    from tallystick import bench_charges

    with session.busy(f"{clients} clients charge for {seconds} s…"):
        figures = bench_charges.run(
            engine=engine, url=database_url, clients=clients, seconds=float(seconds), wallets=wallets
        )

    def show(out: Console) -> None:
        out.print(facts((name.replace("_", " "), str(value)) for name, value in figures.items()))

    return Output(figures, show)
