"""What to do after each try of a call: wait and repeat it where that is safe, or tell what is known. No I/O is done here.

A call is repeated when no connection came about, and, where a repeat cannot do it twice, when the answer was lost, a server
or something in front of it was busy (502, 503, 504), or an earlier try of the same key still runs (409): for what takes long
that is waited out. A 429 is repeated only when the wait is short. Everything else stands: a 402 above all, and a failure of
code in a sandbox, which may have run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, TypeVar

import httpx

from tallystick.client import errors, exact
from tallystick.client.events import EVENTS, Hearing, Stream, may_have_run
from tallystick.client.models import Model
from tallystick.client.requests import Repeat, Request
from tallystick.client.settings import Settings

T = TypeVar("T")

# Raised before anything of the request was sent.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_BUSY: Final = frozenset({502, 503, 504})
_SERVER_ERRORS: Final = 500
_MOST_DOUBLINGS: Final = 32
# Refused at the door, where nobody looks for what the same idempotency key did before.
_BEFORE_ANYTHING: Final = frozenset({401, 403, 429})
_MESSAGE: Final = {
    Repeat.BY_KEY: "repeat it with idempotency_key={key!r}: it is done at most once",
    Repeat.SAME: "a repeat ends in the same state",
    Repeat.TWICE: "look whether it was done before you repeat it",
}


class Tries:
    """The tries of one call. ``now`` is a clock in seconds, ``chance`` gives numbers from 0 to 1."""

    def __init__(
        self,
        request: Request[Any],
        settings: Settings,
        *,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._request = request
        self._settings = settings
        self._now = now
        self._chance = chance
        self._deadline = now() + settings.timeouts.total_seconds + request.takes_seconds
        self._made = 0
        self._waited = 0
        self._told: dict[Stream, int] = {}
        self._lost = False
        self._repeatable = request.repeat is not Repeat.TWICE

    @property
    def seconds_left(self) -> float:
        """Until the call has taken all its time; never quite nothing, so that it can be a timeout."""
        return max(self._deadline - self._now(), 0.001)

    @property
    def timeout(self) -> httpx.Timeout:
        """For one try."""
        left = self.seconds_left
        return httpx.Timeout(left, connect=min(left, self._settings.timeouts.connect_seconds))

    def check_time(self) -> None:
        """Called while an answer comes. Raises ``httpx.ReadTimeout`` when the time is over."""
        if self._now() > self._deadline:
            raise httpx.ReadTimeout("the answer took too long")

    def hear(self, answer: httpx.Response) -> Hearing:
        """Begin to read a stream. Raises ``TallyError`` where it is none."""
        self._check_kind(answer, EVENTS)
        return Hearing(answer, self._told)

    def after_failure(self, error: httpx.RequestError) -> float:
        """How long to wait after a try that brought no answer. Raises when it was the last."""
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            raise errors.unusable(str(error)) from error
        self._lost = self._lost or not isinstance(error, _NOT_SENT)
        pause = self._pause() if self._repeatable or not self._lost else None
        if pause is None:
            self._no_answer(str(error) or type(error).__name__, None, error)
        return pause

    def after_answer(self, answer: httpx.Response) -> float | None:
        """How long to wait after an answer, or None when it stands."""
        if not self._is_repeated(answer) or may_have_run(answer):
            return None
        asked = _retry_after(answer.headers)
        if asked is not None and asked > self._settings.retries.longest_pause_seconds:
            return None
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            self._lost = True  # What was too busy to answer may have done it.
        waits = self._request.takes_seconds > 0 and answer.status_code == httpx.codes.CONFLICT
        return self._pause(at_least=asked or 0.0, waits=waits)

    def read(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - as the request's
        """The answer that stands. Raises ``TallyError``."""
        request, status = self._request, answer.status_code
        if answer.is_success or status in request.also_fine:
            return self._read_success(answer)
        if self._lost and status == request.gone:
            return request.read(None)  # The try whose answer was lost did it.
        problem = _problem_of(answer)
        if problem is None and status in _BUSY:  # from something between the server and us
            self._lost = True
            self._no_answer(f"status {status}", status, None)
        if problem is None:
            raise self._unexpected(answer, f"status {status}")
        if request.writes and self._leaves_open(status, problem["code"]):
            fields = problem | {"idempotency_key": request.idempotency_key}
            detail = f"{problem.get('detail')}; {self._advice}"
            raise errors.OutcomeUnknown(problem["code"], detail, status, fields)
        raise errors.TallyError(problem["code"], self._detail(problem, status), status, problem)

    def _leaves_open(self, status: int, code: str) -> bool:
        """Whether a refusal of a write says nothing about an earlier try of it, or about this one."""
        if status >= _SERVER_ERRORS or code == "IDEMPOTENCY_IN_FLIGHT":
            return True
        return self._lost and status in _BEFORE_ANYTHING

    def check_kind(self, answer: httpx.Response) -> None:
        """Raises ``TallyError`` unless an answer is of the media type that was asked for."""
        self._check_kind(answer, self._request.media_type)

    def _check_kind(self, answer: httpx.Response, expected: str) -> None:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if kind != expected:
            raise self._unexpected(answer, f"{kind or 'nothing'} where {expected or 'nothing'} belongs")

    def _read_success(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - as the request's
        self.check_kind(answer)
        try:
            if self._request.media_type != "application/json":
                return self._request.read(answer.content)
            found = self._request.read(exact.decode(answer.content))
        except ValueError as error:
            raise self._unexpected(answer, str(error)) from error
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        return replace(found, replayed=True) if replayed and isinstance(found, Model) else found

    def _is_repeated(self, answer: httpx.Response) -> bool:
        status = answer.status_code
        if status in self._request.also_fine:
            return False
        if status == httpx.codes.CONFLICT:
            return b"IDEMPOTENCY_IN_FLIGHT" in answer.content
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return _retry_after(answer.headers) is not None
        return status in _BUSY and self._repeatable

    def _pause(self, *, at_least: float = 0.0, waits: bool = False) -> float | None:
        """Before the next try, or None when this was the last. One that ``waits`` for an earlier one does not count."""
        retries = self._settings.retries
        doublings = min(self._made + self._waited, _MOST_DOUBLINGS)
        self._made, self._waited = self._made + (not waits), self._waited + waits
        longest = min(retries.first_pause_seconds * 2**doublings, retries.longest_pause_seconds)
        pause = max(longest * (0.5 + self._chance() / 2), at_least)
        goes_on = waits or self._made < retries.tries
        return pause if goes_on and pause < self._deadline - self._now() else None

    def _no_answer(self, why: str, status: int | None, cause: Exception | None) -> NoReturn:
        request, url = self._request, self._settings.base_url
        if not (self._lost and request.writes):
            detail = f"there is no answer from {url}: {why}"
            raise errors.ServerUnreachable("SERVER_UNREACHABLE", detail, status) from cause
        detail = f"nobody knows whether {request.method} {request.path} was done ({why}): {self._advice}"
        fields = {"idempotency_key": request.idempotency_key}
        raise errors.OutcomeUnknown("OUTCOME_UNKNOWN", detail, status, fields) from cause

    @property
    def _advice(self) -> str:
        return _MESSAGE[self._request.repeat].format(key=self._request.idempotency_key)

    def _detail(self, problem: Mapping[str, Any], status: int) -> str:
        detail = str(problem.get("detail", ""))
        if status == httpx.codes.UNAUTHORIZED and self._settings.api_key is None:
            return f"{detail}; give api_key=, or set TALLY_API_KEY"
        return detail

    def _unexpected(self, answer: httpx.Response, why: str) -> errors.TallyError:
        """What is no answer of ours. A write that was answered so may have happened."""
        where = f"{self._settings.base_url} answered {self._request.method} {self._request.path}"
        detail = f"{where} with something that is not Tallystick's, or of another version: {why}"
        fields = {"idempotency_key": self._request.idempotency_key}
        if self._request.writes and (answer.is_success or answer.status_code >= _SERVER_ERRORS):
            return errors.OutcomeUnknown("UNEXPECTED_ANSWER", detail, answer.status_code, fields)
        return errors.UnexpectedAnswer("UNEXPECTED_ANSWER", detail, answer.status_code)


def _problem_of(answer: httpx.Response) -> dict[str, Any] | None:
    """What a server of ours refused with, or None where it was something else that answered."""
    try:
        found = exact.decode(answer.content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("code"), str) else None


def _retry_after(headers: httpx.Headers) -> float | None:
    """The seconds that a server asks to wait, whichever of the two forms it says them in."""
    text = headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        found = parsedate_to_datetime(text)
        return max((found - datetime.now(UTC)).total_seconds(), 0.0) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
