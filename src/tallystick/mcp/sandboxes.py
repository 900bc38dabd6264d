"""The tools of sandboxes, on servers that run some. Each parses, calls one service and renders."""

from __future__ import annotations

import hashlib
import secrets
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_context
from mcp.types import ToolAnnotations
from pydantic import Field

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.mcp import sandbox_answers as answers
from tallystick.mcp.callers import Callers, caller_of
from tallystick.mcp.receipts import note
from tallystick.mcp.registration import HERE, READS, put
from tallystick.services.context import Caller
from tallystick.services.sandboxes import Wish
from tallystick.services.waiting import executing, waiting
from tallystick.store.sandbox_lines import ExecutionRow
from tallystick.store.sandboxes import SandboxRow
from tallystick.tool_results import key_of

SandboxId = Annotated[str, Field(description="The sandbox's id: sbx_…")]
Variables = Annotated[dict[str, str] | None, Field(description="Variables of the environment, by name")]
Key = Annotated[str | None, Field(description="Becomes the variable ANTHROPIC_API_KEY")]

CHARGED: Final = frozenset(
    f"sandbox_{operation}" for operation in ("create", "execute", "configure", "upload", "delete")
)
_ENDS: Final = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)
_RUNS: Final = HERE.model_copy(update={"destructive_hint": True})
_MOST_LOGS: Final = 100


