"""Refusals in Stripe's own form."""

import copy
from collections.abc import Iterable
from typing import Any

from tests.stripe_double.contract import Json

STATUS = {"card_error": 402, "idempotency_error": 400, "invalid_request_error": 400, "api_error": 500}


class Refusal(Exception):  # noqa: N818 - what Stripe refuses is no error of the double
    """An answer that is an error.

    ``executed`` tells whether the operation had begun: only then does Stripe keep the answer under the idempotency key.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "invalid_request_error",
        status: int | None = None,
        executed: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = STATUS[kind] if status is None else status
        self.executed = executed
        self._fields = {"message": message, "type": kind} | fields

    def body(self) -> Json:
        """The error as Stripe writes it, with objects as they are at this moment."""
        return {"error": {key: copy.deepcopy(each) for key, each in self._fields.items() if each is not None}}


def missing(kind: str, found: str, *, param: str) -> Refusal:
    """There is no such object."""
    name = kind.replace(".", " ").replace("_", " ")
    return Refusal(f"No such {name}: '{found}'", status=404, code="resource_missing", param=param)


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """A parameter that Stripe does not accept."""
    return Refusal(message, param=param, code=code or ("parameter_invalid" if param else None))


def refused(message: str, *, code: str | None = None, **fields: Any) -> Refusal:
    """What the state of an object does not allow; found out while the operation ran."""
    return Refusal(message, code=code, executed=True, **fields)


def not_implemented(what: Iterable[str]) -> Refusal:
    """Something that Stripe does and the double does not; the test that meets it fails."""
    names = ", ".join(sorted(what))
    return Refusal(f"The double does not implement this: {names}", kind="api_error", status=501)
