"""The example of a FastAPI app with prices, called by a real client until the credits run out."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.examples.processes import running

pytestmark = pytest.mark.slow


def test_the_example(database_url: str, tmp_path: Path) -> None:
    """Each route at its price, until the credits run out: then nothing is done for nothing."""
    with (
        running("paid_fastapi_app", database_url, tmp_path) as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer secret-of-ann"}) as ann,
    ):
        assert 401 == httpx.get(f"{url}/lookup/7").status_code
        assert "a paid app" == httpx.get(f"{url}/about").json()
        found = ann.get("/lookup/7")
        assert ({"id": 7}, "1", "999") == (
            found.json(),
            found.headers["tally-charged"],
            found.headers["tally-balance"],
        )
        answer = ann.post("/enrich", json={"rows": ["known a", "b", "known c"]})
        assert (2, "1", "998") == (
            len(answer.json()["rows"]),
            answer.headers["tally-charged"],
            answer.headers["tally-balance"],
        )
        assert 422 == ann.post("/enrich", json={"rows": [1]}).status_code  # refused by the app: costs nothing
        left = 998
        while (answer := ann.post("/enrich", json={"rows": ["known"] * 1000})).status_code == 200:
            left -= int(answer.headers["tally-charged"])
            assert str(left) == answer.headers["tally-balance"]
        problem = answer.json()
        assert (402, "INSUFFICIENT_CREDITS", left) == (
            answer.status_code,
            problem["code"],
            problem["available"],
        )
        assert f"{left - 1}" == ann.get("/lookup/8").headers["tally-balance"]
