"""Talking to the server. Every write has an Idempotency-Key and is repeated with it when the answer is lost.

What may have been done and cannot be repeated safely is never repeated: the user is told that nobody knows.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import typer

from tallystick.cli.problems import Problem, from_answer
from tallystick.client import exact
from tallystick.client.events import EVENTS, Hearing, OnOutput, Stream, may_have_run

# A null that is sent: None is left out.
NULL: Final = msgspec.Raw(b"null")
PAUSES_SECONDS: Final = (0.2, 0.5, 1.0)
LONGEST_WAIT_SECONDS: Final = 5.0
FILE: Final = "application/octet-stream"
TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
# With the same key a repeat of these is safe; 503 itself says so.
_TRY_AGAIN: Final = frozenset({502, 503, 504})
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_OWN_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Remote:
    """One server, asked under its REST interface."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self.token = token
        self._sleep = sleep
        try:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise _unusable(url, "expected an address that begins with http:// or https://")
            headers = {"User-Agent": "tallystick-cli"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            own = parts.hostname in _OWN_MACHINE  # No proxy is the way to one's own machine.
            self._client = httpx.Client(
                base_url=f"{url}/api/v1",
                headers=headers,
                timeout=TIMEOUT,
                transport=transport,
                trust_env=not own,
                verify=parts.scheme == "https" or not own,  # reading certificates takes time
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise _unusable(url, str(error)) from error

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Read something; what is None is left out of the query."""
        return self._ask("GET", path, query=query)

    @contextmanager
    def download(self, path: str, /, *, kind: str, **query: object) -> Iterator[Iterator[bytes]]:
        """Read a file of the media type ``kind`` piece by piece, as it comes.

        It is asked for again until its first byte is there, and never after: what broke off is a ``Problem``.
        """
        request = self._client.build_request("GET", path, params=_given(query))
        response = self._send(request, key=None, repeatable=True, stream=True)
        try:
            if not response.is_success:
                self._read(response, None)
            if response.headers.get("Content-Type", "").partition(";")[0] != kind:
                raise self._not_ours(response)
            yield self._pieces(response)
        finally:
            response.close()

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise Problem(
                "answer_incomplete",
                f"the connection to {self.url} broke before everything had come",
                advice="Run the command again: nothing was changed.",
            ) from error

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        repeatable: bool = True,
        timeout_seconds: float | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Write something; what is None is left out of the body.

        ``repeatable`` False is for what keeps no idempotency keys: then a repeat could do it twice.
        """
        return self._ask(
            "POST", path, body=body or {}, key=key, repeatable=repeatable, timeout_seconds=timeout_seconds
        )

    def post_live(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        key: str | None,
        timeout_seconds: float,
        on_output: OnOutput,
    ) -> Any:  # noqa: ANN401 - JSON
        """As ``post``, and tell meanwhile what code writes.

        Where the connection breaks, the rest is told when the code has ended: that is waited for.
        """
        key = key or uuid.uuid4().hex
        request = self._build("POST", path, body=body, key=key, timeout_seconds=timeout_seconds)
        request.headers["Accept"] = EVENTS
        told: dict[Stream, int] = {}

        def hear(response: httpx.Response) -> httpx.Response:
            if response.headers.get("Content-Type", "").partition(";")[0] != EVENTS:
                raise self._not_ours(response, key)
            hearing = Hearing(response, told)
            for piece in response.iter_bytes():
                for stream, text in hearing.feed(piece):
                    on_output(stream, text)
            return hearing.end

        for _ in range(math.ceil(timeout_seconds / sum(PAUSES_SECONDS))):
            response = self._send(request, key=key, repeatable=True, hear=hear)
            if not _is_in_flight(response):
                break
            self._sleep(PAUSES_SECONDS[-1])
        return self._read(response, key)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Set something: a repeat sets the same."""
        return self._ask("PUT", path, body=body)

    def put_file(self, address: str, /, content: bytes, *, key: str | None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Send a file: a repeat with the same key is charged once."""
        return self._ask("PUT", address, query=query, content=content, key=key)

    def patch(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Any:  # noqa: ANN401 - JSON
        """Change something; what is None is left out of the body. A repeat changes it to the same, with the key once."""
        return self._ask("PATCH", path, body=body, key=key)

    def delete(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Remove something: a repeat finds it gone. What is None is left out of the query."""
        return self._ask("DELETE", path, query=query)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        key: str | None = None,
        repeatable: bool = True,
        timeout_seconds: float | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        key = key or (None if method == "GET" else uuid.uuid4().hex)
        request = self._build(
            method, path, query=query, body=body, content=content, key=key, timeout_seconds=timeout_seconds
        )
        response = self._send(request, key=key, repeatable=repeatable)
        return self._read(response, key, repeatable=repeatable)

    def _build(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        key: str | None,
        timeout_seconds: float | None = None,
    ) -> httpx.Request:
        sent = content if body is None else _encode(body)
        kind = "application/json" if content is None else FILE
        try:
            request = self._client.build_request(
                method,
                path,
                params=_given(query or {}),
                content=sent,
                headers={} if sent is None else {"Content-Type": kind},
                timeout=TIMEOUT if timeout_seconds is None else timeout_seconds,
            )
        except httpx.InvalidURL as error:
            raise typer.BadParameter(f"expected what can be asked for in an address: {error}") from None
        if key is not None:
            request.headers["Idempotency-Key"] = key
        return request

    def _send(
        self,
        request: httpx.Request,
        *,
        key: str | None,
        repeatable: bool,
        stream: bool = False,
        hear: Callable[[httpx.Response], httpx.Response] | None = None,
    ) -> httpx.Response:
        """Send a request, again if that is safe, until an answer stands. Of a ``stream`` only a refusal is read.

        With ``hear`` the answer is what that makes of a stream.
        """
        lost = False
        for pause in (*PAUSES_SECONDS, None):
            try:
                response = self._client.send(request, stream=stream or hear is not None)
                if not response.is_success:
                    response.read()
                elif hear is not None:
                    with closing(response):
                        response = hear(response)
            except httpx.TransportError as error:
                lost = lost or not isinstance(error, _NOT_SENT)
                if pause is None or (lost and not repeatable):
                    raise self._no_answer(error, lost=lost, key=key, repeatable=repeatable) from error
                self._sleep(pause)
                continue
            wait = None if pause is None else _wait(response, pause, repeatable=repeatable)
            is_gone = response.status_code == httpx.codes.NOT_FOUND
            if wait is None and lost and request.method == "DELETE" and is_gone:
                return httpx.Response(httpx.codes.NO_CONTENT)  # The try whose answer was lost removed it.
            if wait is None:
                return response
            self._sleep(wait)
        raise AssertionError

    def _read(self, response: httpx.Response, key: str | None, *, repeatable: bool = True) -> Any:  # noqa: ANN401 - JSON
        if not response.content and response.is_success:
            return None
        try:
            answer = exact.decode(response.content)
        except ValueError:
            answer = None
        if response.is_success and isinstance(answer, dict):
            return answer
        if isinstance(answer, dict) and "code" in answer:
            raise from_answer(answer)
        if response.status_code in _TRY_AGAIN:  # from something between the server and us
            raise self._no_answer(f"status {response.status_code}", lost=True, key=key, repeatable=True)
        raise self._not_ours(response, key if repeatable and response.is_success else None)

    def _not_ours(self, response: httpx.Response, key: str | None = None) -> Problem:
        """What is no answer of ours. With a key it may have been done, and is repeated safely."""
        again = f" If it is the right one, repeat the command with --idempotency-key {key}." if key else ""
        return Problem(
            "unexpected_answer",
            f"{self.url} answered {response.status_code} with something that is not Tallystick's",
            advice=f"Check TALLY_URL: another program may be listening there.{again}",
            **({"idempotency_key": key} if key else {}),
        )

    def _no_answer(self, error: Exception | str, *, lost: bool, key: str | None, repeatable: bool) -> Problem:
        if not lost or key is None:
            return Problem(
                "server_unreachable",
                f"there is no answer from {self.url}: {error or type(error).__name__}",
                advice="Start a server with `tally serve`, or set TALLY_URL to where one is.",
            )
        advice = (
            f"Repeat the command with --idempotency-key {key}: it is done at most once."
            if repeatable
            else "Look whether it was done before you repeat it."
        )
        return Problem(
            "outcome_unknown",
            f"the connection to {self.url} broke before the answer came, so nobody knows whether it was done",
            advice=advice,
            idempotency_key=key,
        )


def _unusable(url: str, why: str) -> Problem:
    # The environment may hold bytes that are no text, and could not be written as they are.
    said = f"cannot talk to {url}: {why}".encode(errors="backslashreplace").decode()
    return Problem(
        "configuration_error",
        said,
        advice="Set TALLY_URL to an address such as http://127.0.0.1:8080; check TALLY_API_KEY.",
    )


def _wait(response: httpx.Response, pause: float, *, repeatable: bool) -> float | None:
    """How long to wait before another try, or None when the answer stands."""
    if may_have_run(response):
        return None
    if _is_in_flight(response):
        return pause
    if response.status_code not in _TRY_AGAIN:
        return None
    if not repeatable and response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        return None
    asked = response.headers.get("Retry-After", "")
    return max(pause, min(float(asked), LONGEST_WAIT_SECONDS)) if asked.isdecimal() else pause


def _is_in_flight(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.CONFLICT and b"IDEMPOTENCY_IN_FLIGHT" in response.content


def _given(query: Mapping[str, object]) -> dict[str, str]:
    """What is asked for; None is left out."""
    return {name: str(value) for name, value in query.items() if value is not None}


def _encode(body: Mapping[str, Any]) -> bytes:
    encoder = msgspec.json.Encoder(decimal_format="number")
    try:
        return encoder.encode({name: value for name, value in body.items() if value is not None})
    except (RecursionError, UnicodeEncodeError) as error:
        raise typer.BadParameter(f"expected what can be sent as JSON: {error}") from None
