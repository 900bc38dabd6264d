"""Calling somebody's webhook: one POST to an address that was looked up, judged and then connected to, and to no other.

A receiver's URL is somebody else's choice, and the call leaves from inside our network. So the name is resolved once for
each call, every address that it stands for must be public, and the connection goes to one of these very addresses: a name
that resolves differently the next moment leads nowhere. Redirects are not followed and proxies not used. All of a call, from
the connection to the end of the answer, has one deadline, and of the answer only a little is read.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import httpcore
import httpx

from tallystick.core.addresses import is_public
from tallystick.core.sending import Attempt

DEADLINE_SECONDS: Final = 15.0
MOST_READ_BYTES: Final = 16_384
MOST_ADDRESSES: Final = 3
GONE: Final = 410

Resolve = Callable[[str, int], list[str]]


class ForbiddenAddress(Exception):  # noqa: N818 - an answer about a URL
    """A name stands for an address that must not be called. Its text is for people."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system finds them. Raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class WebhookSender:
    """Sends webhooks. ``allow_private`` is for receivers inside one's own network."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolve,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._deadline = deadline_seconds
        self._tls = httpx.create_ssl_context(trust_env=False)

    def addresses_of(self, host: str, port: int) -> list[str]:
        """The addresses that a host may be called at. Raises ``ForbiddenAddress``, or ``OSError`` for an unknown host."""
        found = self._resolve(host, port)
        if not self._allow_private and not all(map(is_public, found)):
            # Which one it is stays here: names of the network inside are nobody else's business.
            raise ForbiddenAddress(f"{host} is not a public address")
        if not found:
            raise OSError(f"{host} has no address")
        return found[:MOST_ADDRESSES]

    def check_host(self, host: str, port: int) -> str | None:
        """Why a host must not be called, or None. One that cannot be found now may be there when it is called."""
        try:
            self.addresses_of(host, port)
        except ForbiddenAddress as error:
            return str(error)
        except (OSError, UnicodeError):
            return None
        return None

    def send(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST a body. Whatever happens is an outcome, never an exception."""
        network = _Network(self.addresses_of, deadline=time.monotonic() + self._deadline)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=network) as pool,
                pool.stream("POST", url, headers=sent, content=body) as response,
            ):
                _read_some(response.stream)
                return _judge(response.status)
        except ForbiddenAddress as error:
            return Attempt(ok=False, error=str(error))
        except httpcore.TimeoutException:
            return Attempt(ok=False, error=f"no complete answer within {self._deadline:g} seconds")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Attempt(ok=False, error=f"the call failed: {str(error) or type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - a receiver must not be able to stop the others' deliveries
            return Attempt(ok=False, error=f"the call failed: {type(error).__name__}")


def _read_some(stream: Any) -> None:  # noqa: ANN401 - httpcore's
    """Read what a short answer has, so that its sender sees it taken; of a long one the rest is left."""
    size = 0
    for chunk in stream:
        size += len(chunk)
        if size > MOST_READ_BYTES:
            return


def _judge(status: int) -> Attempt:
    if 200 <= status < 300:  # noqa: PLR2004 - what HTTP calls success
        return Attempt(ok=True, status=status)
    return Attempt(ok=False, status=status, error=f"answered {status}", gone=status == GONE)


class _Network(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, and ends everything at the deadline."""

    def __init__(self, addresses_of: Resolve, *, deadline: float) -> None:
        self._addresses_of = addresses_of
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - there is one deadline for everything
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that answers."""
        addresses = self._addresses_of(host, port)
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, local_address, socket_options)

    def _connect(
        self, address: str, port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(address, port, _left(self._deadline), local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    """A connection that does nothing after its deadline, however slowly it goes."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - as above
        """Read what has come."""
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        """Write everything."""
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        """Hang up."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - as above
    ) -> httpcore.NetworkStream:
        """Speak TLS from now on; the certificate must be the host's, whatever address it is at."""
        inner = self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own
        """Facts about the connection."""
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises httpcore's timeout when there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return seconds
