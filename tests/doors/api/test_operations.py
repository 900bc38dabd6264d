"""What whoever runs the server sees: health, readiness, metrics, logs, documentation, and mistakes of ours."""

import io
import json
import logging
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from tallystick.api import logs
from tests.doors.api.door import ADMIN, PASSWORD, Door, problem


def figures(door: Door) -> dict[str, float]:
    """Every sample of the metrics by its name and labels."""
    text = httpx.get(f"{door.url}/metrics").text
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True) if sample.labels else ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines."""
    out = io.StringIO()
    logs.configure(out)
    yield out
    structlog.reset_defaults()


def test_health_and_readiness_need_no_key(door: Door) -> None:
    """Alive, and ready: the database answers and its schema is current."""
    assert (200, {"status": "ok"}) == _json(httpx.get(f"{door.url}/healthz"))
    ready = {"status": "ready", "checks": {"database": "ok", "schema": "ok"}}
    assert (200, ready) == _json(httpx.get(f"{door.url}/readyz"))


def test_a_server_that_closes_is_not_ready(door: Door) -> None:
    """So that nobody sends it more."""
    door.app.state.closing = True
    status, found = _json(httpx.get(f"{door.url}/readyz"))
    assert (503, "not ready", "shutting down") == (status, found["status"], found["checks"]["server"])
    assert 200 == httpx.get(f"{door.url}/healthz").status_code


def test_an_old_schema_is_not_ready(door: Door) -> None:
    """A database that this program does not know is told, without its address."""
    with door.tally.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'older'")
    status, found = _json(httpx.get(f"{door.url}/readyz"))
    assert (503, {"database": "ok", "schema": "not current"}) == (status, found["checks"])


def test_metrics_count_what_happened(door: Door) -> None:
    """Charges by meter, refusals by code, requests by route, batches, the worker's lag and the queue."""
    door.charge()
    door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}, key="r")
    door.send("POST", "/charges", {"customer": "ann", "meter": "lookup"}, key="r")
    door.send("POST", "/charges", {"customer": "ann", "meter": "nope"})
    door.post(f"/holds/{door.post('/holds', {'customer': 'ann', 'meter': 'lookup'})['id']}/capture")
    door.post(
        "/charges/batch",
        {"charges": [{"meter": "ping", "customer": "ann", "idempotency_key": "b"}, 7]},
        key=None,
    )
    httpx.get(f"{door.url}/no/such/{ADMIN}")
    found = figures(door)
    assert 2 == found['tally_charges_total{"meter": "lookup"}']
    assert 1 == found['tally_charges_total{"meter": "ping"}']
    assert 1 == found["tally_captures_total"]
    assert 1 == found['tally_refusals_total{"code": "unknown_meter"}']
    assert 1 == found['tally_refusals_total{"code": "validation_failed"}']
    charges = '{"method": "POST", "route": "/api/v1/charges", "status": "201"}'
    assert 3 == found[f"tally_request_seconds_count{charges}"]
    captures = '{"method": "POST", "route": "/api/v1/holds/{hold_id}/capture", "status": "200"}'
    assert 1 == found[f"tally_request_seconds_count{captures}"]
    assert 1 == found['tally_request_seconds_count{"method": "GET", "route": "(unknown)", "status": "404"}']
    assert found["tally_commit_batch_size_count"] == found["tally_commit_seconds_count"] >= 6
    assert (1.5, 0) == (found["tally_worker_lag_seconds"], found["tally_commit_queue_depth"])


def test_each_request_is_a_line_in_the_log_without_secrets(log: io.StringIO, door: Door) -> None:
    """Who, what, how long and under which id; never a key, a password or a body."""
    user = door.register()
    door.charge("lookup", description="a private note", customer=None, token=user["token"])
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    line = next(each for each in lines if each.get("route") == "/api/v1/charges")
    assert ("request", "POST", 201, user["user"]["id"]) == tuple(
        line[name] for name in ("event", "method", "status", "caller")
    )
    assert line["request_id"].startswith("req_")
    assert line["ms"] > 0
    httpx.get(f"{door.url}/healthz")
    assert "healthz" not in log.getvalue()
    for secret in (ADMIN, PASSWORD, user["token"], "private note", "ada@example.test"):
        assert secret not in log.getvalue()


