"""Sending e-mail through a mail server by SMTP, with what Python brings along."""

from __future__ import annotations

import smtplib
import ssl
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

import httpx

from tallystick.config import SmtpServer
from tallystick.core.sending import Attempt
from tallystick.core.times import Micros, to_datetime

TIMEOUT_SECONDS: Final = 15.0
_FOR_GOOD: Final = 500  # from here on a reply says that no repeat helps


class SmtpMailer:
    """Sends mail. A password is only shown to a server that speaks TLS."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._server = server
        self._sender = sender
        self._tls = httpx.create_ssl_context(trust_env=False) if tls is None else tls
        self._timeout = timeout_seconds

    def send(self, *, to: str, subject: str, text: str, html: str, reference: str, now: Micros) -> Attempt:
        """Send one mail, in plain text and HTML. Whatever happens is an outcome, never an exception.

        ``reference`` stays the same when a mail is sent again, so that a reader's program can see that it is one.
        """
        try:
            message = self._message(
                to=to, subject=subject, text=text, html=html, reference=reference, now=now
            )
        except (ValueError, IndexError) as error:  # what cannot stand in a header; the library refuses it
            return Attempt(ok=False, error=f"no mail can be sent to this address: {error}", final=True)
        return self._hand_over(message)

    def _hand_over(self, message: EmailMessage) -> Attempt:
        try:
            with self._connect() as smtp:
                smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = next(iter(error.recipients.values()))
            return _refused(code, reply)
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused) as error:
            return _refused(error.smtp_code, error.smtp_error, ours=True)
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code, error.smtp_error)
        except smtplib.SMTPNotSupportedError as error:
            return Attempt(ok=False, error=str(error))
        except (smtplib.SMTPException, OSError) as error:
            return Attempt(
                ok=False, error=f"the mail server did not take it: {str(error) or type(error).__name__}"
            )
        return Attempt(ok=True, status=250)

    def _message(
        self, *, to: str, subject: str, text: str, html: str, reference: str, now: Micros
    ) -> EmailMessage:
        message = EmailMessage(policy=policy.SMTP)
        domain = parseaddr(self._sender)[1].rpartition("@")[2]
        message["From"] = self._sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = subject
        message["Date"] = format_datetime(to_datetime(now))
        message["Message-ID"] = f"<{reference}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        message.add_alternative(html, subtype="html")
        return message

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=self._timeout, context=self._tls
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=self._timeout)
        try:
            self._introduce(smtp)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _introduce(self, smtp: smtplib.SMTP) -> None:
        """Turn to TLS, and log in."""
        server = self._server
        smtp.ehlo()
        secure = server.security == "tls"
        if server.security == "starttls" or (not secure and smtp.has_extn("starttls")):
            smtp.starttls(context=self._tls)
            secure = True
        if server.user is None:
            return
        if not secure:
            message = "the mail server offers no TLS, so the password was not sent"
            raise smtplib.SMTPNotSupportedError(message)
        smtp.login(server.user, server.password or "")


def _refused(code: int, reply: bytes | str, *, ours: bool = False) -> Attempt:
    """A refusal; where it is about our own login or sender (``ours``), the operator may set that right meanwhile."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    detail = f"the mail server answered {code} {text}"
    return Attempt(ok=False, status=code, error=detail, final=code >= _FOR_GOOD and not ours)
