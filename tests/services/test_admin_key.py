"""The admin's key: there is always a way in, and a restart opens none that was closed."""

from collections.abc import Iterator
from functools import partial

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import ConfigurationError, NotAuthenticated
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.services.installation import Clock, at_once, log_in, who

GIVEN = "tly_of_the_operators_own_making"


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def tally(database_url: str, clock: Clock) -> Iterator[Tally]:
    """An installation on that clock."""
    with Tally.open(database_url, source=clock) as tally:
        yield tally


def test_the_first_start_makes_a_key_and_shows_it_once(tally: Tally) -> None:
    """Later starts find it and say nothing."""
    key = tally.identity.ensure_admin_key(None)
    assert key is not None
    assert who(tally, key).is_admin
    assert [None, None] == [tally.identity.ensure_admin_key(given) for given in (None, "")]


def test_processes_that_start_together_make_one_key(database_url: str, tally: Tally) -> None:
    """One of them shows it."""
    with Tally.open(database_url, source=tally.clock.now) as other:
        starts = [partial(each.identity.ensure_admin_key, None) for each in (tally, other) * 4]
        made = [key for key in at_once(starts) if key is not None]
        given = [partial(each.identity.ensure_admin_key, GIVEN) for each in (tally, other) * 4]
        assert [None] * 8 == at_once(given)
    assert 1 == len(made)
    assert 2 == len(tally.keys.list(SYSTEM).items)


def test_a_given_key_is_an_admins_from_the_start(tally: Tally) -> None:
    """It is never shown, also not when there is another one, and a restart with it changes nothing."""
    assert [None, None] == [tally.identity.ensure_admin_key(GIVEN) for _ in range(2)]
    caller = who(tally, GIVEN)
    assert (True, "service:admin", None) == (caller.is_admin, caller.scope, caller.customer_id)
    [listed] = tally.keys.list(caller).items
    assert ("tly_", "admin") == (listed.prefix, listed.role)
    assert tally.identity.ensure_admin_key("another-key") is None
    assert [True, True] == [who(tally, key).is_admin for key in ("another-key", GIVEN)]


def test_any_text_that_fits_into_a_header_may_be_given(tally: Tally) -> None:
    """Nothing of it is shown in lists when it does not begin like our keys."""
    tally.identity.ensure_admin_key("s3cret-s3cret!")
    assert who(tally, "s3cret-s3cret!").is_admin
    assert [""] == [key.prefix for key in tally.keys.list(SYSTEM).items]


@pytest.mark.parametrize(
    "key", ["short", "with a space", "tls_like_a_session", "new\nline_key", "schlüssel", "x" * 513]
)
def test_a_key_that_could_not_be_used_stops_the_start(tally: Tally, key: str) -> None:
    """The message names the setting, and not the key."""
    with pytest.raises(ConfigurationError, match="TALLY_ADMIN_KEY: expected 8 to 512") as caught:
        tally.identity.ensure_admin_key(key)
    assert key not in caught.value.detail


def test_a_restart_gives_nothing_back_to_a_revoked_key(tally: Tally, clock: Clock) -> None:
    """Nor to one that has expired, nor more rights to one of another role."""
    tally.identity.ensure_admin_key(GIVEN)
    tally.keys.revoke(SYSTEM, to_text("key", tally.keys.list(SYSTEM).items[0].id))
    brief = tally.keys.create(SYSTEM, name="brief", role="admin", expires_at=clock.micros + 1).key
    users = tally.keys.create(log_in(tally), name="user").key
    clock.micros += 1
    for key in (GIVEN, brief, users):
        with pytest.raises(ConfigurationError, match="revoked, expired or no admin's"):
            tally.identity.ensure_admin_key(key)
    assert who(tally, users).role == "user"
    with pytest.raises(NotAuthenticated):
        who(tally, GIVEN)


def test_when_no_admin_can_get_in_the_next_start_makes_a_key(tally: Tally) -> None:
    """Whoever can restart the server is never locked out for good."""
    first = tally.identity.ensure_admin_key(None)
    tally.keys.revoke(SYSTEM, to_text("key", tally.keys.list(SYSTEM).items[0].id))
    second = tally.identity.ensure_admin_key(None)
    assert first != second
    assert who(tally, second or "").is_admin
