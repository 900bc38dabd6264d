"""Through which door an admin did something stands in the operators' record."""

from __future__ import annotations

from pathlib import Path

from tests.doors.api.door import ADMIN, Door
from tests.doors.cli.program import Program


def test_the_record_says_through_which_door_an_admin_came(door: Door, tmp_path: Path) -> None:
    """REST or the command line; a service is no admin, whatever door it takes."""
    door.post("/grants", {"customer": "ann", "amount": 5, "category": "bonus", "reason": "over REST"})
    door.post("/grants", {"customer": "ann", "amount": 5, "category": "bonus"}, token=door.service())
    program = Program(door.url, tmp_path, key=ADMIN)
    program.show("grants", "create", "ann", "7", "--category", "bonus", "--reason", "by command")
    found = [(row.door, row.action, row.reason) for row in door.tally.operator_actions.list().items]
    assert [("cli", "grant", "by command"), ("rest", "grant", "over REST")] == found
