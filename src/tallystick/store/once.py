"""Rows that are added unless they are there: also one that somebody else adds at the same moment."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def insert_once(connection: Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that passes over rows with a key that is taken, whichever of the table's unique keys it is.

    No key is named: on PostgreSQL, two who add one row at once could still meet in a key that is not the named one.
    """
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
