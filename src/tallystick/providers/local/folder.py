"""The private folder in which the processes of an installation on one machine find each other's sandboxes.

A sandbox has two files there: a note, made before it is started, and the socket on which its agent listens. The owner takes
both away at its end; what an owner left that was killed is swept by the next one that looks.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from tallystick.ports.sandboxes import SandboxesUnavailable
from tallystick.providers.local import cgroups
from tallystick.providers.local.handles import Handle, start_of

_FRESH: Final = ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What stands about a sandbox; ``handle`` is empty until it is ready. The owner is the process that made it."""

    reference: str
    owner_pid: int
    owner_started: int
    vcpu: int
    memory_mib: int
    groups: tuple[str, ...] = ()
    handle: str = ""

    @property
    def is_left_over(self) -> bool:
        """Whether its sandbox has ended, and nobody is there to take it away."""
        if start_of(self.owner_pid) != self.owner_started:
            return True
        if not self.handle:
            return False
        handle = Handle.parse(self.handle)
        return start_of(handle.pid) != handle.started


def open_folder(path: str | os.PathLike[str] | None) -> Path:
    """The folder, made where it is not there. Raises ``SandboxesUnavailable`` where others could look into it."""
    if path is None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        base = Path(runtime) if runtime and Path(runtime).is_dir() else Path(tempfile.gettempdir())
        path = base / f"tallystick-sandboxes-{os.geteuid()}"
    folder = Path(path).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SandboxesUnavailable(f"the folder for running sandboxes cannot be made: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SandboxesUnavailable(
            f"{folder} has to be a folder of this user's own: chmod 700, or give another"
        )
    return folder


class Notes:
    """The notes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owner = (os.getpid(), start_of(os.getpid()) or 0)

    def claim(self, name: str, *, reference: str, vcpu: int, memory_mib: int) -> Note | None:
        """Note a sandbox that is to be made; None where another process has it."""
        note = Note(
            reference=reference,
            owner_pid=self._owner[0],
            owner_started=self._owner[1],
            vcpu=vcpu,
            memory_mib=memory_mib,
        )
        part = self._write(name, note)
        try:
            os.link(part, self._path(name))  # all of it at once, and only for one
        except FileExistsError:
            return None
        finally:
            part.unlink()
        return note

    def change(
        self, name: str, note: Note, *, groups: tuple[str, ...] | None = None, handle: str = ""
    ) -> Note:
        """Note what has become known."""
        note = replace(note, groups=note.groups if groups is None else groups, handle=handle or note.handle)
        self._write(name, note).rename(self._path(name))
        return note

    def get(self, name: str) -> Note | None:
        """What stands about a sandbox; what is no note, as where the power went while it was written, is taken away."""
        try:
            known = json.loads(self._path(name).read_text(encoding="utf-8"))
            return Note(**{**known, "groups": tuple(known["groups"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            self.discard(name)
            return None

    def discard(self, name: str) -> None:
        """Take the files of a sandbox away."""
        for path in (self.folder / f"{name}.sock", self._path(name)):
            path.unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, Note]]:
        """All notes of sandboxes that are there; what is left over is swept."""
        for path in self.folder.glob("*.json"):
            note = self.get(path.stem)
            if note is None:
                continue
            if note.is_left_over:
                self._sweep(path.stem, note)
            else:
                yield path.stem, note
        for path in self.folder.glob("owner-*.sock"):
            _, pid, started, _ = path.stem.split("-")
            if start_of(int(pid)) != int(started):
                path.unlink(missing_ok=True)

    def owners(self) -> list[str]:
        """The sockets of the processes that own sandboxes here."""
        return [path.name for path in self.folder.glob("owner-*.sock")]

    def new_owner(self) -> str:
        """A name for the socket of an owner, which tells when it is left over."""
        return f"owner-{self._owner[0]}-{self._owner[1]}-{secrets.token_hex(4)}.sock"

    def _sweep(self, name: str, note: Note) -> None:
        if start_of(note.owner_pid) == note.owner_started:
            return  # its owner takes it away itself, at this moment
        cgroups.remove([Path(folder) for folder in note.groups])
        self.discard(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _write(self, name: str, note: Note) -> Path:
        part = self.folder / f"{name}-{secrets.token_hex(4)}{_FRESH}"
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        part.write_text(json.dumps(asdict(note)), encoding="utf-8")
        return part
