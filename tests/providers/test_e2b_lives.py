"""How long sandboxes at E2B have lived: by our steady clock where we made them, else by what E2B says, else unknown."""

from collections.abc import Iterator

import pytest

from tallystick.ports import OutcomeUnknown
from tallystick.ports.sandboxes import Life, SandboxOrder
from tallystick.providers.e2b import E2BSandboxes
from tests.providers.e2b_emulator import API_KEY, E2BEmulator
from tests.providers.sandbox_drivers import provider_at

SLACK_MS = 400


def made(e2b: E2BSandboxes, *, seconds: float = 60, reference: str = "sbx_1") -> str:
    order = SandboxOrder(reference=reference, template="base", vcpu=2, memory_mib=512, seconds=seconds)
    return e2b.create(order, key=reference).handle


def assert_lived(expected_ms: int, life: Life) -> None:
    assert life.lived_ms is not None
    assert expected_ms <= life.lived_ms <= expected_ms + SLACK_MS


@pytest.fixture
def other(e2b_emulator: E2BEmulator) -> Iterator[E2BSandboxes]:
    """Another process of the same installation."""
    provider = provider_at(e2b_emulator)
    yield provider
    provider.close()


def test_a_clock_that_is_set_changes_nothing(e2b_emulator: E2BEmulator) -> None:
    """Of a sandbox that we made, our steady clock tells."""
    ahead = [0]
    provider = E2BSandboxes(
        API_KEY,
        installation="inst_1",
        now=lambda: e2b_emulator.now() + ahead[0],
        steady=e2b_emulator.steady,
        api_url=e2b_emulator.url,
        sandbox_url=e2b_emulator.url,
    )
    handle = made(provider)
    e2b_emulator.advance(10)
    for ahead[0] in (0, 3_600_000_000, -3_600_000_000):
        assert_lived(10_000, provider.look(handle))
    assert_lived(10_000, provider.kill(handle))

    e2b_emulator.control.records_ends = False
    for ahead[0] in (3_600_000_000, -3_600_000_000):
        handle = made(provider, seconds=10, reference=f"sbx_{ahead[0]}")
        assert_lived(0, provider.look(handle))
        e2b_emulator.advance(20)
        assert Life(running=False, lived_ms=10_000, reason="deadline") == provider.look(handle)
    provider.close()


def test_another_process_goes_by_the_beginning(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, other: E2BSandboxes
) -> None:
    """As E2B tells it; and it may end the sandbox at once."""
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(10)
    assert_lived(10_000, other.look(handle))
    e2b_emulator.advance(5)
    assert_lived(15_000, other.look(handle))
    second = made(e2b_sandboxes, reference="sbx_2")
    e2b_emulator.advance(7)
    killed = other.kill(second)
    assert (False, "killed") == (killed.running, killed.reason)
    assert_lived(7_000, killed)


def test_a_repeat_makes_no_life_shorter(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, other: E2BSandboxes
) -> None:
    """Who asks again with the key, here or in another process, gets the sandbox with its whole life."""
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(3)
    assert handle == made(e2b_sandboxes)
    assert_lived(3_000, e2b_sandboxes.look(handle))
    e2b_emulator.advance(17)
    assert handle == made(other)
    assert_lived(20_000, other.look(handle))
    assert_lived(20_000, e2b_sandboxes.kill(handle))


