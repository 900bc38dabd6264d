"""What is given to a command and cannot be meant: wrong usage, with status 2, and nothing is sent."""

import json

import pytest

from tallystick.cli.app import run
from tests.doors.cli.program import Program


def wrong(program: Program, *arguments: str) -> str:
    """What people are told about wrong usage."""
    result = program.call(*arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 256], ids=["none", "dot", "dots", "long"])
@pytest.mark.parametrize(
    "command", [["tasks", "accept"], ["customers", "freeze"], ["keys", "revoke"]], ids=" ".join
)
def test_what_is_no_id_asks_for_no_other_path(local: Program, command: list[str], name: str) -> None:
    """It would ask for the list, or for the noun above it."""
    assert "expected an id" in wrong(local, *command, name)


def test_a_negative_number_is_called_that(local: Program) -> None:
    """It looks like an option, and is none that anybody forgot."""
    for command in (["agents", "create", "x"], ["tasks", "resolve", "task_1", "--reason", "r"]):
        for number in ("-1", "-0.5", "-.5"):
            assert "expected a number that is not negative" in wrong(local, *command, number)
    assert "No such option: -x" in wrong(local, "agents", "create", "x", "-x")


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[" * 5_000 + "]" * 5_000, "1e99999999999999999999"],
    ids=["open", "deep", "giant"],
)
def test_content_that_cannot_be_sent_is_wrong_usage(local: Program, content: str) -> None:
    """Nested too deeply, or a number that nobody can keep."""
    assert "expected" in wrong(local, "tasks", "create", "agent_1", content)


@pytest.mark.parametrize(
    "arguments", [["agents", "create", "\udcff", "1"], ["agents", "list", "--search", "\ud800"]], ids=ascii
)
def test_bytes_that_are_no_text_are_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for programs, which get JSON."""
    assert 2 == run(arguments)
    assert "expected text in UTF-8" in capsys.readouterr().err
    assert 2 == run([*arguments, "--json"])
    told = capsys.readouterr()
    assert ("usage", "") == (json.loads(told.out)["error"]["code"], told.err)


def test_a_question_that_is_too_long_is_wrong_usage(local: Program) -> None:
    """It fits into no address."""
    assert "expected what can be asked for" in wrong(local, "agents", "list", "--search", "x" * 100_000)


def test_nothing_may_be_asked_of_an_agent(admin: Program, customer: str) -> None:
    """Null is JSON, and NaN is a text."""
    admin.ask("customers", "create", f"{customer}-owner")
    agent = admin.ask("agents", "create", "idle", "0", "--customer", f"{customer}-owner")["id"]
    for content, asked in (("null", None), ("NaN", "NaN")):
        task = admin.ask("tasks", "create", agent, content, "--customer", customer)["id"]
        assert asked == admin.ask("tasks", "show", task)["input"]
