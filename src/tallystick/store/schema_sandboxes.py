"""The tables of sandboxes: what runs and what it cost, the lines of each bill, what was run and put in, who serves them.

``*_ms`` count milliseconds of a sandbox's life; amounts are micro-units of the sandbox's unit, rates picos per second.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)

from tallystick.store.schema import metadata


def _id() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


sandboxes = Table(
    "sandboxes",
    metadata,
    _id(),
    Column("customer_id", ForeignKey("customers.id"), nullable=False),
    Column("key_id", BigInteger),
    Column("caller", Text, nullable=False),
    Column("agent", Text),
    Column("name", Text),
    Column("template", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("handle", Text),
    Column("process_id", Text, nullable=False),  # that looks after it
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("vcpu", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("unit", Text, nullable=False),
    Column("vcpu_second_picos", BigInteger, nullable=False),
    Column("gib_second_picos", BigInteger, nullable=False),
    Column("vcpu_meter", Text, nullable=False),
    Column("gib_meter", Text, nullable=False),
    Column("economy", Text, nullable=False),
    Column("metadata", Text),
    Column("env", Text),  # as JSON, while it may run
    Column("idempotency", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("clock_ahead", BigInteger, nullable=False),  # of the test clock, when it was ready
    Column("timeout_ms", BigInteger, nullable=False),
    Column("funded_ms", BigInteger, nullable=False),  # to where its lease pays
    Column("short_of", Text),  # what cut the lease short: credits, budget, frozen or plan
    Column("beat_ms", BigInteger, nullable=False),  # how far it was seen running
    Column("metered_ms", BigInteger, nullable=False),  # how far it was billed
    Column("vcpu_cost", BigInteger, nullable=False),
    Column("memory_cost", BigInteger, nullable=False),
    Column("hold_id", BigInteger),  # its lease
    Column("fee_hold_id", BigInteger),  # what creating it costs, until it is ready
    Column("used_at", BigInteger, nullable=False),
    Column("idle_told_at", BigInteger),
    Column("ending_told", Boolean, nullable=False),
    CheckConstraint("status IN ('creating', 'running', 'stopped', 'failed')", name="status"),
    CheckConstraint("metered_ms >= 0 AND funded_ms >= metered_ms", name="life"),
)
Index("ix_sandboxes_customer", sandboxes.c.customer_id, sandboxes.c.id)
_open = sandboxes.c.status.in_(["creating", "running"])
Index("ix_sandboxes_open", sandboxes.c.process_id, sandboxes.c.id, sqlite_where=_open, postgresql_where=_open)

# What transactions of the ledger were for: an operation's price, the time between two moments of a life, or both.
sandbox_lines = Table(
    "sandbox_lines",
    metadata,
    Column(
        "transaction_id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("operation", Text, primary_key=True),  # create, execute, …, or running
    Column("amounts", Text, nullable=False),  # unit and micro-units, as JSON
    Column("from_ms", BigInteger),
    Column("to_ms", BigInteger),
    Column("vcpu_cost", BigInteger),
    Column("memory_cost", BigInteger),
    Column("execution_id", BigInteger),
)
Index("ix_sandbox_lines_sandbox", sandbox_lines.c.sandbox_id, sandbox_lines.c.transaction_id)
Index("ix_sandbox_lines_customer", sandbox_lines.c.customer_id, sandbox_lines.c.at)

sandbox_executions = Table(
    "sandbox_executions",
    metadata,
    _id(),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
    Column("idempotency", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("hold_id", BigInteger),  # its price, until it has ended
    Column("language", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", BigInteger),
    Column("exit_code", Integer),
    Column("timed_out", Boolean),
    Column("oom", Boolean),
    Column("truncated", Boolean),
    Column("stdout", Text),
    Column("stderr", Text),
    CheckConstraint("status IN ('running', 'done', 'failed')", name="status"),
)
Index("ix_sandbox_executions_sandbox", sandbox_executions.c.sandbox_id, sandbox_executions.c.id)
_running = sandbox_executions.c.status == "running"
Index(
    "ix_sandbox_executions_running",
    sandbox_executions.c.process_id,
    sqlite_where=_running,
    postgresql_where=_running,
)

sandbox_requests = Table(
    "sandbox_requests",
    metadata,
    _id(),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
    Column("idempotency", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("process_id", Text),  # that does it; nobody when it is done
    Column("hold_id", BigInteger),  # its price, until it is done
)
_underway = sandbox_requests.c.process_id.is_not(None)
Index(
    "ix_sandbox_requests_underway",
    sandbox_requests.c.process_id,
    sqlite_where=_underway,
    postgresql_where=_underway,
)

sandbox_processes = Table(
    "sandbox_processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
)

TABLES = (sandboxes, sandbox_lines, sandbox_executions, sandbox_requests, sandbox_processes)
