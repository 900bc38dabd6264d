"""What every command is built on: it gives data and a way to show it, and never prints by itself.

So `--json` works for all of them, before the command and after it, and a refusal always ends with status 1.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer
from typer.core import TyperCommand

from tallystick.core.errors import ConfigurationError, Refusal

if TYPE_CHECKING:
    from rich.console import Console

    from tallystick.cli.remote import Remote

P = ParamSpec("P")

DEFAULT_URL: Final = "http://127.0.0.1:8080"

_NEGATIVE: Final = re.compile(r"-[0-9.].*")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]


@dataclass(frozen=True, slots=True)
class Output:
    """What a command found (None: all was said before), how to show it, and the status to leave with."""

    data: object
    show: Callable[[Console], None]
    status: int = 0


@dataclass
class Session:
    """One call of the program: what was asked for before the command, and the way to the server."""

    as_json: bool = False
    asked_url: str | None = None
    make_remote: Callable[[str, str | None], Remote] | None = field(default=None, repr=False)
    ending: ExitStack = field(default_factory=ExitStack, repr=False)

    @cached_property
    def settings(self) -> dict[str, str]:
        """TALLY_URL and TALLY_API_KEY, from the environment or else from a `.env` file."""
        from dotenv import dotenv_values

        found = dotenv_values(".env", interpolate=False) if Path(".env").is_file() else {}
        merged = {name: value for name, value in found.items() if value}
        return merged | {name: value for name, value in os.environ.items() if value}

    @property
    def url(self) -> str:
        """The server's address."""
        return (self.asked_url or self.settings.get("TALLY_URL") or DEFAULT_URL).rstrip("/")

    @property
    def api_key(self) -> str | None:
        """The key that the environment gives; it goes before a saved login. Raises ``ConfigurationError``."""
        key = self.settings.get("TALLY_API_KEY")
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError(
                "TALLY_API_KEY has a blank, a line's end or another character that no key has: "
                "expected one word such as tly_..."
            )
        return key

    @cached_property
    def remote(self) -> Remote:
        """The server, asked as whoever TALLY_API_KEY or the saved login says."""
        from tallystick.cli import credentials

        saved = None if self.api_key else credentials.find(self.url)
        return self.remote_as(self.api_key or (None if saved is None else str(saved["token"])))

    def remote_as(self, token: str | None) -> Remote:
        """The server, asked with this token."""
        from tallystick.cli.remote import Remote

        remote = (self.make_remote or Remote)(self.url, token)
        self.ending.callback(remote.close)
        return remote

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        """Tell people at a terminal what they are waiting for."""
        if self.as_json or not sys.stderr.isatty():
            yield
            return
        from tallystick.cli.rendering import console

        with console(stderr=True).status(words):
            yield

    def finish(self, work: Callable[[], Output]) -> int:
        """Run a command's work, print what it gave, and give the status to leave with."""
        from tallystick.cli import rendering
        from tallystick.cli.problems import Problem, from_refusal
        from tallystick.cli.streams import printing

        try:
            with self.ending:
                output = work()
        except (Problem, Refusal) as refused:
            problem = from_refusal(refused) if isinstance(refused, Refusal) else refused
            with printing(f"refused ({problem.code}), and what was refused could not be written"):
                if self.as_json:
                    self.print_json(problem.as_data())
                else:
                    rendering.show_problem(problem)
            return 1
        with printing("done, but what came of it could not be written"):
            if self.as_json:
                if output.data is not None:
                    self.print_json(output.data)
            else:
                output.show(rendering.console())
        return output.status

    def print_json(self, data: object) -> None:
        """Print data for programs."""
        from tallystick.cli.rendering import json_text

        sys.stdout.write(json_text(data, encoding=sys.stdout.encoding) + "\n")


class Command(TyperCommand):
    """A command, which knows that a negative number is no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps the class to itself
        """Read the arguments. Raises a usage error."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if _NEGATIVE.fullmatch(getattr(error, "option_name", "")):
                error.message = "expected a number that is not negative, found one with a minus sign"
            raise


class Noun:
    """A group of commands, and the root of them all."""

    def __init__(self, name: str, purpose: str, *, options: Callable[..., None] | None = None) -> None:
        self.typer = typer.Typer(
            name=name,
            help=purpose,
            no_args_is_help=True,
            add_completion=False,
            pretty_exceptions_enable=False,
        )
        self.typer.callback()(options or remember_json)

    def add(self, noun: Noun) -> None:
        """Put a group under this one."""
        self.typer.add_typer(noun.typer)

    def command(
        self, name: str
    ) -> Callable[[Callable[Concatenate[Session, P], Output]], Callable[Concatenate[Session, P], Output]]:
        """Register a function as a command. Its docstring is the help."""

        def register(
            function: Callable[Concatenate[Session, P], Output],
        ) -> Callable[Concatenate[Session, P], Output]:
            self.typer.command(name, cls=Command)(_as_command(function))
            return function

        return register


def remember_json(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """The options of a group."""
    session = context.ensure_object(Session)
    session.as_json = session.as_json or as_json


def _as_command(function: Callable[..., Output]) -> Callable[..., None]:
    """The function as typer wants it: with a context instead of a session, and with `--json`."""
    _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [
        inspect.Parameter("context", kind, annotation=typer.Context),
        *(parameter.replace(kind=kind) for parameter in parameters),
        inspect.Parameter("as_json", kind, annotation=JsonOption, default=False),
    ]

    def run(**arguments: Any) -> None:  # noqa: ANN401 - whatever the command takes
        session: Session = arguments.pop("context").ensure_object(Session)
        session.as_json = arguments.pop("as_json") or session.as_json
        status = session.finish(lambda: function(session, **arguments))
        raise typer.Exit(status)

    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined] # any function may have one
    return run
