"""The reference of the Python SDK lists what there is, and the programs of its how-to run as they stand."""

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

import tallystick.client
from tallystick.client import AsyncTallyClient, Retries, TallyClient, TallyError, Timeouts, WebhookEvent
from tallystick.client.downloads import FileOperation
from tallystick.client.errors import OutcomeUnknown
from tallystick.client.models import Model
from tallystick.client.operations import Operation
from tallystick.client.resources import Resources
from tallystick.embedded import Embedded
from tests.client.test_webhooks import BODY, SECRET, signed
from tests.docs.test_how_to import blocks
from tests.docs.test_reference import quoted, rows
from tests.servers import Server, running_server

DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE = DOCS / "reference" / "python.md"
HOW_TO = DOCS / "how-to" / "use-the-python-sdk.md"
SNIPPET, CHARGE, HOLD, AWAITED, PAGES, SETTINGS, WEBHOOK, EMBEDDED = range(8)


# --- the reference -----------------------------------------------------------------------------------------


def operations() -> Iterator[tuple[str, Operation[Any, Any] | FileOperation[Any]]]:
    """Every operation of a client."""
    with TallyClient(base_url="http://127.0.0.1:1") as client:
        for noun, value in vars(Resources).items():
            if isinstance(value, cached_property):
                for name, found in vars(type(getattr(client, noun))).items():
                    if isinstance(found, Operation | FileOperation):
                        yield f"{noun}.{name}", found


def signature(operation: Operation[Any, Any] | FileOperation[Any]) -> tuple[list[str], str]:
    """What a call takes, as the reference writes it, and what it gives."""
    found = inspect.signature(operation.describe)
    parameters = list(found.parameters.values())[1:]
    takes = [f"`{each.name}`" if each.default is each.empty else f"`{each.name}?`" for each in parameters]
    by_position = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
    if by_position:
        takes.insert(by_position, "/")
    gives = found.return_annotation.removeprefix("Request[").removesuffix("]").removesuffix("[Mode]")
    return takes, "Download" if isinstance(operation, FileOperation) else gives


def test_every_call_is_documented_with_its_parameters() -> None:
    """python.md lists each with what it takes and what it gives, and no other."""
    listed = {
        quoted(call)[0]: (takes.split(), quoted(gives)[0])
        for call, takes, gives, _ in (cells for cells in rows(REFERENCE) if len(cells) == 4)
    }
    assert {name: signature(operation) for name, operation in operations()} == listed


def public(*kinds: type) -> set[str]:
    """The public members of classes, but for those that every object has."""
    found = {name for kind in kinds for name in vars(kind) if not name.startswith("_")}
    return found - {"noun"}


def test_every_public_name_is_documented() -> None:
    """What the package exports, and what clients, answers and errors have beside their fields."""
    text = REFERENCE.read_text()
    expected = set(tallystick.client.__all__) | public(Model, TallyError, OutcomeUnknown)
    for client in (TallyClient, AsyncTallyClient):
        expected |= {name for name in dir(client) if not name.startswith("_")}
    expected |= set(WebhookEvent.__dataclass_fields__) | {f"Timeouts.{name}" for name in vars(Timeouts())}
    expected |= {f"Retries.{name}" for name in vars(Retries())}
    nouns = set(re.findall(r"^### `client\.(\w+)`$", text, re.MULTILINE))
    written = nouns | {word for each in quoted(text) for word in re.findall(r"\w+(?:\.\w+)?", each)}
    assert set() == expected - written


def test_the_documented_defaults_are_those_of_the_code() -> None:
    """Of timeouts and retries."""
    listed = {
        quoted(cells[0])[0]: float(cells[1])
        for cells in rows(REFERENCE)
        if len(cells) == 3 and cells[1].replace(".", "").isdigit()
    }
    assert listed == {
        f"{type(settings).__name__}.{name}": float(value)
        for settings in (Timeouts(), Retries())
        for name, value in vars(settings).items()
    }


# --- the how-to --------------------------------------------------------------------------------------------


@pytest.fixture(params=["nexus", "starter"])
def economy(request: pytest.FixtureRequest) -> str:
    """The seed's own economy, and the one that people try first."""
    found: str = request.param
    return found


@pytest.fixture
def server(economy: str, sqlite_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server that runs."""
    with running_server(tmp_path, economy=economy, database_url=sqlite_url) as running:
        yield running


@pytest.mark.slow
def test_the_programs_run_as_they_stand(
    server: Server, economy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, with a key of a new user: 1,000 credits, of which they spend some."""
    user = {"email": "ada@example.com", "password": "correct horse battery"}
    token = httpx.post(f"{server.url}/api/v1/auth/register", json=user).json()["token"]
    monkeypatch.setenv("TALLY_URL", server.url)
    names: dict[str, Any] = {"work": lambda *, at_most: at_most - 40}
    programs = [program.replace("tly_…", token) for program in blocks(HOW_TO, "python")]
    assert EMBEDDED == len(programs) - 1

    def run(program: int) -> str:
        exec(programs[program], names)  # noqa: S102 - the program of the document
        return capsys.readouterr().out

    assert "1000 credits available\n" == run(SNIPPET)
    assert () == names["transactions"]
    assert 0 == names["usage"].totals.spent
    assert names["url"].startswith(f"{server.url}/simulated/checkout/")
    if economy == "starter":
        run(CHARGE)
        assert 3 == names["charge"].amount
    run(HOLD)
    assert "captured" == names["client"].holds.get(names["hold"].id).status
    assert "usage -60" in run(AWAITED)
    run(PAGES)
    assert {"starter": -64, "nexus": -61}[economy] == names["spent"]
    run(SETTINGS)
    names["client"].close()
    names["patient"].close()


def test_the_program_that_takes_webhooks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event once, and none that nobody signed."""
    names: dict[str, Any] = {}
    exec(blocks(HOW_TO, "python")[WEBHOOK], names)  # noqa: S102 - the program of the document
    monkeypatch.setenv("TALLY_WEBHOOK_SECRET", SECRET)
    assert [204, 204, 400] == [
        names["receive"](body, signed()) for body in (BODY, BODY, BODY.replace(b"17", b"18"))
    ]
    assert 1 == capsys.readouterr().out.count("17 credit_grant.created cust_1")


def test_the_program_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It charges, in a database beside it."""
    monkeypatch.chdir(tmp_path)
    exec(blocks(HOW_TO, "python")[EMBEDDED], {})  # noqa: S102 - the program of the document
    with Embedded.open(f"sqlite:///{tmp_path / 'tally.db'}") as engine:
        assert 997 == engine.client.billing.get_balance(customer="ann").available
