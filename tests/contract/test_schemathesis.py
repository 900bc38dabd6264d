"""Requests that nobody thought of: made from the OpenAPI document, valid ones and invalid ones, by an admin."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.doors.api.door import ADMIN, Door
from tests.services.scripted_sandboxes import ScriptedSandboxes

EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_no_request_finds_a_server_error_or_an_undocumented_answer(
    database_url: str, tmp_path: Path, mode: GenerationMode
) -> None:
    """Whatever is sent to whichever operation, the answer is the documented one and no mistake of the server's."""
    sandboxes = ScriptedSandboxes()
    with Door(database_url, tmp_path, test_mode=True, economy="flow-nexus", sandboxes=sandboxes) as door:
        schema = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
        headers = {"Authorization": f"Bearer {ADMIN}"}
        tried = 0
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()

            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def try_out(case: schemathesis.Case[Any]) -> None:
                nonlocal tried
                case.call_and_validate(headers=headers, checks=CHECKS)
                tried += 1

            try:
                try_out()
            except hypothesis.errors.Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # nothing about this operation can be wrong
        assert tried > EXAMPLES * 20
        assert 200 == door.client.get("/auth/me").status_code
