"""What is given to a call where a few plain arguments do not say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tallystick.client.errors import unusable
from tallystick.client.exact import Number, number
from tallystick.client.requests import given, new_key


@dataclass(frozen=True, kw_only=True)
class Also:
    """A further meter of the same usage."""

    meter: str
    quantity: Number = 1


@dataclass(frozen=True, kw_only=True)
class KeyBudget:
    """How much a key may spend in each period."""

    amount: Number
    per: Literal["day", "month"]
    unit: str | None = None


def words(values: Iterable[str] | None) -> list[str] | None:
    """Several texts. Raises ``TypeError`` for a single one, whose letters would be taken for them."""
    if isinstance(values, str):
        raise TypeError(f"expected several texts, such as [{values[:100]!r}], found one")
    return None if values is None else list(values)


def bytes_of(content: bytes | bytearray | memoryview) -> bytes:
    """A file's content. Raises ``ConfigurationError`` for what is no bytes: of a text, nobody knows which are meant."""
    try:
        return bytes(memoryview(content))
    except TypeError:
        found = f"found {type(content).__name__}"
        raise unusable(f"content: expected bytes, such as open(path, 'rb').read(), {found}") from None


def usage_body(
    *,
    meter: str | None,
    quantity: Number | None,
    also: Iterable[Also],
    customer: str | None,
    agent: str | None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """A usage as it is sent."""
    parts = [{"meter": each.meter, "quantity": number(each.quantity)} for each in also]
    return {
        "meter": meter,
        "quantity": number(quantity),
        "also": parts or None,
        "customer": customer,
        "agent": agent,
        "description": description,
        "metadata": metadata,
    }


@dataclass(frozen=True, kw_only=True)
class NewCharge:
    """One charge of a batch. It has its key from the start, so that the same list can be sent again."""

    meter: str
    quantity: Number = 1
    also: tuple[Also, ...] = ()
    customer: str | None = None
    agent: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str = field(default_factory=new_key)

    def body(self) -> dict[str, object]:
        """The charge as it is sent."""
        usage = usage_body(
            meter=self.meter,
            quantity=self.quantity,
            also=self.also,
            customer=self.customer,
            agent=self.agent,
            description=self.description,
            metadata=self.metadata,
        )
        return {**given(usage), "idempotency_key": self.idempotency_key}
