"""The how-to of running sandboxes, gone through as it stands, in real sandboxes of this machine."""

from __future__ import annotations

import json
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.test_how_to import DOCS, blocks
from tests.providers.local.wheels import only_wheels
from tests.servers import PROGRAMS, clean_environ, running_server

pytestmark = pytest.mark.slow

PAGE = DOCS / "how-to" / "run-sandboxes.md"
STEPS = ["step 1", "step 2", "step 3"]


class Reader:
    """Runs the commands of the page as a new user, with the id of the sandbox that was made last."""

    def __init__(self, url: str, folder: Path) -> None:
        user = {"email": "ada@example.com", "password": "correct horse battery"}
        token = httpx.post(f"{url}/api/v1/auth/register", json=user).json()["token"]
        self.environ = {"TALLY_URL": url, "TALLY_API_KEY": token}
        self._folder = folder
        self._sandbox = ""

    def run(self, commands: str) -> list[tuple[float, str]]:
        """Run a block in a shell: each line that is printed, and when it came."""
        with subprocess.Popen(
            ["bash", "-ec", re.sub(r"\bSANDBOX\b", self._sandbox, commands)],
            env=clean_environ() | self.environ | {"PATH": f"{PROGRAMS}:/usr/bin:/bin"},
            cwd=self._folder,
            text=True,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            found = [(time.monotonic(), line.rstrip("\n")) for line in process.stdout]
        assert 0 == process.returncode, found
        return found

    def make(self, command: str) -> None:
        """Make a sandbox as the page does, and keep its id."""
        [said, *_] = [line for _, line in self.run(command) if line.startswith("sbx_")]
        self._sandbox = said.partition(" ")[0]


@pytest.fixture
def reader(sqlite_url: str, tmp_path: Path) -> Iterator[Reader]:
    """Whoever reads the page."""
    with running_server(tmp_path, economy="flow-nexus", database_url=sqlite_url) as server:
        yield Reader(server.url, tmp_path)


def came_one_by_one(found: list[tuple[float, str]]) -> bool:
    """Whether the steps were printed over the two seconds that they take, and not all at the end."""
    times = [at for at, line in found if line in STEPS]
    return len(STEPS) == len(times) and times[-1] - times[0] > 1


def test_the_page_is_true(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command and every program does what is said; what a slow loop writes arrives line by line in all of them."""
    templates, use, watch, over_http, bill, build = blocks(PAGE, "sh")
    once, live = blocks(PAGE, "python")
    for name, value in reader.environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "report.csv").write_text("a,b\n")
    create, _, rest = use.partition("\n")
    reader.run(templates)
    reader.make(create)
    assert {"42", "1 report.csv"} <= {line for _, line in reader.run(rest)}

    reader.make(create)
    printed = reader.run(watch)
    assert STEPS == [line for _, line in printed]
    assert came_one_by_one(printed)
    events = reader.run(over_http)
    assert ["output"] * 3 + ["result"] == [line[7:] for _, line in events if line.startswith("event: ")]
    data = [(at, json.loads(line[6:])) for at, line in events if line.startswith("data: ")]
    assert came_one_by_one([(at, found.get("text", "").strip()) for at, found in data])
    assert "step 1\nstep 2\nstep 3\n" == data[-1][1]["stdout"]
    reader.run(bill)
    reader.environ |= only_wheels(tmp_path, "numpy", "pandas")
    reader.run(build)
    assert (
        tomllib.loads((tmp_path / "templates" / "science" / "template.toml").read_text())["base"] == "python"
    )

    exec(once, {})  # noqa: S102 - the program of the document
    assert "42\n\n" == capsys.readouterr().out
    pieces: list[tuple[float, str]] = []
    names: dict[str, Any] = {"print": lambda text, **_: pieces.append((time.monotonic(), text.strip()))}
    exec(live, names)  # noqa: S102 - the program of the document
    assert came_one_by_one(pieces)
    assert 0 == names["done"].exit_code
