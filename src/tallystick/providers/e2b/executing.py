"""Running code in a sandbox of E2B: started by its agent, heard until its end, and killed when its time is over.

The SDK gives text: bytes that are no UTF-8 have become replacement characters by then.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import e2b

from tallystick.ports.sandboxes import Command, Execution, OnOutput, SandboxGone, SandboxRefused
from tallystick.providers.e2b.answers import GONE
from tallystick.providers.e2b.line import Line
from tallystick.providers.e2b.lives import NS_PER_MS, NS_PER_SECOND
from tallystick.providers.e2b.output import Output, ToldInVain
from tallystick.providers.e2b.shell import KILLED, MARK, file_of, killing, line_of, line_of_file

_KILLING_SECONDS: Final = 10.0
_EARLY_NS: Final = NS_PER_SECOND // 20  # E2B's clock may say so much too soon that the time is over


class Runner:
    """Runs commands over a line; ``steady`` is a steady clock in nanoseconds."""

    def __init__(self, line: Line, steady: Callable[[], int]) -> None:
        self._line = line
        self._steady = steady

    def run(self, handle: str, command: Command, on_output: OnOutput | None) -> Execution:
        """Run one, as the port has it."""
        if "\0" in command.code:
            raise SandboxRefused("the code has a NUL in it")
        mark = secrets.token_hex(8)
        shell = line_of(command)
        if shell is None:
            self._line.write(handle, file_of(mark), command.code.encode())
            shell = line_of_file(command.language, file_of(mark))
        output = Output(max_bytes=command.output_max_bytes, on_output=on_output)
        began = self._steady()
        try:
            return self._run(handle, command, shell, mark, output, began)
        except SandboxGone as gone:
            gone.cut_off = self._ended(output, began, KILLED) if output.begun else None
            raise

    def _run(
        self, handle: str, command: Command, shell: str, mark: str, output: Output, began: int
    ) -> Execution:
        in_vain: ToldInVain | None = None
        code = KILLED
        with self._line.inside(handle) as sandbox:
            try:
                code = _wait(sandbox, shell, command, mark, output)
            except ToldInVain as error:
                _kill_quietly(sandbox, mark)
                in_vain = error
            except Exception as error:
                if not self._is_over(began, command) or not _is_of_time(error):
                    _give_up(sandbox, mark, error)
                    raise
                code = -1
            except BaseException:
                _kill_quietly(sandbox, mark)
                raise
            timed_out = code < 0 and self._is_over(began, command)
            if timed_out:
                _kill(sandbox, mark)  # its agent has killed the first process, and none of its children
        if in_vain is not None:
            raise in_vain.error
        return replace(self._ended(output, began, code if code >= 0 else KILLED), timed_out=timed_out)

    def _ended(self, output: Output, began: int, code: int) -> Execution:
        return Execution(
            exit_code=code,
            stdout=output.of("stdout"),
            stderr=output.of("stderr"),
            duration_ms=(self._steady() - began) // NS_PER_MS,
            truncated=output.truncated,
        )

    def _is_over(self, began: int, command: Command) -> bool:
        return self._steady() - began + _EARLY_NS >= command.timeout_seconds * NS_PER_SECOND


def _wait(sandbox: e2b.Sandbox, shell: str, command: Command, mark: str, output: Output) -> int:
    """Start a command and hear it out; gives its exit code, below 0 where a signal ended the shell around it."""
    run = sandbox.commands.run(
        shell,
        background=True,
        envs=dict(command.env) | {MARK: mark},
        timeout=command.timeout_seconds,
        retain_output=False,
    )
    output.begun = True
    try:
        ended = run.wait(
            on_stdout=lambda text: output.add("stdout", text),
            on_stderr=lambda text: output.add("stderr", text),
        )
    except e2b.CommandExitException as error:
        return error.exit_code
    finally:
        run.disconnect()
    return ended.exit_code


def _is_of_time(error: Exception) -> bool:
    """Whether the time of the stream was over; the classes below that one speak of the sandbox."""
    return type(error) is e2b.TimeoutException


def _give_up(sandbox: e2b.Sandbox, mark: str, error: Exception) -> None:
    """Nobody hears the command any more: end it, unless the sandbox has ended."""
    if not isinstance(error, GONE):
        _kill_quietly(sandbox, mark)


def _kill(sandbox: e2b.Sandbox, mark: str) -> None:
    sandbox.commands.run(killing(mark), timeout=_KILLING_SECONDS)


def _kill_quietly(sandbox: e2b.Sandbox, mark: str) -> None:
    """As far as it goes: another error is on its way."""
    with contextlib.suppress(Exception):
        _kill(sandbox, mark)
