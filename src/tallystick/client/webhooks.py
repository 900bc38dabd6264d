"""Verifying what Tallystick sends to a webhook endpoint, after Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tallystick.client import exact
from tallystick.client.errors import TallyError
from tallystick.client.models import OURS, Model, from_json

TOLERANCE_SECONDS: Final = 300
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"
_DIGITS: Final = 12  # of a timestamp that is not absurd


class InvalidWebhook(TallyError):  # noqa: N818 - an answer about a message
    """Answer it with 400 and do nothing: nobody knows who sent this, or when."""


@dataclass(frozen=True, kw_only=True)
class WebhookEvent(Model):
    """What happened. ``id`` is the same when the event is sent again: remember it, and do nothing twice.

    ``sequence`` numbers the events of one ``customer`` without gaps; a test event has 0.
    """

    id: str = field(metadata=OURS)
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    sequence: int
    customer: str | None


def verify_webhook(
    body: bytes | bytearray | memoryview | str,
    headers: Mapping[str, str],
    secrets: str | bytes | Iterable[str | bytes],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: Callable[[], float] = time.time,
) -> WebhookEvent:
    """The event that somebody who knows one of the ``secrets`` (``whsec_…``) sent just now.

    ``body`` is what came, byte for byte, or as a text; the names of ``headers`` may be in any case. Several secrets are for
    the time while one replaces another. Raises ``InvalidWebhook`` for anything else that is sent, ``ValueError`` for what is
    no secret, and ``TypeError`` for a body that was read already.
    """
    keys = [_key_of(each) for each in ((secrets,) if isinstance(secrets, str | bytes) else secrets)]
    if not keys:
        raise ValueError("expected at least one secret")
    known = {name.lower(): text for name, text in headers.items()}
    name, sent_at, signatures = (
        known.get(f"webhook-{each}", "") for each in ("id", "timestamp", "signature")
    )
    if not (name and name.isascii() and sent_at and signatures):
        raise _invalid("webhook-id, webhook-timestamp and webhook-signature are needed")
    moment = int(sent_at) if sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= _DIGITS else 0
    if abs(now() - moment) > tolerance_seconds:
        raise _invalid(f"it was not sent within {tolerance_seconds:g} seconds of now")
    content = _content_of(body)
    signed = b".".join([name.encode(), sent_at.encode(), content])
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    found = [_signature_of(each) for each in signatures.split(" ")]
    # Every pair is compared, so that the time tells nothing.
    if not any([hmac.compare_digest(ours, theirs) for ours in expected for theirs in found]):  # noqa: C419
        raise _invalid("no signature is of any of the secrets")
    try:
        return from_json(WebhookEvent, exact.decode(content), id=name)
    except ValueError as error:
        raise _invalid(f"it is signed, but no event: {error}") from error


def _content_of(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if not isinstance(body, str):
        raise TypeError(f"expected the body as it came, in bytes, found {type(body).__name__}")
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise _invalid("the body is no UTF-8") from None


def _key_of(secret: str | bytes) -> bytes:
    try:
        text = (secret if isinstance(secret, str) else secret.decode()).removeprefix(_PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("expected a secret such as whsec_…")
    return key


def _signature_of(text: str) -> bytes:
    """A signature of the only version there is, or nothing."""
    try:
        return (
            base64.b64decode(text.removeprefix(_VERSION), validate=True) if text.startswith(_VERSION) else b""
        )
    except ValueError:
        return b""


def _invalid(why: str) -> InvalidWebhook:
    return InvalidWebhook("INVALID_WEBHOOK", why)
