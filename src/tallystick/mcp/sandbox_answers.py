"""What the tools of sandboxes return: the fields of the contract, as the output schemas say them."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field

from tallystick.core.ids import to_text
from tallystick.core.sandboxes import per_hour
from tallystick.core.times import format_rfc3339
from tallystick.plain_json import Number, number
from tallystick.store.sandbox_lines import ExecutionRow
from tallystick.store.sandboxes import SandboxRow


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Created(_Answer):
    """A sandbox that is ready. It costs ``per_hour`` until it ends."""

    sandbox_id: str
    name: str | None
    template: str
    status: str
    env_vars_configured: list[str]
    timeout: int = Field(description="Seconds until it ends by itself")
    expires_at: str | None
    unit: str
    per_hour: Number


class Executed(_Answer):
    """What came of code. ``status`` is failed where the code failed; it was charged all the same."""

    execution_id: str
    sandbox_id: str
    output: str | None = Field(description="What it wrote to standard output")
    stderr: str | None = Field(description="What it wrote to standard error")
    exit_code: int | None
    status: str
    language: str
    execution_time: Number | None = Field(description="In seconds")
    timed_out: bool | None
    oom: bool | None = Field(description="Whether it was killed for want of memory")
    truncated: bool | None = Field(description="Whether it wrote more than is kept")


class Executions(_Answer):
    """How much was run."""

    total: int
    successful: int
    failed: int


class Described(_Answer):
    """A sandbox as it stands. ``cost`` is what its time has cost so far."""

    id: str
    name: str | None
    template: str
    status: str
    reason: str | None = Field(description="Why it stopped")
    created_at: str
    expires_at: str | None
    uptime: Number = Field(description="Seconds that were billed")
    unit: str
    cost: Number
    per_hour: Number


class Listed(_Answer):
    """Sandboxes, newest first."""

    sandboxes: list[Described]
    count: int


class Status(_Answer):
    """A sandbox as it stands, and how much was run in it lately."""

    sandbox: Described
    executions: Executions


class Configured(_Answer):
    """What was set, and what the commands gave."""

    sandbox_id: str
    env_vars_updated: list[str]
    total_env_vars: int
    commands_executed: int
    configuration_results: list[Executed]
    stopped_by: str | None = Field(
        default=None, description="Why the command after these was refused, and none was run any more"
    )


class Uploaded(_Answer):
    """A file that is in the sandbox now."""

    message: str
    sandbox_id: str
    file_path: str
    size: int
    checksum: str = Field(description="SHA-256")


class Logs(_Answer):
    """What was run, newest first."""

    logs: list[Executed]


class Ended(_Answer):
    """A sandbox that has ended, with what it cost."""

    message: str
    sandbox: Described


def _expires(row: SandboxRow) -> str | None:
    if row.started_at is None or row.status != "running":
        return None
    return format_rfc3339(row.started_at + row.timeout_ms * 1000)


def created(row: SandboxRow) -> Created:
    """A sandbox that is ready."""
    return Created(
        sandbox_id=to_text("sbx", row.id),
        name=row.name,
        template=row.template,
        status=row.status,
        env_vars_configured=variables(row),
        timeout=row.timeout_ms // 1000,
        expires_at=_expires(row),
        unit=row.unit,
        per_hour=number(per_hour(row.size)),
    )


def variables(row: SandboxRow) -> list[str]:
    """The names of what every execution gets; never the values."""
    return sorted(json.loads(row.env or "{}"))


def described(row: SandboxRow) -> Described:
    """A sandbox as it stands."""
    return Described(
        id=to_text("sbx", row.id),
        name=row.name,
        template=row.template,
        status=row.status,
        reason=row.reason,
        created_at=format_rfc3339(row.created_at),
        expires_at=_expires(row),
        uptime=number(row.seen_ms * 1000),
        unit=row.unit,
        cost=number(row.cost.total),
        per_hour=number(per_hour(row.size)),
    )


def executed(row: ExecutionRow) -> Executed:
    """What came of code."""
    status = row.status if row.status != "done" else "completed" if row.exit_code == 0 else "failed"
    return Executed(
        execution_id=to_text("exec", row.id),
        sandbox_id=to_text("sbx", row.sandbox_id),
        output=row.stdout,
        stderr=row.stderr,
        exit_code=row.exit_code,
        status=status,
        language=row.language,
        execution_time=None if row.duration_ms is None else number(row.duration_ms * 1000),
        timed_out=row.timed_out,
        oom=row.oom,
        truncated=row.truncated,
    )


def executions(rows: list[ExecutionRow]) -> Executions:
    """How much was run."""
    successful = sum(row.status == "done" and row.exit_code == 0 for row in rows)
    running = sum(row.status == "running" for row in rows)
    return Executions(total=len(rows), successful=successful, failed=len(rows) - successful - running)


def uploaded(row: SandboxRow, path: str, content: bytes) -> Uploaded:
    """A file that is there."""
    return Uploaded(
        message=f"{path} is in the sandbox",
        sandbox_id=to_text("sbx", row.id),
        file_path=path,
        size=len(content),
        checksum=hashlib.sha256(content).hexdigest(),
    )
