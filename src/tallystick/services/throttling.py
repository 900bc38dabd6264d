"""How often somebody may try: so many attempts of a subject in one window of time, counted in the store."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final

from tallystick.core import errors

_SECOND: Final = 1_000_000
_IPV6_NETWORK_BITS: Final = 64
_LONGEST_ADDRESS: Final = 100


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most ``limit`` attempts of one subject in each window; the windows begin at whole multiples."""

    name: str
    limit: int
    window_seconds: int

    def subject(self, value: str) -> str:
        """What is stored: a digest, so that the table is no list of addresses, or of mistyped passwords."""
        return f"{self.name}:{hashlib.sha256(value.encode()).hexdigest()[:32]}"

    def window_at(self, now: int) -> int:
        """The start of the window that ``now`` lies in."""
        return now - now % (self.window_seconds * _SECOND)

    def check(self, count: int, now: int) -> None:
        """Refuse when ``count`` attempts, this one included, are too many."""
        if count <= self.limit:
            return
        reset_at = self.window_at(now) + self.window_seconds * _SECOND
        raise errors.RateLimited(
            limit=self.limit,
            remaining=0,
            reset_at=reset_at,
            window_seconds=self.window_seconds,
            retry_after_seconds=max(1, -((now - reset_at) // _SECOND)),
            limit_source=self.name,
        )


def network_of(ip: str) -> str:
    """Whom an address stands for: itself, or in IPv6 its /64, since one line has that many addresses."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip[:_LONGEST_ADDRESS].encode(errors="replace").decode()
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
    return str(address)
