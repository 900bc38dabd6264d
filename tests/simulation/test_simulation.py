"""A little of the simulation; ``python -m tests.simulation`` runs as much of it as one likes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallystick.core.book import Book
from tallystick.core.operations import Operation
from tallystick.store.ledger import Ledger
from tallystick.store.loading import Loader
from tests.model import Mismatch
from tests.postgres import temporary_database
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
        "looked at",
        "balance.low",
        "balance.depleted",
        "balance.recovered",
        "refill asked for",
        "capture: done",
        "clawback: done",
        "reinstatement: done",
        "charge: budget_exceeded",
        "charge: rate_limited",
        "charge: idempotency_key_reused",
        "refund: done",
        "settlement: done",
    ):
        assert counts[name] > 0, name


def test_batches_from_memory_and_their_surprises_happen(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL some batches read nothing, and some of those meet what another process has done."""
    counts = {"from memory": 0, "surprises": 0}
    recall, beware = Loader.recall, Ledger.beware

    def counted(loader: Loader, operations: Sequence[Operation], now: int) -> Book | None:
        book = recall(loader, operations, now)
        counts["from memory"] += book is not None
        return book

    def surprised(ledger: Ledger) -> None:
        counts["surprises"] += 1
        beware(ledger)

    monkeypatch.setattr(Loader, "recall", counted)
    monkeypatch.setattr(Ledger, "beware", surprised)
    simulate(seed=20, operations=1_500, url=postgresql_url)
    assert counts["from memory"] > counts["surprises"] > 0


def test_a_seed_replays_its_run_exactly_on_sqlite(sqlite_url: str, sqlite_template: Path) -> None:
    """Every answer is the same again."""
    first = simulate(seed=5, operations=300, url=sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///")).with_name("again.db")
    shutil.copyfile(sqlite_template, path)
    assert first == simulate(seed=5, operations=300, url=f"sqlite:///{path}")


def test_a_seed_replays_its_run_exactly_on_postgresql(
    postgresql_url: str, postgres_server: str, postgresql_template: str
) -> None:
    """Every answer is the same again."""
    first = simulate(seed=5, operations=300, url=postgresql_url)
    with temporary_database(postgres_server, template=postgresql_template) as url:
        assert first == simulate(seed=5, operations=300, url=url)


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
