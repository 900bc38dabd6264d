"""Sandboxes: made, used and ended; and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from tallystick.client.downloads import file_operation
from tallystick.client.events import EVENTS, OnOutput
from tallystick.client.inputs import bytes_of
from tallystick.client.models import Model, from_json
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import API, Repeat, Request, get, key_of, post, write

SandboxStatus = Literal["creating", "running", "stopped", "failed"]
Language = Literal["bash", "python", "javascript"]

DEFAULT_SECONDS: Final = 60  # for an execution, where no timeout is asked for


@dataclass(frozen=True, kw_only=True)
class Sandbox(Model):
    """A sandbox. ``seconds`` and ``cost`` are what was billed, ``paid_until`` is how far its lease pays.

    It ends at ``ends_at`` at the latest. ``reason`` says why it stopped, ``detail`` why it failed.
    """

    id: str
    customer: str
    name: str | None
    template: str
    provider: str
    status: str
    reason: str | None
    detail: str | None
    vcpu: int
    memory_mib: int
    unit: str
    per_hour: Decimal
    cost: Decimal
    seconds: Decimal
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ends_at: datetime | None
    paid_until: datetime | None
    metadata: Any


@dataclass(frozen=True, kw_only=True)
class SandboxPage(Page[Sandbox, Mode]):
    """A page of sandboxes."""

    noun = "sandboxes"

    sandboxes: tuple[Sandbox, ...]


@dataclass(frozen=True, kw_only=True)
class Execution(Model):
    """What came of code that was run. ``exit_code`` is 128 + the signal's number for what a signal ended."""

    id: str
    sandbox: str
    language: str
    status: str
    started_at: datetime
    duration_ms: int | None
    exit_code: int | None
    timed_out: bool | None
    oom: bool | None
    truncated: bool | None
    stdout: str | None
    stderr: str | None


@dataclass(frozen=True, kw_only=True)
class SandboxLog(Execution):
    """Something that was run, with its code."""

    code: str


@dataclass(frozen=True, kw_only=True)
class SandboxLogPage(Page[SandboxLog, Mode]):
    """A page of what was run in a sandbox."""

    noun = "logs"

    logs: tuple[SandboxLog, ...]


@dataclass(frozen=True, kw_only=True)
class SandboxTemplate(Model):
    """What sandboxes can be made from."""

    name: str
    description: str
    languages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SandboxTemplates(Model):
    """All templates, and what whoever runs the sandboxes does for their isolation and limits."""

    templates: tuple[SandboxTemplate, ...]
    provider: str
    isolation: str
    limits: str
    limits_by: str
    network: bool
    disk_mib: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SandboxBillLine(Model):
    """An operation's price, or the time between two moments of the life, in milliseconds; both may be one transaction."""

    transaction: str
    at: datetime
    operation: str
    amounts: dict[str, Decimal]
    from_ms: int | None
    to_ms: int | None
    vcpu_amount: Decimal | None
    memory_amount: Decimal | None
    execution: str | None


@dataclass(frozen=True, kw_only=True)
class SandboxRefund(Model):
    """What went back of the transaction ``of``, one of the lines."""

    transaction: str
    of: str
    at: datetime
    amounts: dict[str, Decimal]
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class SandboxSecond(Model):
    """One second of the life: what it cost, and the whole up to its end."""

    second: int
    vcpu_amount: Decimal
    memory_amount: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True)
class SandboxBill(Model):
    """A sandbox's bill. ``paid`` is the lines less the refunds.

    ``unbilled_ms`` were seen running since the last line, and will cost ``unbilled``.
    """

    sandbox: Sandbox
    lines: tuple[SandboxBillLine, ...]
    refunds: tuple[SandboxRefund, ...]
    paid: dict[str, Decimal]
    unbilled_ms: int
    unbilled: Decimal
    seconds: tuple[SandboxSecond, ...]


