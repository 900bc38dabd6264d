"""E-mail: real messages to a real mail server, with exact amounts and without anybody else's headers."""

from collections.abc import Iterator
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import pytest

from tallystick.config import SmtpServer
from tallystick.core.events import MAILED_TYPES
from tallystick.providers.mail import SmtpMailer
from tallystick.services.context import SYSTEM
from tallystick.services.mail import is_address, mail_of
from tallystick.store.notifications import NotificationRow, data_text
from tests.mailbox import SENDER, Mailbox
from tests.receivers import Receiver, answering, emit, listen, outgoing
from tests.tallies import World

EVA = "eva"
NOW = 1_800_000_000_000_000


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def world(database_url: str, tmp_path: Path, mailbox: Mailbox) -> Iterator[World]:
    """A customer with an address, and a mail server."""
    with World(database_url, tmp_path) as world:
        outgoing(world.tally, mail=mailbox.mailer())
        world.tally.customers.create(SYSTEM, external_id=EVA, email="eva@example.test")
        yield world


def parts(mail: EmailMessage) -> tuple[str, str]:
    """The plain text and the HTML."""
    found = {each.get_content_type(): each.get_content() for each in mail.iter_parts()}
    assert {"text/plain", "text/html"} == set(found)
    return found["text/plain"], found["text/html"]


def status_of(world: World) -> tuple[str, int | None, str | None]:
    """What became of the customer's newest delivery."""
    row = world.tally.endpoints.deliveries(SYSTEM, customer=EVA).items[0].delivery
    assert "email" == row.channel
    return row.status, row.last_status, row.last_error


def test_a_customer_gets_mail_about_its_balance(world: World, mailbox: Mailbox) -> None:
    """In plain text and in HTML, with the exact amount and a link to the operator's page."""
    data: dict[str, object] = {"unit": "credits", "available": Decimal("9.000001"), "threshold": 10}
    emit(world.tally, EVA, "balance.low", data)
    emit(world.tally, EVA, "balance.recovered")
    assert {"emails": 1} == world.tally.delivery.run_once()
    [mail] = mailbox.mails
    assert ([["eva@example.test"]], "eva@example.test") == (mailbox.receivers, mail["To"])
    assert (SENDER, "Your balance is low: 9.000001 credits left") == (mail["From"], mail["Subject"])
    assert mail["Message-ID"].startswith("<evt_")
    assert mail["Date"]
    for text in parts(mail):
        assert "9.000001" in text
        assert "http://127.0.0.1:8080/billing" in text
        assert "Tests" in text
    assert ("delivered", 250, None) == status_of(world)


def test_who_wants_none_gets_none(world: World, mailbox: Mailbox) -> None:
    """All of it off, some types off, no address: nothing is sent."""
    world.customer("bob")
    tally = world.tally
    tally.notifications.set_preferences(SYSTEM, customer=EVA, types=["payment.failed"])
    for name in (EVA, "bob"):
        emit(tally, name, "balance.low")
    emit(tally, EVA, "payment.failed")
    tally.delivery.run_once()
    assert ["Your payment failed"] == [mail["Subject"] for mail in mailbox.mails]
    tally.notifications.set_preferences(SYSTEM, customer=EVA, email=False)
    emit(tally, EVA, "payment.failed")
    assert {} == tally.delivery.run_once()
    assert 1 == len(mailbox.mails)


def test_mail_is_tried_again_until_the_server_takes_it(world: World, mailbox: Mailbox) -> None:
    """Later where it is busy, and never again where it says that nobody lives there."""
    mailbox.refusals = ["451 try later"]
    emit(world.tally, EVA)
    assert {"emails_failed": 1} == world.tally.delivery.run_once()
    assert ("pending", 451, "the mail server answered 451 try later") == status_of(world)
    world.clock.advance("PT1M")
    assert {"emails": 1} == world.tally.delivery.run_once()
    mailbox.refusals = ["550 nobody here"]
    emit(world.tally, EVA)
    world.tally.delivery.run_once()
    assert ("failed", 550, "the mail server answered 550 nobody here") == status_of(world)


def test_a_mail_server_that_is_away_is_tried_again(world: World) -> None:
    """What cannot be reached is no reason to forget a mail."""
    server = SmtpServer(host="127.0.0.1", port=1)
    outgoing(world.tally, mail=SmtpMailer(server, sender=SENDER, timeout_seconds=1))
    emit(world.tally, EVA)
    assert {"emails_failed": 1} == world.tally.delivery.run_once()
    status, _, error = status_of(world)
    assert "pending" == status
    assert (error or "").startswith("the mail server did not take it: ")


