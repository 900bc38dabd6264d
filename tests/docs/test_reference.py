"""The reference lists what there is: every code, command, address and key, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tallystick.api.app import create_app
from tallystick.api.metrics import Metrics
from tallystick.api.openapi import document_of
from tallystick.bootstrap import Tally
from tallystick.cli.app import app
from tallystick.core import toml_reader
from tallystick.core.catalog import DEFAULT_PRIORITIES
from tallystick.core.economy_file import load
from tallystick.core.errors import Refusal
from tallystick.core.toml_lines import Path as KeyPath
from tallystick.economies import SHIPPED
from tallystick.economies import read as read_economy
from tallystick.problem_details import status_of

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Problems that the door makes by itself.
DOOR_CODES = {"METHOD_NOT_ALLOWED": 405, "INTERNAL_ERROR": 500}
# Tables of the economy file whose keys are names of the operator's own.
NAMED = {"units", "plans", "packs", "meters", "rewards"}
EVERY_PRICE = """
[meters.every_price]
category = "system"
description = "Whatever starter does not show"
note = "for the test"
[[meters.every_price.prices]]
kind = "flat"
flat = 1
"""


def rows(document: Path) -> Iterator[list[str]]:
    """The cells of every table's rows."""
    for line in document.read_text().splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(cell: str) -> list[str]:
    """What stands in back-ticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- errors ------------------------------------------------------------------------------------------------


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Every class of refusals."""
    yield kind
    for each in kind.__subclasses__():
        yield from refusals(each)


def test_every_error_code_is_documented_with_its_status() -> None:
    """errors.md lists the codes and statuses that the API answers with."""
    expected = {kind.code.upper(): status_of(kind)[0] for kind in refusals()} | DOOR_CODES
    listed = {
        quoted(cells[0])[0]: int(cells[1])
        for cells in rows(REFERENCE / "errors.md")
        if len(cells) == 3 and cells[1].isdigit()
    }
    assert expected == listed


# --- REST --------------------------------------------------------------------------------------------------


@pytest.fixture
def openapi(sqlite_url: str) -> dict[str, Any]:
    """The OpenAPI document."""
    with Tally.open(sqlite_url) as tally:
        return document_of(create_app(tally))


def properties(openapi: dict[str, Any], holder: dict[str, Any]) -> dict[str, bool]:
    """The fields of a body, and whether each is required."""
    schema: dict[str, Any] = next((media["schema"] for media in holder.get("content", {}).values()), {})
    found: dict[str, bool] = {}
    for each in schema.get("anyOf", [schema]):
        form = each
        if "$ref" in form:
            form = openapi["components"]["schemas"][form["$ref"].rpartition("/")[2]]
        for name in form.get("properties", {}):
            found[name] = found.get(name, True) and name in form.get("required", ())
    return found


def test_every_address_is_documented_with_its_fields(openapi: dict[str, Any]) -> None:
    """rest.md lists each method and path with what it takes, what it gives and whether it takes a key."""
    expected = {}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", ())
            takes = {
                each["name"]: each.get("required", False) for each in parameters if each["in"] == "query"
            }
            takes |= properties(openapi, operation.get("requestBody", {}))
            status = next(status for status in operation["responses"] if status.startswith("2"))
            expected[f"{method.upper()} {path.removeprefix('/api/v1')}"] = (
                sorted(name if required else f"{name}?" for name, required in takes.items()),
                status,
                sorted(properties(openapi, operation["responses"][status])),
                any(each["name"] == "Idempotency-Key" for each in parameters),
            )
    listed = {
        quoted(call)[0]: (sorted(quoted(takes)), gives[:3], sorted(quoted(gives)), call.endswith("\\*"))
        for call, takes, gives, _ in (cells for cells in rows(REFERENCE / "rest.md") if len(cells) == 4)
    }
    assert expected == listed


# --- the command line --------------------------------------------------------------------------------------


def commands(command: Any = None, path: tuple[str, ...] = ("tally",)) -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    found = command or typer.main.get_command(app)
    subcommands: dict[str, Any] = getattr(found, "commands", {})
    if not subcommands:
        yield " ".join(path), found
    for name, each in subcommands.items():
        yield from commands(each, (*path, name))


def options(command: Any) -> set[str]:
    """The long names of a command's options."""
    return {
        name for each in command.params for name in (*each.opts, *each.secondary_opts) if name[:2] == "--"
    }


