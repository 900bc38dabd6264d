"""Facts about the installation that several processes share."""

from functools import partial

from tallystick.store import settings
from tallystick.store.engine import Database
from tests.services.installation import at_once


def test_processes_that_start_together_get_different_nodes(database_url: str) -> None:
    """Otherwise two of them would make the same ids; the very first starts are no exception."""
    databases = [Database(database_url) for _ in range(8)]
    try:
        for times in (1, 2, 3):
            nodes = at_once([partial(each.transact, settings.next_node) for each in databases])
            assert list(range(8 * times - 7, 8 * times + 1)) == sorted(nodes)  # type: ignore[type-var]
    finally:
        for each in databases:
            each.close()


def test_nodes_begin_again_after_the_last(database_url: str) -> None:
    """An id has room for 1024 of them."""
    database = Database(database_url)
    try:
        database.transact(lambda connection: settings.put(connection, "starts", "1022"))
        assert [1023, 0, 1] == [database.transact(settings.next_node) for _ in range(3)]
    finally:
        database.close()
