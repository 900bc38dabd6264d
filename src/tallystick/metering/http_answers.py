"""What the ASGI middleware itself answers: refusals as problems, receipts as headers, and repeats of what was charged."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tallystick.metering.orders import Receipt, Refused, plain
from tallystick.metering.steps import REPEATS_FOR_SECONDS
from tallystick.problem_details import members

_SHOWN: Final = frozenset({402, 403, 409, 413, 422, 429, 503})
_MOST_KEPT: Final = 2**12
_MOST_KEPT_BYTES: Final = 2**25

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger(__name__)


def mistake() -> Refused:
    """What nobody foresaw: nothing of it is shown."""
    detail = "this request could not be charged, and was not served"
    return Refused(members(500, "INTERNAL_ERROR", "Internal error", detail, base="", request_id=None))


def shown_to_clients(refused: Refused, route: str | None) -> Refused:
    """A refusal as whoever calls the app may see it.

    What is wrong between the app and its billing server (a bad key, a meter that is not there) is none of their business,
    and a customer that the billing server does not know may not use the route, whose address is right.
    """
    if refused.code == "UNKNOWN_CUSTOMER":
        return Refused({**refused.problem, "status": 403})
    if refused.problem["status"] in _SHOWN and refused.code != "NOT_ALLOWED":
        return refused
    log.error("%s is not served, %s: %s", route, refused.code, refused.detail)
    return mistake()


async def refuse(send: Send, refused: Refused) -> None:
    """Answer with a refusal's problem and its headers."""
    body = json.dumps(refused.problem, default=plain).encode()
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        **refused.headers,
    }
    start = {"type": "http.response.start", "status": refused.problem["status"], "headers": _raw(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def receipt_headers(receipt: Receipt) -> Headers:
    """A receipt as headers; a pending one has no figures yet."""
    said: dict[str, object] = {
        "tally-charge": receipt.charge,
        "tally-charged": receipt.charged,
        "tally-unit": receipt.unit,
        "tally-balance": receipt.balance,
        "tally-meter": receipt.meter,
    }
    if receipt.pending:
        said |= {"tally-pending": "true", "tally-quantity": receipt.quantity}
    return _raw({name: _text(value) for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was charged, for whoever repeats the request with its key."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Answer the same again."""
        headers = [*self.headers, (b"idempotent-replayed", b"true")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Answers:
    """The answers of requests with keys, in memory: the newest of them, for as long as a repeat gets its receipt."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self._bytes = 0

    def put(self, key: str, answer: Kept) -> None:
        """Keep an answer, and let go of the oldest."""
        self._drop(key)
        self._kept[key] = (time.monotonic(), answer)
        self._bytes += len(answer.body)
        while self._bytes > _MOST_KEPT_BYTES or len(self._kept) > _MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def get(self, key: str) -> Kept | None:
        """The answer, if it is still there."""
        kept_at, answer = self._kept.get(key, (0.0, None))
        return answer if time.monotonic() - kept_at <= REPEATS_FOR_SECONDS else None

    def _drop(self, key: str) -> None:
        _, answer = self._kept.pop(key, (0.0, None))
        self._bytes -= 0 if answer is None else len(answer.body)


def _text(value: object) -> str:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def _raw(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in pairs]
