"""Sandboxes on this machine: processes that bubblewrap keeps apart from it, and from each other.

They share the kernel of this machine. What holds here: a sandbox lives in namespaces of its own without a network, as a
user without rights, sees programs and nothing else of the machine, and writes into memory of a limited size only. It ends
with the process that made it. Any process of the same user on this machine can work with it by its handle.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import (
    Capabilities,
    Command,
    Execution,
    Life,
    Made,
    OnOutput,
    SandboxesUnavailable,
    SandboxGone,
    SandboxOrder,
    SandboxRefused,
    Template,
)
from tallystick.providers.local import bubblewrap, cgroups, conversation, images, probe, seccomp
from tallystick.providers.local.conversation import AgentBroken, AgentGone
from tallystick.providers.local.folder import Notes, open_folder
from tallystick.providers.local.handles import Handle, end, has_ended, now_ns, open_process, start_of
from tallystick.providers.local.images import Shelf
from tallystick.providers.local.keeper import Keeper, ask
from tallystick.providers.local.making import MEMORY_MIN_MIB, Maker

DISK_MIB: Final = 512
PIDS: Final = 128
_END_SECONDS: Final = 5.0
_GONE_SECONDS: Final = 2.0
T = TypeVar("T")


class LocalSandboxes:
    """Runs sandboxes with bubblewrap. Making this proves that it isolates, or raises ``SandboxesUnavailable``.

    ``state_dir`` is a private folder, the same for all processes of an installation; ``templates_dir`` holds the operator's
    own. ``disk_mib`` is the working folder's size at most: files are kept in memory and count towards it, so a sandbox
    with less than twice that has half of its memory for them. With ``hold`` false no control groups are used.
    """

    def __init__(
        self,
        *,
        state_dir: str | os.PathLike[str] | None = None,
        templates_dir: str | os.PathLike[str] | None = None,
        bwrap: str | os.PathLike[str] | None = None,
        disk_mib: int = DISK_MIB,
        pids: int = PIDS,
        hold: bool = True,
    ) -> None:
        if platform.system() != "Linux":
            raise SandboxesUnavailable(
                "local sandboxes need Linux, and this is not: use E2B, or a Linux machine"
            )
        if platform.machine() not in seccomp.SUPPORTED:
            raise SandboxesUnavailable(f"local sandboxes need one of {', '.join(seccomp.SUPPORTED)}")
        program = bubblewrap.find(bwrap)
        self._shelf, missing = _find_images(templates_dir)
        self._notes = Notes(open_folder(state_dir))
        trees = cgroups.find() if hold else None
        self._keeper = Keeper(self._notes)
        self._maker = Maker(
            notes=self._notes,
            keeper=self._keeper,
            trees=trees,
            bwrap=program,
            shelf=self._shelf,
            disk_mib=disk_mib,
            pids=pids,
        )
        try:
            list(self._notes.all())  # sweeps
            isolation = self._prove()
        except BaseException:
            self._keeper.close()
            raise
        self._capabilities = _describe(isolation, missing, disk_mib=disk_mib, held=trees is not None)

    @property
    def name(self) -> str:
        """What sandboxes are filed under."""
        return "local"

    @property
    def capabilities(self) -> Capabilities:
        """What was found out when this was made, and which of the operator's templates cannot be used now."""
        able = self._capabilities
        return replace(able, warnings=(*able.warnings, *self._shelf.unusable()))

    def templates(self) -> Sequence[Template]:
        """What sandboxes can start from, by name."""
        return [image.template for _, image in sorted(self._shelf.all().items())]

    def create(self, order: SandboxOrder, *, key: str) -> Made:
        """Make a sandbox; a repeat with the same key, by whichever process of this folder, makes no second one."""
        return self._maker.create(order, key=key)

    def execute(self, handle: str, command: Command, *, on_output: OnOutput | None = None) -> Execution:
        """Run code and wait for its end."""
        return self._within(handle, lambda known: conversation.execute(known, command, on_output))

    def write_file(self, handle: str, path: str, content: bytes) -> None:
        """Put a file into a sandbox."""
        self._within(handle, lambda known: conversation.write_file(known, path, content))

    def read_file(self, handle: str, path: str, *, max_bytes: int) -> bytes:
        """Give a file of a sandbox."""
        return self._within(handle, lambda known: conversation.read_file(known, path, max_bytes=max_bytes))

    def look(self, handle: str) -> Life:
        """Whether a sandbox runs, and how long it has lived: from its owner, where that is another process."""
        known = Handle.parse(handle)
        if not known.is_here():
            return _gone()
        own = self._keeper.life(known.name)
        if own is not None:
            return own
        if start_of(known.pid) == known.started:
            return Life(running=True, lived_ms=known.lived_ms(now_ns()))
        return self._told_by_owner(known) or _gone()

    def set_deadline(self, handle: str, *, seconds: float) -> None:
        """Let a sandbox end so many seconds from now."""
        known = Handle.parse(handle)
        if known.is_here():
            if self._keeper.set_deadline(known.name, seconds):
                return
            if self._keeper.made(known.name) is None:
                answer = self._ask_owner(known, op="deadline", seconds=seconds)
                if answer is not None and answer.get("set"):
                    return
        raise SandboxGone

    def kill(self, handle: str) -> Life:
        """End a sandbox now, by whichever process, and give its whole life."""
        known = Handle.parse(handle)
        if not known.is_here():
            return _gone()
        record = self._keeper.record(known.name)
        if record is not None:
            record.kill("killed")
            if not record.finished.wait(_END_SECONDS):
                raise OutcomeUnknown("the sandbox was killed and has not ended yet")
            return record.life()
        return self._kill_of_others(known)

    def running(self) -> Mapping[str, str]:
        """All sandboxes of this folder that run: handle by reference."""
        return {note.reference: note.handle for _, note in self._notes.all() if note.handle}

    def close(self) -> None:
        """End all that this process made."""
        self._keeper.close()

    def _prove(self) -> str:
        """Start a sandbox and see from inside that it is one."""
        order = SandboxOrder(
            reference="probe", template="bash", vcpu=1, memory_mib=MEMORY_MIN_MIB, seconds=60.0
        )
        try:
            made = self._maker.create(order, key=f"probe/{os.getpid()}/{now_ns()}")
            try:
                return probe.prove(lambda command: self.execute(made.handle, command))
            finally:
                self.kill(made.handle)
        except ProviderRefused as error:
            raise SandboxesUnavailable(probe.advice(error.detail)) from error
        except (SandboxGone, SandboxRefused) as error:
            raise SandboxesUnavailable(f"a sandbox that was tried ended at once: {error}") from error

    # --- reaching one ------------------------------------------------------------------------------------------------

    def _within(self, handle: str, act: Callable[[Handle], T]) -> T:
        """Do something in a sandbox. One whose agent breaks the rules ends, for nothing in it can be relied on."""
        known = Handle.parse(handle)
        pidfd = open_process(known.pid, known.started) if known.is_here() else None
        if pidfd is None:
            raise SandboxGone
        try:
            return act(known)
        except (AgentGone, AgentBroken) as error:
            if isinstance(error, AgentBroken) or not has_ended(pidfd, within_seconds=_GONE_SECONDS):
                record = self._keeper.record(known.name)
                if record is None:
                    end(pidfd)
                else:
                    record.kill("crashed")
                has_ended(pidfd, within_seconds=_END_SECONDS)
            gone = SandboxGone()
            gone.cut_off = error.cut_off if isinstance(error, AgentGone) else None
            raise gone from error
        finally:
            os.close(pidfd)

    def _kill_of_others(self, known: Handle) -> Life:
        """End a sandbox that another process made, or that this one has taken away already."""
        own = self._keeper.life(known.name)
        if own is not None:
            return own
        pidfd = open_process(known.pid, known.started)
        if pidfd is None:
            return self._told_by_owner(known) or _gone()
        try:
            self._ask_owner(known, op="kill")
            end(pidfd)  # also where the owner does not answer
            if not has_ended(pidfd, within_seconds=_END_SECONDS):
                raise OutcomeUnknown("the sandbox was killed and has not ended yet")
            ended = Life(running=False, lived_ms=known.lived_ms(now_ns()), reason="killed")
        finally:
            os.close(pidfd)
        return self._told_by_owner(known) or ended

    def _told_by_owner(self, known: Handle) -> Life | None:
        answer = self._ask_owner(known, op="life")
        return Life(**answer["life"]) if answer else None

    def _ask_owner(self, known: Handle, **asked: object) -> dict[str, Any] | None:
        try:
            return ask(known.folder, known.owner, name=known.name, **asked)
        except TimeoutError:
            return None


