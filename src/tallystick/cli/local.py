"""What the commands share that work on the database themselves: the settings, and showing them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tallystick.config import Config

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", help="The database; TALLY_DATABASE_URL or the file tally.db if absent."),
]
EconomyOption = Annotated[
    str | None,
    typer.Option("--economy", help="A shipped economy's name or a path; TALLY_ECONOMY or starter if absent."),
]


def read_config(*, database_url: str | None = None, economy: str | None = None) -> Config:
    """The settings of the environment and the `.env` file, where no option says otherwise."""
    from tallystick.config import Config

    options = {"TALLY_DATABASE_URL": database_url, "TALLY_ECONOMY": economy}
    return Config.from_environment({**os.environ, **{name: text for name, text in options.items() if text}})


def without_password(database_url: str) -> str:
    """A database's address that may be shown."""
    from tallystick.store.engine import parse_url

    return (
        parse_url(database_url)
        .set(drivername=database_url.partition(":")[0])
        .render_as_string(hide_password=True)
    )
