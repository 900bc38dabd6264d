"""One request that has a price, between the app and its server: what comes in, what goes out, and when it is charged."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio

from tallystick.core import errors
from tallystick.metering.http_answers import (
    Kept,
    Message,
    Send,
    mistake,
    receipt_headers,
    refuse,
    shown_to_clients,
)
from tallystick.metering.http_views import Request, Response, Scope, headers_of
from tallystick.metering.metering import Metering
from tallystick.metering.orders import Held, Receipt, Refused
from tallystick.metering.rules import Rule
from tallystick.metering.steps import refused_as

_FIRST_ERROR: Final = 400
_WITHOUT_BODY: Final = frozenset({204, 205, 304})
_SLASH_REDIRECTS: Final = frozenset({307, 308})  # as frameworks send them
_LOOK_SECONDS: Final = 0.01
_LOOKS: Final = 16

Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class Incoming:
    """What the client sends: read here as far as it must be, and all of it again by the app."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._again: list[Message] = []
        self._is_read = False
        self.body = b""
        self.is_gone = False

    async def read(self, most: int) -> bool:
        """Read the body, but not much more than ``most`` bytes; whether that was all of it."""
        chunks = [self.body]
        size = len(self.body)
        while not (self._is_read or self.is_gone) and size <= most:
            message = await self._next()
            self._again.append(message)
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
        self.body = b"".join(chunks)
        return self._is_read and size <= most

    async def __call__(self) -> Message:
        """What the app receives."""
        return self._again.pop(0) if self._again else await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self.is_gone = message["type"] == "http.disconnect"
        self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def look(self) -> bool:
        """Whether the client is gone, as far as the server knows by now."""
        if not self.is_gone:
            with anyio.move_on_after(_LOOK_SECONDS, shield=True):
                for _ in range(_LOOKS):
                    if not self.is_gone:
                        await self._next()
        return self.is_gone