def test_its_time_is_over(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """It lived until its deadline, and not until somebody looked; without E2B's record, as far as we know of it."""
    for records_ends in (True, False):
        e2b_emulator.control.records_ends = records_ends
        handle = made(e2b_sandboxes, seconds=10, reference=f"sbx_{records_ends}")
        e2b_emulator.advance(50)
        life = e2b_sandboxes.look(handle)
        assert (False, "deadline") == (life.running, life.reason)
        assert life.lived_ms is not None
        assert abs(life.lived_ms - 10_000) <= SLACK_MS
        assert life == e2b_sandboxes.kill(handle) == e2b_sandboxes.look(handle)


def test_e2b_ends_it(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, other: E2BSandboxes) -> None:
    """Its record tells how long it lived, and nobody can tell why it ended."""
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(20)
    e2b_emulator.kill(handle)
    e2b_emulator.advance(5)
    for provider in (e2b_sandboxes, other):
        life = provider.look(handle)
        assert (False, "gone") == (life.running, life.reason)
        assert_lived(20_000, life)


@pytest.mark.parametrize("trouble", ["none", "error", "nonsense", "other"])
def test_e2b_ends_it_and_does_not_tell(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, trouble: str
) -> None:
    """Then nobody can tell, until the record is there."""
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(20)
    e2b_emulator.kill(handle)
    ends = e2b_emulator.control.ends
    record = ends[handle]
    if trouble == "error":
        e2b_emulator.faults.fail("GET", "/events/sandboxes/.*", status=500)
    else:
        ends[handle] = {
            "none": [],
            "nonsense": [{"type": "sandbox.lifecycle.killed"}],
            "other": [{"type": "x"}],
        }[trouble]
    nobody_can_tell = Life(running=False, lived_ms=None, reason="gone")
    assert nobody_can_tell == e2b_sandboxes.kill(handle)
    if trouble == "error":
        e2b_emulator.faults.fail("GET", "/events/sandboxes/.*", status=500)
    assert nobody_can_tell == e2b_sandboxes.look(handle)
    ends[handle] = record
    assert_lived(20_000, e2b_sandboxes.look(handle))
    assert_lived(20_000, e2b_sandboxes.kill(handle))


def test_pauses_are_not_lived(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """The record has one time for each part of a life, in either of E2B's ways to write it."""
    handle = made(e2b_sandboxes)
    e2b_emulator.kill(handle)
    parts = [("killed", "event_data", 300), ("paused", "eventData", 4_000)]
    e2b_emulator.control.ends[handle] = [
        {"type": f"sandbox.lifecycle.{what}", name: {"execution": {"execution_time": time}}}
        for what, name, time in parts
    ]
    assert 4_300 == e2b_sandboxes.look(handle).lived_ms


def test_the_answer_to_a_kill_is_lost(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """It was done: who looks is told that we did it, and when."""
    e2b_emulator.control.records_ends = False
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(10)
    e2b_emulator.faults.fail("DELETE", "/sandboxes/.*", status=None, after=True)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.kill(handle)
    e2b_emulator.advance(30)
    life = e2b_sandboxes.kill(handle)
    assert (False, "killed") == (life.running, life.reason)
    assert_lived(10_000, life)


def test_a_kill_was_not_done(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """Then it runs on, and is billed until the kill that is."""
    handle = made(e2b_sandboxes)
    e2b_emulator.advance(10)
    e2b_emulator.faults.fail("DELETE", "/sandboxes/.*", status=500)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.kill(handle)
    e2b_emulator.advance(10)
    assert_lived(20_000, e2b_sandboxes.look(handle))
    e2b_emulator.advance(10)
    assert_lived(30_000, e2b_sandboxes.kill(handle))


def test_another_process_moves_the_deadline(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, other: E2BSandboxes
) -> None:
    """Who looks hears of it."""
    e2b_emulator.control.records_ends = False
    handle = made(e2b_sandboxes, seconds=10)
    other.set_deadline(handle, seconds=30)
    e2b_emulator.advance(20)
    assert_lived(20_000, e2b_sandboxes.look(handle))
    e2b_emulator.advance(20)
    life = e2b_sandboxes.look(handle)
    assert "deadline" == life.reason
    assert_lived(30_000, life)


def test_somebody_pauses_it(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """In E2B's dashboard: it does not run, and is not listed, until it is resumed."""
    handle = made(e2b_sandboxes)
    e2b_emulator.control.machines[handle].paused = True
    assert Life(running=False, lived_ms=None, reason="gone") == e2b_sandboxes.look(handle)
    assert {} == e2b_sandboxes.running()
    e2b_emulator.control.machines[handle].paused = False
    assert e2b_sandboxes.look(handle).running
    assert {"sbx_1": handle} == e2b_sandboxes.running()


def test_all_pages_are_listed(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """And nothing of other installations, or of nobody's."""
    e2b_emulator.control.page = 2
    handles = {f"sbx_{number}": made(e2b_sandboxes, reference=f"sbx_{number}") for number in range(5)}
    stranger = provider_at(e2b_emulator, installation="inst&1=é")
    foreign = made(stranger, reference="sbx_0 & co")
    assert handles == e2b_sandboxes.running()
    assert {"sbx_0 & co": foreign} == stranger.running()
    assert 3 + 1 == sum(
        not each.query.count("reference") for each in e2b_emulator.asked("GET", "/v2/sandboxes")
    )
    stranger.close()


def test_a_second_one_is_known_to_nobody(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """Listed so that whoever ends what is unknown ends it, and not the first one."""
    first = made(e2b_sandboxes)
    e2b_emulator.advance(1)
    second = made(e2b_sandboxes, reference="sbx_2")
    e2b_emulator.control.machines[second].metadata["tallystick_reference"] = "sbx_1"
    assert {"sbx_1": first, f"sbx_1+{second}": second} == e2b_sandboxes.running()
    del e2b_emulator.control.machines[second].metadata["tallystick_reference"]
    assert {"sbx_1": first, second: second} == e2b_sandboxes.running()
