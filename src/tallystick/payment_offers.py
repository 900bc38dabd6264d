"""Buying inside a conversation: a page to pay on, shown to the user by the client itself where it says that it can.

Every refusal for want of credits has the page's address in its text already. A client that declares URL elicitation is
asked to show it, too: by a request of the server's own in the version of MCP that has a way back to the client, and in the
version without by a result that asks for input, after which the client repeats its call. Whoever was asked once within a
call is not asked again.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import anyio
from fastmcp import Context
from fastmcp.tools import ToolResult
from fastmcp.tools.base import InputRequiredToolResult
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

# The name of a question comes back with its answer, whichever process gets it: it carries what that one has to know.
ASKED: Final = "tallystick/pay:"
PAGES: Final = ("topup_url", "checkout_url", "update_url")  # where a refusal says that it can be paid
ANSWER_SECONDS: Final = 60  # a user who is away must not keep the call open

_MESSAGE: Final = "{detail}. Open this page to pay; nothing is paid without you."


async def offered(context: Context | None, result: ToolResult) -> ToolResult:
    """A result, which the user is offered to do something about if it is a refusal that can be paid for.

    Gives what to answer: the result itself, or the question that goes before it.
    """
    error = (result.structured_content or {}).get("error") if result.is_error else None
    facts: dict[str, Any] = error if isinstance(error, dict) else {}
    url = next((facts[name] for name in PAGES if facts.get(name)), None)
    if url is None:
        return result
    detail = str(facts.get("detail", "more credits are needed"))
    message = _MESSAGE.format(detail=detail[:1].upper() + detail[1:])  # units keep their spelling
    return await offer_to_pay(context, url, message=message) or result


async def offer_to_pay(
    context: Context | None, url: str, *, message: str, name: str = ""
) -> ToolResult | None:
    """Show the user a page to pay on. Gives a question to answer the call with, or None: then go on as without it.

    ``name`` is what the repeated call finds by ``name_of_offer``: an idempotency key, so that it is no second one.
    """
    if context is None or name_of_offer(context) is not None or not _shows_pages(context):
        return None
    if _asks_by_result(context):
        page = ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))
        question = InputRequiredResult(input_requests={f"{ASKED}{name}": page})
        return InputRequiredToolResult(question)
    with anyio.move_on_after(ANSWER_SECONDS):
        try:
            await context.session.elicit_url(
                message, url, secrets.token_urlsafe(16), related_request_id=context.request_id
            )
        except MCPError:
            return None  # there is no way back to this client, or it could not show the page: it has the text
    return None


def name_of_offer(context: Context | None) -> str | None:
    """The name under which this call was offered a page before; None for a call that was not."""
    answers = None if context is None else context.input_responses
    names = (key.removeprefix(ASKED) for key in answers or () if key.startswith(ASKED))
    return next(names, None)


def _shows_pages(context: Context) -> bool:
    """Whether the client says that it shows pages. In calls without a session the older version of MCP does not say."""
    request = context.request_context
    capabilities = None if request is None else request.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and elicitation.url is not None


def _asks_by_result(context: Context) -> bool:
    request = context.request_context
    return request is not None and request.protocol_version in MODERN_PROTOCOL_VERSIONS
