"""What is run in sandboxes: code, and the files that go in and come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.ports import sandboxes as port
from tallystick.ports.sandboxes import Language
from tallystick.services.context import Answer, Caller
from tallystick.services.pages import Page, check_limit, page_of, position_of
from tallystick.services.requests import idempotency_fields, is_storable
from tallystick.services.sandbox_checks import check_env, check_path, check_whole
from tallystick.services.sandbox_output import Audience, Texts, output_text
from tallystick.services.sandbox_postings import Fee
from tallystick.services.sandbox_steps import SandboxSteps
from tallystick.store import sandbox_lines, sandbox_requests
from tallystick.store.sandbox_lines import ExecutionRow
from tallystick.store.sandbox_requests import RequestRow
from tallystick.store.sandboxes import SandboxRow

LANGUAGES: Final[tuple[Language, ...]] = ("bash", "python", "javascript")
DEFAULT_EXECUTE_SECONDS: Final = 60
MAX_EXECUTE_SECONDS: Final = 86_400
MAX_CODE_BYTES: Final = 100_000
MAX_FILE_BYTES: Final = 32 << 20
MAX_OUTPUT_BYTES: Final = 256 << 10

# Why a sandbox ends that is nobody's doing among its users.
FAULTS: Final = frozenset({"host_restart", "provider_gone"})


class SandboxRuns:
    """Run code in sandboxes, and move files."""

    def __init__(self, steps: SandboxSteps) -> None:
        self._steps = steps
        self._context = steps.context
        self._bills = steps.bills
        self._host = steps.host

    def execute(
        self,
        caller: Caller,
        sandbox: str,
        *,
        code: str,
        language: str | None = None,
        timeout: int | None = None,
        env: Mapping[str, str] | None = None,
        idempotency_key: str | None,
        audience: Audience | None = None,
    ) -> Answer[ExecutionRow]:
        """Run code and wait for its end. What the code does, also where it fails, is its caller's own; it is charged.

        A sandbox that ends by what its customer did, or did not pay, ends the code, which is charged as well: its output
        was read. Where the host or the provider failed, nothing is.

        An ``audience`` is told meanwhile; of a repeat, which runs nothing, it is told nothing.

        Raises ``SandboxNotRunning``, ``SandboxElsewhere``, and ``SandboxFailed`` where it was not carried out.
        """
        row = self._steps.find(caller, sandbox)
        chosen = self._language(row, language)
        extra = check_env(env, field="env_vars")
        if not code or len(code.encode(errors="replace")) > MAX_CODE_BYTES:
            raise errors.ValidationFailed([("code", f"expected 1 to {MAX_CODE_BYTES} bytes of code")])
        if not is_storable(code):
            raise errors.ValidationFailed([("code", "expected text without NUL or lone surrogates")])
        seconds = check_whole(timeout, "timeout", DEFAULT_EXECUTE_SECONDS, 1, MAX_EXECUTE_SECONDS)
        content = (sandbox, code, language, seconds, sorted(extra.items()))
        repeat = idempotency_fields(caller, idempotency_key, "sandbox_execute", content)
        fee = self._steps.fee("execute")
        fresh = ExecutionRow(
            id=self._context.new_id(),
            sandbox_id=row.id,
            idempotency=repeat["idempotency"],
            request_digest=repeat["request_digest"],
            process_id=self._host.process_id,
            hold_id=None,
            language=chosen,
            code=code,
            status="running",
            started_at=self._context.now(),
        )
        answer = self._steps.paid(
            row.customer_id, lambda: self._steps.twice(lambda c: self._enter(c, row, fresh, fee, seconds))
        )
        if answer.replayed:
            return answer
        command = port.Command(
            language=chosen,
            code=code,
            timeout_seconds=seconds,
            env={**json.loads(row.env or "{}"), **extra},
            output_max_bytes=MAX_OUTPUT_BYTES,
        )
        execution = answer.value
        try:
            done = self._done(row, lambda handle: self._carried_out(handle, command, audience))
        except BaseException:
            self._undone(row, execution)
            raise
        return Answer(self._ended(row, execution, done, fee))

    def _enter(
        self, connection: Connection, row: SandboxRow, fresh: ExecutionRow, fee: Fee, seconds: int
    ) -> Answer[ExecutionRow]:
        known = sandbox_lines.execution_by_key(connection, fresh.idempotency)
        if known is not None:
            if known.request_digest != fresh.request_digest:
                raise errors.IdempotencyKeyReused
            if known.status == "running":
                raise errors.IdempotencyInFlight
            return Answer(known, replayed=True)
        now = self._steps.running(self._bills.lock(connection, row))
        begun = replace(fresh, hold_id=self._bills.postings.hold_fee(connection, now, fee, seconds=seconds))
        sandbox_lines.add_execution(connection, begun)
        return Answer(begun)

    def _done(self, row: SandboxRow, run: Callable[[str], port.Execution]) -> port.Execution:
        """What came of it, also where its sandbox ended before it did."""
        try:
            return self._steps.at_provider(row, run, field="code")
        except errors.SandboxNotRunning as ended:
            gone = ended.__cause__
            cut_off = gone.cut_off if isinstance(gone, port.SandboxGone) else None
            if cut_off is None or ended.fields["reason"] in FAULTS:
                raise
            return cut_off

    def _carried_out(self, handle: str, command: port.Command, audience: Audience | None) -> port.Execution:
        if audience is None:
            return self._host.provider.execute(handle, command)
        texts = Texts(audience)
        audience.begun()
        done = self._host.provider.execute(handle, command, on_output=texts.add)
        texts.end()
        return done

    def _ended(
        self, row: SandboxRow, execution: ExecutionRow, done: port.Execution, fee: Fee
    ) -> ExecutionRow:
        """Keep what came of it, and capture its price with the running time."""
        seen = self._steps.seen(row)
        values: dict[str, Any] = {
            "status": "done",
            "duration_ms": done.duration_ms,
            "exit_code": done.exit_code,
            "timed_out": done.timed_out,
            "oom": done.oom,
            "truncated": done.truncated,
            "stdout": output_text(done.stdout),
            "stderr": output_text(done.stderr),
        }

        def work(connection: Connection, now: SandboxRow) -> SandboxRow:
            if not sandbox_lines.end_execution(connection, execution.id, values):
                # This process was silent for so long that another gave its price back.
                raise errors.SandboxFailed(
                    "the server was held up while this ran, and what came of it is lost"
                )
            return self._bills.capture(
                connection, now, fee, hold_id=execution.hold_id, lived_ms=seen.ms, execution_id=execution.id
            )

        self._steps.follow(self._steps.transact(row, work), seen)
        return replace(execution, hold_id=None, **values)

    def _undone(self, row: SandboxRow, execution: ExecutionRow) -> None:
        """It was not carried out: its key is free again, and its price goes back."""

        def work(connection: Connection, now: SandboxRow) -> SandboxRow:
            if execution.hold_id is not None:
                self._bills.postings.release(connection, now, execution.hold_id)
            sandbox_lines.drop_execution(connection, execution.id)
            return now

        self._steps.transact(row, work)

    def write_file(
        self, caller: Caller, sandbox: str, path: str, content: bytes, *, idempotency_key: str | None = None
    ) -> Answer[SandboxRow]:
        """Put a file into a sandbox; gives the sandbox as it stands. Without a key, each repeat is charged."""
        row = self._steps.find(caller, sandbox)
        checked = check_path(path)
        if len(content) > MAX_FILE_BYTES:
            raise errors.BodyTooLarge(MAX_FILE_BYTES)
        asked = (sandbox, checked, hashlib.blake2b(content, digest_size=32).hexdigest())
        fresh = self._steps.request(caller, row, idempotency_key, "sandbox_upload", asked)
        fee = self._steps.fee("upload")
        answer = self._steps.paid(
            row.customer_id, lambda: self._steps.twice(lambda c: self._enter_upload(c, row, fresh, fee))
        )
        if answer.replayed:
            return Answer(self._steps.find(caller, sandbox), replayed=True)
        upload = answer.value
        try:
            self._steps.at_provider(
                row, lambda handle: self._host.provider.write_file(handle, checked, content)
            )
            seen = self._steps.seen(row)
            written = self._steps.transact(row, lambda c, now: self._written(c, now, upload, fee, seen.ms))
        except BaseException:
            self._steps.transact(row, lambda c, now: self._steps.undo_upload(c, now, upload))
            raise
        return Answer(self._steps.follow(written, seen))

    def _enter_upload(
        self, connection: Connection, row: SandboxRow, fresh: RequestRow, fee: Fee
    ) -> Answer[RequestRow]:
        known = self._steps.known(connection, fresh)
        if known is not None:
            return Answer(known, replayed=True)
        now = self._steps.running(self._bills.lock(connection, row))
        hold_id = self._bills.postings.hold_fee(connection, now, fee)
        begun = replace(fresh, process_id=self._host.process_id, hold_id=hold_id)
        sandbox_requests.add(connection, begun)
        return Answer(begun)

    def _written(
        self, connection: Connection, row: SandboxRow, upload: RequestRow, fee: Fee, lived_ms: int
    ) -> SandboxRow:
        if not sandbox_requests.end(connection, upload.id):
            # This process was silent for so long that another gave its price back.
            raise errors.SandboxFailed("the server was held up while this was written: it costs nothing")
        return self._bills.capture(connection, row, fee, hold_id=upload.hold_id, lived_ms=lived_ms)

    def read_file(self, caller: Caller, sandbox: str, path: str) -> bytes:
        """A file of a sandbox."""
        row = self._steps.running(self._steps.find(caller, sandbox))
        checked = check_path(path)
        return self._steps.at_provider(
            row, lambda handle: self._host.provider.read_file(handle, checked, max_bytes=MAX_FILE_BYTES)
        )

    def logs(
        self, caller: Caller, sandbox: str, *, limit: int = 20, cursor: str | None = None
    ) -> Page[ExecutionRow]:
        """What was run in a sandbox and what it wrote, newest first."""
        row = self._steps.find(caller, sandbox)
        limit = check_limit(limit)
        before = position_of("logs", cursor)
        with self._context.database.read() as connection:
            found = sandbox_lines.executions(connection, row.id, before=before, limit=limit + 1)
        return page_of("logs", found, limit=limit, position=lambda each: each.id)

    def _language(self, row: SandboxRow, language: str | None) -> Language:
        template = next((each for each in self._host.provider.templates() if each.name == row.template), None)
        known = LANGUAGES if template is None else template.languages
        wanted = language or known[0]
        for each in known:
            if each == wanted:
                return each
        raise errors.ValidationFailed([("language", f"expected one of {', '.join(known)}")])
