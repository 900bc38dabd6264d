"""`--json` works for every command that asks a server or a database, before the command and after it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doors.cli.program import Program, leaves, read

# What a command prints does not depend on the database; what it does is tested on both elsewhere.
ON_ONE = pytest.mark.parametrize("server", ["sqlite"], indirect=True)

Arguments = Callable[[Program, str], list[str]]

# These run on; test_processes.py starts them.
LONG_RUNNING = {"serve", "worker", "mcp start", "gateway"}
# These work on files and databases of their own; test_local.py and test_sandbox_templates.py call them.
LOCAL = {
    *("init", "audit", "bench", "economy check", "economy diff", "economy list", "economy show"),
    "sandbox build-template",
}


def _charged(program: Program, customer: str) -> str:
    charge: str = program.ask("charge", "lookup", "--customer", customer)["id"]
    return charge


def _granted(program: Program, customer: str) -> str:
    grant: str = program.ask("grants", "create", customer, "5")["id"]
    return grant


def _held(program: Program, customer: str) -> str:
    hold: str = program.ask("holds", "create", "--amount", "1", "--customer", customer)["id"]
    return hold


def _agent(program: Program, customer: str, price: str = "1") -> str:
    """An agent of somebody else's, whom a customer can pay."""
    owner = f"{customer}-owner"
    program.ask("customers", "create", owner)
    program.ask("grants", "create", customer, "5")
    agent: str = program.ask("agents", "create", f"worker at {price}", price, "--customer", owner)["id"]
    return agent


def _referrer(program: Program, customer: str) -> str:
    name = f"{customer}-referrer"
    program.ask("customers", "create", name)
    return name


def _task(program: Program, customer: str, *steps: str) -> str:
    task: str = program.ask("tasks", "create", _agent(program, customer), "do it", "--customer", customer)[
        "id"
    ]
    for step in steps:
        program.ask("tasks", step, task, *(["--reason", "no"] if step == "dispute" else []))
    return task


def _sandbox(program: Program, customer: str) -> list[str]:
    made = program.ask("sandbox", "create", "--template", "bash", "--customer", customer)
    return ["--id", made["id"]]


def _sandbox_with_file(program: Program, customer: str) -> list[str]:
    chosen = _sandbox(program, customer)
    program.ask("sandbox", "execute", *chosen, "--code", "echo hello > greeting")
    return [*chosen, "--path", "greeting", "--output", "greeting"]


def _file(program: Program, customer: str) -> list[str]:
    Path("a.txt").write_text("a")
    return [*_sandbox(program, customer), "--file", "a.txt"]


def _email(customer: str) -> list[str]:
    return ["-e", f"{customer}@example.test", "-p", "correct horse"]


def _known(program: Program, customer: str) -> list[str]:
    if program.call("auth", "login", *_email(customer)).exit_code:
        program.ask("auth", "register", *_email(customer))
    return _email(customer)


def _key(program: Program, customer: str) -> str:
    key: str = program.ask("keys", "create", "k", "--customer", customer)["id"]
    return key


def _budget(program: Program, customer: str) -> str:
    budget: str = program.ask("budgets", "set", "customer", "9", "--customer", customer)["id"]
    return budget


def _bought(program: Program, customer: str) -> str:
    payment: str = program.ask("billing", "checkout", "starter", "--customer", customer)["payment"]
    return payment


def _paid(program: Program, customer: str) -> str:
    """A payment that was made on the simulated page."""
    page = program.ask("billing", "checkout", "starter", "--customer", customer)
    paid = httpx.post(page["url"], data={"action": "pay", "card": "4242424242424242"})
    assert 303 == paid.status_code
    assert 200 == httpx.get(paid.headers["location"]).status_code  # the success page looks at once
    payment: str = page["payment"]
    return payment


def _subscribed(program: Program, customer: str) -> str:
    """A customer whose plan was paid on the simulated page, as only a customer itself can ask for it."""
    key = program.ask("keys", "create", "own", "--role", "user", "--customer", customer)["key"]
    headers = {"Authorization": f"Bearer {key}"}
    asked = httpx.post(f"{program.url}/api/v1/billing/tier", json={"tier": "pro"}, headers=headers)
    page = asked.json().get("checkout_url")
    if page is not None:  # None: paid by an earlier call.
        assert 303 == httpx.post(page, data={"action": "pay", "card": "4242424242424242"}).status_code
    return customer


