"""Runs the commands of a document in one shell, as a reader would, and compares what they print.

- A ``console`` block has commands after ``$`` and, below them, what they print; ``…`` stands for anything,
  and the layout is not compared. A command without output shown must succeed.
- A ``toml`` or ``python`` block that begins with a comment naming a file is that file.
- A command that starts a server starts one on a free port, and the document's address becomes that server's.
  In later commands ``tly_…`` is the admin key that the first server printed.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers import PROGRAMS, Server, clean_environ, free_port, running_server

DOCUMENTED_ADDRESS = "http://127.0.0.1:8080"
COLUMNS = "120"

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
_NAMED_FILE = re.compile(r"# (?P<name>[\w.-]+\.(toml|py))\n")
_ADMIN_KEY = re.compile(r"^ *(?P<key>tly_\S+)$", re.MULTILINE)
_SERVE = re.compile(r"(make|tally) serve( --economy (?P<economy>\S+))?")
_MARK = "--- done "


@dataclass(frozen=True)
class File:
    """A file that the reader saves."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command, and what is shown of its output."""

    text: str
    shown: str


def read(document: Path) -> list[File | Command]:
    """What a reader does, in order."""
    steps: list[File | Command] = []
    for block in _BLOCK.finditer(document.read_text()):
        indent = len(block["indent"])
        text = "".join(line[indent:] or "\n" for line in block["text"].splitlines(keepends=True))
        if block["language"] in {"toml", "python"} and (named := _NAMED_FILE.match(text)):
            steps.append(File(named["name"], text))
        elif block["language"] == "console":
            steps += _commands(text)
    return steps


def _commands(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        count = 1
        while lines[count - 1].endswith("\\"):
            count += 1
        yield Command("\n".join(lines[:count]), "\n".join(lines[count:]).strip())


def matches(shown: str, printed: str) -> bool:
    """Whether what is shown is what was printed, but for ``…`` and for the layout."""
    parts = (re.escape(part) for part in _words(shown).split("…"))
    return re.fullmatch(".*?".join(parts), _words(printed)) is not None


def _words(text: str) -> str:
    return " ".join(re.sub("─+", "─", text).split())


class Shell:
    """One bash that keeps its variables between commands, and the server that was started last."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.server: Server | None = None
        self._admin_key: str | None = None
        self._database_url = database_url
        self._port = free_port()
        self._servers = ExitStack()
        environ = clean_environ() | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": COLUMNS,
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "TALLY_URL": self.address,
            "TALLY_DATABASE_URL": database_url,
        }
        shell = shutil.which("bash")
        assert shell is not None
        self._process = subprocess.Popen(
            [shell, "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def address(self) -> str:
        """Where this reader's server listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the shell and the server."""
        self._servers.close()
        self._process.communicate()

    def do(self, step: File | Command) -> None:
        """Do what the document says, and see what it says."""
        if isinstance(step, File):
            (self.folder / step.name).write_text(step.text)
        elif serve := _SERVE.fullmatch(step.text):
            self._serve(serve["economy"] or "starter")
            assert self.server is not None
            assert matches(self._here(step.shown) + "…", self.server.said), self.server.said
        else:
            command = step.text if self._admin_key is None else step.text.replace("tly_…", self._admin_key)
            status, printed = self._run(self._here(command))
            if step.shown:
                assert matches(self._here(step.shown), printed), f"$ {step.text}\n{printed}"
            else:
                assert 0 == status, f"$ {step.text}\n{printed}"

    def _here(self, text: str) -> str:
        return text.replace(DOCUMENTED_ADDRESS, self.address)

    def _serve(self, economy: str) -> None:
        self._servers.close()  # whoever starts a server again has stopped the one before
        server = running_server(
            self.folder, economy=economy, database_url=self._database_url, admin_key=None, port=self._port
        )
        self.server = self._servers.enter_context(server)
        if key := _ADMIN_KEY.search(self.server.said):
            self._admin_key = key["key"]

    def _run(self, command: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho '{_MARK}'$?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if _MARK in line:
                before, _, status = line.partition(_MARK)
                return int(status), "".join([*lines, before])
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}")
