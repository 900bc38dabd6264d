"""A little of the simulation; ``python -m tests.simulation`` runs as much of it as one likes."""

import pytest

from tallystick.core.book import Book
from tests.model import Mismatch
from tests.simulation.run import SimulationFailed, simulate
from tests.simulation.world import FaultyDriver


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_does_what_the_model_says(database_url: str, seed: int) -> None:
    """Through repeats, conflicts, crashes, restarts and jumps of the clock."""
    operations = 1_500 if database_url.startswith("sqlite") else 500
    assert operations <= simulate(seed=seed, operations=operations, url=database_url).operations


def test_crashes_repeats_and_overtaking_happen(sqlite_url: str) -> None:
    """What the simulation is for takes place in it."""
    counts = simulate(seed=4, operations=2_500, url=sqlite_url).counts
    for name in (
        "crash before the commit",
        "crash after the commit",
        "overtaken",
        "reconnected",
        "repeat",
        "restart",
        "settled by the worker",
        "capture: done",
        "clawback: done",
        "charge: budget_exceeded",
        "charge: rate_limited",
        "charge: idempotency_key_reused",
        "refund: done",
        "settlement: done",
    ):
        assert counts[name] > 0, name


def test_a_seed_replays_its_run_exactly(sqlite_url: str, postgresql_url: str) -> None:
    """Every answer is the same again, on the other database too."""
    first = simulate(seed=5, operations=300, url=sqlite_url)
    again = simulate(seed=5, operations=300, url=postgresql_url)
    assert first == again


def test_a_wrong_rule_is_found(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model notices a ledger that forgets to repay debts, and says how to replay the run."""
    monkeypatch.setattr(Book, "repay_debt", lambda *_: None)
    with pytest.raises(
        SimulationFailed, match=r"replay it with: python -m tests\.simulation --seed 6 "
    ) as failed:
        simulate(seed=6, operations=3_000, url=sqlite_url)
    assert isinstance(failed.value.__cause__, Mismatch)


def test_a_statement_that_is_lost_is_found(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered must be stored."""
    change = FaultyDriver.change

    def forgets_wallets(driver: FaultyDriver, raw: object, what: tuple[object, ...], rows: object) -> None:
        if what[0] != "wallets":
            change(driver, raw, what, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(FaultyDriver, "change", forgets_wallets)
    with pytest.raises(SimulationFailed):
        simulate(seed=7, operations=500, url=sqlite_url)
