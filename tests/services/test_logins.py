"""Logins, right and wrong: how often somebody may try."""

from collections.abc import Iterator
from functools import partial

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import InvalidCredentials, RateLimited, ValidationFailed
from tallystick.services.identity import Identity, Session
from tallystick.services.throttling import network_of
from tests.services.installation import PASSWORD, Clock, at_once, identity_of, register, who

HOME, AWAY = "203.0.113.7", "203.0.113.8"


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def tally(database_url: str, clock: Clock) -> Iterator[Tally]:
    """An installation with one user."""
    with Tally.open(database_url, source=clock) as tally:
        register(tally)
        yield tally


def fail(
    identity: Identity, email: str = "ada@example.com", *, ip: str | None = None, times: int = 1
) -> None:
    """Log in with a wrong password so many times, each refused for that."""
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            identity.login(email, "wrong password", ip=ip)


def test_a_login_gives_a_session_of_the_same_customer(tally: Tally) -> None:
    """Each login has a token of its own."""
    identity = identity_of(tally)
    first, second = (identity.login("ada@example.com", PASSWORD, ip=HOME) for _ in range(2))
    assert first.token != second.token
    assert who(tally, first.token) == who(tally, second.token)
    assert (first.user_id, first.customer_id) == (
        who(tally, first.token).user_id,
        who(tally, first.token).customer_id,
    )


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", PASSWORD + " "),
        ("ada@example.com", "x"),
        ("eve@example.com", PASSWORD),
        ("ada", PASSWORD),
    ],
)
def test_what_was_wrong_is_not_said(tally: Tally, email: str, password: str) -> None:
    """An unknown email and a wrong password get the same answer."""
    with pytest.raises(InvalidCredentials, match="the email or the password is wrong"):
        identity_of(tally).login(email, password)


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("", PASSWORD, "email"),
        ("x" * 321, PASSWORD, "email"),
        ("ada\x00@example.com", PASSWORD, "email"),
        ("ada@example.com", "", "password"),
        ("ada@example.com", "x" * 1025, "password"),
        ("ada@example.com", "nul\x00", "password"),
        ("ada@example.com", "\udfff", "password"),
    ],
)
def test_what_nobody_could_have_registered_is_not_even_tried(
    tally: Tally, email: str, password: str, field: str
) -> None:
    """It is refused before anything is hashed or counted."""
    with pytest.raises(ValidationFailed) as caught:
        identity_of(tally).login(email, password)
    assert [field] == [error["field"] for error in caught.value.fields["errors"]]  # type: ignore[attr-defined]


def test_after_ten_failures_an_email_waits_for_the_next_window(tally: Tally, clock: Clock) -> None:
    """Even the right password waits, from any address; the refusal says how long."""
    identity = identity_of(tally)
    clock.at("2026-03-10T12:01:00.5Z")
    fail(identity, times=10)
    with pytest.raises(RateLimited) as caught:
        identity.login("ADA@example.com", PASSWORD, ip=AWAY)
    fields = caught.value.fields
    assert (10, 0, 300, "login:email") == tuple(
        fields[name] for name in ("limit", "remaining", "window_seconds", "limit_source")
    )
    assert 239.5 <= fields["retry_after_seconds"] <= 240  # type: ignore[operator]
    clock.at("2026-03-10T12:04:59.999999Z")
    with pytest.raises(RateLimited) as caught:
        identity.login("ada@example.com", PASSWORD)
    assert 1 == caught.value.fields["retry_after_seconds"]
    clock.at("2026-03-10T12:05:00Z")
    assert identity.login("ada@example.com", PASSWORD).token


def test_an_unknown_email_is_throttled_like_a_known_one(tally: Tally) -> None:
    """Otherwise the throttle would tell which emails exist."""
    identity = identity_of(tally)
    fail(identity, "nobody@example.com", times=10)
    with pytest.raises(RateLimited):
        identity.login("nobody@example.com", PASSWORD)
    assert identity.login("ada@example.com", PASSWORD).token


def test_a_success_forgets_the_failures_of_its_email(tally: Tally) -> None:
    """Somebody who remembers the password at last begins afresh."""
    identity = identity_of(tally)
    for _ in range(3):
        fail(identity, times=9)
        identity.login("ada@example.com", PASSWORD)


def test_after_fifty_failures_an_address_waits_whichever_emails_it_tried(tally: Tally, clock: Clock) -> None:
    """A success in between neither counts nor wipes the slate; another address is not concerned."""
    identity = identity_of(tally)
    for number in range(49):
        fail(identity, f"user{number}@example.com", ip=HOME)
        identity.login("ada@example.com", PASSWORD, ip=HOME)
    fail(identity, "last@example.com", ip=HOME)
    with pytest.raises(RateLimited) as caught:
        identity.login("ada@example.com", PASSWORD, ip=HOME)
    assert (50, "login:ip") == (caught.value.fields["limit"], caught.value.fields["limit_source"])
    assert identity.login("ada@example.com", PASSWORD, ip=AWAY).token
    clock.at("2026-03-10T12:05:00Z")
    assert identity.login("ada@example.com", PASSWORD, ip=HOME).token


def test_what_is_refused_by_one_throttle_does_not_count_in_the_other(tally: Tally) -> None:
    """Hammering one blocked email does not block everybody behind the same address."""
    identity = identity_of(tally)
    fail(identity, times=10, ip=HOME)
    for _ in range(60):
        with pytest.raises(RateLimited):
            identity.login("ada@example.com", "wrong password", ip=HOME)
    fail(identity, "eve@example.com", ip=HOME)


def test_guesses_that_come_at_once_in_two_processes_are_counted_exactly(
    database_url: str, tally: Tally
) -> None:
    """Forty guesses at the same moment: ten are looked at, whatever their order."""
    with Tally.open(database_url, source=tally.clock.now) as other:
        services = [identity_of(tally), identity_of(other)] * 20
        guesses = [partial(each.login, "ada@example.com", "wrong password", ip=HOME) for each in services]
        answers = at_once(guesses)
    assert 10 == sum(isinstance(answer, InvalidCredentials) for answer in answers)
    assert 30 == sum(isinstance(answer, RateLimited) for answer in answers)


def test_right_logins_that_come_at_once_all_succeed(tally: Tally) -> None:
    """Up to the limit at the same moment; none of them counts afterwards."""
    identity = identity_of(tally)
    for _ in range(2):
        answers = at_once([partial(identity.login, "ada@example.com", PASSWORD, ip=HOME)] * 10)
        assert 10 == sum(isinstance(answer, Session) for answer in answers)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("\ud800", "?"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_an_address_stands_for_whoever_has_it(ip: str, network: str) -> None:
    """In IPv6 one line has 2⁶⁴ addresses, which are counted together."""
    assert network == network_of(ip)
