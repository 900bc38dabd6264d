"""What goes wrong on the way to a sandbox at E2B says nothing about the sandbox: it runs on, and so does its bill."""

import time
from collections.abc import Callable

import pytest

from tallystick.ports import OutcomeUnknown
from tallystick.ports.sandboxes import Command, SandboxGone, SandboxOrder
from tallystick.providers.e2b import E2BSandboxes, line
from tests.providers.e2b_emulator import E2BEmulator
from tests.providers.sandbox_drivers import provider_at

ORDER = SandboxOrder(reference="sbx_1", template="base", vcpu=2, memory_mib=512, seconds=600)
CODE = "echo ok"

Deed = Callable[[E2BSandboxes, str], object]
DEEDS: dict[str, tuple[Deed, str, str]] = {
    "execute": (lambda e2b, handle: run(e2b, handle, CODE), "POST", "/process.Process/Start"),
    "write": (lambda e2b, handle: e2b.write_file(handle, "a", b"a"), "POST", "/files"),
    "read": (lambda e2b, handle: e2b.read_file(handle, "a", max_bytes=1), "GET", "/files"),
    "look": (lambda e2b, handle: e2b.look(handle), "GET", "/sandboxes/.*"),
    "deadline": (lambda e2b, handle: e2b.set_deadline(handle, seconds=9), "POST", "/sandboxes/.*/timeout"),
    "kill": (lambda e2b, handle: e2b.kill(handle), "DELETE", "/sandboxes/.*"),
    "running": (lambda e2b, _: e2b.running(), "GET", "/v2/sandboxes"),
}
EACH_DEED = pytest.mark.parametrize("deed", DEEDS)


def run(e2b: E2BSandboxes, handle: str, code: str, *, seconds: float = 20) -> bytes:
    return e2b.execute(handle, Command(language="bash", code=code, timeout_seconds=seconds)).stdout


@pytest.fixture
def handle(e2b_sandboxes: E2BSandboxes) -> str:
    """A sandbox with a file in it."""
    made = e2b_sandboxes.create(ORDER, key="k")
    e2b_sandboxes.write_file(made.handle, "a", b"a")
    return made.handle


def assert_runs(e2b: E2BSandboxes, handle: str) -> None:
    """It is there, and does what it should."""
    assert e2b.look(handle).running
    assert b"ok\n" == run(e2b, handle, CODE)


@EACH_DEED
@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_an_answer_says_nothing(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, handle: str, deed: str, status: int | None
) -> None:
    """Too many requests, an error of E2B's, a connection that is dropped: nobody knows, and it is not told to be gone."""
    do, method, path = DEEDS[deed]
    e2b_emulator.faults.fail(method, path, status=status)
    with pytest.raises(OutcomeUnknown) as unknown:
        do(e2b_sandboxes, handle)
    assert unknown.value.detail
    assert_runs(e2b_sandboxes, handle)


@pytest.mark.slow
@EACH_DEED
def test_nobody_answers(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, handle: str, deed: str
) -> None:
    """Unreachable is never ended."""
    do, _, _ = DEEDS[deed]
    with e2b_emulator.unreachable(), pytest.raises(OutcomeUnknown):
        do(e2b_sandboxes, handle)
    assert_runs(e2b_sandboxes, handle)


@pytest.mark.parametrize("deed", ["look", "deadline", "kill", "running", "write", "read"])
def test_an_answer_is_too_slow(
    e2b_emulator: E2BEmulator,
    monkeypatch: pytest.MonkeyPatch,
    e2b_sandboxes: E2BSandboxes,
    handle: str,
    deed: str,
) -> None:
    """We do not wait for ever; what was asked for may have been done."""
    monkeypatch.setattr(line, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(line, "FILE_SECONDS", 0.2)
    hasty = provider_at(e2b_emulator)
    do, method, path = DEEDS[deed]
    if deed in ("write", "read"):
        run(hasty, handle, CODE)
    e2b_emulator.faults.slow(method, path, seconds=0.6)
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        do(hasty, handle)
    assert time.monotonic() - began < 0.6
    assert e2b_sandboxes.look(handle).running == (deed != "kill")
    hasty.close()


def test_making_is_too_slow(e2b_emulator: E2BEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox was made meanwhile, and a repeat finds it."""
    monkeypatch.setattr(line, "REQUEST_SECONDS", 0.5)
    hasty = provider_at(e2b_emulator)
    e2b_emulator.faults.slow("POST", "/v2/sandboxes", seconds=1.5)
    with pytest.raises(OutcomeUnknown):
        hasty.create(ORDER, key="k")
    assert {hasty.create(ORDER, key="k").handle} == set(e2b_emulator.control.machines)
    assert 1 == e2b_emulator.control.created
    hasty.close()


def test_a_stream_breaks(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, handle: str) -> None:
    """The command, which nobody hears any more, is killed; the sandbox runs on."""
    e2b_emulator.guest.drop_streams = 1
    with pytest.raises(OutcomeUnknown):
        run(e2b_sandboxes, handle, "sleep 555")
    left = "grep -lzx '55[5]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
    assert b"0\n" == run(e2b_sandboxes, handle, left)


def test_e2b_loses_the_sandbox(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, handle: str) -> None:
    """Whoever comes next is told that it is gone, except for who looks, who kills and who lists."""
    e2b_emulator.kill(handle)
    for name, (do, _, _) in DEEDS.items():
        if name not in ("look", "kill", "running"):
            with pytest.raises(SandboxGone):
                do(e2b_sandboxes, handle)
    assert not e2b_sandboxes.look(handle).running
    assert not e2b_sandboxes.kill(handle).running
    assert {} == e2b_sandboxes.running()


def test_a_token_is_out_of_date(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, handle: str) -> None:
    """What says no to the token says nothing about the sandbox; the next try asks for a new one."""
    e2b_emulator.control.machines[handle].token = "another"
    with pytest.raises(OutcomeUnknown):
        run(e2b_sandboxes, handle, CODE)
    assert_runs(e2b_sandboxes, handle)


def test_another_process_works_in_it(e2b_emulator: E2BEmulator, handle: str) -> None:
    """By its handle alone, and without prolonging its life."""
    other = provider_at(e2b_emulator)
    ends_at = e2b_emulator.control.machines[handle].ends_at
    other.set_deadline(handle, seconds=20)
    assert ends_at > (sooner := e2b_emulator.control.machines[handle].ends_at)
    assert b"ok\n" == run(other, handle, CODE)
    assert b"a" == other.read_file(handle, "a", max_bytes=1)
    assert sooner == e2b_emulator.control.machines[handle].ends_at
    other.close()


def test_output_is_text(e2b_sandboxes: E2BSandboxes, handle: str) -> None:
    """E2B's SDK gives text: other bytes are replaced, and it is said that they are."""
    assert "é�\n".encode() == run(e2b_sandboxes, handle, r"printf '\xc3'; sleep 0.2; printf '\xa9\xff\n'")
    assert any("UTF-8" in each for each in e2b_sandboxes.capabilities.warnings)
