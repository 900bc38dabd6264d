"""An emulator of E2B, for tests that drive the real SDK: its control API, and the agent that runs in each of its sandboxes.

It is not E2B. It answers in the forms that the SDK reads, and runs commands for real in sandboxes of another provider, its
host. What it does not implement it refuses with 501, and the test fails.
"""

from tests.providers.e2b_emulator.emulator import API_KEY, E2BEmulator, running_emulator

__all__ = ["API_KEY", "E2BEmulator", "running_emulator"]