def test_what_nobody_foresaw_shows_nothing(
    log: io.StringIO, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours is a 500 without internals; the log has them under the same id."""

    def fail(*_arguments: object, **_terms: object) -> None:
        message = "the secret plan"
        raise RuntimeError(message)

    monkeypatch.setattr(door.tally.billing, "balance", fail)
    answer = door.send("GET", "/billing/balance?customer=ann")
    found = problem(answer, 500, "INTERNAL_ERROR")
    assert "secret plan" not in answer.text
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    [line] = [each for each in lines if each["event"] == "unforeseen"]
    assert found["request_id"] == line["request_id"]
    assert "the secret plan" in line["exception"]


def test_a_database_that_is_away_is_told_to_come_back(
    log: io.StringIO, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, and nothing about where the database is."""
    from tallystick.core.errors import ServiceUnavailable

    def away(*_arguments: object, **_terms: object) -> None:
        message = "the database did not take the request (10.1.2.3 port 5432 refused)"
        raise ServiceUnavailable(message) from ConnectionError("no route to 10.1.2.3")

    monkeypatch.setattr(door.tally.billing, "balance", away)
    answer = door.send("GET", "/billing/balance?customer=ann")
    problem(answer, 503, "SERVICE_UNAVAILABLE")
    assert "1" == answer.headers["retry-after"]
    assert "10.1.2.3" not in answer.text
    assert "10.1.2.3" in log.getvalue()


def test_a_database_that_is_away_lets_nobody_in(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be known is told to come back, not that the key is wrong; afterwards it works again."""
    from tallystick.core.errors import ServiceUnavailable

    def away(*_arguments: object) -> None:
        raise ServiceUnavailable("the database did not take the request")

    with monkeypatch.context() as patch:
        patch.setattr(door.tally.identity, "authenticate_all", away)
        problem(door.send("GET", "/auth/me"), 503, "SERVICE_UNAVAILABLE")
    assert "admin" == door.get("/auth/me")["role"]


def test_the_documentation_comes_from_here_alone(door: Door) -> None:
    """One page without scripts or anything from elsewhere, with every operation and every error."""
    page = httpx.get(f"{door.url}/docs")
    assert (200, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    assert "<script" not in page.text
    assert [] == re.findall(r"""(?:src|href)=["'](?!#|/openapi\.json)[^"']*""", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    document = httpx.get(f"{door.url}/openapi.json").json()
    for path, operations in document["paths"].items():
        assert path.replace("{", "{") in page.text
        for operation in operations.values():
            assert f'id="{operation["operationId"]}"' in page.text
    assert 'id="insufficient_credits"' in page.text
    home = httpx.get(f"{door.url}/", follow_redirects=False)
    assert (307, "/docs") == (home.status_code, home.headers["location"])


def test_a_log_that_cannot_be_written_costs_no_request(log: io.StringIO, door: Door) -> None:
    """A full disk or a closed pipe is no reason to turn customers away."""
    log.close()
    assert 99 == door.charge()["balance"]
    problem(door.send("GET", "/charges/x"), 404, "NOT_FOUND")


def test_a_terminal_gets_readable_logs() -> None:
    """And libraries' warnings come the same way."""
    out = io.StringIO()
    logs.configure(out, as_json=False)
    structlog.get_logger("here").info("hello", who="you")
    logging.getLogger("uvicorn.error").warning("careful")
    structlog.reset_defaults()
    assert "hello" in out.getvalue()
    assert "who=you" in out.getvalue()
    assert "careful" in out.getvalue()


def test_a_traceback_shows_no_variables() -> None:
    """Neither in a terminal nor in a program that embeds the engine: what a function had at hand may be a key."""

    def fail(api_key: str) -> None:
        message = f"a failure with {len(api_key)} characters"
        raise RuntimeError(message)

    for configure in (logs.configure, partial(logs.configure_own, level=logging.WARNING)):
        out = io.StringIO()
        configure(out, as_json=False)
        try:
            fail("tly_" + "secret")
        except RuntimeError:
            structlog.get_logger("here").exception("unforeseen")
        structlog.reset_defaults()
        assert "a failure with 10 characters" in out.getvalue()
        assert "tly_secret" not in out.getvalue()


def _json(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.json()
