"""Whether answers are what the OpenAPI document says: every answer of every test of the door is held against it."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
from fastapi import FastAPI

from tallystick.api.openapi import document_of


class Contract:
    """The document, ready to judge."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._paths = [
            (re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)), path)
            for path in sorted(document["paths"], key=_specific)
        ]
        self._validators: dict[tuple[str, str, str, str], Any] = {}

    def check(self, method: str, path: str, status: int, kind: str, body: bytes) -> None:
        """Fail unless this answer is documented, and its body has the documented form."""
        template = next((each for pattern, each in self._paths if pattern.fullmatch(path)), None)
        operations = {} if template is None else self.document["paths"][template]
        if template is None or method.lower() not in operations:
            assert status in {404, 405, 413, 307}, f"{method} {path} is not documented and answered {status}"
            return
        responses = operations[method.lower()]["responses"]
        assert str(status) in responses, f"{method} {template} is not documented to answer {status}"
        media = responses[str(status)].get("content", {})
        if not media:
            assert body == b"", f"{method} {template} {status} has a body, which is not documented"
            return
        name = kind.partition(";")[0]
        assert name in media, f"{method} {template} {status} is not documented to be {name}"
        if name.endswith("json"):
            found = self._validator(template, method, status, name, media[name]["schema"])
            errors = [
                f"{error.instance_path}: {error.message}" for error in found.iter_errors(json.loads(body))
            ]
            assert [] == errors, f"{method} {template} {status}"

    def _validator(
        self, template: str, method: str, status: int, kind: str, schema: Mapping[str, Any]
    ) -> Any:
        key = (template, method, str(status), kind)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]


def _specific(path: str) -> tuple[int, str]:
    return (path.count("{"), path)


@cache
def _contract() -> list[Contract]:
    return []


def contract_of(app: FastAPI) -> Contract:
    """The contract of an application; all have the same routes, so it is made once."""
    made = _contract()
    if not made:
        made.append(Contract(document_of(app)))
    return made[0]
