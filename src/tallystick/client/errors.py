"""What a call raises: one class, told apart by ``code``, and subclasses where it is not a server of ours that speaks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any


class TallyError(Exception):
    """A refusal: read ``code``. Nothing was changed, except where the class is ``OutcomeUnknown``.

    ``fields`` has every member of the server's problem; the properties are the usual ones, and None where there is none.
    """

    def __init__(
        self, code: str, detail: str, status: int | None = None, fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(code, detail, status, fields)
        self.code = code
        self.detail = detail
        self.status = status
        self.fields: Mapping[str, Any] = fields or {}

    def __str__(self) -> str:
        """The code and the sentence for people."""
        return f"{self.code}: {self.detail}"

    @property
    def required(self) -> Decimal | None:
        """How much the operation needs."""
        return self._amount("required")

    @property
    def available(self) -> Decimal | None:
        """How much there is."""
        return self._amount("available")

    @property
    def shortfall(self) -> Decimal | None:
        """How much is missing."""
        return self._amount("shortfall")

    @property
    def unit(self) -> str | None:
        """What the amounts count."""
        return self._text("unit")

    @property
    def limit_source(self) -> str | None:
        """Which wallet, budget or limit refused."""
        return self._text("limit_source")

    @property
    def topup_url(self) -> str | None:
        """Where credits are bought."""
        return self._text("topup_url")

    @property
    def request_id(self) -> str | None:
        """What the server's log calls this request."""
        return self._text("request_id")

    @property
    def retryable(self) -> bool:
        """Whether waiting until ``reset_at`` helps."""
        return self.fields.get("retryable") is True

    @property
    def reset_at(self) -> datetime | None:
        """When waiting will have helped."""
        try:
            found = datetime.fromisoformat(self._text("reset_at") or "")
        except ValueError:
            return None
        return None if found.tzinfo is None else found

    @property
    def retry_after_seconds(self) -> int | None:
        """How long to wait after a 429."""
        found = self.fields.get("retry_after_seconds")
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """Of a 422, each field with what is wrong with it."""
        found = self.fields.get("errors")
        pairs = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        return tuple((str(each.get("field")), str(each.get("message"))) for each in pairs)

    def _amount(self, name: str) -> Decimal | None:
        found = self.fields.get(name)
        return Decimal(found) if isinstance(found, int | Decimal) and not isinstance(found, bool) else None

    def _text(self, name: str) -> str | None:
        found = self.fields.get(name)
        return found if isinstance(found, str) else None


class ServerUnreachable(TallyError):  # noqa: N818 - says what is known
    """Nothing arrived at a server, or nothing could be read from it: nothing was changed."""


class OutcomeUnknown(TallyError):  # noqa: N818 - as above
    """A write may have happened or not. Repeat it with ``idempotency_key``: it is done at most once.

    Without a key it is a write that keeps none: look whether it was done. ``code`` is the server's where it said one.
    """

    @property
    def idempotency_key(self) -> str | None:
        """The key that the write was sent with."""
        return self._text("idempotency_key")


class UnexpectedAnswer(TallyError):  # noqa: N818 - as above
    """Something answered that is no Tallystick, or one whose answers have another form. Check the address."""


class ConfigurationError(TallyError):
    """An address, a key or the client itself cannot be used: nothing was sent."""


def unusable(detail: str) -> ConfigurationError:
    """What cannot be used, and what was expected."""
    return ConfigurationError("CONFIGURATION_ERROR", detail)
