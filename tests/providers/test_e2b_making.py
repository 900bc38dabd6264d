"""Sandboxes at E2B are made once, whatever happens to the answer, and have the size that E2B says."""

import json

import pytest

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import SandboxOrder
from tallystick.providers.e2b import E2BSandboxes
from tests.providers.e2b_emulator import E2BEmulator
from tests.providers.sandbox_drivers import provider_at

CREATION = "/v2/sandboxes"
SDK_TRIES = 3


def order(
    reference: str = "sbx_1",
    *,
    template: str = "python",
    seconds: float = 60,
    metadata: dict[str, str] | None = None,
) -> SandboxOrder:
    return SandboxOrder(
        reference=reference,
        template=template,
        vcpu=8,
        memory_mib=8_192,
        seconds=seconds,
        env={"NAME": "value"},
        metadata=metadata or {},
    )


@pytest.mark.parametrize(
    ("template", "size"), [("python", (2, 512)), ("base", (2, 512)), ("small", (1, 256))]
)
def test_the_size_is_that_of_the_template(
    e2b_sandboxes: E2BSandboxes, template: str, size: tuple[int, int]
) -> None:
    """Whatever was ordered; and it is said beforehand that it is so."""
    made = e2b_sandboxes.create(order(template=template), key="k")
    assert size == (made.vcpu, made.memory_mib)
    assert any("size of its template" in each for each in e2b_sandboxes.capabilities.warnings)


