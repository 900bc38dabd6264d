"""A proxy in front of a language model that costs credits by the token, whole answers and streams.

Run it with ``UPSTREAM_URL=https://… UPSTREAM_KEY=… python examples/llm_proxy.py`` and give any OpenAI client the address
``http://127.0.0.1:8767/v1`` and the key ``secret-of-ann``. Before a completion the most that it can use is held; after it,
what it used is charged: also of a stream whose reader hangs up.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, TallyASGIMiddleware, http_views
from tallystick.services.context import SYSTEM

MOST_TOKENS = 1000  # of an answer, where the client names no limit
CHARACTERS_PER_TOKEN = 3  # rather too few: what is held is the most, and what was used is charged

tally = Tally.open(os.environ.get("TALLY_DATABASE_URL", "sqlite:///llm-proxy.db"), economy="starter")
tally.customers.create(SYSTEM, external_id="ann")  # with the sign-up credits
KEYS = {"Bearer secret-of-ann": "ann"}


def customer(request: http_views.Request) -> str | None:
    """Who pays: whoever the key belongs to."""
    return KEYS.get(request.headers.get("authorization", ""))


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def most(request: http_views.Request) -> int:
    """The most that a completion can use: what it is asked, and as long an answer as it may give."""
    asked = request.json
    answer = int(asked.get("max_completion_tokens") or asked.get("max_tokens") or MOST_TOKENS)
    # All of the body: tools and schemas are paid for like messages.
    return tokens(json.dumps(asked)) + max(1, answer) * max(1, int(asked.get("n") or 1))


def used(request: http_views.Request, response: http_views.Response) -> int:
    """What the model says it used; of a stream that was cut off, about what was delivered."""
    if not request.json.get("stream"):
        return int(response.json["usage"]["total_tokens"])
    chunks = [json.loads(event) for event in response.events if event != "[DONE]"]
    if chunks and chunks[-1].get("usage"):
        return int(chunks[-1]["usage"]["total_tokens"])
    said = (texts(each.get("delta")) for chunk in chunks for each in chunk.get("choices") or ())
    return tokens(json.dumps(request.json)) + tokens("".join(said))


def texts(part: object) -> str:
    """All that a part of an answer says, but its role: words, thoughts, refusals, and arguments of tools."""
    if isinstance(part, dict):
        return "".join(texts(each) for name, each in part.items() if name != "role")
    if isinstance(part, list):
        return "".join(map(texts, part))
    return part if isinstance(part, str) else ""


async def complete(request: Request) -> Response:
    """Pass a completion on, and its answer back; a stream as it comes."""
    asked = await request.json()
    asked.setdefault("max_completion_tokens", asked.pop("max_tokens", None) or MOST_TOKENS)
    upstream: httpx.AsyncClient = request.state.upstream
    if not asked.get("stream"):
        answer = await upstream.post("chat/completions", json=asked)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
    asked["stream_options"] = {**(asked.get("stream_options") or {}), "include_usage": True}
    begun = upstream.build_request("POST", "chat/completions", json=asked)
    answer = await upstream.send(begun, stream=True)
    return StreamingResponse(
        answer.aiter_raw(),
        answer.status_code,
        media_type=answer.headers.get("content-type"),
        background=BackgroundTask(answer.aclose),
    )


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Keep the connections to the model."""
    headers = {"Accept-Encoding": "identity"}
    if key := os.environ.get("UPSTREAM_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    async with httpx.AsyncClient(
        base_url=os.environ["UPSTREAM_URL"], headers=headers, timeout=600
    ) as upstream:
        yield {"upstream": upstream}


app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])], lifespan=lifespan)
app.add_middleware(
    TallyASGIMiddleware,
    client=tally,
    rules={"POST /v1/chat/completions": Rule(meter="gpt", quantity=most, used=used)},
    customer=customer,
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8767")))
