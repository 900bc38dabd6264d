"""The audit in a process of its own, so that the server's requests do not share an interpreter with it.

``python -m tallystick.services.audit_process`` reads the database's address and the moment as JSON, and writes the report.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from subprocess import PIPE
from typing import Any, Final

import msgspec

from tallystick.core.errors import ServiceUnavailable
from tallystick.services.audit import audit
from tallystick.store.engine import Database

LOOKS_EVERY_SECONDS: Final = 0.5


def audit_apart(database: Database, *, now: int, stopping: threading.Event) -> Mapping[str, Any]:
    """The report of an audit, ``now`` in microseconds, as JSON holds it: ``ok``, ``rules``, ``now``, ``transactions``.

    Raises ``ServiceUnavailable`` when it is told to stop, and ``RuntimeError`` when the process ended without a report.
    """
    address = database.url.render_as_string(hide_password=False)
    # The address goes by a pipe, since everybody on the machine sees arguments.
    sent: bytes | None = msgspec.json.encode({"url": address, "now": now})
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:  # noqa: S603 - our own
        while True:
            try:
                found, complaints = process.communicate(sent, timeout=LOOKS_EVERY_SECONDS)
                break
            except subprocess.TimeoutExpired:
                sent = None
                if stopping.is_set():
                    process.kill()
                    raise ServiceUnavailable("the server stopped before the audit ended") from None
    if process.returncode:
        last = complaints.decode(errors="replace")[-2000:]
        message = f"the audit's process ended with {process.returncode}: {last}"
        raise RuntimeError(message)
    report: Mapping[str, Any] = msgspec.json.decode(found)
    return report


def main() -> None:
    """Read what to audit, and write what was found."""
    asked = msgspec.json.decode(sys.stdin.buffer.read())
    with closing(Database(asked["url"], pool_size=1)) as database:
        report = audit(database, now=asked["now"])
    sys.stdout.buffer.write(msgspec.json.encode({"ok": report.ok, **asdict(report)}))


if __name__ == "__main__":
    main()
