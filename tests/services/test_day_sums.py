"""Sums of days: those that are kept in memory are those that would be read."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, HOUR
from tallystick.services import day_sums
from tallystick.services.billing import Billing
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tallystick.store import statements
from tests.tallies import ECONOMY, FakeClock

SOME = 0.4


@pytest.fixture
def clock() -> FakeClock:
    """The time."""
    return FakeClock("2027-01-10T12:00:00Z")


@pytest.fixture
def tally(sqlite_url: str, clock: FakeClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tally]:
    """An installation that grants and charges."""
    path = tmp_path_factory.mktemp("days") / "days.toml"
    path.write_text(ECONOMY)
    with Tally.open(sqlite_url, economy=str(path), source=clock, test_mode=False) as tally:
        yield tally


def customer_of(tally: Tally, name: str) -> str:
    return to_text("cust", tally.customers.create(SYSTEM, external_id=name).value.id)


def test_what_is_kept_is_what_would_be_read(tally: Tally, clock: FakeClock) -> None:
    """Whoever asks often, in periods of any length, gets what somebody gets who asks for the first time."""
    customer, source = customer_of(tally, "ann"), random.Random(11)
    charges: list[str] = []
    tally.grants.create(SYSTEM, customer=customer, amount=100, category="bonus", idempotency_key="enough")
    for step in range(60):
        for _ in range(source.randrange(3)):
            tally.grants.create(
                SYSTEM,
                customer=customer,
                amount=source.randrange(1, 9),
                category=source.choice(["reward", "bonus"]),
                idempotency_key=f"grant {step} {source.random()}",
            )
        usage = Usage(meter="work", customer=customer)
        made = tally.charges.create(SYSTEM, usage, idempotency_key=f"charge {step}").value
        charges.append(to_text("chg", made.id))
        if source.random() < SOME:
            charge = charges.pop(source.randrange(len(charges)))
            tally.charges.refund(SYSTEM, charge, idempotency_key=f"refund {step}")
        period = source.choice(["7d", "30d", "90d"])
        fresh = Billing(tally.context, tally.customers)
        expected = fresh.usage(SYSTEM, customer=customer, period=period)
        assert expected == tally.billing.usage(SYSTEM, customer=customer, period=period)
        clock.micros += source.choice([HOUR, 5 * HOUR, DAY, 3 * DAY])


def test_days_that_are_over_are_not_read_again(
    tally: Tally, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what came since the last day with an entry is."""
    customer = customer_of(tally, "ann")
    for number in range(5):
        tally.grants.create(
            SYSTEM, customer=customer, amount=1, category="reward", idempotency_key=f"{number}"
        )
        clock.micros += DAY
    read: list[int] = []
    by_day = statements.by_day

    def count(connection, wallet_id, *, after, upto):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        read.append(upto - after)
        return by_day(connection, wallet_id, after=after, upto=upto)

    monkeypatch.setattr(statements, "by_day", count)
    first = tally.billing.usage(SYSTEM, customer=customer, period="90d")
    again = tally.billing.usage(SYSTEM, customer=customer, period="90d")
    assert replace(first, end=again.end) == again
    assert [5, 1] == read


def test_no_more_wallets_are_kept_than_there_is_room_for(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was asked for longest ago goes first."""
    monkeypatch.setattr(day_sums, "WALLETS_KEPT", 2)
    for name in ("ann", "bob", "cyd"):
        tally.billing.usage(SYSTEM, customer=customer_of(tally, name), period="7d")
    assert 2 == len(tally.billing._days._kept)  # noqa: SLF001 - what is kept shows nowhere else
