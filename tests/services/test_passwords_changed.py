"""Changing a password: what it needs, what it ends, and what comes at the same moment."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.services.identity import LOGINS_PER_EMAIL, Identity, Session
from tests.services.installation import PASSWORD, Clock, at_once, identity_of, register, who

EMAIL = "ada@example.com"
NEW = "a wholly new password"


@pytest.fixture
def tally(database_url: str) -> Iterator[Tally]:
    """An installation with one user."""
    with Tally.open(database_url, source=Clock()) as tally:
        register(tally)
        yield tally


def change(
    tally: Tally, identity: Identity, session: Session, *, old: str = PASSWORD, new: str = NEW
) -> None:
    identity.change_password(who(tally, session.token), old=old, new=new, token=session.token)


def test_the_new_password_gets_in_and_the_old_one_does_not(tally: Tally) -> None:
    """The session that changed it goes on; every other ends at once."""
    identity = identity_of(tally)
    mine, other = identity.login(EMAIL, PASSWORD), identity.login(EMAIL, PASSWORD)
    change(tally, identity, mine)
    assert mine.user_id == who(tally, mine.token).user_id
    with pytest.raises(errors.NotAuthenticated):
        who(tally, other.token)
    with pytest.raises(errors.InvalidCredentials):
        identity.login(EMAIL, PASSWORD)
    assert mine.user_id == identity.login(EMAIL, NEW).user_id


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("wrong", NEW, "old"),
        ("", NEW, "old"),
        ("x" * 5000, NEW, "old"),
        ("\x00", NEW, "old"),
        (PASSWORD, "short", "password"),
    ],
)
def test_a_refused_change_changes_nothing(tally: Tally, old: str, new: str, field: str) -> None:
    """The field that is wrong is named, and the old password still gets in."""
    identity = identity_of(tally)
    mine = identity.login(EMAIL, PASSWORD)
    with pytest.raises(errors.ValidationFailed, match=f"^{field}: expected"):
        change(tally, identity, mine, old=old, new=new)
    assert mine.user_id == identity.login(EMAIL, PASSWORD).user_id


def test_guessing_the_old_password_is_throttled_like_logging_in(tally: Tally) -> None:
    """Whoever found an open browser cannot try them all; a right one starts afresh."""
    identity = identity_of(tally)
    mine = identity.login(EMAIL, PASSWORD)
    for _ in range(LOGINS_PER_EMAIL.limit - 1):
        with pytest.raises(errors.ValidationFailed):
            change(tally, identity, mine, old="wrong")
    change(tally, identity, mine)
    for _ in range(LOGINS_PER_EMAIL.limit):
        with pytest.raises(errors.ValidationFailed):
            change(tally, identity, mine, old="wrong")
    with pytest.raises(errors.RateLimited):
        change(tally, identity, mine, old=NEW)
    with pytest.raises(errors.RateLimited):
        identity.login(EMAIL, NEW)


def test_a_key_has_no_password(tally: Tally) -> None:
    """Whoever shows a key only cannot shut its user out."""
    identity = identity_of(tally)
    mine = identity.login(EMAIL, PASSWORD)
    caller = replace(who(tally, mine.token), user_id=None)
    with pytest.raises(errors.NotAllowed):
        identity.change_password(caller, old=PASSWORD, new=NEW, token="")


def test_of_two_changes_at_once_one_holds(tally: Tally) -> None:
    """The other is told that it came late, and both never hold."""
    identity = identity_of(tally)
    sessions = [identity.login(EMAIL, PASSWORD) for _ in range(2)]
    news = [f"password number {number}" for number in range(2)]

    def work(number: int) -> str | None:
        try:
            change(tally, identity, sessions[number], new=news[number])
        except errors.Refusal as refusal:
            return refusal.code
        return None

    outcomes = at_once([partial(work, number) for number in range(2)])
    assert 1 == outcomes.count(None)
    assert sessions[0].user_id == identity.login(EMAIL, news[outcomes.index(None)]).user_id


def test_a_login_that_began_before_the_change_gets_nothing(tally: Tally) -> None:
    """Its password was right when it was looked at, and is not when its session would begin."""
    identity = identity_of(tally)
    mine = identity.login(EMAIL, PASSWORD)
    verify = identity._passwords.verify  # noqa: SLF001 - to stand between two steps
    changed: list[bool] = []

    def verify_slowly(stored: str | None, password: str) -> bool:
        right = verify(stored, password)
        if not changed:
            changed.append(True)
            change(tally, identity_of(tally), mine)
        return right

    identity._passwords.verify = verify_slowly  # type: ignore[method-assign]  # noqa: SLF001
    with pytest.raises(errors.InvalidCredentials):
        identity.login(EMAIL, PASSWORD)
