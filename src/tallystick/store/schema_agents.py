"""The tables of agents that can be hired, and of the tasks that they were hired for."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from tallystick.store.schema import metadata


def _id() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


agents = Table(
    "agents",
    metadata,
    _id(),
    Column("customer_id", ForeignKey("customers.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("unit", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("capabilities", Text, nullable=False),  # each in lines of its own, with one before and after
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("customer_id", "name"),
    CheckConstraint("status IN ('active', 'paused')", name="status"),
    CheckConstraint("price >= 0", name="price"),
)
Index("ix_agents_status", agents.c.status, agents.c.id)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    Column("agent_id", BigInteger, nullable=False),
    Column("owner_id", BigInteger, nullable=False),
    Column("requester_id", BigInteger, nullable=False),
    Column("payer_id", BigInteger, nullable=False),
    Column("parent_id", BigInteger),
    Column("unit", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("billing", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("economy", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("hold_id", BigInteger),
    Column("accepted_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("output", Text),
    Column("reason", Text),
    Column("settlement_id", BigInteger),
    Column("paid", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("disputable_until", BigInteger),
    Column("disputed_at", BigInteger),
    Column("dispute_reason", Text),
    CheckConstraint(
        "status IN ('created', 'accepted', 'completed', 'failed', 'cancelled', 'timed_out', 'disputed', 'refunded')",
        name="status",
    ),
    CheckConstraint("billing IN ('held', 'nothing', 'unbilled')", name="billing"),
    CheckConstraint("refunded BETWEEN 0 AND paid AND paid BETWEEN 0 AND price", name="amounts"),
)
Index("ix_tasks_owner", tasks.c.owner_id, tasks.c.id)
Index("ix_tasks_requester", tasks.c.requester_id, tasks.c.id)
Index("ix_tasks_payer", tasks.c.payer_id, tasks.c.id)
Index("ix_tasks_agent", tasks.c.agent_id, tasks.c.id)
Index("ix_tasks_parent", tasks.c.parent_id)
Index(
    "ix_tasks_settlement",
    tasks.c.settlement_id,
    sqlite_where=tasks.c.settlement_id.is_not(None),
    postgresql_where=tasks.c.settlement_id.is_not(None),
)
_open = tasks.c.status.in_(["created", "accepted"])
Index("ix_tasks_open", tasks.c.expires_at, sqlite_where=_open, postgresql_where=_open)
_asks = tasks.c.billing == "unbilled"
Index("ix_tasks_unbilled", tasks.c.id, sqlite_where=_asks, postgresql_where=_asks)

TABLES = (agents, tasks)
