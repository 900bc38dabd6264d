"""The same idempotency key at the same time: the first is done, the second is told to wait."""

import pytest

from tallystick.core.errors import IdempotencyInFlight
from tallystick.services.in_flight import InFlight


def test_a_key_has_one_owner_at_a_time() -> None:
    """Until it is given back, everybody else is refused."""
    keys, first, second = InFlight(), object(), object()
    keys.claim("k", first)
    keys.claim("k", first)
    with pytest.raises(IdempotencyInFlight):
        keys.claim("k", second)
    keys.claim("other", second)
    keys.release("k", first)
    keys.claim("k", second)


def test_nobody_gives_back_what_is_somebody_elses() -> None:
    """Releasing twice, or what was never taken, changes nothing."""
    keys, first, second = InFlight(), object(), object()
    keys.claim("k", first)
    keys.release("k", second)
    keys.release("never", first)
    with pytest.raises(IdempotencyInFlight):
        keys.claim("k", second)


def test_what_has_no_key_is_never_in_the_way() -> None:
    """Work of the system itself has none."""
    keys = InFlight()
    keys.claim(None, object())
    keys.claim(None, object())
    keys.release(None, object())
