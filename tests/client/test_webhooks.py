"""Verifying webhooks: what the server signs is taken, and nothing else."""

import base64
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tallystick.client import InvalidWebhook, verify_webhook

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four!").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of theirs").decode()
BODY = (
    b'{"type":"credit_grant.created","timestamp":"2026-11-01T00:00:00Z","sequence":17,"customer":"cust_1",'
    b'"data":{"amount":0.1},"more":"later"}'
)


def signed(body: bytes = BODY, *secrets: str, at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    found = [Webhook(each).sign("evt_1", moment, body.decode()) for each in secrets or (SECRET,)]
    return {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": " ".join(found),
    }


def test_a_signed_event_is_read_exactly() -> None:
    """Header names may be in any case, and numbers are decimals."""
    event = verify_webhook(BODY, signed(), SECRET)
    assert ("evt_1", "credit_grant.created", 17, "cust_1") == (
        event.id,
        event.type,
        event.sequence,
        event.customer,
    )
    assert Decimal("0.1") == event.data["amount"]
    assert datetime(2026, 11, 1, tzinfo=UTC) == event.timestamp
    assert {"more": "later"} == event.extra


def test_a_secret_is_replaced_without_a_gap() -> None:
    """Either side may know both secrets for a while."""
    assert 17 == verify_webhook(BODY, signed(BODY, OTHER, SECRET), SECRET).sequence
    assert 17 == verify_webhook(BODY, signed(BODY, OTHER), [SECRET, OTHER]).sequence
    assert 17 == verify_webhook(BODY, signed(BODY, SECRET), SECRET.removeprefix("whsec_")).sequence


@pytest.mark.parametrize(
    "changed",
    [
        {"Webhook-Id": "evt_2"},
        {"Webhook-Id": ""},
        {"Webhook-Timestamp": str(int(time.time()) - 100)},
        {"Webhook-Timestamp": "²"},
        {"Webhook-Timestamp": "9" * 400},
        {"Webhook-Timestamp": "9" * 5000},
        {"Webhook-Id": "\ud800"},
        {"Webhook-Signature": "v1,\ud800"},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v1,not base64"},
        {"Webhook-Signature": "v1,ü"},
        {"Webhook-Signature": "v1a," + signed()["Webhook-Signature"][3:]},
        signed(BODY, OTHER),
    ],
    ids=[
        "id",
        "no id",
        "time",
        "no digit",
        "400 digits",
        "5000 digits",
        "surrogate",
        "signed surrogate",
        "nothing",
        "empty",
        "no base64",
        "no ascii",
        "version",
        "secret",
    ],
)
def test_what_nobody_signed_is_refused(changed: dict[str, str]) -> None:
    """Another id, another time, no signature, or one by another secret."""
    with pytest.raises(InvalidWebhook):
        verify_webhook(BODY, signed() | changed, SECRET)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, change: int) -> None:
    """Whichever it is."""
    changed = bytearray(BODY)
    changed[place] ^= change
    with pytest.raises(InvalidWebhook):
        verify_webhook(bytes(changed), signed(), SECRET)


def test_an_old_or_early_event_is_refused() -> None:
    """Five minutes either way, or as many seconds as are asked for."""
    for seconds in (-301, 302):
        with pytest.raises(InvalidWebhook, match="within 300 seconds"):
            verify_webhook(BODY, signed(at=time.time() + seconds), SECRET)
    old = signed(at=1_800_000_000)
    event = verify_webhook(BODY, old, SECRET, now=lambda: 1_800_000_060, tolerance_seconds=60)
    assert 17 == event.sequence
    with pytest.raises(InvalidWebhook):
        verify_webhook(BODY, old, SECRET, now=lambda: 1_800_000_061, tolerance_seconds=60)


def test_what_is_signed_and_no_event_is_refused() -> None:
    """A body of another form is nobody's event."""
    for body in (b"", b"[]", b'{"type": 1}', b'{"a": 1e99999999999999999999}', b"[" * 100_000):
        with pytest.raises(InvalidWebhook, match="no event"):
            verify_webhook(body, signed(body), SECRET)


def test_a_body_may_come_in_any_form_that_keeps_its_bytes() -> None:
    """As a text too, which some frameworks give; a secret may be bytes."""
    for body in (bytearray(BODY), memoryview(BODY), BODY.decode()):
        assert 17 == verify_webhook(body, signed(), SECRET.encode()).sequence
    with pytest.raises(InvalidWebhook):
        verify_webhook("\ud800", signed(), SECRET)
    with pytest.raises(TypeError, match="as it came"):
        verify_webhook({"type": "read already"}, signed(), SECRET)  # type: ignore[arg-type]


@pytest.mark.parametrize("secrets", [b"whsec_\xff", "", "whsec_", "whsec_ü", []], ids=repr)
def test_a_secret_that_is_none_is_a_mistake_of_ours(secrets: str | bytes | list[str]) -> None:
    """It must not look like a message that somebody forged."""
    with pytest.raises(ValueError, match="expected"):
        verify_webhook(BODY, signed(), secrets)
