"""The server behind a gateway: a command that is run as a child, or an address that is asked."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.server.context import Context
from fastmcp.server.dependencies import get_context, get_http_headers
from fastmcp.server.providers.proxy import ProxyClient

from tallystick.core.errors import ConfigurationError
from tallystick.metering.one_caller import OneCaller, unheard
from tallystick.metering.tool_calls import FIRST_MODERN

# The options of a client that can be asked nothing and hears nothing.
_NOBODY: Final[Mapping[str, Any]] = {
    "roots": None,
    "sampling_handler": None,
    "elicitation_handler": None,
    "log_handler": unheard,
}
_ADDRESSES: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where calls go.

    ``target`` is an http(s) address or a command. A child gets ``environ`` and nothing of ours but what every program
    needs, such as PATH. An address is asked with ``headers``, and with those headers of the caller that ``forwarded``
    names: none if it is empty, so that no caller's key goes where it does not belong.
    """

    target: str
    environ: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    forwarded: Collection[str] = ()

    def __post_init__(self) -> None:
        """Raise ``ConfigurationError`` for what cannot be run or asked."""
        if self.is_address and self.environ:
            raise ConfigurationError("expected no environment for an address: nothing is started there")
        if not self.is_address:
            if self.headers or self.forwarded:
                raise ConfigurationError("expected no headers for a command: there is no HTTP to it")
            program = self.command[0]
            if shutil.which(program) is None:
                raise ConfigurationError(f"the upstream program {program!r} is not there, or cannot be run")

    @property
    def is_address(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.target.startswith(_ADDRESSES)

    @property
    def command(self) -> list[str]:
        """The program and its arguments. Raises ``ConfigurationError``."""
        try:
            words = shlex.split(self.target)
        except ValueError as error:
            raise ConfigurationError(f"the upstream command cannot be read: {error}") from error
        if not words:
            raise ConfigurationError("expected an upstream: a command, or an http(s) address")
        return words


class Connections:
    """The way to the upstream.

    A child is started with the first request, is the same for all requests, and is started again after it died. An
    address gets a connection for each request. With ``one_caller``, what a child asks or tells of its own accord goes to
    the caller; with several there is no telling whose it is, so it goes nowhere.
    """

    def __init__(self, upstream: Upstream, *, one_caller: bool) -> None:
        self._upstream = upstream
        self._caller = OneCaller() if one_caller else None
        self._child: StdioTransport | None = None
        if not upstream.is_address:
            program, *arguments = upstream.command
            self._child = StdioTransport(program, arguments, env=dict(upstream.environ), keep_alive=True)
            handlers = _NOBODY if self._caller is None else self._caller.handlers()
            self._to_child = ProxyClient(self._child, mode="auto", **handlers)

    def client(self) -> ProxyClient[Any]:
        """A client for one request, which speaks the protocol's era that the caller speaks, if that matters."""
        context = _current()
        if self._child is None:
            client = self._to_address()
        else:
            client = self._to_child.new()
            if self._caller is None:
                return client
            if context is not None:
                self._caller.session = context.session
        if context is not None and not _is_modern(context):
            client.mode = "legacy"  # only then can the upstream ask the caller something
        return client

    def _to_address(self) -> ProxyClient[Any]:
        named = {name.lower() for name in self._upstream.forwarded}
        theirs = {name: text for name, text in get_http_headers(include=named).items() if name in named}
        transport = StreamableHttpTransport(
            self._upstream.target, headers={**theirs, **self._upstream.headers}
        )
        return ProxyClient(transport, mode="auto", forward_incoming_headers=False)

    async def close(self) -> None:
        """End the child."""
        if self._child is not None:
            await self._child.disconnect()  # type: ignore[no-untyped-call]


def _current() -> Context | None:
    try:
        return get_context()
    except RuntimeError:  # no request runs
        return None


def _is_modern(context: Context) -> bool:
    request = context.request_context
    return request is None or request.protocol_version >= FIRST_MODERN
