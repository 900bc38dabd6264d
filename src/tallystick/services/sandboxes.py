"""Sandboxes: make them, change them, end them. Every step is paid for; see ``services.sandbox_bills``.

The provider is called between two transactions: the first reserves what the step costs, the second captures it or gives
it back. What became of a call that nobody answered is found out by the keeper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.catalog import Economy, SandboxRates
from tallystick.core.ids import to_text
from tallystick.core.sandboxes import OPEN_STATUSES, STATUSES, extended
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports import sandboxes as port
from tallystick.services.context import Answer, Caller
from tallystick.services.pages import Page, check_limit, page_of, position_of
from tallystick.services.requests import check_metadata, check_text, idempotency_fields
from tallystick.services.sandbox_checks import check_env, check_name, check_whole
from tallystick.services.sandbox_postings import Fee
from tallystick.services.sandbox_steps import SandboxSteps, Seen
from tallystick.store import sandbox_lines, sandbox_requests
from tallystick.store import sandboxes as store
from tallystick.store.sandbox_lines import LineRow
from tallystick.store.sandboxes import SandboxRow, Wanted

LONGEST_SECONDS: Final = 10 * 366 * 86_400
MAX_VCPU: Final = 64
MIN_MEMORY_MIB: Final = 64
MAX_MEMORY_MIB: Final = 262_144
# What of an order whoever makes it may find wrong: it says so by the field's name.
ORDERED: Final = frozenset({"env_vars", "memory_mib", "template", "timeout", "vcpu"})
NO_PRICES: Final = "this economy has no prices for sandboxes: a [sandbox] section sets them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A sandbox as it is asked for; None is the economy's default. ``timeout`` in seconds from when it is ready."""

    template: str
    name: str | None = None
    env: Mapping[str, str] | None = None
    timeout: int | None = None
    vcpu: int | None = None
    memory_mib: int | None = None
    metadata: Mapping[str, Any] | None = None
    agent: str | None = None
    customer: str | None = None


