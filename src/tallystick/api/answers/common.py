"""Types that the answers share, as the OpenAPI document shows them. ``Number`` is JSON text already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import WithJsonSchema

Number: TypeAlias = Annotated[Any, WithJsonSchema({"type": "number"})]
Time: TypeAlias = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Name: TypeAlias = str


@dataclass(slots=True)
class Part:
    """What one grant gave or got back."""

    grant: Name
    amount: Number
    unit: str
