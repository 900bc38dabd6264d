"""A price on the routes of any ASGI app, whichever framework it is made with.

- The price is held before the app sees the request. What is refused is answered here, and the app does not run.
- An answer whose length is known, up to a limit, is charged before its first byte is sent: the receipt is in its headers,
  and an answer that cannot be charged is not given away. Any other answer is a stream, and is charged at its end.
- Whoever hangs up in the middle of a stream pays for what was delivered, as far as the rule measures it, and else the
  whole price: a stream is not free for those who leave before its last byte. What the app or its server breaks off,
  and whatever was not delivered at all, costs nothing.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from tallystick.core import errors
from tallystick.metering.http_answers import (
    Answers,
    Kept,
    Send,
    mistake,
    refuse,
    shown_to_clients,
)
from tallystick.metering.http_exchange import Exchange, Incoming
from tallystick.metering.http_routes import Route, Routes
from tallystick.metering.http_views import BodyWanted, Request, needs_body
from tallystick.metering.metering import Metering
from tallystick.metering.orders import Held, Order, Refused
from tallystick.metering.rules import Rule
from tallystick.metering.steps import order_of, refused_as
from tallystick.metering.tool_calls import digest

if TYPE_CHECKING:
    from tallystick.bootstrap import Tally
    from tallystick.client import AsyncTallyClient, TallyClient

    Source = Metering | Tally | TallyClient | AsyncTallyClient

MOST_BYTES: Final = 2**20
_CHARGED: Final = "tallystick.charged"
# An app would hand a file to its server with these, and nobody would see what was sent.
_PAST_US: Final = ("http.response.pathsend", "http.response.zerocopysend")

log = logging.getLogger(__name__)

Customer = Callable[[Request], str | Awaitable[str | None] | None] | str | None


def principal(request: Request) -> str | None:
    """Whoever the authentication in front of this middleware found: ``scope["user"]``, a text or its ``identity``."""
    user = request.scope.get("user")
    if user is None or isinstance(user, str):
        return user
    if not getattr(user, "is_authenticated", True):
        return None
    try:
        return str(user.identity)
    except (AttributeError, NotImplementedError):
        return None


class TallyASGIMiddleware:
    """Charges the requests whose route has a rule: ``app.add_middleware(TallyASGIMiddleware, client=…, rules=…)``.

    ``client`` is a client of a billing server (as a service), an embedded ``Tally``, or a ``Metering`` of either.
    ``rules`` has a ``Rule`` for each route that costs something, as ``{"POST /enrich/{id}": Rule(…)}``; the first that
    fits counts. ``customer`` says who pays, by the id or the operator's own id of a customer, as a text or as a function
    of the ``Request``, which may be async: whoever ``scope["user"]`` is, if absent; nobody is served where it gives None.
    ``customer=None`` is whoever the client's own key is for. ``most_bytes`` is how much of one body is kept in memory.

    Raises ``ConfigurationError`` for rules that cannot be.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        client: Source,
        rules: Mapping[str, Rule | None],
        customer: Customer = principal,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.metering = Metering.of(client)
        self._app, self._customer, self._most = app, customer, most_bytes
        self._routes = Routes(rules)
        for name, rule in rules.items():
            try:
                if rule is not None:
                    self.metering.check(rule)
            except errors.ConfigurationError as error:
                raise errors.ConfigurationError(f"{name}: {error.detail}") from error
        self._kept = Answers()
        self._running: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - each framework has its types
        """Serve a request, and charge for it if its route has a price."""
        try:
            route = self._routes.find(scope) if scope["type"] == "http" else None
        except errors.ValidationFailed as failed:
            await refuse(send, refused_as(failed))
            return
        # The same middleware twice, as in an app and in one that is mounted in it, charges once.
        if route is None or route.rule in scope.get(_CHARGED, ()):
            await self._app(scope, receive, send)
            return
        request, incoming = Request(scope, route.params), Incoming(receive)
        with ExitStack() as running:
            try:
                held = await self._admit(route, request, incoming, running)
            except Refused as refused:
                await refuse(send, refused)
                return
            except Exception:
                # What it says may be nobody's business.
                log.exception("%s is not served: its charge failed", route.name)
                await refuse(send, mistake())
                return
            if not incoming.is_gone:
                await self._serve(route.rule, request, held, incoming, send, running)

    async def _admit(
        self, route: Route, request: Request, incoming: Incoming, running: ExitStack
    ) -> Held | None:
        """Hold what a request costs; None where it is served for nothing, or where nobody waits for it any more."""
        if request.key is not None:
            await self._read(request, incoming)  # a key is only good for the same body
        if _reads_body(route.rule.used):
            await self._read_all(request, incoming)
        try:
            order = await self._order(route, request, incoming)
        except BodyWanted:
            await self._read_all(request, incoming)
            if incoming.is_gone:
                return None
            order = await self._order(route, request, incoming)
        if incoming.is_gone:
            return None
        running.enter_context(self._alone(order.key))
        try:
            return await self.metering.begin_async(route.rule, order)
        except Refused as refused:
            raise shown_to_clients(refused, route.name) from refused

    async def _read(self, request: Request, incoming: Incoming) -> bool:
        """Read the body, as much as may be kept; whether that is all of it."""
        if await incoming.read(self._most):
            request.got(incoming.body)
            return True
        return incoming.is_gone

    async def _read_all(self, request: Request, incoming: Incoming) -> None:
        if not await self._read(request, incoming):
            raise refused_as(errors.BodyTooLarge(self._most))

    async def _order(self, route: Route, request: Request, incoming: Incoming) -> Order:
        customer, rule = await self._payer(request), route.rule
        key, depth = request.key, len(request.scope.get(_CHARGED, ()))
        return order_of(
            rule,
            request,
            {"request": request.facts(rule.quantity)},
            # Digested, so that no name of a customer and no key of a client can stand for another's.
            key=f"http:{digest([customer, key or secrets.token_urlsafe(), depth])}",
            customer=customer,
            description=route.name,
            # So that a key is only ever good for the same request.
            metadata={} if key is None else {"request": _fingerprint(request, incoming)},
        )

    async def _payer(self, request: Request) -> str | None:
        found = self._customer(request) if callable(self._customer) else self._customer
        customer = await found if inspect.isawaitable(found) else found
        if customer is None and self._customer is None:
            return None
        if not customer:
            raise refused_as(errors.NotAuthenticated("this has a price, and nobody is there to pay: log in"))
        if not isinstance(customer, str):
            raise TypeError(f"expected customer to give a text or None, found {type(customer)}")
        return customer

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One request with a key at a time: what it does is paid once."""
        if key in self._running:
            raise refused_as(errors.IdempotencyInFlight())
        self._running.add(key)
        try:
            yield
        finally:
            self._running.discard(key)

    async def _serve(
        self,
        rule: Rule,
        request: Request,
        held: Held | None,
        incoming: Incoming,
        send: Send,
        running: ExitStack,
    ) -> None:
        if held is not None and held.receipt is not None and (kept := self._kept.get(held.order.key)):
            await kept.send(send)
            return
        scope = request.scope
        scope[_CHARGED] = (*scope.get(_CHARGED, ()), rule)
        if held is None:
            await self._app(scope, incoming, send)
            return
        if extensions := scope.get("extensions"):
            scope["extensions"] = {name: each for name, each in extensions.items() if name not in _PAST_US}
        is_keyed = request.key is not None

        def charged(answer: Kept | None) -> None:
            if is_keyed and answer is not None:
                self._kept.put(held.order.key, answer)
            running.close()  # a repeat need not wait for what the app does after its answer

        keeps = self._most if is_keyed or needs_body(rule.used) else 0
        exchange = Exchange(
            self.metering, rule, request, held, incoming, send, charged, most=self._most, keeps=keeps
        )
        await exchange.run(self._app)


def _reads_body(used: object) -> bool:
    return isinstance(used, str) and f"{used}.".startswith("request.json.")


def _fingerprint(request: Request, incoming: Incoming) -> str:
    """A digest of a request; of a body that is too large to be kept, what was read of it and its length count."""
    scope = request.scope
    body = hashlib.sha256(incoming.body).hexdigest()
    query = scope.get("query_string", b"").decode("latin-1")
    return digest([request.method, scope["path"], query, body, request.headers.get("content-length")])
