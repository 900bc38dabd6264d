"""A real mail server for tests: it takes what is sent to it, or refuses as it is told to."""

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

from tallystick.config import SmtpServer
from tallystick.providers.mail import SmtpMailer
from tests.servers import free_port

SENDER = "Example Credits <billing@example.test>"


@dataclass
class Mailbox:
    """Listens on a port of its own. ``refusals`` are the answers to the next mails, before they are taken."""

    refusals: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    receivers: list[list[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.port = free_port()
        self._controller = Controller(_Handler(self), hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def mailer(self, **terms: Any) -> SmtpMailer:
        """Somebody who sends mail through it."""
        server = SmtpServer(host="127.0.0.1", port=self.port, **terms)
        return SmtpMailer(server, sender=SENDER, timeout_seconds=5)


class _Handler:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if self._mailbox.refusals:
            return self._mailbox.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - as above
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self._mailbox.mails.append(message)
        self._mailbox.receivers.append(list(envelope.rcpt_tos))
        return "250 OK"
