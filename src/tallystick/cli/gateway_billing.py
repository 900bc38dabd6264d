"""Where a gateway's charges go, and whose keys are whose: the database itself, or a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tallystick.cli.frame import Session
from tallystick.cli.local import read_config
from tallystick.core import errors

if TYPE_CHECKING:
    import httpx

    from tallystick.bootstrap import Tally
    from tallystick.metering import Metering

_FRESH_SECONDS: Final = 10.0  # a revocation at the server holds here within that
_AWAY_SECONDS: Final = 600.0  # while the server is away, who was known lately is let in
_MOST_KNOWN: Final = 10_000

Payer = Callable[[], str | None] | str | None


class Billing(Protocol):
    """What a gateway needs to know."""

    metering: Metering

    def customer_of(self, token: str) -> str | None:
        """The customer whose valid key or session this is; None for nobody's."""

    def payer(self, customer: str | None) -> Payer:
        """Who pays for everything on stdio. Raises a ``Refusal`` where that is nobody."""


@contextmanager
def open_billing(
    session: Session, *, unsettled_file: Path | None, database_url: str | None, economy: str | None
) -> Iterator[Billing]:
    """The server that --url or TALLY_URL names, else the database."""
    remote = session.asked_url or session.settings.get("TALLY_URL")
    opened = (
        _at_server(session, unsettled_file)
        if remote
        else _on_database(session, unsettled_file, database_url, economy)
    )
    with opened as billing:
        yield billing


@contextmanager
def _on_database(
    session: Session, unsettled_file: Path | None, database_url: str | None, economy: str | None
) -> Iterator[Billing]:
    from tallystick.bootstrap import Tally
    from tallystick.metering import Metering
    from tallystick.worker import Worker

    config = read_config(database_url=database_url, economy=economy)
    with Tally.from_config(config) as tally:
        worker = Worker(tally)
        worker.start()
        metering = Metering(tally, unsettled_file=unsettled_file)
        try:
            yield OfDatabase(tally, metering, session.api_key)
        finally:
            metering.close()
            worker.stop()


@contextmanager
def _at_server(session: Session, unsettled_file: Path | None) -> Iterator[Billing]:
    import httpx

    from tallystick.client import TallyClient
    from tallystick.metering import Metering

    if session.api_key is None:
        raise errors.ConfigurationError("expected TALLY_API_KEY: the key with which the server is asked")
    with (
        TallyClient(api_key=session.api_key, base_url=session.url) as client,
        httpx.Client(base_url=f"{session.url}/api/v1", timeout=10) as http,
    ):
        metering = Metering(client, unsettled_file=unsettled_file)
        try:
            yield OfServer(http, metering, session.api_key)
        finally:
            metering.close()


class OfDatabase:
    """Customers and keys of this process's own database."""

    def __init__(self, tally: Tally, metering: Metering, api_key: str | None) -> None:
        self.metering = metering
        self._tally = tally
        self._api_key = api_key

    def customer_of(self, token: str) -> str | None:
        """Looked up each time: a revocation holds at once."""
        from tallystick.core.ids import to_text

        try:
            caller = self._tally.identity.authenticate(token, self._tally.context.now())
        except errors.NotAuthenticated:
            return None
        return None if caller.customer_id is None else to_text("cust", caller.customer_id)

    def payer(self, customer: str | None) -> Payer:
        """The one that is named, or whoever the key is for."""
        from tallystick.services.context import SYSTEM

        if customer is not None:
            self._tally.customers.resolve(SYSTEM, customer)
            return customer
        key = self._api_key
        if key is None or self.customer_of(key) is None:
            raise _nobody_pays()
        return lambda: self.customer_of(key)


class OfServer:
    """Customers and keys of a server, which is asked whose a key is."""

    def __init__(self, http: httpx.Client, metering: Metering, api_key: str) -> None:
        self.metering = metering
        self._http = http
        self._api_key = api_key
        self._known: dict[str, tuple[float, str | None]] = {}

    def customer_of(self, token: str) -> str | None:
        """From memory for a few seconds; for some minutes while the server is away."""
        import httpx

        known_at, customer = self._known.get(token, (float("-inf"), None))
        age = time.monotonic() - known_at
        if age < _FRESH_SECONDS:
            return customer
        try:
            found = self._ask(token)
        except httpx.HTTPError:
            return customer if age < _AWAY_SECONDS else None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[token] = (time.monotonic(), found)
        return found

    def _ask(self, token: str) -> str | None:
        """Raises ``HTTPError`` where there is no answer."""
        import httpx

        answer = self._http.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return None
        body: dict[str, Any] = answer.raise_for_status().json()
        return body.get("customer")

    def payer(self, customer: str | None) -> Payer:
        """The one that is named, for whom the key must be a service's; or whoever the key is for."""
        if customer is None and self.customer_of(self._api_key) is None:
            raise _nobody_pays()
        return customer


def _nobody_pays() -> errors.ConfigurationError:
    return errors.ConfigurationError(
        "expected --customer, or a TALLY_API_KEY that belongs to a customer: nobody is there to pay"
    )
