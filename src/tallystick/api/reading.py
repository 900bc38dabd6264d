"""How requests are read: JSON exactly as it was sent, numbers as decimals, and nothing that could mean two things.

Whoever asks is known before the body is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.auth import authenticate, bearer
from tallystick.core import errors

MAX_BODY_BYTES: Final = 1024 * 1024
_MOST_INT_DIGITS: Final = 400


class ExactRequest(Request):
    """A request whose JSON body was read by ``read_json``."""

    parsed: object = None

    async def json(self) -> object:
        """The body, read already."""
        return self.parsed

    async def read(self) -> None:
        """Read the body. Raises ``MalformedRequest`` or ``BodyTooLarge``."""
        body = await self.body()
        if body:
            check_content_type(self.headers.get("content-type"))
            self.parsed = read_json(body)


class Route(APIRoute):
    """A route that asks first who is there and then reads the body exactly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()
        secured, reads = _asks_for_caller(self.dependant), self.body_field is not None

        async def handle(request: Request) -> Response:
            exact = ExactRequest(request.scope, request.receive)
            if secured:
                exact.state.caller = await authenticate(exact)
            if reads:
                await exact.read()
            return await answer(exact)

        return handle


def _asks_for_caller(dependant: Dependant) -> bool:
    return any(each.call is bearer for each in dependant.dependencies)


def check_content_type(value: str | None) -> None:
    """Only JSON is read; a request that does not say what it sends is taken to send that."""
    if value is None or value == "application/json":
        return
    kind = value.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise errors.MalformedRequest(f"expected a body of the type application/json, found {kind[:100]}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.MalformedRequest(f"the body names {twice[:100]!r} twice in one object")
    return found


def _integer(digits: str) -> int | Decimal:
    # Python refuses to read thousands of digits as an int, and no field needs them: told by the field's own check.
    return int(digits) if len(digits) < _MOST_INT_DIGITS else Decimal(digits)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise errors.MalformedRequest(f"the body has a number out of any range: {text[:40]}") from None


def _constant(name: str) -> object:
    raise errors.MalformedRequest(f"the body has {name}, which is not JSON: expected a plain decimal number")


_decode: Final = json.JSONDecoder(
    parse_float=_fraction, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object
).decode


def read_json(body: bytes) -> object:
    """Read a JSON object: numbers exactly, each name once. Raises ``MalformedRequest``."""
    try:
        found = _decode(body.decode())
    except UnicodeDecodeError as error:
        raise errors.MalformedRequest(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise errors.MalformedRequest(f"the body is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise errors.MalformedRequest("the body is nested too deeply") from None
    if not isinstance(found, dict):
        raise errors.MalformedRequest(f"expected a JSON object, found {_KINDS.get(type(found), 'a number')}")
    return found


_KINDS: Final = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
