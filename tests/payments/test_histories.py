"""Random histories end in the model's balances: a few with each change, more among the slow tests."""

from pathlib import Path

import pytest

from tests.payments.histories import run


def test_some_histories(tmp_path: Path) -> None:
    """On simulated payments."""
    run(seed=7, count=15, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "count"), [("simulated", 150), ("stripe", 15)])
def test_more_histories(tmp_path: Path, provider: str, count: int) -> None:
    """With each provider."""
    run(seed=20_000, count=count, provider=provider, folder=tmp_path)
