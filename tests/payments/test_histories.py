"""Random histories end in the model's balances: a few with each change, more among the slow tests."""

from pathlib import Path

import pytest

from tallystick.core.payments import credits_lost
from tallystick.services import payment_state
from tallystick.services.fulfilment import Fulfilment
from tests.payments.histories import run


def test_some_histories(tmp_path: Path) -> None:
    """On simulated payments."""
    run(seed=7, count=15, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "count"), [("simulated", 150), ("stripe", 15)])
def test_more_histories(tmp_path: Path, provider: str, count: int) -> None:
    """With each provider."""
    run(seed=20_000, count=count, provider=provider, folder=tmp_path)


@pytest.mark.parametrize(
    "wrong", ["one credit is kept of what went back", "events are handled without asking"]
)
def test_a_mistake_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """Histories are worth something only if a bug makes one of them fail."""
    if wrong.startswith("one"):
        right = credits_lost
        monkeypatch.setattr(payment_state, "credits_lost", lambda *figures: max(right(*figures) - 1, 0))
    else:
        monkeypatch.setattr(Fulfilment, "look", lambda *_, **__: None)
    with pytest.raises(AssertionError):
        run(seed=7, count=15, folder=tmp_path)
