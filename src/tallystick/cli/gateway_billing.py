"""Where a gateway's charges go, and whose keys are whose: the database itself, or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallystick.cli.frame import Session
from tallystick.cli.local import read_config
from tallystick.core import errors

if TYPE_CHECKING:
    from tallystick.bootstrap import Tally
    from tallystick.metering import Metering

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
    """The server that is named, else the database."""
    with _on_database(session, unsettled_file, database_url, economy) as billing:
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
            raise nobody_pays()
        return lambda: self.customer_of(key)


def nobody_pays() -> errors.ConfigurationError:
    """What to do where nobody pays."""
    return errors.ConfigurationError(
        "expected --customer, or a TALLY_API_KEY that belongs to a customer: nobody is there to pay"
    )
