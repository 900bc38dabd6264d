"""The line to Stripe: the SDK's client as we want it, and what its errors mean to the port.

A 4xx is an answer: nothing was made. A lost connection, a timeout, a 5xx, too many requests, or a key that is in use just
now say nothing about what was done. The SDK has tried twice more by then, with the same idempotency key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import stripe

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.providers.stripe_declines import word_of

Fields: TypeAlias = dict[str, Any]
Answer = TypeVar("Answer", bound=stripe.StripeObject)
Object = TypeVar("Object", bound=stripe.StripeObject)

RETRIES: Final = 2
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30  # Stripe asks banks while we wait
PAGE: Final = 100  # the largest there is
_SAYS_NOTHING: Final = frozenset(
    {401, 403, 408, 409, 424, 429}
)  # of our key Stripe says no: not of the request
_MISSING: Final = "resource_missing"


def open_client(secret_key: str, *, api_base: str) -> stripe.StripeClient:
    """A client that gives up in time, keeps quiet and tells Stripe nothing about this machine."""
    stripe.enable_telemetry = False
    logging.getLogger("stripe").setLevel(logging.WARNING)
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, READ_SECONDS)),
    )


@contextmanager
def making() -> Iterator[None]:
    """Within it, something is made or changed. Raises ``ProviderRefused`` or ``OutcomeUnknown`` for errors of the SDK."""
    try:
        yield
    except stripe.StripeError as error:
        raise translated(error) from error


@contextmanager
def looking() -> Iterator[None]:
    """Within it, something is looked up: whatever goes wrong, what we asked for is not known."""
    try:
        yield
    except stripe.StripeError as error:
        raise OutcomeUnknown(_detail(error)) from error


def found(look_up: Callable[[], Answer]) -> Answer | None:
    """What is looked up, or None where Stripe knows no such thing."""
    with looking():
        try:
            return look_up()
        except stripe.InvalidRequestError as error:
            if error.code != _MISSING:
                raise
            return None


def every(list_them: Callable[[], stripe.ListObject[Object]]) -> Iterator[Object]:
    """All pages of a list, one object after the other; none where what they belong to does not exist."""
    page = found(list_them)
    with looking():
        yield from [] if page is None else page.auto_paging_iter()


def translated(error: stripe.StripeError) -> ProviderRefused | OutcomeUnknown:
    """What an error of the SDK means to whoever wanted something made."""
    status = error.http_status
    if status is None or not 400 <= status < 500 or status in _SAYS_NOTHING:  # noqa: PLR2004 - as in HTTP
        return OutcomeUnknown(_detail(error))
    return ProviderRefused(_detail(error), code=word_of(error_fields(error)))


def error_fields(error: stripe.StripeError) -> Fields:
    """What Stripe wrote about an error; nothing when no answer of its form came."""
    return {} if error.error is None else error.error.to_dict()


def is_repeat(answer: stripe.StripeObject | stripe.StripeError) -> bool:
    """Whether it is a former answer under the same key: how things were then, and maybe no longer are."""
    if isinstance(answer, stripe.StripeError):
        headers = answer.headers
    else:
        headers = None if answer.last_response is None else dict(answer.last_response.headers)
    return any(
        name.lower() == "idempotent-replayed" and text == "true" for name, text in (headers or {}).items()
    )


def _detail(error: stripe.StripeError) -> str:
    """Stripe's own sentence, on one line."""
    return " ".join((error.user_message or type(error).__name__).split())
