"""Events that are signed with the right secret, and are none all the same."""

from __future__ import annotations

import json

import pytest

from tallystick.core.times import parse_rfc3339
from tallystick.ports.payments import SignatureInvalid
from tallystick.providers.simulated.events import sign, verified

NOW = parse_rfc3339("2026-03-10T12:00:00Z", field="now")
EVENT = {
    "id": "evt_sim_a",
    "type": "customer.deleted",
    "created_at": NOW,
    "subject": "payer",
    "subject_id": "cus_sim_a",
    "live": False,
}


def read(**changed: object) -> str:
    """The id of an event as it was read."""
    body = json.dumps(EVENT | changed).encode()
    return verified(body, sign(body, secret="s", now=NOW), secret="s", now=NOW).id


@pytest.mark.parametrize(
    "changed",
    [{"created_at": 10**30}, {"created_at": -1}, {"id": "x" * 256}, {"subject_id": "x" * 256}, {"type": 1}],
    ids=["late", "early", "long_id", "long_subject", "no_text"],
)
def test_what_no_database_takes_is_refused(changed: dict[str, object]) -> None:
    """Answered with an error of ours, it would be sent again for ever."""
    assert "evt_sim_a" == read()
    with pytest.raises(SignatureInvalid):
        read(**changed)
