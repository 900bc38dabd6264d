"""Bars that say how far something is, for people at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tallystick.cli.frame import Session
from tallystick.cli.rendering import console

Progress = Callable[[str, int, int | None], None]


@contextmanager
def bars(session: Session) -> Iterator[Progress]:
    """A bar for each thing that is told, how much of it is done and of how much; None: nobody knows of how much."""
    if session.as_json or not sys.stderr.isatty():
        yield lambda _thing, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console(stderr=True)) as shown:
        tasks: dict[str, Any] = {}

        def progress(thing: str, done: int, total: int | None) -> None:
            if thing not in tasks:
                tasks[thing] = shown.add_task(thing, total=total)
            shown.update(tasks[thing], completed=done, total=total)

        yield progress
