"""The OpenAPI document: complete, and as the fixed contract names things."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.problem_details import STATUSES
from tests.contract.conformance import Contract, contract_of

CALLS = {
    ("post", "/auth/register"),
    ("post", "/auth/login"),
    ("post", "/auth/logout"),
    ("get", "/auth/me"),
    ("post", "/keys"),
    ("get", "/keys"),
    ("delete", "/keys/{key_id}"),
    ("post", "/customers"),
    ("get", "/customers/{customer}"),
    ("get", "/customers/{customer}/explain"),
    ("post", "/customers/{customer}/freeze"),
    ("post", "/customers/{customer}/thaw"),
    ("get", "/billing/balance"),
    ("get", "/billing/transactions"),
    ("get", "/billing/usage"),
    ("get", "/billing/export/transactions"),
    ("get", "/billing/export/usage"),
    ("get", "/billing/export/payments"),
    ("post", "/billing/tier"),
    ("get", "/billing/subscription"),
    ("delete", "/billing/subscription"),
    ("post", "/billing/portal"),
    ("post", "/billing/checkout"),
    ("post", "/api/dashboard/billing/checkout"),
    ("post", "/billing/webhook"),
    ("get", "/billing/payments"),
    ("get", "/billing/payments/{payment_id}"),
    ("post", "/billing/payments/{payment_id}/refund"),
    ("get", "/billing/auto-refill"),
    ("put", "/billing/auto-refill"),
    ("post", "/billing/card"),
    ("get", "/billing/disputes"),
    ("post", "/billing/reconcile"),
    ("get", "/prices"),
    ("post", "/quotes"),
    ("post", "/charges"),
    ("post", "/charges/batch"),
    ("get", "/charges/{charge_id}"),
    ("post", "/charges/{charge_id}/refund"),
    ("post", "/holds"),
    ("get", "/holds"),
    ("get", "/holds/{hold_id}"),
    ("post", "/holds/{hold_id}/capture"),
    ("post", "/holds/{hold_id}/release"),
    ("post", "/grants"),
    ("get", "/grants"),
    ("post", "/grants/{grant_id}/void"),
    ("post", "/grants/{grant_id}/clawback"),
    ("put", "/budgets"),
    ("get", "/budgets"),
    ("delete", "/budgets/{budget_id}"),
    ("get", "/economy"),
    ("post", "/test/clock"),
    ("post", "/test/payments/{payment}/{action}"),
    ("post", "/settlements"),
    ("post", "/sandboxes"),
    ("get", "/sandboxes"),
    ("get", "/sandboxes/usage"),
    ("get", "/sandboxes/templates"),
    ("get", "/sandboxes/{sandbox_id}"),
    ("patch", "/sandboxes/{sandbox_id}"),
    ("delete", "/sandboxes/{sandbox_id}"),
    ("get", "/sandboxes/{sandbox_id}/explain"),
    ("post", "/sandboxes/{sandbox_id}/execute"),
    ("put", "/sandboxes/{sandbox_id}/files"),
    ("get", "/sandboxes/{sandbox_id}/files"),
    ("get", "/sandboxes/{sandbox_id}/logs"),
    ("post", "/sandboxes/{sandbox_id}/extend"),
    ("post", "/sandboxes/{sandbox_id}/stop"),
    ("post", "/agents"),
    ("get", "/agents"),
    ("get", "/agents/{agent_id}"),
    ("patch", "/agents/{agent_id}"),
    ("post", "/tasks"),
    ("get", "/tasks"),
    ("get", "/tasks/{task_id}"),
    *(
        ("post", f"/tasks/{{task_id}}/{step}")
        for step in ("accept", "complete", "fail", "cancel", "dispute", "resolve")
    ),
    ("get", "/payouts"),
    ("post", "/rewards"),
    ("post", "/referrals"),
    ("get", "/billing/export/payouts"),
    ("post", "/webhooks/endpoints"),
    ("get", "/webhooks/endpoints"),
    ("patch", "/webhooks/endpoints/{endpoint_id}"),
    ("delete", "/webhooks/endpoints/{endpoint_id}"),
    ("post", "/webhooks/endpoints/{endpoint_id}/rotate"),
    ("post", "/webhooks/endpoints/{endpoint_id}/ping"),
    ("post", "/webhooks/endpoints/{endpoint_id}/enable"),
    ("post", "/webhooks/endpoints/{endpoint_id}/replay"),
    ("get", "/webhooks/notifications"),
    ("get", "/webhooks/deliveries"),
    ("post", "/webhooks/deliveries/{delivery_id}/replay"),
    ("get", "/notifications/preferences"),
    ("put", "/notifications/preferences"),
}

WITHOUT_KEY = {"/auth/register", "/auth/login", "/prices", "/economy", "/billing/webhook"}
WITH_IDEMPOTENCY_KEY = {
    "/sandboxes",
    "/sandboxes/{sandbox_id}/execute",
    "/sandboxes/{sandbox_id}",
    "/sandboxes/{sandbox_id}/files",
    "/charges",
    "/charges/{charge_id}/refund",
    "/holds",
    "/holds/{hold_id}/capture",
    "/holds/{hold_id}/release",
    "/grants",
    "/grants/{grant_id}/void",
    "/grants/{grant_id}/clawback",
    "/billing/tier",
    "/billing/checkout",
    "/api/dashboard/billing/checkout",
    "/billing/payments/{payment_id}/refund",
    "/settlements",
    "/tasks",
    *(
        f"/tasks/{{task_id}}/{step}"
        for step in ("accept", "complete", "fail", "cancel", "dispute", "resolve")
    ),
}


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """The contract of an application."""
    path: Path = tmp_path_factory.mktemp("contract") / "tally.db"
    with Tally.open(f"sqlite:///{path}") as tally:
        yield contract_of(create_app(tally))


def operations(contract: Contract) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation by its method and path."""
    return {
        (method, path.removeprefix("/api/v1")): operation
        for path, found in contract.document["paths"].items()
        for method, operation in found.items()
    }