def test_a_password_is_not_shown_without_tls(mailbox: Mailbox) -> None:
    """Nor is anything sent without it where TLS is demanded."""
    for terms in ({"user": "u", "password": "p"}, {"security": "starttls"}):
        attempt = mailbox.mailer(**terms).send(
            to="a@example.test", subject="s", text="t", html="h", reference="evt_1", now=NOW
        )
        assert (False, False) == (attempt.ok, attempt.final)
    assert [] == mailbox.mails


def test_without_a_mail_server_no_mail_waits(database_url: str, tmp_path: Path) -> None:
    """Whoever sets one up later is not flooded with what is old."""
    with World(database_url, tmp_path) as world:
        world.tally.customers.create(SYSTEM, external_id=EVA, email="eva@example.test")
        emit(world.tally, EVA)
        assert {} == world.tally.delivery.run_once()
        assert [] == list(world.tally.endpoints.deliveries(SYSTEM, customer=EVA).items)


def test_the_owner_of_a_disabled_endpoint_gets_mail(world: World, mailbox: Mailbox) -> None:
    """With the address that is called no more, and why."""
    with Receiver(answering(410)) as receiver:
        listen(world.tally, receiver.url, customer=EVA, types=("hold.expired",))
        emit(world.tally, EVA, "hold.expired")
        world.tally.delivery.run_once()
        world.tally.delivery.run_once()
    [mail] = mailbox.mails
    assert "A webhook endpoint was disabled" == mail["Subject"]
    for text in parts(mail):
        assert receiver.url in text
        assert "410" in text


def test_what_the_product_tells_fills_the_words(world: World, mailbox: Mailbox) -> None:
    """Credits that expire, told by the watch with its own fields, leave no dash in the mail."""
    world.grant(5, customer=EVA, expires_at="2027-01-20T00:00:00Z")
    world.clock.set("2027-01-19T00:00:00Z")
    world.tally.run_all()
    [mail] = [mail for mail in mailbox.mails if "expire" in mail["Subject"]]
    assert "5 credits will expire soon" == mail["Subject"]
    assert "5 credits will expire at 2027-01-20T00:00:00Z" in parts(mail)[0]


@pytest.mark.parametrize("event_type", MAILED_TYPES)
def test_every_mailed_type_has_its_words(event_type: str) -> None:
    """A subject, a text, and every value of the event on a line of its own; what is missing is a dash."""
    data = {"amount": Decimal("0.10"), "odd": "<b>&</b>", "note": None, "list": [1]}
    for event in (data, {}):
        row = NotificationRow(1, 5, 1, event_type, NOW, data_text(event))
        mail = mail_of(row, title="A & B", link="https://credits.example.test/billing")
        assert mail.subject
        assert "\n" not in mail.subject
        assert "$" not in mail.subject + mail.text + mail.html
        assert "https://credits.example.test/billing" in mail.text
        assert 'href="https://credits.example.test/billing"' in mail.html
        assert "A & B" in mail.text
        assert "A &amp; B" in mail.html
        if event:
            assert "amount: 0.10" in mail.text
            assert "odd: <b>&</b>" in mail.text
            assert "&lt;b&gt;&amp;&lt;/b&gt;" in mail.html
            assert "<b>" not in mail.html


def test_nothing_that_an_event_says_becomes_a_header(mailbox: Mailbox) -> None:
    """A line break in a value, a title or an address adds no header, no receiver and no second mail."""
    evil = "x\r\nBcc: thief@example.test\r\n\r\nbody"
    row = NotificationRow(1, 5, 1, "balance.low", NOW, data_text({"available": evil, "unit": "\n.\nQUIT"}))
    mail = mail_of(row, title=evil, link="https://credits.example.test/billing")
    mailer = mailbox.mailer()
    sent = mailer.send(
        to="eva@example.test",
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
        reference="evt_1",
        now=NOW,
    )
    assert sent.ok
    [taken] = mailbox.mails
    assert [["eva@example.test"]] == mailbox.receivers
    assert taken["Bcc"] is None
    for to in (evil, "a@example.test, b@example.test", "a@example.test\r\nBcc: b@example.test", "nobody"):
        attempt = mailer.send(to=to, subject="s", text="t", html="h", reference="evt_1", now=NOW)
        assert (False, True) == (attempt.ok, attempt.final)
    header = mailer.send(to="a@example.test", subject=evil, text="", html="", reference="evt_1", now=NOW)
    assert (False, True) == (header.ok, header.final)
    assert 1 == len(mailbox.mails)


def test_an_address_that_is_none_gets_nothing(world: World, mailbox: Mailbox) -> None:
    """An operator may have given a customer anything as its email."""
    for text in ("nobody", "a@b, c@d", "a@b\nBcc: c@d", "Eva <a@b>", "a b@c", "a@b@c"):
        assert not is_address(text)
    world.tally.customers.create(SYSTEM, external_id="odd", email="a@b.test, c@d.test")
    emit(world.tally, "odd")
    assert {"emails_failed": 1} == world.tally.delivery.run_once()
    assert [] == mailbox.mails
