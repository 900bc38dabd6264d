"""E2B is not used where its SDK is missing, or would end nothing."""

import subprocess
import sys
import threading

import pytest

from tallystick.ports.sandboxes import Command, SandboxesUnavailable, SandboxOrder
from tallystick.providers.e2b import E2BSandboxes
from tests.providers.e2b_emulator import E2BEmulator


def open_one() -> E2BSandboxes:
    return E2BSandboxes("e2b_x", installation="inst_1", now=lambda: 0)


@pytest.mark.parametrize("setting", ["true", "1", "false"])
def test_it_is_not_debugged(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """With that setting, the SDK says that it has killed what it has not: whatever its value, it must not be there."""
    monkeypatch.setenv("E2B_DEBUG", setting)
    with pytest.raises(SandboxesUnavailable, match="unset it"):
        open_one()


def test_a_setting_that_comes_later_is_not_heard(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox is ended though somebody sets it meanwhile."""
    order = SandboxOrder(reference="sbx_1", template="base", vcpu=2, memory_mib=512, seconds=60)
    monkeypatch.setenv("E2B_DEBUG", "true")
    made = e2b_sandboxes.create(order, key="k")
    assert not e2b_sandboxes.kill(made.handle).running
    assert {} == e2b_emulator.control.machines


def test_the_sdk_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what to install."""
    for name in ("answers", "executing", "line"):
        monkeypatch.delitem(sys.modules, f"tallystick.providers.e2b.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "e2b", None)
    with pytest.raises(SandboxesUnavailable, match=r"pip install 'tallystick\[e2b\]'"):
        open_one()


def test_the_sdk_is_not_loaded_for_nothing() -> None:
    """Importing the provider does not import the SDK."""
    check = "import sys, tallystick.providers.e2b; sys.exit('e2b' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", check], check=False).returncode


@pytest.mark.slow
def test_it_is_used_by_many_threads(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """Each makes, uses and ends its own."""
    ended: list[bytes] = []

    def live(number: int) -> None:
        order = SandboxOrder(reference=f"sbx_{number}", template="base", vcpu=2, memory_mib=512, seconds=60)
        handle = e2b_sandboxes.create(order, key=str(number)).handle
        for _ in range(3):
            command = Command(language="bash", code=f"echo {number}", timeout_seconds=30)
            ended.append(e2b_sandboxes.execute(handle, command).stdout)
        assert e2b_sandboxes.running()[f"sbx_{number}"] == handle
        assert "killed" == e2b_sandboxes.kill(handle).reason

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(f"{number}\n".encode() for number in range(8) for _ in range(3)) == sorted(ended)
    assert {} == e2b_emulator.control.machines
