"""Real HTTP against the pages, and a reader of what a page has: its forms, its words, its links."""

from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally
from tallystick.core.times import HOUR
from tallystick.ports.payments import Checkout, CheckoutMode, CheckoutOrder, Payment
from tallystick.providers.simulated import SimulatedPayments
from tallystick.web import routers, tell
from tests.doors.api.door import ECONOMY, ThreadServer
from tests.tallies import FakeClock

SUCCESS = "https://shop.example.test/done?session={CHECKOUT_SESSION_ID}"
CANCEL = "https://shop.example.test/back"
GOOD = "4242424242424242"
SOFT = "4000000000009995"
CONFIRMED = "4000002760003184"
LATER = "4000000000002305"


class Reader(HTMLParser):
    """Reads a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note the words."""
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


class Site:
    """A running server with one payer."""

    def __init__(self, url: str, folder: Path, *, at: str = "2027-01-10T12:00:00Z") -> None:
        path = folder / "site.toml"
        path.write_text(ECONOMY)
        self.clock = FakeClock(at)
        self.tally = Tally.open(url, economy=str(path), test_mode=False, source=self.clock)
        self.server = ThreadServer(create_app(self.tally, extra_routes=routers(self.tally), tell=tell))
        self.client = httpx.Client(base_url=self.server.url, timeout=30)
        found = self.tally.simulated_payments
        assert found is not None
        self.payments: SimulatedPayments = found
        self._made = 0
        self.payer = self.payer_of("ada@example.test")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.server.stop()
        self.tally.close()

    def key(self) -> str:
        """A key that nobody used."""
        self._made += 1
        return f"key {self._made}"

    def payer_of(self, email: str) -> str:
        """A new payer."""
        return self.payments.create_payer(reference="cust_1", email=email, key=self.key())

    def checkout(
        self,
        *,
        mode: CheckoutMode = "payment",
        title: str = "Middle pack",
        cents: int = 4_050,
        payer: str | None = None,
    ) -> Checkout:
        """A page, open for an hour."""
        order = CheckoutOrder(
            reference=f"pay_{self.key()}",
            mode=mode,
            payer=payer or self.payer,
            title=title,
            success_url=SUCCESS,
            cancel_url=CANCEL,
            expires_at=self.clock() + HOUR,
            amount_cents=0 if mode == "setup" else cents,
            plan="pro" if mode == "subscription" else None,
        )
        return self.payments.create_checkout(order, key=self.key())

    def read(self, checkout: Checkout) -> Checkout:
        """A page as the provider has it now."""
        found = self.payments.checkout(checkout.id)
        assert found is not None
        return found

    def payment(self, checkout: Checkout) -> Payment:
        """What a page made."""
        found = self.payments.payment(str(self.read(checkout).payment))
        assert found is not None
        return found

    def get(self, path: str, *, status: int = 200) -> Reader:
        """What somebody sees there."""
        answer = self.client.get(path)
        assert status == answer.status_code, answer.text
        return Reader(answer.text)

    def send(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        """A form as a browser sends it from the page itself."""
        own = {"Origin": self.server.url, "Sec-Fetch-Site": "same-origin"}
        return self.client.post(path, data=fields, headers=own if headers is None else headers)

    def pay(self, checkout: Checkout, card: str = GOOD, *, action: str = "pay") -> httpx.Response:
        """Press a button of the page."""
        return self.send(path_of(checkout), action=action, card=card)


def path_of(checkout: Checkout) -> str:
    """Where a page is on its server."""
    return f"/simulated/checkout/{checkout.id}"
