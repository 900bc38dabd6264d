"""`tally billing export`: statements, usage, payments and payouts as CSV, into a file or to standard output."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CustomerOption, FromOption, ToOption, UnitOption
from tallystick.cli.problems import Problem
from tallystick.cli.rendering import console, text
from tallystick.cli.streams import printing

CSV: Final = "text/csv"
LOOK_SECONDS: Final = 0.5

noun = Noun("export", "CSV files for finance: statements, usage by day and meter, payments, payouts.")

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write this file once everything has come; without it, print to standard output.",
    ),
]


@noun.command("transactions")
def transactions(
    session: Session,
    *,
    customer: CustomerOption = None,
    unit: UnitOption = None,
    start: FromOption = None,
    end: ToOption = None,
    output: OutputOption = None,
) -> Output:
    """Export a statement, oldest first: every movement with the balance after it."""
    query = {"customer": customer, "unit": unit, "from": start, "to": end}
    return _export(session, "transactions", query, output)


@noun.command("usage")
def usage(
    session: Session,
    *,
    customer: CustomerOption = None,
    unit: UnitOption = None,
    start: FromOption = None,
    end: ToOption = None,
    output: OutputOption = None,
) -> Output:
    """Export what was spent and earned on each day (UTC), by meter."""
    query = {"customer": customer, "unit": unit, "from": start, "to": end}
    return _export(session, "usage", query, output)


@noun.command("payments")
def payments(
    session: Session,
    *,
    customer: CustomerOption = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Those of all customers; for services and admins.")
    ] = False,
    unit: Annotated[str | None, typer.Option("--unit", help="Only what was bought in this unit.")] = None,
    start: FromOption = None,
    end: ToOption = None,
    output: OutputOption = None,
) -> Output:
    """Export payments, oldest first, each with its grant and the provider's own ids."""
    every = "true" if everybody else None
    query = {"customer": customer, "all": every, "unit": unit, "from": start, "to": end}
    return _export(session, "payments", query, output)


@noun.command("payouts")
def payouts(session: Session, *, unit: UnitOption = None, output: OutputOption = None) -> Output:
    """Export what customers have earned with their agents, a line each. For services and admins."""
    return _export(session, "payouts", {"unit": unit}, output)


def _export(session: Session, name: str, query: dict[str, str | None], output: Path | None) -> Output:
    if output is None:
        if session.as_json:
            raise typer.BadParameter(
                "the CSV goes to standard output: name a file with --output, or leave --json"
            )
        with (
            printing("not all of the export could be written"),
            session.remote.download(f"/billing/export/{name}", kind=CSV, **query) as pieces,
        ):
            for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return Output(None, lambda _out: None)
    with (
        session.remote.download(f"/billing/export/{name}", kind=CSV, **query) as pieces,
        whole_file(output) as file,
        _progress(session, name) as progress,
    ):
        for piece in pieces:
            file.write(piece)
            progress(len(piece))
        size = file.tell()
    data = {"file": str(output), "bytes": size}

    def show(out: Console) -> None:
        out.print(text(f"Wrote {output}: {size:,} bytes.", "green"))

    return Output(data, show)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends well; otherwise whatever had the name before keeps it."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise Problem("cannot_write", f"{path} is no file", advice="Name another file with --output.")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with _ended_in_order():
        try:
            with part.open("xb") as file:
                if target.exists():  # who may read it stays as it was
                    part.chmod(stat.S_IMODE(target.stat().st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            reason = error.strerror or str(error)
            advice = "Name another file with --output."
            raise Problem("cannot_write", f"cannot write {path}: {reason}", advice=advice) from error
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, and neither is missed.

    Python looks for signals between its own steps. One that comes just before a read begins to wait would be seen when
    that read ends, which may be a minute later: so a timer interrupts whatever waits, and Python looks again.
    """
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number)),
        signal.SIGALRM: signal.signal(signal.SIGALRM, lambda _number, _frame: None),
    }
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(session: Session, name: str) -> Iterator[Callable[[int], None]]:
    """How much has come, for people at a terminal; how much there is, nobody knows before its end."""
    if session.as_json or not sys.stderr.isatty():
        yield lambda _size: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda size: bars.advance(task, size)
        bars.update(task, total=bars.tasks[0].completed)
