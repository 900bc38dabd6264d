"""What others do: the provider's pages, banks, dashboard and events, by the same words for both providers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tallystick.bootstrap import Tally
from tallystick.core.times import SECOND, add, parse_duration
from tallystick.ports.payments import Payment, PaymentProvider
from tallystick.providers.simulated import SimulatedPayments
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.documents import PageDocument, PayerDocument, PaymentDocument
from tallystick.providers.simulated.events import body_of, sign
from tallystick.providers.simulated.provider import SECRET
from tallystick.store import settings
from tallystick.store.schema_simulated import simulated_events, simulated_objects
from tallystick.store.simulated import StoredEvent
from tests.providers.conformance import CardWord
from tests.providers.simulated.simulation import CARDS, PUBLIC, Simulation
from tests.providers.stripe_driver import StripeDriver
from tests.stripe_double import StripeDouble
from tests.tallies import FakeClock

Told = Any  # one event of the provider, to be sent when the test says so


class Hands(Protocol):
    """One provider, its clock, and what others do there. Payments and pages by the provider's ids."""

    name: str

    def now(self) -> int:
        """The time of the whole system."""
        ...

    def advance(self, duration: str) -> None:
        """Time passes."""
        ...

    def provider(self) -> PaymentProvider | None:
        """A provider for another Tally; None where a Tally makes its own."""
        ...

    def pay(self, page: str, card: CardWord = "good") -> None:
        """Somebody pays on a page, or tries to."""
        ...

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """A late payment comes, or does not."""
        ...

    def dispute(self, payment: str) -> None:
        """The bank takes the money."""
        ...

    def inquire(self, payment: str) -> None:
        """The bank asks."""
        ...

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides."""
        ...

    def refund(self, payment: str, cents: int) -> None:
        """A refund in the dashboard."""
        ...

    def fail_refund(self, payment: str) -> None:
        """The newest refund comes back."""
        ...

    def detach_card(self, payment: str) -> None:
        """The card that a payment was made with is not saved any more."""
        ...

    def delete_payer(self, payer: str) -> None:
        """The payer is deleted at the provider."""
        ...

    def change(self, thing: str, **fields: Any) -> None:
        """A page or a payment is not what was ordered: amount_cents, currency, payer, reference."""
        ...

    def take_events(self) -> list[Told]:
        """What was told since the last time; the provider sends none of it by itself any more."""
        ...

    def message(self, event: Told) -> tuple[bytes, str]:
        """An event as it is sent now."""
        ...

    def payments(self, since: int = 0) -> list[Payment]:
        """All payments that were made from a moment on, oldest first."""
        ...

    def last_page(self) -> str:
        """The page that was made last."""
        ...

    def attach(self, tally: Tally) -> None:
        """The Tally that pays here."""
        ...


class SimulatedHands(Simulation):
    """The simulated provider of a Tally."""

    name = "simulated"

    def __init__(self, clock: FakeClock) -> None:  # the provider comes with the Tally
        self.clock = clock

    def attach(self, tally: Tally) -> None:
        """The Tally whose provider this is."""
        assert tally.simulated_payments is not None
        self.tally = tally
        self.database = tally.database
        self.provider_: SimulatedPayments = tally.simulated_payments

    def now(self) -> int:
        """The time of the whole system."""
        return self.clock()

    def advance(self, duration: str) -> None:
        """Time passes."""
        self.clock.micros = add(self.clock.micros, parse_duration(duration))
        while self.provider_.run_once():
            pass

    def provider(self) -> None:  # type: ignore[override] # a Tally makes its own
        """None: a Tally makes its own."""

    def pay(self, page: str, card: CardWord = "good") -> None:  # type: ignore[override]
        """Somebody pays on a page, or tries to."""
        if self.provider_.pay(page, CARDS[card]) == "unconfirmed":
            assert "done" == self.provider_.pay(page, CARDS[card], confirmed=True)

    def act(self, payment: str, action: str) -> None:
        """Something by hand that must work."""
        assert self.provider_.act(payment, action) is not None

    def refund(self, payment: str, cents: int) -> None:
        """A refund in the dashboard."""
        assert self.provider_.act(payment, "refund", amount_cents=cents) is not None

    def fail_refund(self, payment: str) -> None:
        """The newest refund comes back."""
        self.act(payment, "fail-refund")

    def detach_card(self, payment: str) -> None:
        """The card that a payment was made with is not saved any more."""
        self.act(payment, "detach-card")

    def delete_payer(self, payer: str) -> None:
        """The payer is deleted at the provider."""
        with self._books() as books:
            document = books.get(PayerDocument, payer)
            document.cards.clear()
            books.save(document)
            books.tell("customer.deleted", "payer", payer)

    def change(self, thing: str, **fields: Any) -> None:
        """A page or a payment is not what was ordered: amount_cents, currency, payer, reference."""
        with self._books() as books:
            document = books.find(PageDocument, thing) or books.get(PaymentDocument, thing)
            for name, value in fields.items():
                setattr(document, name, value)
            books.save(document)

    @contextmanager
    def _books(self) -> Iterator[Books]:
        now = self.now()
        with self.database.write() as connection:
            yield Books(
                connection=connection,
                making=self.provider_._making,  # noqa: SLF001 - what the provider makes ids with
                now=now,
                public_url=PUBLIC,
                told_at=now,
            )

    def take_events(self) -> list[Told]:
        """What was told since the last time; the provider sends none of it by itself any more."""
        rows = simulated_events
        with self.database.write() as connection:
            found = connection.execute(
                rows.select().where(rows.c.next_attempt_at.is_not(None)).order_by(rows.c.number)
            ).all()
            connection.execute(rows.update().values(next_attempt_at=None))
        return [
            StoredEvent(
                id=row.id,
                number=row.number,
                type=row.type,
                subject=row.subject,
                subject_id=row.subject_id,
                facts=row.facts,
                created_at=row.created_at,
            )
            for row in found
        ]

    def message(self, event: Told) -> tuple[bytes, str]:
        """An event as it is sent now."""
        self.provider_._signing_secret()  # noqa: SLF001 - it is made when it is first asked for
        with self.database.read() as connection:
            secret = settings.get(connection, SECRET)
        assert secret is not None
        body = body_of(event)
        return body, sign(body, secret=secret, now=self.now())

    def payments(self, since: int = 0) -> list[Payment]:
        """All payments that were made from a moment on, oldest first."""
        found = [self.provider_.payment(each) for each in self._ids(PaymentDocument.kind, since)]
        return [each for each in found if each is not None]

    def last_page(self) -> str:
        """The page that was made last."""
        return self._ids(PageDocument.kind)[-1]

    def _ids(self, kind: str, since: int = 0) -> list[str]:
        made_since = simulated_objects.c.created_at >= since
        query = simulated_objects.select().where(simulated_objects.c.kind == kind, made_since)
        with self.database.read() as connection:
            found = connection.execute(query.order_by(simulated_objects.c.number))
            return [row.id for row in found]


class StripeHands:
    """Stripe's SDK and the double."""

    name = "stripe"

    def __init__(self, double: StripeDouble) -> None:
        self.double = double
        self.driver = StripeDriver(double)

    def attach(self, tally: Tally) -> None:
        """The Tally that pays here."""
        self.tally = tally

    def now(self) -> int:
        """The time of the whole system."""
        return self.driver.now()

    def advance(self, duration: str) -> None:
        """Time passes."""
        self.double.advance_to(add(self.now(), parse_duration(duration)) // SECOND)

    def provider(self) -> PaymentProvider:
        """A provider for another Tally; None where a Tally makes its own."""
        return StripeDriver(self.double).provider

    def pay(self, page: str, card: CardWord = "good") -> None:
        """Somebody pays on a page, or tries to."""
        found = self.driver.provider.checkout(page)
        assert found is not None
        self.driver.pay(found, card)

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """A late payment comes, or does not."""
        self.driver.settle(payment, succeeded=succeeded)

    def dispute(self, payment: str) -> None:
        """The bank takes the money."""
        self.driver.dispute(payment)

    def inquire(self, payment: str) -> None:
        """The bank asks."""
        self.driver.inquire(payment)

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides."""
        self.driver.decide(payment, won=won)

    def refund(self, payment: str, cents: int) -> None:
        """A refund in the dashboard."""
        self.double.refund(self.driver.charge_of(payment), amount=cents)

    def fail_refund(self, payment: str) -> None:
        """The newest refund comes back."""
        [newest, *_] = [
            each
            for each in self.double.account.all("refund", payment_intent=payment)
            if each["status"] != "failed"
        ]
        self.double.refund_fails(newest["id"])

    def detach_card(self, payment: str) -> None:
        """The card that a payment was made with is not saved any more."""
        self.double.detach(self.double.account.objects[payment]["payment_method"])

    def delete_payer(self, payer: str) -> None:
        """The payer is deleted at the provider."""
        self.double.delete_customer(payer)

    def change(self, thing: str, **fields: Any) -> None:
        """A page or a payment is not what was ordered: amount_cents, currency, payer, reference."""
        found = self.double.account.objects[thing]
        if found["object"] == "checkout.session":
            names = {
                "amount_cents": "amount_total",
                "payer": "customer",
                "reference": "client_reference_id",
                "live": "livemode",
            }
        else:
            names = {"amount_cents": "amount_received", "payer": "customer", "live": "livemode"}
            if "reference" in fields:
                found["metadata"] = {**found["metadata"], "reference": fields.pop("reference")}
        for name, value in fields.items():
            found[names.get(name, name)] = value

    def take_events(self) -> list[Told]:
        """What was told since the last time; the provider sends none of it by itself any more."""
        queued = self.double.outbox.pending()
        self.double.outbox.drop()
        return queued

    def message(self, event: Told) -> tuple[bytes, str]:
        """An event as it is sent now."""
        found = self.double.outbox.message(event)
        return found.body, found.signature

    def payments(self, since: int = 0) -> list[Payment]:
        """All payments that were made from a moment on, oldest first."""
        made = [
            each for each in self.double.account.all("payment_intent") if each["created"] * SECOND >= since
        ]
        found = [self.driver.provider.payment(each["id"]) for each in reversed(made)]
        return [each for each in found if each is not None]

    def last_page(self) -> str:
        """The page that was made last."""
        return str(self.double.account.all("checkout.session")[0]["id"])
