"""Which hosts and origins the MCP endpoint answers for: a web page must not reach it under a name of its own.

DNS rebinding gives a page's own name the address of this machine. So the server answers for the host of its public
address, for this machine, and for what the operator adds; the library compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MISDIRECTED: Final = 421
FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True)
class Known:
    """The hosts and origins that are answered for, besides this machine."""

    hosts: list[str]
    origins: list[str]


def known(public_url: str, added: Sequence[str] = ()) -> Known:
    """The public address, and the hosts that the operator added; ``*`` for any."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    ours = f"{parts.scheme}://{parts.netloc}"
    if "*" in added:
        return Known(["*"], ["*"])
    others = [f"{way}://{each}:*" for each in added for way in ("http", "https")]
    return Known([host, *added], [ours, *others])


class Explaining:
    """Says in full what the library's guard says in two words. No other answer is a text with these codes."""

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on every answer but the guard's."""
        refused: int | None = None

        async def answer(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_text(message):
                refused = message["status"] if message["status"] in {MISDIRECTED, FORBIDDEN} else None
            if refused is None:
                await send(message)

        await self._app(scope, receive, answer)
        if refused is not None:
            await JSONResponse(self._why(refused), refused)(scope, receive, send)

    def _why(self, status: int) -> dict[str, str]:
        what = "Host" if status == MISDIRECTED else "Origin"
        return {
            "error": f"wrong_{what.lower()}",
            "error_description": (
                f"the {what} header names no host that this server answers for: it is {self._public_url} and this "
                "machine. Its operator sets TALLY_PUBLIC_URL to the address that clients use, or adds a host to "
                "TALLY_MCP_HOSTS; a proxy in front has to pass the Host header on."
            ),
        }


def _is_text(message: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/plain") for name, value in message["headers"]
    )
