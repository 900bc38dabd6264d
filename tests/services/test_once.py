"""Forms that are taken once."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Connection

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.services.context import Caller
from tests.services.installation import at_once
from tests.tallies import FakeClock

ANN = Caller(role="user", scope="cust_ann", name="usr_ann")
BOB = Caller(role="user", scope="cust_bob", name="usr_bob")


@pytest.fixture
def clock() -> FakeClock:
    """The time, shortly before midnight."""
    return FakeClock("2027-01-10T23:59:59Z")


@pytest.fixture
def tally(database_url: str, clock: FakeClock) -> Iterator[Tally]:
    """An installation."""
    with Tally.open(database_url, source=clock, test_mode=False) as tally:
        yield tally


def take(tally: Tally, caller: Caller, form: str) -> None:
    """Carry a form out that does nothing."""
    tally.database.transact(tally.once.claim(caller, form))


def test_a_form_is_taken_once(tally: Tally, clock: FakeClock) -> None:
    """Also across midnight; another form, and the same name of somebody else, are others."""
    take(tally, ANN, "form")
    clock.advance("PT2S")
    with pytest.raises(errors.Conflict, match="sent already"):
        take(tally, ANN, "form")
    take(tally, ANN, "another")
    take(tally, BOB, "form")


def test_a_form_whose_work_breaks_off_is_not_taken(tally: Tally) -> None:
    """It can be corrected, and sent again."""

    def break_off(connection: Connection) -> None:
        tally.once.claim(ANN, "form")(connection)
        raise errors.ValidationFailed([("name", "expected another one")])

    with pytest.raises(errors.ValidationFailed):
        tally.database.transact(break_off)
    take(tally, ANN, "form")


def test_of_many_clicks_at_once_one_counts(tally: Tally) -> None:
    """Whichever process takes them."""
    outcomes = at_once([lambda: take(tally, ANN, "form")] * 8)
    assert 1 == outcomes.count(None)
    assert {"conflict"} == {each.code for each in outcomes if each is not None}


@pytest.mark.parametrize("name", ["", "x" * 201, "\x00"])
def test_a_form_has_a_name(tally: Tally, name: str) -> None:
    """One without would be nobody's."""
    with pytest.raises(errors.ValidationFailed, match="once: expected"):
        tally.once.claim(ANN, name)
