"""The drivers that the scenarios for sandboxes want: E2B's emulator, this machine, and E2B itself."""

import json
import os
import signal
import time
import uuid

import e2b

from tallystick.providers.e2b import E2BSandboxes
from tallystick.providers.local import LocalSandboxes
from tests.providers.e2b_emulator import API_KEY, E2BEmulator


def provider_at(
    emulator: E2BEmulator, *, installation: str = "inst_1", api_key: str = API_KEY
) -> E2BSandboxes:
    """A provider that talks to an emulator, on its clocks."""
    return E2BSandboxes(
        api_key,
        installation=installation,
        now=emulator.now,
        steady=emulator.steady,
        api_url=emulator.url,
        sandbox_url=emulator.url,
    )


class EmulatedE2B:
    """The provider at an emulator, whose time passes at once."""

    slack_ms = 500

    def __init__(self, emulator: E2BEmulator) -> None:
        self.emulator = emulator
        self.provider = provider_at(emulator)

    def pass_seconds(self, seconds: float) -> None:
        """Time passes at once."""
        self.emulator.advance(seconds)

    def lose(self, handle: str) -> None:
        """E2B ends it."""
        self.emulator.kill(handle)


class ThisMachine:
    """Bubblewrap: time is real."""

    slack_ms = 500

    def __init__(self, provider: LocalSandboxes) -> None:
        self.provider = provider

    def pass_seconds(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def lose(self, handle: str) -> None:
        """Somebody kills its process."""
        os.kill(json.loads(handle)["pid"], signal.SIGKILL)


class RealE2B:
    """E2B itself: time is real, and a sandbox may live a little longer than ours says."""

    slack_ms = 3_000

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self.provider = E2BSandboxes(
            api_key, installation=f"conformance-{uuid.uuid4().hex}", now=lambda: time.time_ns() // 1_000
        )

    def pass_seconds(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def lose(self, handle: str) -> None:
        """Somebody of the same account ends it."""
        assert e2b.Sandbox.kill(handle, api_key=self._api_key)
