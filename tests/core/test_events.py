"""What others are told about, by which patterns they choose, where they may be called, and when again."""

import pytest

from tallystick.core import events
from tallystick.core.addresses import is_public
from tallystick.core.ids import IdSource, first_at
from tallystick.core.sending import PAUSES, pause_after


def test_a_pattern_is_a_type_or_all_of_a_noun() -> None:
    """Nothing else is one."""
    assert all(map(events.is_pattern, [*events.EVENT_TYPES, "balance.*", "credit_grant.*", "dispute.*"]))
    assert not any(map(events.is_pattern, ["", "*", ".*", "balance", "balance.lo", "balance.l*", "ping.*"]))
    assert set(events.MAILED_TYPES) < set(events.EVENT_TYPES)


def test_no_pattern_asks_for_everything() -> None:
    """And several ask for what any of them means."""
    assert list(events.EVENT_TYPES) == events.types_of(())
    wanted = ("balance.*", "hold.expired")
    assert ["balance.depleted", "balance.low", "balance.recovered", "hold.expired"] == events.types_of(wanted)
    assert events.matches((), "plan.changed")
    assert not events.matches(wanted, "plan.changed")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.255.0.1",
        "172.31.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address that must not be called
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::",
        "2001::1",
        "fe80::1%eth0",
        "example.com",
        "",
    ],
)
def test_an_address_that_must_not_be_called(address: str) -> None:
    """Private, reserved, or leading to an IPv4 address by a detour."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111"])
def test_an_address_of_the_public_internet(address: str) -> None:
    """May be called."""
    assert is_public(address)


def test_pauses_grow_and_are_spread_by_a_tenth() -> None:
    """After the last one nothing is tried any more."""
    for number, pause in enumerate(PAUSES, start=1):
        found = [pause_after(number, [chance].pop) for chance in (0.0, 0.5, 0.999)]
        assert found[0] == pause - pause // 10
        assert found[1] == pause
        assert pause < (found[2] or 0) <= pause + pause // 10
    assert sorted(PAUSES) == list(PAUSES)
    assert pause_after(len(PAUSES) + 1, lambda: 0.5) is None


def test_ids_made_before_a_moment_are_smaller_than_its_first() -> None:
    """And those made at it or later are not."""
    moment = 1_800_000_000_000_000
    clock = [moment - 1000]
    source = IdSource(now=lambda: clock[0], node=1023)
    before = source.next()
    clock[0] = moment
    assert before < first_at(moment) <= source.next()
    assert 0 == first_at(0)