def test_every_call_of_the_contract_is_there_and_no_other(contract: Contract) -> None:
    """So that a new one is a decision."""
    expected = CALLS | {("get", f"/{name}") for name in ("healthz", "readyz", "metrics")}
    assert expected == set(operations(contract))


def test_the_document_is_valid(contract: Contract) -> None:
    """By the schema of OpenAPI 3.1 as far as references go: each one leads somewhere."""
    assert "3.1.0" == contract.document["openapi"]
    schemas = contract.document["components"]["schemas"]
    references = set(_references(contract.document))
    assert references
    assert {name.rpartition("/")[2] for name in references} <= set(schemas)
    for schema in schemas.values():
        jsonschema_rs.meta.validate({**schema, "components": contract.document["components"]})


def test_every_operation_explains_itself(contract: Contract) -> None:
    """In a sentence, with problems that it can answer with, and who may call it."""
    for (_, path), operation in operations(contract).items():
        assert operation["description"].strip()
        public = path in WITHOUT_KEY or path in {"/healthz", "/readyz", "/metrics"}
        assert public == ("security" not in operation)
        assert public or {"401", "403", "404", "503"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if status[0] in "45" and path != "/readyz":
                assert ["application/problem+json"] == list(response["content"])


def test_writes_say_that_they_take_an_idempotency_key(contract: Contract) -> None:
    """And that a repeat is marked."""
    found = {
        path
        for (_, path), operation in operations(contract).items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }
    assert WITH_IDEMPOTENCY_KEY == found
    charge = operations(contract)["post", "/charges"]["responses"]
    assert {"Idempotent-Replayed", "RateLimit", "RateLimit-Policy"} == set(charge["201"]["headers"])
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} == set(charge["429"]["headers"])


def test_every_refusal_has_a_status_of_its_own() -> None:
    """A new class of refusal needs a decision about its status."""
    classes = {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Refusal)
    }
    assert classes == set(STATUSES)


def test_the_judge_finds_what_is_not_documented(contract: Contract) -> None:
    """A status, a type, a missing field, a number in quotes: each is told."""
    json, fine = "application/json", b'{"status": "ok"}'
    contract.check("GET", "/healthz", 200, json, fine)
    for arguments in [
        ("GET", "/healthz", 201, json, fine),
        ("GET", "/healthz", 200, "text/html", fine),
        ("GET", "/healthz", 200, json, b'{"status": "fine"}'),
        ("GET", "/healthz", 200, json, b"{}"),
        ("GET", "/api/v1/nothing", 200, json, b"{}"),
        ("POST", "/api/v1/auth/logout", 204, "", b"{}"),
        ("GET", "/api/v1/budgets", 200, json, b'{"budgets": [{"amount": "5"}]}'),
    ]:
        with pytest.raises(AssertionError):
            contract.check(*arguments)


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
