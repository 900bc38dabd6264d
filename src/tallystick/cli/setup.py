"""`tally init`: everything that an installation needs before it is served, and safe to run again."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.local import DatabaseOption, EconomyOption, read_config, without_password
from tallystick.cli.problems import Problem
from tallystick.cli.rendering import facts, text

if TYPE_CHECKING:
    from tallystick.config import Config

ENV_FILE: Final = Path(".env")
_NEEDS_NO_QUOTES: Final = re.compile(r"[A-Za-z0-9_./:@%+,~?&=-]*")


@dataclass(frozen=True, slots=True)
class _Installed:
    """What was set up."""

    economy: str
    version: str
    admin_key: str | None


def register(root: Noun) -> None:
    """Put the command under the root."""
    root.command("init")(init)


def init(session: Session, *, database_url: DatabaseOption = None, economy: EconomyOption = None) -> Output:
    """Set up an installation here: settings, database, economy and admin key. Safe to run again."""
    config = read_config(database_url=database_url, economy=economy)
    with session.busy("setting up…"):
        installed = _install(config)
    written = _write_settings(config)
    steps = _next_steps(installed, has_own_key=config.admin_key is not None)
    data = {
        "env_file": {"path": str(ENV_FILE), "written": written},
        "database_url": without_password(config.database_url),
        "economy": installed.economy,
        "economy_version": installed.version,
        "mode": config.mode,
        "admin_key": installed.admin_key,
        "next_steps": steps,
    }

    def show(out: Console) -> None:
        kept = "written" if written else "was there already and stays as it is"
        pairs = [("settings", f"{ENV_FILE} {kept}"), ("database", data["database_url"])]
        pairs += [("economy", f"{installed.economy}, version {installed.version}"), ("mode", config.mode)]
        out.print(facts(pairs))
        if installed.admin_key:
            out.print()
            out.print(text("The admin key. Keep it now: it is not shown again.", "yellow"))
            out.print(text(installed.admin_key, "bold green"), soft_wrap=True)
        out.print()
        out.print(text("Next:", "bold"))
        for step in steps:
            out.print(text(f"  {step}"), soft_wrap=True)

    return Output(data, show)


def _install(config: Config) -> _Installed:
    from tallystick.bootstrap import Tally

    with Tally.from_config(config) as tally:
        key = tally.identity.ensure_admin_key(config.admin_key)
        active = tally.context.economy()
        return _Installed(active.name, active.version, key)


def _write_settings(config: Config) -> bool:
    """Write what holds now into a new `.env`, for its owner's eyes only; one that is there stays as it is."""
    lines = (
        "# Settings of this installation; .env.example and the documentation tell about all of them.",
        f"TALLY_DATABASE_URL={_quoted(config.database_url)}",
        f"TALLY_ECONOMY={_quoted(config.economy)}",
        f"TALLY_MODE={config.mode}",
        *([f"TALLY_PUBLIC_URL={_quoted(config.public_url)}"] if config.public_url else []),
    )
    try:
        descriptor = os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise Problem(
            "configuration_error",
            f"cannot write {ENV_FILE}: {error}",
            advice="Run `tally init` in a folder that you may write to.",
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return True


def _quoted(value: str) -> str:
    """A value as a `.env` file has it."""
    if _NEEDS_NO_QUOTES.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _next_steps(installed: _Installed, *, has_own_key: bool) -> list[str]:
    key = installed.admin_key or ("$TALLY_ADMIN_KEY" if has_own_key else "<the admin key>")
    return [
        "tally serve                                  # the server, and its documentation at /docs",
        f"export TALLY_API_KEY={key}   # be the admin, in another terminal",
        "tally customers create my-first-customer     # with the credits of sign-up",
        "tally prices                                 # what can be charged",
    ]
