"""What the errors of E2B's SDK mean to the port.

An answer says that a thing is gone, or that it cannot be done. Everything else (a lost connection, a timeout, a 5xx, too
many requests, a key that is refused while a sandbox runs) says nothing about the sandbox: it may run on, and cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import e2b

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import SandboxGone, SandboxRefused

GONE: Final = (e2b.SandboxNotFoundException, e2b.SandboxNotRunningException)
_CANNOT: Final = (e2b.NotFoundException, e2b.InvalidArgumentException, e2b.NotEnoughSpaceException)
_SAYS_NOTHING: Final = frozenset({408, 409, 425, 429})  # 409: the same key is in use just now
_FULL: Final = "maximum number of concurrent"  # it is a 429 too, and no other kind of it
_CODES: Final = {400: "invalid", 401: "unauthenticated", 403: "forbidden", 404: "template_not_found"}
# The guest's file server answers 500 with the kernel's words for what it cannot do.
_KERNEL_SAID: Final = (
    "permission denied",
    "not a directory",
    "is a directory",
    "file name too long",
    "read-only file system",
)


@contextmanager
def making() -> Iterator[None]:
    """Within it, a sandbox is made. Raises ``ProviderRefused`` or ``OutcomeUnknown``."""
    try:
        yield
    except Exception as error:
        raise _of_making(error) from error


@contextmanager
def asking() -> Iterator[None]:
    """Within it, something is asked about a sandbox or done to it. Raises ``SandboxGone`` or ``OutcomeUnknown``."""
    try:
        yield
    except Exception as error:
        raise of_sandbox(error) from error


@contextmanager
def within() -> Iterator[None]:
    """Within it, something is done inside a sandbox. Raises as ``asking``, and ``SandboxRefused``."""
    try:
        yield
    except SandboxRefused:
        raise
    except Exception as error:
        raise of_guest(error) from error


def of_sandbox(error: Exception) -> SandboxGone | OutcomeUnknown:
    """What an error says about a sandbox."""
    if isinstance(error, GONE):
        return SandboxGone(_detail(error))
    return OutcomeUnknown(_detail(error))


def of_guest(error: Exception) -> SandboxGone | SandboxRefused | OutcomeUnknown:
    """What an error says about something that was to be done inside."""
    if isinstance(error, _CANNOT) and not isinstance(error, GONE):
        return SandboxRefused(_detail(error))
    if type(error) is e2b.SandboxException and any(word in str(error).lower() for word in _KERNEL_SAID):
        return SandboxRefused(_detail(error))
    return of_sandbox(error)


def _of_making(error: Exception) -> ProviderRefused | OutcomeUnknown:
    detail = _detail(error)
    if isinstance(error, e2b.RateLimitException):
        full = _FULL in str(error).lower()
        return ProviderRefused(detail, code="concurrency_limit") if full else OutcomeUnknown(detail)
    if isinstance(error, e2b.AuthenticationException):
        return ProviderRefused(detail, code="unauthenticated")
    if isinstance(error, e2b.TemplateException):  # the SDK has killed it
        return ProviderRefused(detail, code="template_outdated")
    if isinstance(error, e2b.InvalidArgumentException):  # the SDK did not even ask
        return ProviderRefused(detail, code="invalid")
    status = error.status_code if isinstance(error, e2b.SandboxException) else None
    if status is None or not 400 <= status < 500 or status in _SAYS_NOTHING:  # noqa: PLR2004 - as in HTTP
        return OutcomeUnknown(detail)
    return ProviderRefused(detail, code=_CODES.get(status, f"http_{status}"))


def _detail(error: Exception) -> str:
    """Their own sentence, on one line."""
    return " ".join((str(error) or type(error).__name__).split())
