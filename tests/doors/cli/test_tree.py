"""The commands as a whole: explained, quick to start, and honest about what is missing."""

import os
import subprocess
import sys

import pytest

from tests.doors.cli.program import Program, commands, leaves

HEAVY = ("sqlalchemy", "alembic", "fastapi", "pydantic", "uvicorn", "httpx", "msgspec", "argon2", "psycopg")


def test_every_command_and_option_is_explained() -> None:
    """Each command has a sentence of help, and so has each of its options and arguments."""
    silent = [name for name, command in commands() if not (command.help or "").strip().endswith(".")]
    assert [] == silent
    unexplained = [
        f"{name} {parameter.name}"
        for name, command in commands()
        for parameter in command.params
        if parameter.name != "help" and not getattr(parameter, "help", None)
    ]
    assert [] == unexplained
    assert 30 < len(leaves())


def test_every_command_and_group_takes_json() -> None:
    """The option `--json` is everywhere."""
    without = [
        name for name, command in commands() if not any("--json" in each.opts for each in command.params)
    ]
    assert [] == without


@pytest.mark.parametrize("name", sorted(name for name, _ in commands()))
def test_help_can_be_read(local: Program, name: str) -> None:
    """The help of each command is shown, with what it is for."""
    assert "Usage: tally" in local.show(*name.split(), "--help")


def test_the_commands_of_the_contract_are_there() -> None:
    """Nothing that programs call has another name."""
    promised = {
        "serve", "worker", "init", "audit", "bench", "charge", "quote", "prices", "explain",
        "auth register", "auth login", "auth logout", "auth status",
        "ruv balance", "ruv history",
        "billing balance", "billing history", "billing usage", "billing tier",
        "billing subscription", "billing cancel", "billing portal",
        "billing export transactions", "billing export usage", "billing export payments",
        "grants create", "grants list", "grants void", "grants clawback",
        "holds create", "holds list", "holds capture", "holds release",
        "keys create", "keys list", "keys revoke",
        "budgets set", "budgets list", "budgets remove",
        "economy check", "economy diff", "economy list", "economy show",
        "clock advance", "clock set",
        "webhooks list", "webhooks create", "webhooks update", "webhooks rotate", "webhooks delete", "webhooks ping",
        "webhooks enable", "webhooks notifications", "webhooks deliveries", "webhooks replay",
    }  # fmt: skip
    assert set() == promised - set(leaves())


def test_starting_loads_nothing_heavy() -> None:
    """What a command needs is loaded by that command, so that `tally --help` is quick."""
    script = "import sys, tallystick.cli.app; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert [] == [module for module in found.stdout.split() if module.partition(".")[0] in HEAVY]


def test_help_is_there_in_no_time() -> None:
    """Starting takes less than twice the processor's time that its library of commands takes to load."""
    ours = "import sys; sys.argv = ['tally', '--help']; from tallystick.cli.main import main; main()"
    library = "import typer, typer.rich_utils"

    def seconds(script: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert any(seconds(ours) < 2 * seconds(library) for _ in range(30))


def test_a_base_install_is_told_what_is_missing() -> None:
    """Without the extra, the program names the package that is missing and how to install it."""
    script = "import sys; sys.modules['typer'] = None; from tallystick.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (1, "") == (result.returncode, result.stdout)
    assert "typer is not installed" in result.stderr
    assert "pip install 'tallystick[server]'" in result.stderr


def test_a_missing_module_of_our_own_is_no_missing_extra() -> None:
    """A bug is shown as one."""
    script = (
        "import sys; sys.modules['tallystick.cli.app'] = None; from tallystick.cli.main import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert 1 == result.returncode
    assert "Traceback" in result.stderr


def test_wrong_usage_ends_with_2(local: Program) -> None:
    """An unknown command, a missing argument and an impossible number are wrong usage."""
    for arguments in (["nosuch"], ["charge"], ["charge", "lookup", "--quantity", "many"], ["ruv"]):
        assert 2 == local.call(*arguments).exit_code
    for quantity in ("NaN", "Infinity", "1_000", "9" * 200):
        result = local.call("charge", "lookup", "--quantity", quantity)
        assert 2 == result.exit_code
        assert "expected a plain decimal number" in " ".join(result.stderr.split())


def test_the_version_is_told(local: Program) -> None:
    """`--version` says which Tallystick this is."""
    assert local.show("--version").startswith("tally ")