def _endpoint(program: Program, customer: str) -> str:
    nobody = "http://127.0.0.1:9/hook"
    endpoint: str = program.ask("webhooks", "create", nobody, "--customer", customer)["id"]
    return endpoint


def _later(program: Program) -> str:
    now = datetime.fromisoformat(program.ask("clock", "advance", "PT1S")["now"])
    return (now + timedelta(hours=1)).isoformat()


CALLS: dict[str, Arguments] = {
    "auth register": lambda _, customer: _email(customer),
    "auth login": _known,
    "auth logout": lambda _program, _customer: [],
    "auth status": lambda _program, _customer: [],
    "ruv balance": lambda _, customer: ["--customer", customer],
    "ruv history": lambda _, customer: ["--customer", customer],
    "billing balance": lambda _, customer: ["--customer", customer],
    "billing history": lambda _, customer: ["--customer", customer],
    "billing usage": lambda _, customer: ["--customer", customer],
    "billing export transactions": lambda _, customer: ["--customer", customer, "--output", "t.csv"],
    "billing export usage": lambda _, customer: ["--customer", customer, "--output", "u.csv"],
    "billing export payments": lambda _, customer: ["--customer", customer, "--output", "p.csv"],
    "billing checkout": lambda _, customer: ["starter", "--customer", customer],
    "billing payments": lambda _, customer: ["--customer", customer],
    "billing auto-refill": lambda _, customer: ["--on", "--threshold", "50", "--customer", customer],
    "billing card": lambda _, customer: ["--customer", customer],
    "payments list": lambda _program, _customer: [],
    "payments show": lambda program, customer: [_bought(program, customer)],
    "payments refund": lambda program, customer: [_paid(program, customer)],
    "payments disputes": lambda _program, _customer: [],
    "payments reconcile": lambda _program, _customer: [],
    "payments simulate": lambda program, customer: ["dispute", _paid(program, customer)],
    "billing tier": lambda _, customer: ["pro", "--customer", customer],
    "billing subscription": lambda _, customer: ["--customer", customer],
    "billing cancel": lambda program, customer: ["--customer", _subscribed(program, customer)],
    "billing portal": lambda _, customer: ["--customer", customer],
    "charge": lambda _, customer: ["lookup", "--customer", customer],
    "quote": lambda _, customer: ["lookup", "--customer", customer],
    "refund": lambda program, customer: [_charged(program, customer)],
    "prices": lambda _program, _customer: [],
    "explain": lambda program, customer: [_charged(program, customer)],
    "holds create": lambda _, customer: ["--amount", "1", "--customer", customer],
    "holds list": lambda _, customer: ["--customer", customer],
    "holds capture": lambda program, customer: [_held(program, customer)],
    "holds release": lambda program, customer: [_held(program, customer)],
    "agents create": lambda _, customer: ["worker", "2", "--customer", customer],
    "agents list": lambda _program, _customer: [],
    "agents show": lambda program, customer: [_agent(program, customer)],
    "agents update": lambda program, customer: [_agent(program, customer, "6"), "--price", "6"],
    "agents pause": lambda program, customer: [_agent(program, customer, "3")],
    "agents resume": lambda program, customer: [_agent(program, customer, "4")],
    "tasks create": lambda program, customer: [_agent(program, customer), "{}", "--customer", customer],
    "tasks list": lambda _, customer: ["--customer", customer],
    "tasks show": lambda program, customer: [_task(program, customer)],
    "tasks accept": lambda program, customer: [_task(program, customer)],
    "tasks complete": lambda program, customer: [_task(program, customer, "accept")],
    "tasks fail": lambda program, customer: [_task(program, customer, "accept")],
    "tasks cancel": lambda program, customer: [_task(program, customer)],
    "tasks dispute": lambda program, customer: [
        _task(program, customer, "accept", "complete"),
        "--reason",
        "no",
    ],
    "tasks resolve": lambda program, customer: [
        _task(program, customer, "accept", "complete", "dispute"),
        "0.5",
        "--reason",
        "half",
    ],
    "sandbox list-templates": lambda _program, _customer: [],
    "sandbox create": lambda _, customer: ["--template", "bash", "--customer", customer],
    "sandbox execute": lambda program, customer: [*_sandbox(program, customer), "--code", "pwd"],
    "sandbox list": lambda _, customer: ["--customer", customer],
    "sandbox status": _sandbox,
    "sandbox logs": _sandbox,
    "sandbox upload": _file,
    "sandbox download": _sandbox_with_file,
    "sandbox configure": lambda program, customer: [*_sandbox(program, customer), "--env", "A=1"],
    "sandbox extend": lambda program, customer: [*_sandbox(program, customer), "--timeout", "600"],
    "sandbox stop": _sandbox,
    "sandbox delete": _sandbox,
    "sandbox explain": _sandbox,
    "sandbox usage": lambda _, customer: ["--customer", customer],
    "rewards give": lambda _, customer: [customer, "challenge", "--fact", "a", "--amount", "20"],
    "rewards refer": lambda program, customer: [_referrer(program, customer), customer],
    "payouts list": lambda _program, _customer: [],
    "billing export payouts": lambda _program, _customer: ["--output", "o.csv"],
    "grants create": lambda _, customer: [customer, "1"],
    "grants list": lambda _, customer: ["--customer", customer],
    "grants void": lambda program, customer: [_granted(program, customer)],
    "grants clawback": lambda program, customer: [_granted(program, customer), "1"],
    "keys create": lambda _, customer: ["laptop", "--customer", customer],
    "keys list": lambda _, customer: ["--customer", customer],
    "keys revoke": lambda program, customer: [_key(program, customer)],
    "budgets set": lambda _, customer: ["customer", "9", "--customer", customer],
    "budgets list": lambda _, customer: ["--customer", customer],
    "budgets remove": lambda program, customer: [_budget(program, customer)],
    "customers create": lambda _, customer: [customer],
    "customers show": lambda _, customer: [customer],
    "customers freeze": lambda _, customer: [customer],
    "customers thaw": lambda _, customer: [customer],
    "webhooks create": lambda _, customer: ["http://127.0.0.1:9/hook", "--customer", customer],
    "webhooks list": lambda _, customer: ["--customer", customer],
    "webhooks update": lambda program, customer: [_endpoint(program, customer), "--type", "hold.*"],
    "webhooks rotate": lambda program, customer: [_endpoint(program, customer)],
    "webhooks delete": lambda program, customer: [_endpoint(program, customer)],
    "webhooks ping": lambda program, customer: [_endpoint(program, customer)],
    "webhooks enable": lambda program, customer: [_endpoint(program, customer)],
    "webhooks notifications": lambda _, customer: ["--customer", customer],
    "webhooks deliveries": lambda _, customer: ["--customer", customer],
    "webhooks replay": lambda program, customer: [_endpoint(program, customer), "--after", "0"],
    "clock advance": lambda _program, _customer: ["PT1S"],
    "clock set": lambda program, _customer: [_later(program)],
}


