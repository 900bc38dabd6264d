"""Every call of a tool gets an answer, whatever is raised in it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import structlog
from fastmcp.exceptions import NotFoundError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import ToolResult
from mcp.types import CallToolRequestParams
from pydantic import ValidationError

from tallystick.core import errors
from tallystick.payment_offers import offered
from tallystick.tool_results import failed, refused

P = ParamSpec("P")

log = structlog.get_logger(__name__)


def answering(function: Callable[P, Any]) -> Callable[P, Any]:
    """The function of a tool, which gives a refusal as its result. Raised, it would be logged as an error."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def answer_later(*arguments: P.args, **named: P.kwargs) -> Any:  # noqa: ANN401 - as below
            try:
                return await function(*arguments, **named)
            except errors.Refusal as refusal:
                return refused(refusal)

        return answer_later

    @functools.wraps(function)
    def answer(*arguments: P.args, **named: P.kwargs) -> Any:  # noqa: ANN401 - what the tool gives
        try:
            return function(*arguments, **named)
        except errors.Refusal as refusal:
            return refused(refusal)

    return answer


class Refusing(Middleware):
    """Answers every call: with its result, with a refusal, or with the admission that the server made a mistake.

    A refusal that can be paid for is shown to the user, where the client can.
    """

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call the tool, and give what it raises the form of an answer."""
        try:
            return await offered(context.fastmcp_context, await call_next(context))
        except Exception as error:
            found = _cause(error)
            if isinstance(found, ValidationError):
                return refused(errors.ValidationFailed(_fields(found)))
            if isinstance(found, NotFoundError):
                return failed("unknown_tool", f"there is no tool {context.message.name!r}")
            log.exception("a tool failed", tool=context.message.name)
            return failed("internal_error", "the server made a mistake; its log tells more")


def _cause(error: BaseException) -> BaseException:
    """What was raised in the tool, behind what the library made of it."""
    known = (ValidationError, NotFoundError)
    at: BaseException | None = error
    while at is not None and not isinstance(at, known):
        at = at.__cause__
    return error if at is None else at


def _fields(error: ValidationError) -> list[tuple[str, str]]:
    return [(".".join(map(str, each["loc"])) or "arguments", each["msg"]) for each in error.errors()]
