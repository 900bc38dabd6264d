"""What stands around the MCP endpoint: the hosts and origins that it answers for, and what is refused before any tool.

A web page must not reach it under a name of its own, by giving that name the address of this machine (DNS rebinding). So
the server answers for the host of its public address, for this machine, and for what the operator adds. The library does
the comparing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.core import errors

MISDIRECTED: Final = 421
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
AWAY: Final = 503


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


class Refused:
    """Says what our services refuse where the library has no word for it: too many requests, or a database that is away.

    A database that is away is no invalid token: for that, clients would throw theirs away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on every answer."""
        try:
            await self._app(scope, receive, send)
        except (errors.RateLimited, errors.ServiceUnavailable) as refusal:
            limited = isinstance(refusal, errors.RateLimited)
            detail = refusal.detail if limited else "the server did not take the request: try again"
            answer = {"error": "temporarily_unavailable", "error_description": detail}
            headers = {"Retry-After": str(refusal.fields["retry_after_seconds"]), "Cache-Control": "no-store"}
            response = JSONResponse(answer, TOO_MANY if limited else AWAY, headers)
            await response(scope, receive, send)


class Explaining:
    """Says in full what the library's guard says in two words. No other answer has these codes and no type."""

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on every answer but the guard's."""
        refused: int | None = None

        async def answer(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_bare(message):
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


def _is_bare(message: Message) -> bool:
    return all(name != b"content-type" for name, _ in message["headers"])
