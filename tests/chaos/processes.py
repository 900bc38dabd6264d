"""Real processes of the program: started on a free port, killed or ended, and started again on the same one."""

import resource
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers import ADMIN_KEY, PROGRAMS, clean_environ, free_port

ECONOMY = Path(__file__).with_name("economy.toml")
ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 90
_READY = ("listens on", "worker runs", "client runs")


class Node:
    """One `tally serve` or `tally worker`, or another program that says when it is ready.

    What it says is read from a pipe, so that its files are the database's.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        command: str = "serve",
        economy: Path = ECONOMY,
        program: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.lines: list[str] = []
        own = ["worker"] if command == "worker" else ["serve", "--port", str(self.port)]
        self._arguments = list(program) or [str(PROGRAMS / "tally"), *own]
        self._environ = clean_environ() | {
            "TALLY_DATABASE_URL": database_url,
            "TALLY_ECONOMY": str(economy),
            "TALLY_ADMIN_KEY": ADMIN_KEY,
            "PYTHONPATH": str(ROOT),
        }
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()
        self._works = False

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process that runs."""
        assert self._process is not None
        return self._process

    def launch(self) -> Self:
        """Start without waiting."""
        self._ready.clear()
        self._works = False
        self._process = subprocess.Popen(
            self._arguments,
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if any(sign in line for sign in _READY):
                self._works = True
                self._ready.set()
        self._ready.set()  # it has ended: whoever waits must not wait longer

    def wait(self) -> Self:
        """Wait until it says that it works."""
        said = self._ready.wait(START_TIMEOUT_SECONDS)
        assert said, f"not ready in time:\n{self.log}"
        assert self._works, f"it ended:\n{self.log}"
        return self

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def terminate(self) -> int:
        """End it in order; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._gone()

    def _gone(self) -> int:
        status = self.process.wait(STOP_TIMEOUT_SECONDS)
        assert self._reader is not None
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._process = None
        return status

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self.kill()

    @property
    def log(self) -> str:
        """All that every process of this node has said so far."""
        return "".join(self.lines)

    def limit_files(self, size: int | None) -> None:
        """Let no file of the process grow beyond a size: a full disk, for whoever runs the tests. None: room again."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        soft = hard if size is None else size
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def resident_bytes(self) -> int:
        """The memory that the process has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def open_files(self) -> int:
        """How many files and connections the process has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


@contextmanager
def running(
    folder: Path, database_url: str, *commands: str, economy: Path = ECONOMY
) -> Iterator[Sequence[Node]]:
    """Start one node for each command, all at once, and wait for all of them; at the end none is left."""
    nodes = [Node(folder, database_url, command=command, economy=economy) for command in commands]
    try:
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait()
        yield nodes
    finally:
        for node in nodes:
            node.close()


def mistakes(nodes: Sequence[Node]) -> list[str]:
    """What the nodes logged of what nobody foresaw."""
    signs = (
        '"unforeseen"',
        "turn failed",
        "cannot be settled",
        "one by one",
        "never retrieved",
        "Exception in",
    )
    return [line for node in nodes for line in node.lines if any(sign in line for sign in signs)]