def test_every_command_is_documented_with_its_options() -> None:
    """cli.md lists each command with its arguments and options."""
    expected = {}
    for name, command in commands():
        arguments = [
            (each.metavar or str(each.name).upper()).replace("|", "\\|")
            for each in command.params
            if each.param_type_name == "argument"
        ]
        expected[" ".join([name, *arguments])] = options(command) - {"--json", "--help"}
    listed = {
        quoted(cells[0])[0]: set(quoted(cells[1]))
        for cells in rows(REFERENCE / "cli.md")
        if cells[0].startswith("`tally ")
    }
    assert expected == listed


def test_commands_in_the_documentation_exist() -> None:
    """Every `tally …` command in any document is one that there is, with options that it has."""
    known = dict(commands())
    wrong, seen = [], 0
    for document in DOCUMENTS:
        for text in re.findall(
            r"^ *\$ (?:\w+=\S* )*(tally (?:.*\\\n)*.*)$", document.read_text(), re.MULTILINE
        ):
            seen += 1
            words = text.partition(" #")[0].replace("\\\n", " ").split()
            name = next((" ".join(words[:size]) for size in (4, 3, 2) if " ".join(words[:size]) in known), "")
            used = {word for word in words if word.startswith("--")}
            if not name or not used <= options(known[name]):
                wrong.append((document.name, text))
    assert [] == wrong
    assert seen > 20


def test_addresses_in_the_documentation_exist(openapi: dict[str, Any]) -> None:
    """Every address below /api/v1 that a document calls is one that there is."""
    known = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in openapi["paths"]]
    called = {
        (document.name, address)
        for document in DOCUMENTS
        for address in re.findall(r"(/api/v1/[\w/…-]+)", document.read_text())
    }
    assert called
    assert [] == [each for each in called if not any(path.fullmatch(each[1]) for path in known)]


# --- economy files and settings ----------------------------------------------------------------------------


def general(path: KeyPath) -> str:
    """A key's path with the operator's own names and positions replaced."""
    parts = [part for part in path if isinstance(part, str)]
    if len(parts) > 1 and parts[0] in NAMED:
        parts[1] = "<source>" if parts[0] == "rewards" else "<name>"
    if parts[0] == "low_balance":
        parts[1] = "<unit>"
    return ".".join(parts)


def test_every_key_of_an_economy_file_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """economy-file.md lists the keys that the reader of economy files asks for, and no others."""
    asked: set[str] = set()
    close = toml_reader.Table.close

    def note(table: toml_reader.Table) -> None:
        if table.path:
            asked.update(general((*table.path, key)) for key in table.known)
        close(table)

    monkeypatch.setattr(toml_reader.Table, "close", note)
    for name in SHIPPED:
        load(read_economy(name) + (EVERY_PRICE if name == "starter" else ""), name=name)

    listed, where = set(), ""
    for line in (REFERENCE / "economy-file.md").read_text().splitlines():
        if line.startswith("#"):
            where = next(iter(quoted(line)), "").strip("[]")
        elif where and line.startswith("| `"):
            listed.add(f"{where}.{quoted(line)[0]}")
    assert asked == listed


def test_default_priorities_are_documented() -> None:
    """economy-file.md gives each category's priority as it is in the code."""
    section = (REFERENCE / "economy-file.md").read_text().partition("## `[priorities]`")[2]
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \|$", section, re.MULTILINE)
    assert dict(DEFAULT_PRIORITIES) == {category: int(priority) for category, priority in listed}


def test_every_setting_is_documented() -> None:
    """environment.md lists the variables that the program reads, and no others."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r"\"((?:TALLY|STRIPE|E2B)_[A-Z_0-9]+)\"", source))
    listed = {quoted(cells[0])[0].replace("…", "") for cells in rows(REFERENCE / "environment.md")}
    assert read == listed


def test_every_metric_is_documented() -> None:
    """monitor.md lists the metrics of our own that Prometheus is given, and no others."""
    families = [family for family in Metrics().registry.collect() if family.name.startswith("tally_")]
    expected = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    listed = {name for cells in rows(ROOT / "docs" / "how-to" / "monitor.md") for name in quoted(cells[0])}
    assert expected == {name for name in listed if name.startswith("tally_")}
