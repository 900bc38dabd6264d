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
    sandbox,
    sandbox_templates,
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
    sandbox.noun,
    grants.noun,
    keys.noun,
    budgets.noun,
    customers.noun,
    webhooks.noun,
):
    root.add(noun)
sandbox_templates.register(sandbox.noun)
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
    wrong = [each for each in arguments if not _is_text(each)]
    if wrong:
        return _wrong_usage(arguments, f"expected text in UTF-8, found {wrong[0][:100]!a}")
    if "--json" not in arguments:
        status = command.main(args=list(arguments), prog_name="tally", standalone_mode=True)
        return int(status or 0)
    try:
        status = command.main(args=list(arguments), prog_name="tally", standalone_mode=False)
    except typer.TyperException as error:
        return _wrong_usage(arguments, error.format_message())
    except typer.Abort:
        Session().print_json({"error": {"code": "aborted", "detail": "nothing was done"}})
        return 1
    return int(status or 0)


def _is_text(argument: str) -> bool:
    """Whether an argument can be sent and written; Python keeps bytes that are no UTF-8 as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_usage(arguments: Sequence[str], detail: str) -> int:
    if "--json" in arguments:
        Session().print_json({"error": {"code": "usage", "detail": detail}})
    else:
        typer.echo(f"Error: {detail}", err=True)
    return EXIT_USAGE
