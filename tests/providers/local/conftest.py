"""Sandboxes that are held by control groups where this machine has them, and sandboxes that are only watched."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tallystick.providers.local import LocalSandboxes
from tests.providers.local.boxes import Box, Boxes


@pytest.fixture(scope="module", params=["held", "watched"])
def local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSandboxes]:
    """The provider, in both ways of limiting."""
    folder = tmp_path_factory.mktemp("state") / "sandboxes"
    provider = LocalSandboxes(state_dir=folder, hold=request.param == "held")
    yield provider
    provider.close()
    assert [] == list(folder.iterdir())


@pytest.fixture
def boxes(local: LocalSandboxes) -> Iterator[Boxes]:
    """Makes sandboxes, which are gone after the test."""
    made = Boxes(local)
    yield made
    made.close()


@pytest.fixture
def box(boxes: Boxes) -> Box:
    """A sandbox."""
    return boxes.make()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder for a provider of the test's own."""
    return tmp_path / "sandboxes"


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users may enter, as sandboxes' are where root runs them; ``tmp_path`` is closed to them."""
    with TemporaryDirectory(prefix="tally-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
