"""The tables of the simulated payment provider: another house's books, so nothing of ours refers to them.

``number`` is the order in which things were made. ``due_at`` is when the clock alone makes something happen to an object:
a page expires, a late payment settles, a subscription is renewed.
"""

from sqlalchemy import BigInteger, Column, Index, Table, Text, text

from tallystick.store.schema import metadata

simulated_objects = Table(
    "simulated_objects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("payer", Text),
    Column("reference", Text),
    Column("due_at", BigInteger),
    Column("data", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
Index(
    "ix_simulated_objects_payer",
    simulated_objects.c.payer,
    simulated_objects.c.kind,
    simulated_objects.c.number,
)
Index("ix_simulated_objects_reference", simulated_objects.c.reference)
Index(
    "ix_simulated_objects_due",
    simulated_objects.c.due_at,
    sqlite_where=simulated_objects.c.due_at.is_not(None),
    postgresql_where=simulated_objects.c.due_at.is_not(None),
)

simulated_keys = Table(
    "simulated_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("made", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

simulated_events = Table(
    "simulated_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("facts", Text, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("attempts", BigInteger, nullable=False, server_default=text("0")),
    Column("next_attempt_at", BigInteger),
)
Index("ix_simulated_events_created", simulated_events.c.created_at, simulated_events.c.number)
Index(
    "ix_simulated_events_waiting",
    simulated_events.c.number,
    sqlite_where=simulated_events.c.next_attempt_at.is_not(None),
    postgresql_where=simulated_events.c.next_attempt_at.is_not(None),
)

TABLES = (simulated_objects, simulated_keys, simulated_events)