class SandboxTools:
    """The functions behind the tools."""

    def __init__(self, tally: Tally, callers: Callers) -> None:
        self._tally = tally
        self._callers = callers

    def _caller(self) -> Caller:
        return caller_of(self._tally, self._callers)

    async def sandbox_create(
        self,
        template: Annotated[str, Field(description="What it starts from, such as node, python or bash")],
        name: Annotated[str | None, Field(description="What you call it")] = None,
        env_vars: Variables = None,
        timeout: Annotated[  # noqa: ASYNC109 - the word of the contract
            int | None, Field(description="Seconds until it ends by itself")
        ] = None,
        vcpu: Annotated[int | None, Field(description="How many processors")] = None,
        memory_mib: Annotated[int | None, Field(description="How much memory, in MiB")] = None,
        metadata: Annotated[dict[str, Any] | None, Field(description="Facts to keep with it")] = None,
        anthropic_key: Key = None,
    ) -> answers.Created:
        """Make an isolated sandbox to run code in. It costs credits, and money by the second until sandbox_delete."""
        wish = Wish(
            template=template,
            name=name,
            env=_with_key(env_vars, anthropic_key),
            timeout=timeout,
            vcpu=vcpu,
            memory_mib=memory_mib,
            metadata=metadata,
        )
        return answers.created(await waiting(partial(self._create, self._caller(), wish, _key())))

    def _create(self, caller: Caller, wish: Wish, key: str) -> SandboxRow:
        row = self._tally.sandboxes.create(caller, wish, idempotency_key=key).value
        self._note(caller, to_text("sbx", row.id), "create")
        return row

    async def sandbox_execute(
        self,
        sandbox_id: SandboxId,
        code: Annotated[str, Field(description="What to run")],
        language: Annotated[
            Literal["bash", "python", "javascript"] | None,
            Field(description="In which language; the first of the template by default"),
        ] = None,
        env_vars: Variables = None,
        timeout: Annotated[  # noqa: ASYNC109 - as above
            int, Field(description="Seconds after which it is killed")
        ] = 60,
    ) -> answers.Executed:
        """Run code in a sandbox and wait for its end: what it wrote, its exit code, and whether it was killed."""
        caller = self._caller()
        row = await self._execute(caller, sandbox_id, code, language, env_vars, timeout, _key())
        await waiting(partial(self._note, caller, sandbox_id, "execute", execution_id=row.id))
        return answers.executed(row)

    async def _execute(
        self,
        caller: Caller,
        sandbox_id: str,
        code: str,
        language: str | None,
        env_vars: dict[str, str] | None,
        timeout: int,  # noqa: ASYNC109 - as above
        key: str,
    ) -> ExecutionRow:
        run = partial(
            self._tally.sandbox_runs.execute,
            caller,
            sandbox_id,
            code=code,
            language=language,
            timeout=timeout,
            env=env_vars,
            idempotency_key=key,
        )
        answer = await executing(self._tally.sandboxes, caller, sandbox_id, run)
        return answer.value

    def sandbox_list(
        self,
        status: Annotated[
            Literal["running", "stopped", "all"], Field(description="Which of them to show")
        ] = "all",
    ) -> answers.Listed:
        """Your sandboxes, newest first, with what each has cost: look here for what still runs and costs money."""
        found = self._tally.sandboxes.list(
            self._caller(), status=None if status == "all" else status, limit=100
        )
        listed = [answers.described(row) for row in found.items]
        return answers.Listed(sandboxes=listed, count=len(listed))

    def sandbox_status(self, sandbox_id: SandboxId) -> answers.Status:
        """How a sandbox stands: whether it runs, until when, what it has cost, and how much was run in it lately."""
        caller = self._caller()
        row = self._tally.sandboxes.get(caller, sandbox_id)
        ran = self._tally.sandbox_runs.logs(caller, sandbox_id, limit=_MOST_LOGS).items
        return answers.Status(sandbox=answers.described(row), executions=answers.executions(list(ran)))

    async def sandbox_configure(
        self,
        sandbox_id: SandboxId,
        env_vars: Variables = None,
        anthropic_key: Key = None,
        run_commands: Annotated[
            list[str] | None, Field(description="Commands to run afterwards, in bash, each at its own price")
        ] = None,
    ) -> answers.Configured:
        """Set variables for all that is run later in a sandbox, and run commands that prepare it."""
        caller, key = self._caller(), _key()
        env = _with_key(env_vars, anthropic_key)
        if env or not run_commands:
            row = await waiting(partial(self._configure, caller, sandbox_id, env, key))
        else:
            row = await waiting(partial(self._tally.sandboxes.get, caller, sandbox_id))
        results: list[answers.Executed] = []
        stopped_by = None
        for place, command in enumerate(run_commands or ()):
            run = self._execute(caller, sandbox_id, command, "bash", None, 60, _nth(key, place))
            try:
                results.append(answers.executed(await run))
            except errors.Refusal as refusal:
                if not (env or results):
                    raise
                # What was done before is done and charged: its caller is told of both.
                stopped_by = f"{refusal.code}: {refusal.detail}"
                break
        return answers.Configured(
            sandbox_id=sandbox_id,
            env_vars_updated=sorted(env or ()),
            total_env_vars=len(answers.variables(row)),
            commands_executed=len(results),
            configuration_results=results,
            stopped_by=stopped_by,
        )

    def _configure(self, caller: Caller, sandbox_id: str, env: dict[str, str] | None, key: str) -> SandboxRow:
        answer = self._tally.sandboxes.configure(caller, sandbox_id, env=env, idempotency_key=key)
        if not answer.replayed:
            self._note(caller, sandbox_id, "configure")
        return answer.value

    async def sandbox_upload(
        self,
        sandbox_id: SandboxId,
        file_path: Annotated[str, Field(description="From the working folder, or absolute")],
        content: Annotated[str, Field(description="The file's text")],
    ) -> answers.Uploaded:
        """Put a text file into a sandbox, with the folders that it needs."""
        try:
            data = content.encode()
        except UnicodeEncodeError:
            raise errors.ValidationFailed([("content", "expected text without lone surrogates")]) from None
        row = await waiting(partial(self._upload, self._caller(), sandbox_id, file_path, data, _key()))
        return answers.uploaded(row, file_path, data)

    def _upload(self, caller: Caller, sandbox_id: str, path: str, data: bytes, key: str) -> SandboxRow:
        answer = self._tally.sandbox_runs.write_file(caller, sandbox_id, path, data, idempotency_key=key)
        if not answer.replayed:
            self._note(caller, sandbox_id, "upload")
        return answer.value

    def sandbox_logs(
        self,
        sandbox_id: SandboxId,
        lines: Annotated[int, Field(ge=1, le=1000, description="How many executions, newest first")] = 100,
    ) -> answers.Logs:
        """What was run in a sandbox and what it wrote, newest first."""
        found = self._tally.sandbox_runs.logs(self._caller(), sandbox_id, limit=min(lines, _MOST_LOGS))
        return answers.Logs(logs=[answers.executed(row) for row in found.items])

    async def sandbox_stop(self, sandbox_id: SandboxId) -> answers.Ended:
        """End a sandbox now, so that it costs nothing more."""
        row = await waiting(partial(self._tally.sandboxes.stop, self._caller(), sandbox_id))
        return answers.Ended(message="Sandbox stopped", sandbox=answers.described(row))

    async def sandbox_delete(self, sandbox_id: SandboxId) -> answers.Ended:
        """End a sandbox for good: always do this when the work is done, since it costs money for every second."""
        row = await waiting(partial(self._delete, self._caller(), sandbox_id))
        return answers.Ended(message="Sandbox terminated", sandbox=answers.described(row))

    def _delete(self, caller: Caller, sandbox_id: str) -> SandboxRow:
        row = self._tally.sandboxes.delete(caller, sandbox_id)
        self._note(caller, sandbox_id, "delete")
        return row

    def _note(
        self, caller: Caller, sandbox_id: str, operation: str, *, execution_id: int | None = None
    ) -> None:
        charge = self._tally.sandboxes.charge_of(caller, sandbox_id, operation, execution_id=execution_id)
        if charge is not None:
            note(self._tally, caller, charge, f"sandbox_{operation}")


def register_sandboxes(server: FastMCP[Any], tools: SandboxTools) -> None:
    """Put the tools on a server."""
    put(
        server,
        (tools.sandbox_create, "Make a sandbox", HERE),
        (tools.sandbox_execute, "Run code in a sandbox", _RUNS),
        (tools.sandbox_list, "List sandboxes", READS),
        (tools.sandbox_status, "State of a sandbox", READS),
        (tools.sandbox_configure, "Configure a sandbox", _RUNS),
        (tools.sandbox_upload, "Upload a file to a sandbox", _RUNS),
        (tools.sandbox_logs, "Logs of a sandbox", READS),
        (tools.sandbox_stop, "Stop a sandbox", _ENDS),
        (tools.sandbox_delete, "Delete a sandbox", _ENDS),
    )


def _key() -> str:
    return key_of(get_context()) or secrets.token_urlsafe()


def _nth(key: str, place: int) -> str:
    """The key of one of a call's commands: as short as any key may be."""
    return hashlib.blake2b(f"{key}:{place}".encode(), digest_size=32).hexdigest()


def _with_key(env_vars: dict[str, str] | None, anthropic_key: str | None) -> dict[str, str] | None:
    return env_vars if anthropic_key is None else {**(env_vars or {}), "ANTHROPIC_API_KEY": anthropic_key}