def test_what_is_sent(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """A deadline in whole seconds, a key as E2B wants them, our metadata above that of others, and death by timeout."""
    theirs = {"color": "red", "tallystick_reference": "sbx_other", "tallystick_installation": "other"}
    e2b_sandboxes.create(order(seconds=59.2, metadata=theirs), key="Sandbox: sbx_1/é")
    [request] = e2b_emulator.asked("POST", CREATION)
    sent = json.loads(request.body)
    assert (60, "base", {"NAME": "value"}, True, False) == (
        sent["timeout"],
        sent["templateID"],
        sent["envVars"],
        sent["allow_internet_access"],
        sent["autoPause"],
    )
    assert {"color": "red", "tallystick_reference": "sbx_1", "tallystick_installation": "inst_1"} == sent[
        "metadata"
    ]
    key = request.headers["idempotency-key"]
    assert 64 == len(key)
    assert set(key) <= set("0123456789abcdef")


def test_without_a_network(e2b_emulator: E2BEmulator) -> None:
    """Where it is not wanted, E2B is told so, and so is whoever asks what sandboxes can do."""
    provider = E2BSandboxes(
        "e2b_emulated",
        installation="inst_1",
        now=e2b_emulator.now,
        api_url=e2b_emulator.url,
        sandbox_url=e2b_emulator.url,
        network=False,
    )
    provider.create(order(), key="k")
    [request] = e2b_emulator.asked("POST", CREATION)
    assert json.loads(request.body)["allow_internet_access"] is False
    assert not provider.capabilities.network
    provider.close()


# --- answers that are lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembers_keys", [True, False])
def test_an_answer_is_lost(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, *, remembers_keys: bool
) -> None:
    """A repeat finds what was made, whether E2B still knows the key or not."""
    e2b_emulator.control.remembers_keys = remembers_keys
    e2b_emulator.faults.fail("POST", CREATION, status=None, after=True)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.create(order(), key="k")
    [handle] = e2b_emulator.control.machines
    made = e2b_sandboxes.create(order(), key="k")
    assert (handle, 1) == (made.handle, e2b_emulator.control.created)
    assert {"sbx_1": handle} == e2b_sandboxes.running()


@pytest.mark.parametrize(("remembers_keys", "created"), [(True, 1), (False, 2)])
def test_another_process_asks_again(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, *, remembers_keys: bool, created: int
) -> None:
    """It knows of no first try: a second sandbox, if there comes to be one, is ended before anybody hears of it."""
    e2b_emulator.control.remembers_keys = remembers_keys
    e2b_emulator.faults.fail("POST", CREATION, status=None, after=True)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.create(order(), key="k")
    [first] = e2b_emulator.control.machines
    other = provider_at(e2b_emulator)
    assert first == other.create(order(), key="k").handle
    assert (created, {"sbx_1": first}) == (e2b_emulator.control.created, other.running())
    other.close()


def test_another_process_asks_again_when_the_account_is_full(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes
) -> None:
    """The sandbox that fills it is the one that is asked for."""
    e2b_emulator.control.remembers_keys, e2b_emulator.control.concurrency = False, 1
    first = e2b_sandboxes.create(order(), key="k")
    other = provider_at(e2b_emulator)
    assert first == other.create(order(), key="k")
    with pytest.raises(ProviderRefused) as refused:
        other.create(order("sbx_2"), key="k2")
    assert "concurrency_limit" == refused.value.code
    assert {"sbx_1": first.handle} == other.running()
    other.close()


def test_the_sdk_repeats_with_the_same_key(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """Its own repeat of what E2B wants repeated makes one sandbox."""
    e2b_emulator.faults.fail("POST", CREATION, status=503, after=True, should_retry=True)
    e2b_sandboxes.create(order(), key="k")
    keys = {each.headers["idempotency-key"] for each in e2b_emulator.asked("POST", CREATION)}
    assert (2, 1, 1) == (
        len(e2b_emulator.asked("POST", CREATION)), len(keys), e2b_emulator.control.created
    )  # fmt: skip


# --- refusals, and answers that say nothing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "code"),
    [(order(template="none"), "template_not_found"), (order(seconds=4_000), "invalid")],
)
def test_e2b_refuses(e2b_sandboxes: E2BSandboxes, wanted: SandboxOrder, code: str) -> None:
    """For good: nothing was made."""
    with pytest.raises(ProviderRefused) as refused:
        e2b_sandboxes.create(wanted, key="k")
    assert code == refused.value.code
    assert {} == e2b_sandboxes.running()


def test_a_bad_key_is_refused(e2b_emulator: E2BEmulator) -> None:
    """It is known that nothing was made; of what runs, nothing is known."""
    provider = provider_at(e2b_emulator, api_key="e2b_wrong")
    with pytest.raises(ProviderRefused) as refused:
        provider.create(order(), key="k")
    assert "unauthenticated" == refused.value.code
    with pytest.raises(OutcomeUnknown):
        provider.running()
    provider.close()


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_nobody_knows(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes, status: int) -> None:
    """Too many requests and errors of E2B's say nothing; the repeat makes it."""
    e2b_emulator.faults.fail("POST", CREATION, status=status)
    with pytest.raises(OutcomeUnknown) as unknown:
        e2b_sandboxes.create(order(), key="k")
    assert str(status) in unknown.value.detail
    assert e2b_sandboxes.create(order(), key="k").handle in e2b_emulator.control.machines
    assert 1 == e2b_emulator.control.created


def test_too_many_requests_are_waited_for(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """The SDK does, a few times; then it is for whoever asked."""
    e2b_emulator.faults.fail("POST", CREATION, status=429, should_retry=True, times=SDK_TRIES - 1)
    e2b_sandboxes.create(order(), key="k")
    e2b_emulator.faults.fail("POST", CREATION, status=429, should_retry=True, times=SDK_TRIES)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.create(order("sbx_2"), key="k2")
    assert 1 == e2b_emulator.control.created


@pytest.mark.slow
def test_nobody_answers(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """A connection that is refused says nothing, though nothing was made."""
    with e2b_emulator.unreachable(), pytest.raises(OutcomeUnknown):
        e2b_sandboxes.create(order(), key="k")
    e2b_sandboxes.create(order(), key="k")
    assert 1 == e2b_emulator.control.created


# --- sandboxes that cannot be measured -------------------------------------------------------------------------------


def test_the_size_cannot_be_learnt(e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes) -> None:
    """Then nothing could be billed: it is ended, and the order is refused."""
    e2b_emulator.faults.fail("GET", CREATION, status=500)
    with pytest.raises(ProviderRefused) as refused:
        e2b_sandboxes.create(order(), key="k")
    assert "size_unknown" == refused.value.code
    assert (1, {}) == (e2b_emulator.control.created, e2b_emulator.control.machines)


def test_the_size_cannot_be_learnt_and_it_does_not_end(
    e2b_emulator: E2BEmulator, e2b_sandboxes: E2BSandboxes
) -> None:
    """Then something is left, which a repeat finds."""
    e2b_emulator.faults.fail("GET", CREATION, status=500)
    e2b_emulator.faults.fail("DELETE", "/sandboxes/.*", status=500)
    with pytest.raises(OutcomeUnknown):
        e2b_sandboxes.create(order(), key="k")
    assert {e2b_sandboxes.create(order(), key="k").handle} == set(e2b_emulator.control.machines)
    assert 1 == e2b_emulator.control.created
