"""Metering on FastMCP 3.4 and mcp 1.x, which cannot be beside ours: in an environment of their own, with a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.metering.test_fastmcp import ECONOMY
from tests.servers import clean_environ, running_server

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).parent / "older_fastmcp.py"
NEEDED = "fastmcp[tasks]>=3.4,<3.5"


@pytest.fixture(scope="session")
def older_python() -> Path:
    """An interpreter with the older libraries, made once and kept with our own environment."""
    folder = Path(sys.prefix) / "older-fastmcp"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists() or done.read_text() != NEEDED:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--editable", str(ROOT), NEEDED], check=True)
        done.write_text(NEEDED)
    return python


@pytest.mark.slow
def test_what_holds_on_ours_holds_on_them(older_python: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Prices, receipts, refusals, keys, release, tasks, and one charge for what is nested or mounted."""
    economy = tmp_path / "tools.toml"
    economy.write_text(ECONOMY)
    with Tally.open(sqlite_url, economy=str(economy)) as tally:
        tally.customers.create(SYSTEM, external_id="ann")
        tally.grants.create(SYSTEM, customer="ann", amount=100, category="bonus", idempotency_key="start")
        key = tally.keys.create(SYSTEM, name="tools", role="service").key
    with running_server(tmp_path, economy=str(economy), database_url=sqlite_url) as server:
        environ = clean_environ() | {"TALLY_URL": server.url, "TALLY_API_KEY": key}
        command = [str(older_python), str(SCRIPT)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert 0 == done.returncode, done.stderr
    assert "holds on fastmcp 3.4" in done.stdout
