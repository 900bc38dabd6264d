"""Customers as a payment provider knows them, remembered by several processes at once."""

from collections.abc import Iterator
from functools import partial

import pytest

from tallystick.store import payments as store
from tallystick.store.engine import Database
from tests.services.installation import at_once

ROUNDS = 100


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database."""
    opened = Database(database_url)
    yield opened
    opened.close()


def put(database: Database, customer_id: int, reference: str) -> None:
    """A customer is known by a name from now on."""
    database.transact(lambda connection: store.put_payer(connection, "some", customer_id, reference, now=1))


def known(database: Database, customer_id: int) -> tuple[str | None, int | None]:
    """By which name, and since when no longer."""
    with database.read() as connection:
        name = store.payer_of(connection, "some", customer_id)
        return name, store.payer_gone_at(connection, "some", customer_id)


def test_a_payer_that_several_remember_at_once(database: Database) -> None:
    """A new customer's first payments may all make its payer: the provider names one to all, and it is kept once."""
    for number in range(1, ROUNDS + 1):
        at_once([partial(put, database, number, f"cus_{number}")] * 6)
        assert (f"cus_{number}", None) == known(database, number)


def test_a_payer_that_is_gone_makes_room(database: Database) -> None:
    """After the provider forgot a payer, the next one takes its place, by whatever name."""
    for name in ("cus_1", "cus_2", "cus_2"):
        put(database, 1, name)
        assert (name, None) == known(database, 1)
        database.transact(partial(store.payer_is_gone, provider="some", reference=name, now=2))
        assert (None, 2) == known(database, 1)


def test_a_payer_of_two_customers(database: Database) -> None:
    """A provider that gives one payer to two customers is not believed, and the first one keeps it."""
    put(database, 1, "cus_1")
    with pytest.raises(ValueError, match="some knows another customer as cus_1"):
        put(database, 2, "cus_1")
    assert [("cus_1", None), (None, None)] == [known(database, number) for number in (1, 2)]
