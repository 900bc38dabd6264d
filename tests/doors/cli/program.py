"""The program `tally` for tests: called in this process, with nothing of the caller's own settings."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from tallystick.cli.app import app
from tallystick.cli.frame import Session

ECONOMY = """
[economy]
title = "Terminal"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits"
[units.USD]
description = "Dollars"
money = true

[[sign_up]]
amount = 100
category = "initial_grant"
description = "Welcome"
[[sign_up]]
unit = "USD"
amount = 5
category = "initial_grant"
description = "Dollars once"

[plans.free]
title = "Free"
price_usd = 0
[plans.pro]
title = "Pro"
price_usd = 19
[[plans.pro.allowances]]
amount = 300

[meters.lookup]
category = "data"
description = "One look-up"
price = 1
[meters.tokens]
category = "model"
description = "By the token"
[[meters.tokens.prices]]
kind = "per_unit"
per_unit = 0.0000045
[meters.disk]
category = "storage"
description = "In dollars"
[[meters.disk.prices]]
unit = "USD"
kind = "flat"
flat = 0.25
[meters.limited]
category = "search"
description = "Three an hour"
price = 1
hourly_limit = 3

[meters.vcpu_seconds]
category = "sandbox"
description = "Of a running sandbox, per vCPU"
[[meters.vcpu_seconds.prices]]
kind = "per_unit"
per_unit = 0.0001
[meters.gib_seconds]
category = "sandbox"
description = "Of a running sandbox, per GiB"
[[meters.gib_seconds.prices]]
kind = "per_unit"
per_unit = 0.0001
[sandbox]
vcpu_meter = "vcpu_seconds"
gib_meter = "gib_seconds"
default_vcpu = 1
default_memory_mib = 128
default_timeout_seconds = 300

[rewards.challenge]
description = "A challenge"
ranges = { any = [1, 50] }
[referral]
referrer = 5
referred = 0

[packs.starter]
title = "Starter"
credits = 1000
price_usd = 10
[purchase]
min_usd = 10
max_usd = 1000
credits_per_usd = 100
[auto_refill]
threshold_min = 10
threshold_default = 20
amount_min_usd = 10
amount_default_usd = 20

[low_balance]
credits = [10, 50]
"""


class Program:
    """Runs commands against one server as one caller."""

    def __init__(self, url: str, folder: Path, *, key: str | None) -> None:
        self.url = url
        self.folder = folder
        self.environ: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TALLY_")}
        self.environ |= {
            "TALLY_URL": url,
            "TALLY_API_KEY": key,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "160",
        }

    def call(self, *arguments: str, typed: str = "", session: Session | None = None) -> Result:
        """Run a command, whatever comes of it; a crash is the test's."""
        result = CliRunner().invoke(
            app, list(arguments), input=typed, env=self.environ, obj=session, prog_name="tally"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def show(self, *arguments: str, typed: str = "") -> str:
        """What people see of a command that must succeed."""
        result = self.call(*arguments, typed=typed)
        assert 0 == result.exit_code, result.output
        return result.stdout

    def ask(self, *arguments: str, session: Session | None = None) -> Any:
        """What programs get of a command that must succeed; numbers are exact."""
        result = self.call(*arguments, "--json", session=session)
        assert 0 == result.exit_code, result.output
        return read(result.stdout)

    def refused(self, *arguments: str) -> str:
        """What people are told, on standard error alone, about a command that must be refused."""
        result = self.call(*arguments)
        assert (1, "") == (result.exit_code, result.stdout), result.output
        return result.stderr

    def problem(self, *arguments: str) -> Any:
        """What programs are told about a command that must be refused."""
        result = self.call(*arguments, "--json")
        assert (1, "") == (result.exit_code, result.stderr), result.output
        return read(result.stdout)["error"]


def read(text: str) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def tree() -> TyperGroup:
    """The root of all commands."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return root


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group with its full name."""
    waiting: list[tuple[str, Any]] = [("", tree())]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        for inner, found in getattr(command, "commands", {}).items():
            waiting.append((f"{name} {inner}".strip(), found))


def leaves() -> dict[str, Any]:
    """The commands that do something."""
    return {name: command for name, command in commands() if not hasattr(command, "commands")}
