"""Sandboxes over HTTP: the contract's requests, answers and problems, and files as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import Execution
from tallystick.services import waiting
from tests.doors.api.door import ADMIN, Door, problem, wait_until
from tests.services.scripted_sandboxes import ScriptedSandboxes


@pytest.fixture
def provider() -> ScriptedSandboxes:
    """Runs nothing, and answers what a test says."""
    return ScriptedSandboxes()


@pytest.fixture
def door(database_url: str, tmp_path: Path, provider: ScriptedSandboxes) -> Iterator[Door]:
    """Flow-nexus with sandboxes; ann has 356 rUv and 100 dollars."""
    with Door(database_url, tmp_path, economy="flow-nexus", sandboxes=provider) as door:
        yield door


def make(door: Door, **terms: Any) -> dict[str, Any]:
    """A sandbox of ann's."""
    made: dict[str, Any] = door.post("/sandboxes", {"template": "node", "customer": "ann"} | terms)
    return made


def test_the_way_of_a_sandbox(door: Door, provider: ScriptedSandboxes) -> None:
    """Made, used, looked at, extended and deleted; five credits and the dollars of its seconds."""
    made = make(door, name="api", env_vars={"A": "1"}, metadata={"for": "tests"}, timeout=600)
    path = f"/sandboxes/{made['id']}"
    assert ("running", "api", 2, 512, {"for": "tests"}) == tuple(
        made[name] for name in ("status", "name", "vcpu", "memory_mib", "metadata")
    )
    provider.answer = Execution(exit_code=3, stdout=b"out\x00\xff", stderr=b"err", duration_ms=7)
    ran = door.post(f"{path}/execute", {"code": "exit 3", "language": "bash"})
    assert (3, "out\ufffd\ufffd", "err", "done") == tuple(
        ran[name] for name in ("exit_code", "stdout", "stderr", "status")
    )
    door.post(f"{path}/execute", {"code": "1"})
    assert [made["id"]] == [each["id"] for each in door.get("/sandboxes?customer=ann")["sandboxes"]]
    assert ["1", "exit 3"] == [each["code"] for each in door.get(f"{path}/logs")["logs"]]
    assert made["ends_at"] < door.post(f"{path}/extend", {"timeout": 1200})["ends_at"]
    door.clock.advance("PT10S")
    provider.advance(10_000)
    ended = door.send("DELETE", path, key=None).json(parse_float=Decimal)
    assert ("stopped", "requested", 10, Decimal("0.000303")) == tuple(
        ended[name] for name in ("status", "reason", "seconds", "cost")
    )
    assert Decimal(351) == Decimal(door.balance("ann", "rUv")["available"])
    bill = door.get(f"{path}/explain?from_second=0&seconds=3")
    assert ["create", "execute", "execute", "running", "delete"] == [
        line["operation"] for line in bill["lines"]
    ]
    assert [0, 1, 2] == [second["second"] for second in bill["seconds"]]
    usage = door.get("/sandboxes/usage?customer=ann")
    assert (20_000, 5_120_000) == (usage["vcpu_ms"], usage["mib_ms"])