class Exchange:
    """Runs the app, and charges or gives back before anybody hears of the end."""

    def __init__(
        self,
        metering: Metering,
        rule: Rule,
        request: Request,
        held: Held,
        incoming: Incoming,
        send: Send,
        charged: Callable[[Kept | None], None],
        *,
        most: int,
        keeps: int,
    ) -> None:
        self._metering, self._rule, self._request, self._held = metering, rule, request, held
        self._incoming, self._send, self._charged = incoming, send, charged
        self._most, self._keeps = most, keeps
        self._name = held.order.description
        self._path = request.scope["path"]  # routers change it
        self._response: Response | None = None
        self._start: Message = {}
        self._waiting: list[Message] = []  # what is not sent yet, from the start on
        self._is_streaming = False
        self._is_whole = False  # its length is known, and it waits until it can be charged
        self._is_passing = False  # nothing of it is charged any more
        self._is_replaced = False
        self._is_delivered = False
        self._is_cut = False
        self._is_settled = False

    async def run(self, app: App) -> None:
        """Run the app. Whatever ends it, what was held is captured or given back."""
        self._request.over()
        failed: BaseException | None = None
        try:
            await app(self._request.scope, self._incoming, self._outgoing)
        except BaseException as error:
            failed = error
            raise
        finally:
            if not self._is_settled:
                await self._break_off(failed)

    async def _break_off(self, failed: BaseException | None) -> None:
        """Charge whoever hung up for what was delivered; whatever else ended the app costs nothing."""
        if self._is_delivered and not self._is_passing and await self._hung_up(failed):
            await self._charge_stream(keep=False)
        if not self._is_settled:
            await self._give_back()

    async def _hung_up(self, failed: BaseException | None) -> bool:
        if self._is_cut or self._incoming.is_gone or failed is None:
            return True
        # Some servers cancel the app of a client that is gone; so does a server that stops.
        return not isinstance(failed, Exception) and await self._incoming.look()

    # ------------------------------------------------------------------------------------------------- what the app sends

    async def _outgoing(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._response is not None and not self._is_passing:
            await self._continue(self._response, message)
        elif not self._is_replaced:
            await self._pass(message)

    async def _begin(self, start: Message) -> None:
        headers = headers_of(start.get("headers", ()))
        self._response = Response(start["status"], headers, self._keeps)
        if not self._costs(self._response):
            self._is_passing = True
            await self._give_back()
            await self._pass(start)
            return
        length = headers.get("content-length", "")
        self._start = start
        self._waiting = [start]
        self._is_whole = start["status"] in _WITHOUT_BODY or (
            length.isdecimal() and int(length) <= self._most
        )
        if headers.get("content-type", "").startswith("text/event-stream"):
            await self._stream()  # the first event may be long in coming

    def _costs(self, response: Response) -> bool:
        charge_on = self._rule.charge_on
        if charge_on == "always":
            return True
        if charge_on != "success":
            return response.status in charge_on
        return response.status < _FIRST_ERROR and not self._is_for_a_slash(response)

    def _is_for_a_slash(self, response: Response) -> bool:
        """Whether a router that wants a slash more, or one less, sends the client to what is charged."""
        if response.status not in _SLASH_REDIRECTS:
            return False
        try:
            to = urlsplit(response.headers.get("location", ""))
        except ValueError:
            return False
        scope, path = self._request.scope, unquote(to.path)
        query = scope.get("query_string", b"").decode("latin-1")
        return (
            (not to.netloc or to.netloc.lower() == self._request.headers.get("host", "").lower())
            and (unquote(to.query), to.fragment) == (unquote(query), "")
            and path.startswith("/")
            and path != self._path
            and _segments(path) == _segments(self._path)
        )

    async def _continue(self, response: Response, message: Message) -> None:
        response.add(message.get("body", b""))
        self._waiting.append(message)
        is_last = not message.get("more_body", False)
        if is_last and not self._is_streaming:
            await self._charge_whole()
        elif is_last:
            self._is_passing = True
            await self._charge_stream(keep=True)
            await self._let_go()
        elif self._is_streaming or not self._is_whole or response.size_bytes > self._most:
            await self._stream()

    async def _stream(self) -> None:
        """Send what is there."""
        if not self._is_streaming and self._held.receipt is not None:
            # What a first client was charged for part of, a second one would have all of.
            self._is_passing = True
            again = errors.Conflict("a stream is not given twice for one charge: send a new Idempotency-Key")
            await self._replace(refused_as(again))
            return
        self._is_streaming = True
        await self._let_go()

    async def _let_go(self) -> None:
        messages, self._waiting = self._waiting, []
        for message in messages:
            await self._pass(message)
            self._is_delivered = self._is_delivered or bool(message.get("body"))

    async def _pass(self, message: Message) -> None:
        try:
            await self._send(message)
        except Exception:
            self._is_cut = True
            raise

    # --------------------------------------------------------------------------------------------------------- the charge

    async def _charge_whole(self) -> None:
        """Charge an answer of which nothing was sent yet, and send it with its receipt, or why there is none."""
        self._is_passing = True
        try:
            receipt = await self._charge()
        except Refused as refused:
            # The answer is not given away: whoever repeats the request with its key gets it, and pays once.
            await self._replace(shown_to_clients(refused, self._name))
        except Exception:
            log.exception("an answer of %s is not given: its charge failed", self._name)
            await self._replace(mistake())
        else:
            if receipt is not None:
                self._start["headers"] = [*self._start.get("headers", ()), *receipt_headers(receipt)]
                self._keep()
            await self._let_go()

    async def _replace(self, refused: Refused) -> None:
        self._is_replaced = True
        await self._give_back()
        await refuse(self._pass, refused)

    async def _charge_stream(self, *, keep: bool) -> None:
        """Charge for what was sent already: what cannot be charged any more is only told to the operator."""
        try:
            if await self._charge() is not None and keep:
                self._keep()
        except Refused as refused:
            log.warning("a stream of %s could not be charged: %s", self._name, refused.detail)
        except Exception:
            log.exception("a stream of %s could not be charged", self._name)

    async def _charge(self) -> Receipt | None:
        rule, asked, answer = self._rule, self._request, self._response
        assert answer is not None
        facts = {"request": asked.facts(rule.used), "response": answer.facts(rule.used)}
        quantity = rule.used_for(asked, answer, **facts)
        if quantity is not None and quantity <= 0:
            await self._give_back()
            return None
        receipt = await self._metering.end_async(self._held, quantity)
        self._is_settled = True
        return receipt

    def _keep(self) -> None:
        """A repeat of the request with its key gets the same answer."""
        assert self._response is not None
        kept = None
        if self._response.is_kept:
            kept = Kept(self._start["status"], list(self._start.get("headers", ())), self._response.body)
        self._charged(kept)

    async def _give_back(self) -> None:
        try:
            await self._metering.give_back_async(self._held)
        except Exception:
            log.exception("what was held for %s could not be given back: it comes back by itself", self._name)
        self._is_settled = True


def _segments(path: str) -> list[str]:
    return [each for each in path.split("/") if each]