@dataclass(frozen=True, kw_only=True)
class SandboxOperation(Model):
    """How often something was done, and what that cost."""

    operation: str
    count: int
    amounts: dict[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class RunningSandbox(Model):
    """A sandbox that runs now, what an hour of it costs, and what it has cost by now."""

    sandbox: str
    name: str | None
    per_hour: Decimal
    cost: Decimal
    unit: str
    paid_until: datetime


@dataclass(frozen=True, kw_only=True)
class SandboxForecast(Model):
    """All that runs in one unit: what an hour costs, and until when the credits last if it all runs on.

    ``lasts_until`` is None where they last for more than ten years.
    """

    unit: str
    per_hour: Decimal
    available: Decimal
    lasts_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class SandboxUsage(Model):
    """What sandboxes cost in a span of time. ``vcpu_ms`` and ``mib_ms`` are billed sizes by time, in integers."""

    start: datetime
    end: datetime
    operations: tuple[SandboxOperation, ...]
    running_ms: int
    vcpu_ms: int
    mib_ms: int
    running: tuple[RunningSandbox, ...]
    forecast: tuple[SandboxForecast, ...]


class Sandboxes(Resource[Mode]):
    """Make sandboxes, run code in them, and end them."""

    @operation
    def create(
        self,
        *,
        template: str,
        name: str | None = None,
        env_vars: Mapping[str, str] | None = None,
        timeout: int | None = None,
        vcpu: int | None = None,
        memory_mib: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        agent: str | None = None,
        customer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Sandbox]:
        """Make a sandbox and wait until it is ready. One that could not be made costs nothing."""
        body = {
            "template": template,
            "name": name,
            "env_vars": None if env_vars is None else dict(env_vars),
            "timeout": timeout,
            "vcpu": vcpu,
            "memory_mib": memory_mib,
            "metadata": metadata,
            "agent": agent,
            "customer": customer,
        }
        return post("/sandboxes", Sandbox, body, key=idempotency_key)

    @operation
    def list(
        self,
        *,
        customer: str | None = None,
        status: SandboxStatus | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[SandboxPage[Mode]]:
        """A customer's sandboxes, newest first."""
        query = {"customer": customer, "status": status, "limit": limit, "cursor": cursor}
        return page(self, "/sandboxes", SandboxPage[Mode], query)

    @operation
    def get(self, sandbox: str) -> Request[Sandbox]:
        """One sandbox."""
        return get("/sandboxes/{sandbox_id}", Sandbox, names={"sandbox_id": sandbox})

    @operation
    def execute(
        self,
        sandbox: str,
        *,
        code: str,
        language: Language | None = None,
        timeout: int | None = None,
        env_vars: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Execution]:
        """Run code and wait for its end; code that fails was run, and is charged.

        ``on_output(stream, text)`` is called with what it writes, while it runs; for ``await`` it may be async. What it
        raises is raised here, and the code runs on.
        """
        body = {
            "code": code,
            "language": language,
            "timeout": timeout,
            "env_vars": None if env_vars is None else dict(env_vars),
        }
        request = post(
            "/sandboxes/{sandbox_id}/execute",
            Execution,
            body,
            names={"sandbox_id": sandbox},
            key=idempotency_key,
        )
        return replace(
            request,
            takes_seconds=DEFAULT_SECONDS if timeout is None else timeout,
            on_output=on_output,
            headers={} if on_output is None else {"Accept": EVENTS},
        )

    @operation
    def write_file(
        self,
        sandbox: str,
        *,
        path: str,
        content: bytes | bytearray | memoryview,
        idempotency_key: str | None = None,
    ) -> Request[Sandbox]:
        """Put a file into a sandbox, with the folders that it needs."""
        return Request(
            method="PUT",
            path=f"{API}/sandboxes/{{sandbox_id}}/files",
            read=lambda data: from_json(Sandbox, data),
            model=Sandbox,
            names={"sandbox_id": sandbox},
            query={"path": path},
            content=bytes_of(content),
            headers={"Content-Type": "application/octet-stream"},
            repeat=Repeat.BY_KEY,
            idempotency_key=key_of(idempotency_key),
        )

    @file_operation
    def read_file(self, sandbox: str, *, path: str) -> Request[bytes]:
        """A file of a sandbox."""
        return Request(
            method="GET",
            path=f"{API}/sandboxes/{{sandbox_id}}/files",
            read=bytes,
            names={"sandbox_id": sandbox},
            query={"path": path},
            media_type="application/octet-stream",
        )

    @operation
    def logs(
        self, sandbox: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Request[SandboxLogPage[Mode]]:
        """What was run in a sandbox and what it wrote, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return page(
            self, "/sandboxes/{sandbox_id}/logs", SandboxLogPage[Mode], query, names={"sandbox_id": sandbox}
        )

    @operation
    def configure(
        self,
        sandbox: str,
        *,
        env_vars: Mapping[str, str] | None = None,
        timeout: int | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Sandbox]:
        """Set variables that every later execution gets, or extend the time, or both."""
        body = {"env_vars": None if env_vars is None else dict(env_vars), "timeout": timeout}
        return write(
            "PATCH",
            "/sandboxes/{sandbox_id}",
            Sandbox,
            body,
            names={"sandbox_id": sandbox},
            key=idempotency_key,
            repeat=Repeat.BY_KEY,
        )

    @operation
    def extend(self, sandbox: str, *, timeout: int) -> Request[Sandbox]:
        """Let it run for so many seconds from now; never for less than before, nor past the plan's longest session."""
        return post(
            "/sandboxes/{sandbox_id}/extend",
            Sandbox,
            {"timeout": timeout},
            names={"sandbox_id": sandbox},
            repeat=Repeat.SAME,
        )

    @operation
    def stop(self, sandbox: str) -> Request[Sandbox]:
        """End a sandbox now: what it lived is billed. One that has ended stays as it is."""
        return post(
            "/sandboxes/{sandbox_id}/stop", Sandbox, names={"sandbox_id": sandbox}, repeat=Repeat.SAME
        )

    @operation
    def delete(self, sandbox: str) -> Request[Sandbox]:
        """End a sandbox and give its whole bill, which stays."""
        return write("DELETE", "/sandboxes/{sandbox_id}", Sandbox, names={"sandbox_id": sandbox})

    @operation
    def explain(
        self, sandbox: str, *, from_second: int | None = None, seconds: int | None = None
    ) -> Request[SandboxBill]:
        """A sandbox's bill: each transaction, and with ``from_second`` each second of its life."""
        query = {"from_second": from_second, "seconds": seconds}
        return get("/sandboxes/{sandbox_id}/explain", SandboxBill, query, names={"sandbox_id": sandbox})

    @operation
    def usage(self, *, customer: str | None = None, period: str | None = None) -> Request[SandboxUsage]:
        """What a customer's sandboxes cost, what runs now, and until when the credits last."""
        return get("/sandboxes/usage", SandboxUsage, {"customer": customer, "period": period})

    @operation
    def templates(self) -> Request[SandboxTemplates]:
        """What sandboxes can be made from, and how whoever runs them isolates and limits them."""
        return get("/sandboxes/templates", SandboxTemplates)