def test_no_command_is_forgotten() -> None:
    """Each command is called here or in a file of its own."""
    assert set(leaves()) == set(CALLS) | LONG_RUNNING | LOCAL


@ON_ONE
@pytest.mark.parametrize("command", sorted(CALLS))
def test_json_is_json(admin: Program, customer: str, command: str) -> None:
    """One JSON object and nothing else, on standard output, wherever the option stands."""
    words = command.split()
    other = f"{customer}-again" if command == "auth register" else customer
    for before, who, after in (([], customer, ["--json"]), (["--json"], other, [])):
        arguments = [*before, *words, *CALLS[command](admin, who), *after]
        result = admin.call(*arguments)
        assert (0, "") == (result.exit_code, result.stderr), result.output
        answer: Any = read(result.stdout)
        assert isinstance(answer, dict)
        assert answer


@ON_ONE
@pytest.mark.parametrize("command", sorted(CALLS))
def test_people_are_told_something(admin: Program, customer: str, command: str) -> None:
    """Without the option there are words, and no JSON."""
    shown = admin.show(*command.split(), *CALLS[command](admin, customer))
    assert shown.strip()
    assert not shown.lstrip().startswith("{")


@ON_ONE
def test_json_may_stand_behind_a_group(admin: Program, customer: str) -> None:
    """`tally ruv --json balance` is the same."""
    result = admin.call("ruv", "--json", "balance", "--customer", customer)
    assert 100 == read(result.stdout)["credits"]
