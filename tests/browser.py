"""A real browser for tests of pages: Chromium without a window. Where it is missing it is installed, or the test fails."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCK: Final = Path(tempfile.gettempdir()) / "tally-tests-browser.lock"
INSTALL: Final = ("apt-get update -qq", "apt-get install -y -qq --no-install-recommends chromium")


def chromium() -> str:
    """The program's path. Raises ``RuntimeError`` when there is none, and none can be had."""
    found = _find()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with LOCK.open("w") as lock:  # test processes run beside each other
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _find() is None:
                for command in INSTALL:
                    subprocess.run(command.split(), check=True, capture_output=True, timeout=600)
        found = _find()
    if found is None:
        message = f"these tests drive a browser: install one of {', '.join(NAMES)}"
        raise RuntimeError(message)
    return found


def _find() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def open_browser() -> Iterator[Page]:
    """A page of a new browser, which sees this machine only."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser.new_page(viewport={"width": 390, "height": 844})
        finally:
            browser.close()