class Sandboxes:
    """What users do with sandboxes."""

    def __init__(self, steps: SandboxSteps) -> None:
        self._steps = steps
        self._context = steps.context
        self._bills = steps.bills
        self._host = steps.host

    @property
    def are_there(self) -> bool:
        """Whether this server runs any."""
        return self.missing is None

    @property
    def missing(self) -> str | None:
        """What this server lacks to run any; None where it lacks nothing."""
        if not self._host.is_there:
            return self._host.missing
        return NO_PRICES if self._context.economy().sandbox is None else None

    @property
    def provider_name(self) -> str:
        """Who runs the sandboxes."""
        return self._host.provider.name

    @property
    def capabilities(self) -> port.Capabilities:
        """What whoever runs them does."""
        return self._host.provider.capabilities

    def templates(self) -> list[port.Template]:
        """What sandboxes can be made from."""
        return list(self._host.provider.templates())

    def create(self, caller: Caller, wish: Wish, *, idempotency_key: str | None) -> Answer[SandboxRow]:
        """Make a sandbox and wait until it is ready. One that could not be made costs nothing, and leaves its key free.

        Raises ``PlanLimitReached`` and ``RateLimited`` by the plan, ``SandboxFailed``, and what holding credits may raise.
        """
        provider = self._host.provider
        fresh, env = self._asked(caller, wish, idempotency_key)
        fee = self._steps.fee("create")

        def work(connection: Connection) -> Answer[SandboxRow]:
            known = self._known(connection, fresh)
            if known is not None:
                return Answer(known, replayed=True)
            self._check_plan(connection, fresh)
            row = self._bills.open(connection, fresh, fee)
            store.add(connection, row)
            return Answer(row)

        answer = self._steps.paid(fresh.customer_id, lambda: self._steps.twice(work))
        if answer.replayed:
            return answer
        row = answer.value
        order = port.SandboxOrder(
            reference=to_text("sbx", row.id),
            template=row.template,
            vcpu=row.vcpu,
            memory_mib=row.memory_mib,
            seconds=row.funded_ms / 1000,
            env=env,
            metadata={},
        )
        try:
            made = provider.create(order, key=order.reference)
        except ProviderRefused as refusal:
            detail = refusal.detail
            self._steps.transact(row, lambda connection, now: self._bills.fail(connection, now, detail))
            if refusal.code in ORDERED:
                raise errors.ValidationFailed([(refusal.code, detail)]) from refusal
            raise errors.SandboxFailed(f"the sandbox could not be made: {detail}") from refusal
        except OutcomeUnknown as unknown:
            # It may run: the keeper looks for it, ends it, and gives the credits back.
            raise errors.SandboxFailed(
                f"whether the sandbox was made is not known: {unknown.detail}"
            ) from unknown
        return Answer(self._steps.paid(row.customer_id, lambda: self._begin(row, made, fee)))

    def _begin(self, row: SandboxRow, made: port.Made, fee: Fee) -> SandboxRow:
        """Note that it is ready; one that is larger than was ordered is paid for as it is, or has failed."""

        def work(connection: Connection, now: SandboxRow) -> SandboxRow:
            if now.status != "creating":
                raise errors.SandboxNotRunning(now.status, now.detail)
            return self._bills.start(
                connection, now, fee, handle=made.handle, vcpu=made.vcpu, memory_mib=made.memory_mib,
                clock_ahead=self._host.ahead(),
            )  # fmt: skip

        try:
            begun = self._steps.transact(row, work)
        except Exception as error:
            self._host.provider.kill(made.handle)
            if isinstance(error, errors.NotCovered | errors.WalletFrozen):
                detail = f"{made.vcpu} vCPUs and {made.memory_mib} MiB are not covered: {error.detail}"
                self._steps.transact(row, lambda connection, now: self._bills.fail(connection, now, detail))
            raise
        if begun.funded_ms < row.funded_ms:
            return self._steps.follow(begun, self._steps.seen(begun))
        return begun

    def _asked(
        self, caller: Caller, wish: Wish, idempotency_key: str | None
    ) -> tuple[SandboxRow, dict[str, str]]:
        """The row of a sandbox that is asked for, and its environment."""
        context = self._context
        economy = context.economy()
        rates = _rates(economy)
        env = check_env(wish.env, field="env_vars")
        longest = self._host.provider.capabilities.session_seconds_max or LONGEST_SECONDS
        default = min(rates.default_timeout_seconds, longest)
        timeout = check_whole(wish.timeout, "timeout", default, 1, longest)
        vcpu = check_whole(wish.vcpu, "vcpu", rates.default_vcpu, 1, MAX_VCPU)
        memory = check_whole(
            wish.memory_mib, "memory_mib", rates.default_memory_mib, MIN_MEMORY_MIB, MAX_MEMORY_MIB
        )
        self._check_template(wish.template)
        content = (
            wish.customer, wish.template, wish.name, sorted(env.items()), timeout, vcpu, memory, wish.metadata,
            wish.agent,
        )  # fmt: skip
        repeat = idempotency_fields(caller, idempotency_key, "sandbox", content)
        now = context.now()
        row = SandboxRow(
            id=context.new_id(),
            customer_id=self._steps.pricing.customers.resolve(caller, wish.customer),
            key_id=caller.key_id if caller.key_has_budget else None,
            caller=caller.name,
            agent=check_text(wish.agent, field="agent", most=200),
            name=check_name(wish.name),
            template=wish.template,
            provider=self._host.provider.name,
            handle=None,
            process_id=self._host.process_id,
            status="creating",
            reason=None,
            detail=None,
            vcpu=vcpu,
            memory_mib=memory,
            unit=rates.unit,
            vcpu_second_picos=rates.vcpu_second_picos,
            gib_second_picos=rates.gib_second_picos,
            vcpu_meter=rates.vcpu_meter,
            gib_meter=rates.gib_meter,
            economy=economy.version,
            metadata=check_metadata(wish.metadata),
            env=json.dumps(env) if env else None,
            idempotency=repeat["idempotency"],
            request_digest=repeat["request_digest"],
            created_at=now,
            started_at=None,
            ended_at=None,
            clock_ahead=0,
            timeout_ms=timeout * 1000,
            funded_ms=0,
            short_of=None,
            beat_ms=0,
            metered_ms=0,
            vcpu_cost=0,
            memory_cost=0,
            hold_id=None,
            fee_hold_id=None,
            used_at=now,
            idle_told_at=None,
            ending_told=False,
        )
        return row, env

    def _check_template(self, name: str) -> None:
        known = [each.name for each in self._host.provider.templates()]
        if name not in known:
            raise errors.ValidationFailed([("template", f"expected one of {', '.join(known)}")])

    def _known(self, connection: Connection, fresh: SandboxRow) -> SandboxRow | None:
        known = store.by_idempotency(connection, fresh.idempotency)
        if known is not None and known.request_digest != fresh.request_digest:
            raise errors.IdempotencyKeyReused
        if known is not None and known.status == "creating":
            raise errors.IdempotencyInFlight
        return known

    def _check_plan(self, connection: Connection, row: SandboxRow) -> None:
        """Refuse what the customer's plan does not allow; its wallets are locked, so that two cannot both be the last."""
        now = self._context.now()
        self._context.ledger.settled(connection, [row.customer_id], now=now)
        plan = self._bills.plan_of(connection, row.customer_id)
        if plan is None:
            return
        seconds = row.timeout_ms // 1000
        if plan.session_seconds_max is not None and seconds > plan.session_seconds_max:
            raise errors.PlanLimitReached(
                right="seconds for a sandbox", limit=plan.session_seconds_max, asked=seconds, plan=plan.name
            )
        running = store.count_open(connection, row.customer_id)
        if plan.concurrency_max is not None and running >= plan.concurrency_max:
            raise errors.PlanLimitReached(
                right="sandboxes at a time", limit=plan.concurrency_max, asked=running + 1, plan=plan.name
            )
        if plan.creates_per_second is not None:
            # One made later than a second from now was made before the clock was set back.
            lately = store.created_between(connection, row.customer_id, now - MICROS, now + MICROS)
            if len(lately) >= plan.creates_per_second:
                raise errors.RateLimited(
                    limit=plan.creates_per_second,
                    remaining=0,
                    reset_at=lately[-plan.creates_per_second] + MICROS,
                    window_seconds=1,
                    retry_after_seconds=1,
                    limit_source=f"new sandboxes of the plan {plan.name}",
                )

    def configure(
        self,
        caller: Caller,
        sandbox: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: int | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[SandboxRow]:
        """Set variables that every later execution gets, or extend the time, or both: all or none of it is done.

        It is one transaction with its price; where everything is so already, it costs nothing.
        """
        row = self._steps.find(caller, sandbox)
        added = check_env(env, field="env_vars")
        if not added and timeout is None:
            raise errors.ValidationFailed([("env_vars", "expected at least one variable, or a timeout")])
        more = None if timeout is None else _checked_timeout(timeout)
        request = self._steps.request(
            caller, row, idempotency_key, "sandbox_configure", (sandbox, sorted(added.items()), timeout)
        )
        fee = self._steps.fee("configure")
        seen = self._steps.seen(row) if row.status == "running" else Seen(row.metered_ms, is_now=False)

        def work(connection: Connection) -> Answer[SandboxRow]:
            if self._steps.known(connection, request) is not None:
                return Answer(row, replayed=True)
            before = self._steps.running(self._bills.lock(connection, row))
            self._steps.at_provider(before, lambda _handle: None)  # it is served here
            sandbox_requests.add(connection, request)
            now = self._changed(connection, before, added)
            if more is not None:
                now = self._prolong(connection, now, seen.ms, more)
            if (now.env, now.timeout_ms) == (before.env, before.timeout_ms):
                return Answer(now)
            hold_id = self._bills.postings.hold_fee(connection, now, fee)
            return Answer(self._bills.capture(connection, now, fee, hold_id=hold_id, lived_ms=seen.ms))

        answer = self._steps.paid(row.customer_id, lambda: self._steps.twice(work))
        return answer if answer.replayed else Answer(self._steps.follow(answer.value, seen))

    def _changed(self, connection: Connection, row: SandboxRow, added: Mapping[str, str]) -> SandboxRow:
        """The sandbox with more variables."""
        env = json.loads(row.env or "{}")
        if all(env.get(name) == value for name, value in added.items()):
            return row
        merged = json.dumps(check_env({**env, **added}, field="env_vars"))
        store.change(connection, row.id, {"env": merged})
        return replace(row, env=merged)

    def extend(self, caller: Caller, sandbox: str, *, timeout: int) -> SandboxRow:
        """Let it run for ``timeout`` seconds from now, up to the plan's longest session; never for less than before."""
        row = self._steps.running(self._steps.find(caller, sandbox))
        more = _checked_timeout(timeout)
        seen = self._steps.seen(row)

        def work(connection: Connection, now: SandboxRow) -> SandboxRow:
            longer = self._prolong(connection, self._steps.running(now), seen.ms, more)
            return self._bills.renew(connection, longer, seen.ms)

        return self._steps.follow(self._steps.transact(row, work), seen)

    def _prolong(self, connection: Connection, row: SandboxRow, lived: int, more: int) -> SandboxRow:
        """Set the deadline ``more`` milliseconds from now, as far as the plan and the provider allow."""
        plan = self._bills.plan_of(connection, row.customer_id)
        by_plan = None if plan is None else plan.session_seconds_max
        by_provider = self._host.provider.capabilities.session_seconds_max
        limits = [seconds for seconds in (by_plan, by_provider) if seconds is not None]
        longest = min(limits, default=None)
        until = extended(row.timeout_ms, lived, more, None if longest is None else longest * 1000)
        if until == row.timeout_ms < lived + more and longest is not None:
            asked = (lived + more) // 1000
            if plan is not None and longest == by_plan:
                raise errors.PlanLimitReached(
                    right="seconds for a sandbox", limit=longest, asked=asked, plan=plan.name
                )
            message = f"expected at most {longest} seconds from its start, and this would be {asked}"
            raise errors.ValidationFailed([("timeout", message)])
        store.change(connection, row.id, {"timeout_ms": until, "ending_told": False})
        return replace(row, timeout_ms=until, ending_told=False)

    def stop(self, caller: Caller, sandbox: str) -> SandboxRow:
        """End it now; what it lived is billed. One that has ended stays as it is."""
        return self._steps.end(self._steps.find(caller, sandbox), "requested")

    def delete(self, caller: Caller, sandbox: str) -> SandboxRow:
        """End it, and say on its statement that it is gone. Its bill stays.

        Nobody is kept from ending one: where the credits for it are missing, it costs nothing.
        """
        row = self._steps.end(self._steps.find(caller, sandbox), "requested")
        fee = self._steps.fee("delete")

        def work(connection: Connection, now: SandboxRow) -> SandboxRow:
            lines = sandbox_lines.of_sandbox(connection, now.id)
            if (
                fee.parts
                and now.status == "stopped"
                and not any(line.operation == "delete" for line in lines)
            ):
                with suppress(errors.NotCovered, errors.WalletFrozen, errors.RateLimited):
                    hold_id = self._bills.postings.hold_fee(connection, now, fee)
                    self._bills.capture(connection, now, fee, hold_id=hold_id, lived_ms=now.metered_ms)
            return now

        return self._steps.transact(row, work)

    def get(self, caller: Caller, sandbox: str) -> SandboxRow:
        """A sandbox as it stands. Raises ``NotFound``, also for one that is somebody else's."""
        return self._steps.find(caller, sandbox)

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        status: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[SandboxRow]:
        """A customer's sandboxes, newest first; without a customer, services and admins see all."""
        if status is not None and status not in STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
        everybody = customer is None and caller.is_service
        number = None if everybody else self._steps.pricing.customers.resolve(caller, customer)
        statuses = () if status is None else (status,)
        return self._page(Wanted(customer_id=number, statuses=statuses), limit=limit, cursor=cursor)

    def ended(self, caller: Caller, *, limit: int = 20, cursor: str | None = None) -> Page[SandboxRow]:
        """The caller's own that cost nothing any more, newest first."""
        number = self._steps.pricing.customers.resolve(caller, None)
        statuses = tuple(each for each in STATUSES if each not in OPEN_STATUSES)
        return self._page(Wanted(customer_id=number, statuses=statuses), limit=limit, cursor=cursor)

    def _page(self, wanted: Wanted, *, limit: int, cursor: str | None) -> Page[SandboxRow]:
        limit = check_limit(limit)
        before = position_of("sandboxes", cursor)
        with self._context.database.read() as connection:
            found = store.listed(connection, wanted, before=before, limit=limit + 1)
        return page_of("sandboxes", found, limit=limit, position=lambda row: row.id)

    def charge_of(
        self, caller: Caller, sandbox: str, operation: str, *, execution_id: int | None = None
    ) -> str | None:
        """The charge of the last of a sandbox's operations of a kind, or of an execution; None where it cost nothing."""
        row = self._steps.find(caller, sandbox)
        with self._context.database.read() as connection:
            number = sandbox_lines.charge_of(connection, row.id, operation, execution_id=execution_id)
        return None if number is None else to_text("chg", number)

    def lines(self, caller: Caller, sandbox: str) -> tuple[SandboxRow, Sequence[LineRow]]:
        """A sandbox with the lines of its bill, oldest first."""
        row = self._steps.find(caller, sandbox)
        with self._context.database.read() as connection:
            return row, sandbox_lines.of_sandbox(connection, row.id)


def _checked_timeout(timeout: int) -> int:
    """In milliseconds."""
    return check_whole(timeout, "timeout", 0, 1, LONGEST_SECONDS) * 1000


def _rates(economy: Economy) -> SandboxRates:
    if economy.sandbox is None:
        raise errors.SandboxesUnavailable(NO_PRICES)
    return economy.sandbox