def test_a_sandbox_is_stopped_while_all_threads_run_code(
    door: Door, provider: ScriptedSandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the code, and however it is answered: what is billed can be ended at once."""
    monkeypatch.setattr(waiting, "AT_ONCE", 1)
    paths = [f"/sandboxes/{make(door)['id']}" for _ in range(3)]
    over, entered = Event(), Event()

    def stay() -> None:
        entered.set()
        assert over.wait(20)

    provider.during = stay
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(door.post, f"{path}/execute", {"code": "1"}) for path in paths]
        try:
            wait_until(entered.is_set)
            assert "stopped" == door.send("DELETE", paths[0], key=None).json()["status"]
        finally:
            over.set()
        codes = [None if each.exception() else each.result()["exit_code"] for each in running]
    assert [0, 0] == codes[1:]
    assert codes[0] in {None, 137}  # refused, if it had not begun when its sandbox was ended


def test_files_go_in_and_out_as_bytes(door: Door, provider: ScriptedSandboxes) -> None:
    """Larger than any JSON body may be; what does not exist is named."""
    del provider
    path = f"/sandboxes/{make(door)['id']}/files"
    content = bytes(range(256)) * 8192
    headers = {"Authorization": f"Bearer {ADMIN}"}
    put = door.client.put(path, params={"path": "src/data.bin"}, content=content, headers=headers)
    assert 200 == put.status_code, put.text
    assert content == door.client.get(path, params={"path": "src/data.bin"}).content
    problem(door.client.get(path, params={"path": "nothing"}), 422, "VALIDATION_FAILED")
    too_large = door.client.put(path, params={"path": "x"}, content=b"x" * (33 << 20))
    problem(too_large, 413, "BODY_TOO_LARGE")


def test_a_repeated_upload_is_done_once(door: Door) -> None:
    """It says that it is a repeat, and another file under its key is refused."""
    path = f"/sandboxes/{make(door)['id']}/files"
    headers = {"Authorization": f"Bearer {ADMIN}", "Idempotency-Key": "k"}
    first, again = (
        door.client.put(path, params={"path": "a"}, content=b"1", headers=headers) for _ in range(2)
    )
    assert (200, None, 200, "true") == (
        first.status_code,
        first.headers.get("Idempotent-Replayed"),
        again.status_code,
        again.headers.get("Idempotent-Replayed"),
    )
    assert first.json() == again.json()
    changed = door.client.put(path, params={"path": "a"}, content=b"2", headers=headers)
    problem(changed, 422, "IDEMPOTENCY_KEY_REUSED")
    assert Decimal(353) == Decimal(door.balance("ann", "rUv")["available"])


def test_a_repeated_change_is_done_once(door: Door) -> None:
    """As an upload; without a key each is charged."""
    path = f"/sandboxes/{make(door)['id']}"
    for replayed in (None, "true"):
        answer = door.send("PATCH", path, {"env_vars": {"A": "1"}}, key="k")
        assert (200, replayed) == (answer.status_code, answer.headers.get("Idempotent-Replayed"))
    problem(door.send("PATCH", path, {"timeout": 60}, key="k"), 422, "IDEMPOTENCY_KEY_REUSED")
    assert Decimal(353) == Decimal(door.balance("ann", "rUv")["available"])
    for value in "23":
        door.send("PATCH", path, {"env_vars": {"A": value}}, key=None)
    assert Decimal(349) == Decimal(door.balance("ann", "rUv")["available"])


def test_refusals_have_their_codes(door: Door, provider: ScriptedSandboxes) -> None:
    """Each with its status, and nothing charged."""
    body = {"template": "node", "customer": "ann"}
    problem(door.send("POST", "/sandboxes", body, key=None), 400, "IDEMPOTENCY_KEY_REQUIRED")
    problem(door.send("POST", "/sandboxes", body | {"template": "cobol"}), 422, "VALIDATION_FAILED")
    problem(door.send("POST", "/sandboxes", body | {"timeout": 7200}), 403, "PLAN_LIMIT_REACHED")
    provider.refusals.append(ProviderRefused("no room"))
    problem(door.send("POST", "/sandboxes", body), 503, "SANDBOX_FAILED")
    made = make(door)
    path = f"/sandboxes/{made['id']}"
    provider.faults.append(OutcomeUnknown("no answer"))
    problem(door.send("POST", f"{path}/execute", {"code": "1"}), 503, "SANDBOX_FAILED")
    problem(
        door.send("POST", f"{path}/execute", {"code": "1", "language": "python"}), 422, "VALIDATION_FAILED"
    )
    door.post(f"{path}/stop")
    refused = problem(door.send("POST", f"{path}/execute", {"code": "1"}), 409, "SANDBOX_NOT_RUNNING")
    assert ("stopped", "requested") == (refused["sandbox_status"], refused["reason"])
    problem(door.send("GET", "/sandboxes/sbx_0000000000000"), 404, "NOT_FOUND")
    ada = door.register()
    problem(door.send("GET", path, token=ada["token"]), 404, "NOT_FOUND")
    assert Decimal(355) == Decimal(door.balance("ann", "rUv")["available"])


def test_without_credits_there_is_no_sandbox(door: Door) -> None:
    """The dollars are short: the credits for making it are not taken either."""
    charge = {"customer": "ann", "amount": 100, "unit": "USD"}
    hold = door.post("/holds", charge)
    refused = problem(
        door.send("POST", "/sandboxes", {"template": "node", "customer": "ann"}), 402, "INSUFFICIENT_CREDITS"
    )
    assert "wallet:USD" == refused["limit_source"]
    assert Decimal(356) == Decimal(door.balance("ann", "rUv")["available"])
    door.post(f"/holds/{hold['id']}/release")
    make(door)


def test_a_server_without_sandboxes_says_so(database_url: str, tmp_path: Path) -> None:
    """What is missing is the operator's to know."""
    with Door(database_url, tmp_path, economy="flow-nexus") as door:
        refused = door.send("POST", "/sandboxes", {"template": "node", "customer": "ann"})
        problem(refused, 503, "SANDBOXES_UNAVAILABLE")
        assert [] == door.get("/sandboxes?customer=ann")["sandboxes"]
