"""The example of a language model by the token, in front of a small one that counts words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.doors.api.door import ThreadServer, wait_until
from tests.examples.processes import running

pytestmark = pytest.mark.slow
PROMPT_TOKENS = 7


async def complete(request: Request) -> Response:
    """A model that says as much as it may."""
    asked = await request.json()
    if asked["messages"][0]["content"] == "fail":
        return JSONResponse({"error": "overloaded"}, 503)
    if asked["messages"][0]["content"] == "who":
        return JSONResponse({"error": request.headers.get("authorization", "nobody")}, 503)
    words = asked["max_completion_tokens"]
    usage = {"total_tokens": PROMPT_TOKENS + words}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "word " * words}
        return JSONResponse({"choices": [{"message": message}], "usage": usage})
    assert asked["stream_options"]["include_usage"]

    async def events() -> AsyncIterator[str]:
        for _ in range(words):
            said = (
                {"tool_calls": [{"function": {"arguments": "word"}}]}
                if "tools" in asked
                else {"content": "word"}
            )
            yield f"data: {json.dumps({'choices': [{'delta': said}], 'usage': None})}\n\n"
            await anyio.sleep(0.01)
        yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture
def ann(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the proxy."""
    model = ThreadServer(Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])]))
    settings = {"UPSTREAM_URL": f"{model.url}/v1", "UPSTREAM_KEY": "x"}
    with (
        running("llm_proxy", database_url, tmp_path, **settings) as url,
        httpx.Client(base_url=f"{url}/v1", headers={"Authorization": "Bearer secret-of-ann"}) as client,
    ):
        yield client
    model.stop()


def body(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def balance(ann: httpx.Client) -> float:
    """As a completion of one token shows it, before that was charged: a token costs 0.002."""
    headers = ann.post("/chat/completions", json=body(max_tokens=1)).headers
    return round(float(headers["tally-balance"]) + float(headers["tally-charged"]), 6)


def test_the_example(ann: httpx.Client) -> None:
    """Whole answers and streams cost what the model used, failures nothing, and what nobody can pay for is not asked."""
    answer = ann.post("/chat/completions", json=body(max_tokens=93))
    assert (100, "0.2", "999.8") == (
        answer.json()["usage"]["total_tokens"],
        answer.headers["tally-charged"],
        answer.headers["tally-balance"],
    )
    with ann.stream("POST", "/chat/completions", json=body(max_tokens=43, stream=True)) as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert (45, "data: [DONE]") == (len(lines), lines[-1])
    assert 999.7 == balance(ann)
    before = 999.7 - 8 * 0.002
    assert 503 == ann.post("/chat/completions", json=body("fail")).status_code
    assert before == pytest.approx(balance(ann))
    refused = ann.post("/chat/completions", json=body(max_tokens=600_000))
    assert (402, "INSUFFICIENT_CREDITS") == (refused.status_code, refused.json()["code"])
    assert 401 == httpx.post(f"{ann.base_url}chat/completions", json=body()).status_code


def test_tools_are_paid_for(ann: httpx.Client) -> None:
    """What is held is for all of the body, not only its messages: a token costs 0.002."""
    tools = [{"type": "function", "function": {"name": "x", "description": "long " * 180_000}}]
    refused = ann.post("/chat/completions", json=body(max_tokens=300_000, tools=tools))
    assert (402, "INSUFFICIENT_CREDITS") == (refused.status_code, refused.json()["code"])


def test_a_model_that_wants_no_key(database_url: str, tmp_path: Path) -> None:
    """It is sent none."""
    model = ThreadServer(Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])]))
    headers = {"Authorization": "Bearer secret-of-ann"}
    with running("llm_proxy", database_url, tmp_path, UPSTREAM_URL=f"{model.url}/v1") as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body("who"), headers=headers)
    model.stop()
    assert (503, {"error": "nobody"}) == (answer.status_code, answer.json())


@pytest.mark.parametrize(("more", "least"), [({}, 48), ({"tools": []}, 53)])
def test_whoever_hangs_up_pays_for_what_came(
    ann: httpx.Client, database_url: str, more: dict[str, Any], least: int
) -> None:
    """About what was said until then, and not the thousand tokens that were held."""
    with ann.stream("POST", "/chat/completions", json=body(max_tokens=1000, stream=True, **more)) as stream:
        lines = stream.iter_lines()
        for _ in range(20):
            next(lines)
    with Tally.open(database_url, economy="starter") as tally:
        wait_until(lambda: not tally.billing.balance(SYSTEM, customer="ann").held)
        paid_micros = 1000 * 10**6 - tally.billing.balance(SYSTEM, customer="ann").balance
    # Twenty words and the request are so many tokens by the proxy's estimate; a few more may have been on the way.
    assert least * 2000 <= paid_micros < 150 * 2000
