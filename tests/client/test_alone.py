"""The SDK stands alone: with nothing but httpx installed, and quickly."""

import subprocess
import sys
import textwrap

PROGRAM = """
import importlib.abc, sys, time

ALLOWED = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "sniffio", "tallystick", "typing_extensions"}
ALLOWED |= sys.stdlib_module_names


class OnlyHttpx(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, OnlyHttpx())
started = time.process_time()
from tallystick.client import TallyClient
seconds = time.process_time() - started
with TallyClient(base_url="http://127.0.0.1:1") as client:
    for name in dir(client):
        getattr(client, name)
print(seconds)
print(*sorted(name for name in sys.modules if name.startswith("tallystick")))
"""


def imported() -> tuple[float, list[str]]:
    """How long the import took, and which modules of ours it brought."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    seconds, names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return float(seconds), names.split()


def test_it_needs_httpx_and_nothing_else_of_the_package() -> None:
    """Whatever else is installed is hidden from it."""
    _, names = imported()
    assert {"tallystick.client.clients", "tallystick.client.resources.webhooks"} <= set(names)
    assert [] == [name for name in names if not name.startswith("tallystick.client") and name != "tallystick"]


def test_it_is_imported_within_300_milliseconds() -> None:
    """Of the processor's time, since other tests run beside this one; the quickest of a few."""
    assert min(imported()[0] for _ in range(5)) < 0.3
