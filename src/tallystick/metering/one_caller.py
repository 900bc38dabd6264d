"""What a child asks or tells of its own accord, passed on to the one caller that there is.

It goes by the caller's connection and not by a request, for the request of the moment may be over.
"""

from __future__ import annotations

from typing import Any, TypeVar

import mcp.types
from fastmcp.client.messages import MessageHandler
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


class OneCaller(MessageHandler):
    """The caller, as the upstream's client sees it; ``session`` is that of its latest request."""

    def __init__(self) -> None:
        self.session: ServerSession | None = None

    def handlers(self) -> dict[str, Any]:
        """The options of a client that passes everything on."""
        return {
            "message_handler": self,
            "log_handler": unheard,  # a message like any other here
            "roots": self._roots,
            "sampling_handler": self._sample,
            "elicitation_handler": self._elicit,
        }

    async def on_notification(self, message: mcp.types.ServerNotification) -> None:
        """Tell the caller, except what belongs to a request and goes with that."""
        if self.session is not None and not isinstance(message, mcp.types.ProgressNotification):
            await self.session.send_notification(message)

    async def _roots(self, _context: object) -> list[mcp.types.Root]:
        answer = await self._ask(mcp.types.ListRootsRequest(), mcp.types.ListRootsResult)
        return answer.roots

    async def _sample(
        self, _messages: object, params: mcp.types.CreateMessageRequestParams, _context: object
    ) -> mcp.types.CreateMessageResult:
        return await self._ask(mcp.types.CreateMessageRequest(params=params), mcp.types.CreateMessageResult)

    async def _elicit(
        self, _message: str, _kind: object, params: mcp.types.ElicitRequestParams, _context: object
    ) -> mcp.types.ElicitResult:
        return await self._ask(mcp.types.ElicitRequest(params=params), mcp.types.ElicitResult)

    async def _ask(self, request: Any, answer: type[T]) -> T:  # noqa: ANN401 - any request to a client
        if self.session is None:
            raise MCPError(mcp.types.INTERNAL_ERROR, "nobody is there to be asked")
        return await self.session.send_request(request, answer)


async def unheard(_message: object) -> None:
    """Nobody in particular is told."""
