"""A simulated provider on a clock that the test moves, and the driver that the conformance scenarios want."""

import itertools
import random
from collections.abc import Callable
from typing import Final

from tallystick.core.times import add, parse_duration, parse_rfc3339
from tallystick.ports.payments import Checkout, Event, Subscription
from tallystick.providers.simulated import SimulatedPayments
from tallystick.store.engine import Database
from tests.providers.conformance import CardWord

PUBLIC: Final = "https://tally.example.test"
CARDS: Final[dict[CardWord, str]] = {
    "good": "4242 4242 4242 4242",
    "soft": "4000 0000 0000 9995",
    "hard": "4000 0000 0000 9987",
    "authentication": "4000 0027 6000 3184",
    "later": "4000 0000 0000 2305",
    "then_soft": "4000 0000 0000 0341",
    "then_hard": "4000 0000 0000 1208",
    "then_unknown_done": "4000 0000 0000 3105",
    "then_unknown_lost": "4000 0000 0000 3204",
}


class Simulation:
    """The driver: a provider, its clock, and the hands of others."""

    def __init__(self, url: str, *, at: str = "2027-01-10T12:00:00Z") -> None:
        self.database = Database(url)
        self.micros = parse_rfc3339(at)
        self.numbers = itertools.count(1)
        self.provider = self.open()

    def open(self, database: Database | None = None) -> SimulatedPayments:
        """A provider of its own on the same clock, like another process."""
        return SimulatedPayments(
            database or self.database,
            now=lambda: self.micros,
            new_id=lambda: next(self.numbers),
            random=random.randbytes,
            public_url=PUBLIC,
        )

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def now(self) -> int:
        """The time."""
        return self.micros

    def at(self, text: str) -> None:
        """Go to a moment, and let the provider do what is due by then."""
        self.micros = parse_rfc3339(text)
        self.run()

    def advance(self, duration: str) -> None:
        """Go on by a duration, and let the provider do what is due by then."""
        self.micros = add(self.micros, parse_duration(duration))
        self.run()

    def run(self) -> dict[str, int]:
        """Let the provider do all that is due."""
        totals: dict[str, int] = {}
        while counts := self.provider.run_once():
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
        return totals

    def pay(self, checkout: Checkout, card: CardWord) -> None:
        """Somebody pays on the page, and confirms where that is wanted."""
        if self.provider.pay(checkout.id, CARDS[card]) == "unconfirmed":
            assert "done" == self.provider.pay(checkout.id, CARDS[card], confirmed=True)

    def act(self, payment: str, action: str) -> None:
        """Something by hand that must work."""
        assert self.provider.act(payment, action) is not None

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """A late payment comes, or does not."""
        self.act(payment, "settle" if succeeded else "fail")

    def dispute(self, payment: str) -> None:
        """The bank takes the money back."""
        self.act(payment, "dispute")

    def inquire(self, payment: str) -> None:
        """The bank asks."""
        self.act(payment, "inquiry")

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides."""
        self.act(payment, "win" if won else "lose")

    def let_expire(self, checkout: Checkout) -> None:
        """Time passes."""
        self.micros = checkout.expires_at
        self.run()

    def end_period(self, subscription: Subscription) -> None:
        """Time passes."""
        self.micros = subscription.period_end
        self.run()

    def told(self) -> list[Event]:
        """The events since the last call."""
        found: list[Event] = []
        while self.deliver(lambda body, signature: found.append(self.provider.read_event(body, signature))):
            pass
        return found

    def deliver(self, handler: Callable[[bytes, str], object]) -> int:
        """Hand over what waits; gives how many events were taken."""
        return self.provider.deliver(handler)["simulated_event"]
