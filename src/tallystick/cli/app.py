"""The whole command line. Importing it is cheap: whatever a command needs, it imports when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tallystick.cli import (
    accounts,
    agents,
    audit,
    balances,
    bench,
    budgets,
    charges,
    clock,
    customers,
    economy,
    explain,
    exports,
    gateway,
    grants,
    holds,
    keys,
    mcp,
    payments,
    payouts,
    rewards,
    server,
    setup,
    tasks,
    webhooks,
)
from tallystick.cli.frame import JsonOption, Noun, Session

EXIT_USAGE = 2


def _version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tally {version('tallystick')}")
        raise typer.Exit


def _options(
    context: typer.Context,
    *,
    as_json: JsonOption = False,
    url: Annotated[
        str | None,
        typer.Option("--url", help="The server to talk to; TALLY_URL or the one on this machine if absent."),
    ] = None,
    _show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _version(wanted=wanted),
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """The options of every command."""
    session = context.ensure_object(Session)
    session.as_json = session.as_json or as_json
    session.asked_url = url or session.asked_url


root = Noun(
    "tally",
    "Tallystick: a credit economy of your own. `tally init` sets one up, `tally serve` runs it.",
    options=_options,
)
server.register(root)
setup.register(root)
root.add(accounts.noun)
root.add(balances.ruv)
balances.billing.add(exports.noun)
root.add(balances.billing)
root.add(payments.noun)
charges.register(root)
economy.register(root)
for noun in (
    holds.noun,
    agents.noun,
    tasks.noun,
    payouts.noun,
    rewards.noun,
    grants.noun,
    keys.noun,
    budgets.noun,
    customers.noun,
    webhooks.noun,
):
    root.add(noun)
explain.register(root)
audit.register(root)
root.add(clock.noun)
root.add(mcp.noun)
gateway.register(root)
bench.register(root)
app = root.typer


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives the status to leave with."""
    command = typer.main.get_command(app)
    if "--json" not in arguments:
        status = command.main(args=list(arguments), prog_name="tally", standalone_mode=True)
        return int(status or 0)
    try:
        status = command.main(args=list(arguments), prog_name="tally", standalone_mode=False)
    except typer.TyperException as error:
        Session().print_json({"error": {"code": "usage", "detail": error.format_message()}})
        return EXIT_USAGE
    except typer.Abort:
        Session().print_json({"error": {"code": "aborted", "detail": "nothing was done"}})
        return 1
    return int(status or 0)