def _gone() -> Life:
    return Life(running=False, lived_ms=None, reason="gone")


def _find_images(templates_dir: str | os.PathLike[str] | None) -> tuple[Shelf, list[str]]:
    """What sandboxes can start from, and a sentence for each of the usual templates that this machine cannot give."""
    python = images.find_program("python3")
    if python is None:
        raise SandboxesUnavailable("local sandboxes need /usr/bin/python3: install the package python3")
    own, missing = images.built_in(python)
    if "bash" not in own:
        raise SandboxesUnavailable("local sandboxes need /usr/bin/bash: install the package bash")
    folder = None if templates_dir is None else Path(templates_dir)
    return Shelf(own, folder, for_others=os.geteuid() == 0), missing


def _describe(isolation: str, warnings: list[str], *, disk_mib: int, held: bool) -> Capabilities:
    return Capabilities(
        isolation=isolation,
        limits="enforced" if held else "best_effort",
        limits_by="control groups of the kernel" if held else "limits of each process, and a watchdog",
        network=False,
        disk_mib=disk_mib,
        session_seconds_max=None,
        warnings=(
            "local sandboxes share the kernel of this machine: run code of strangers on E2B",
            f"files are kept in a sandbox's memory: at most half of it, and at most {disk_mib} MiB",
            *(() if held else ("memory is watched and not held: a sandbox may exceed it for a moment",)),
            *warnings,
        ),
    )
