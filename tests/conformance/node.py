"""The programs of others that ask our servers. `make mcp-conformance` installs them, with a Node that they run on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.servers import clean_environ

PACKAGES: Final = Path(sys.prefix) / "node" / "node_modules"
OLDEST_NODE: Final = (22, 19)
TIMEOUT_SECONDS: Final = 300


def run(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the packages to its end, without the caller's own settings; what it keeps, it keeps in ``folder``."""
    script = PACKAGES / ".bin" / program
    if not script.exists():
        raise RuntimeError(f"{script} is not there: `make mcp-conformance` installs it")
    environ = clean_environ() | {"HOME": str(folder), "NO_COLOR": "1"}
    command = [_node(), str(script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


def _node() -> str:
    """The Node of the packages; where they have none for the machine, the machine's own."""
    for path in PACKAGES.glob("node-*/bin/node"):
        return str(path)
    found = shutil.which("node")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
        if version >= OLDEST_NODE:
            return found
    oldest = ".".join(map(str, OLDEST_NODE))
    raise RuntimeError(f"the conformance suite needs Node {oldest} or newer on the PATH, and there is none")
