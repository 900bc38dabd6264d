"""The queue of operations and its end."""

from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import ServiceUnavailable
from tallystick.core.operations import Charge, Part
from tallystick.services.group_commit import Ticket


def charge() -> Charge:
    return Charge(customer_id=1, caller="test", parts=(Part("call", "api", "credits", 1),))


def test_nobody_waits_for_a_queue_that_has_ended(tmp_path: Path) -> None:
    """What is asked after the end is refused, and so is what slipped in just before it."""
    tally = Tally.open(f"sqlite:///{tmp_path / 'tally.db'}")
    commit = tally.context.commit
    tally.close()
    with pytest.raises(ServiceUnavailable):
        commit.run(charge())
    late = Ticket(charge())
    commit._queue.put(late)  # noqa: SLF001 - as a thread that had looked before the end
    commit._refuse_rest()  # noqa: SLF001
    with pytest.raises(ServiceUnavailable):
        late.wait()
