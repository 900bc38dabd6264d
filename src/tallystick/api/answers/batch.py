"""The answer to a batch: for each charge, in order, its status and either the charge or the problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from tallystick.api.answers.spending import ChargeAnswer


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457). Programs read ``code``; some codes come with members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError | dict[str, Any]] = []


@dataclass(slots=True)
class ChargeMade:
    """A charge that was made."""

    status: int
    charge: ChargeAnswer


@dataclass(slots=True)
class ChargeRefused:
    """A charge that was refused; it changed nothing."""

    status: int
    error: Problem


@dataclass(slots=True)
class BatchAnswer:
    """One result for each charge, in order."""

    results: list[ChargeMade | ChargeRefused]
