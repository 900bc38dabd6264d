"""Sandboxes as tests use them."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallystick.ports.sandboxes import Command, Execution, Language, Life, SandboxOrder
from tallystick.providers.local import LocalSandboxes
from tallystick.providers.local.handles import Handle

_numbers = itertools.count()


class Box:
    """One sandbox, and the provider through which it is reached."""

    def __init__(self, local: LocalSandboxes, handle: str, reference: str) -> None:
        self.local = local
        self.handle = handle
        self.reference = reference

    @property
    def pid(self) -> int:
        """The number of its first process here."""
        return Handle.parse(self.handle).pid

    def run(self, code: str, *, language: Language = "bash", seconds: float = 10.0, **rest: Any) -> Execution:
        """Run code, however it ends."""
        command = Command(language=language, code=code, timeout_seconds=seconds, **rest)
        return self.local.execute(self.handle, command)

    def python(self, code: str, *, seconds: float = 10.0) -> str:
        """What a program writes, which has to end well."""
        done = self.run(code, language="python", seconds=seconds)
        assert 0 == done.exit_code, done.stderr.decode()
        return done.stdout.decode()

    def shell(self, code: str) -> str:
        """As ``python``."""
        done = self.run(code)
        assert 0 == done.exit_code, done.stderr.decode()
        return done.stdout.decode()

    def look(self) -> Life:
        """Its life until now."""
        return self.local.look(self.handle)

    def kill(self) -> Life:
        """Its whole life."""
        return self.local.kill(self.handle)

    def processes(self) -> set[str]:
        """What runs in it, but for its agent, as the host sees it."""
        found = set()
        for path in Path(f"/proc/{self.pid}/root/proc").glob("[0-9]*/cmdline"):
            try:
                found.add(path.read_bytes().replace(b"\0", b" ").decode().strip())
            except OSError:
                continue
        return {line for line in found if line and "/.sandbox/agent.py" not in line}


class Boxes:
    """Makes sandboxes of one provider, and ends them."""

    def __init__(self, local: LocalSandboxes) -> None:
        self.local = local
        self._made: list[Box] = []

    def make(self, **changes: Any) -> Box:
        """Make one, which differs from others in this."""
        number = f"{os.getpid()}_{next(_numbers)}"
        known: dict[str, Any] = {
            "reference": f"sbx_{number}",
            "template": "python",
            "vcpu": 1,
            "memory_mib": 256,
            "seconds": 60.0,
        }
        order = SandboxOrder(**{**known, **changes})
        made = self.local.create(order, key=f"create:{number}")
        box = Box(self.local, made.handle, order.reference)
        self._made.append(box)
        return box

    def close(self) -> None:
        """End them all."""
        for box in self._made:
            box.kill()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is so; it has to become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not become so"
        time.sleep(0.01)
