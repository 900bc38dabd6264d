"""What a client knows before its first call: where the server is, who asks, and how long to try."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx

from tallystick.client.errors import unusable

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_OWN_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a call may take in all, tries and pauses together, and how long a connection may.

    A blocking client looks at the clock between the pieces of an answer, and waits for each of them no longer than the call
    had left at that try; headers that drip in make it wait longer. An ``AsyncTallyClient`` ends on time whatever comes.
    """

    total_seconds: float = 60.0
    connect_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Raises ``ConfigurationError`` for what is no number of seconds above 0."""
        for name in ("total_seconds", "connect_seconds"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
                raise unusable(f"{name}: expected seconds above 0, found {value!r:.100}")


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a call is tried, and how long it waits in between: twice as long each time, with some chance in it.

    A server that asks for a longer wait than ``longest_pause_seconds`` is not asked again.
    """

    tries: int = 4
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 5.0


class Transports(Protocol):
    """Another way to a server than over the network."""

    def blocking(self) -> httpx.BaseTransport:
        """For a ``TallyClient``."""
        ...

    def awaitable(self) -> httpx.AsyncBaseTransport:
        """For an ``AsyncTallyClient``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a client. ``None`` for ``api_key`` asks as nobody, which is enough for prices and for logging in."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    transports: Transports | None = None

    def with_key(self, api_key: str | None) -> Settings:
        """The same for somebody else. Raises ``ConfigurationError``."""
        return replace(self, api_key=_key_of(api_key))

    @property
    def is_own_machine(self) -> bool:
        """Whether the server is on this machine, where no proxy is the way."""
        return urlsplit(self.base_url).hostname in _OWN_MACHINE

    @property
    def headers(self) -> dict[str, str]:
        """What every request says."""
        known = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        return {"User-Agent": "tallystick-python", **known}


def settings_of(
    *,
    api_key: str | None,
    base_url: str | None,
    timeouts: Timeouts,
    retries: Retries,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """What was given, or else what the environment says. Raises ``ConfigurationError``."""
    return Settings(
        base_url=_url_of(base_url or environ.get("TALLY_URL") or DEFAULT_URL),
        api_key=_key_of(api_key or environ.get("TALLY_API_KEY") or None),
        timeouts=timeouts,
        retries=retries,
    )


def _url_of(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(text).raw_host.decode().encode("idna")  # as it is looked up: no label is empty or too long
    except (ValueError, TypeError, AttributeError, httpx.InvalidURL):
        usable = False
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise unusable(
            f"base_url (TALLY_URL): expected an address such as {DEFAULT_URL}, found {text!r:.300}"
        )
    return text.rstrip("/").removesuffix("/api/v1")


def _key_of(text: str | None) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise unusable(f"api_key (TALLY_API_KEY): expected a text such as tly_…, found {type(text).__name__}")
    if not text.isascii() or not text.isprintable() or " " in text:
        expected = "expected a key such as tly_…, found a text with spaces or other signs in it"
        raise unusable(f"api_key (TALLY_API_KEY): {expected}")
    return text
