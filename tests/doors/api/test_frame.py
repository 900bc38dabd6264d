"""The frame around every request, where no client can make happen what is tested."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fastapi import APIRouter
from starlette.types import Message, Scope

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally


def test_a_request_that_the_end_of_the_server_cuts_off_may_be_repeated(tmp_path: Path) -> None:
    """It may have been done: 503 and what to do, never an error of ours."""
    routes, begun = APIRouter(), asyncio.Event()

    @routes.get("/slow")
    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/slow",
        "headers": [(b"content-length", b"0")],
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def work(tally: Tally) -> bool:
        task = asyncio.create_task(create_app(tally, extra_routes=[routes])(scope, receive, send))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        assert asyncio.run(work(tally))
    start, body = sent
    problem = json.loads(body["body"])
    assert (503, "SERVICE_UNAVAILABLE") == (start["status"], problem["code"])
    assert "same Idempotency-Key" in problem["detail"]
