"""Settings from the environment and a ``.env`` file: addresses, secrets and the mode. Never a price: that is the economy's.

Every mistake is told by the variable's name and by what was expected of it. Secrets stay out of ``repr`` and of messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from tallystick.core.errors import ConfigurationError
from tallystick.store.engine import parse_url

Mode = Literal["test", "live"]
SandboxChoice = Literal["auto", "local", "off"]

SANDBOX_CHOICES: Final[tuple[SandboxChoice, ...]] = ("auto", "local", "off")

DEFAULT_DATABASE_URL: Final = "sqlite:///tally.db"
DEFAULT_ECONOMY: Final = "starter"
STRIPE_API_BASE: Final = "https://api.stripe.com"
STRIPE_PRICE: Final = "STRIPE_PRICE_"
_PRINTABLE: Final = re.compile(r"[!-~]{1,512}")
_HOST: Final = re.compile(r"\*|[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """A mail server. ``security``: ``tls`` from the start, ``starttls`` or nothing, or TLS where it is ``offered``."""

    host: str
    port: int
    security: Literal["tls", "starttls", "offered"] = "offered"
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """How notifications leave: which webhooks may be called, when one is given up, and the mail server, if there is one."""

    allow_private: bool = False
    disable_after_days: int = 5
    smtp: SmtpServer | None = None
    mail_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an installation is told from outside. ``public_url`` None: the address that the server listens on."""

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    economy: str = DEFAULT_ECONOMY
    mode: Mode = "test"
    admin_key: str | None = field(default=None, repr=False)
    public_url: str | None = None
    mcp_hosts: tuple[str, ...] = ()
    stripe_secret_key: str | None = field(default=None, repr=False)
    stripe_webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    stripe_api_base: str = STRIPE_API_BASE
    stripe_prices: Mapping[str, str] = field(default_factory=dict)
    e2b_api_key: str | None = field(default=None, repr=False)
    e2b_api_url: str | None = None
    sandboxes: SandboxChoice = "auto"
    sandbox_dir: str | None = None
    sandbox_templates: str | None = None
    outgoing: Outgoing = field(default_factory=Outgoing)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, dotenv: str | Path | None = ".env"
    ) -> Config:
        """Read the environment; what it does not set is looked for in the ``.env`` file.

        Raises ``ConfigurationError`` naming the variable.
        """
        values = {} if dotenv is None else _read_dotenv(Path(dotenv))
        values |= {name: text for name, text in (os.environ if environ is None else environ).items() if text}
        return cls(
            database_url=_database_url(values),
            economy=values.get("TALLY_ECONOMY", DEFAULT_ECONOMY),
            mode=_mode(values),
            admin_key=_secret(values, "TALLY_ADMIN_KEY"),
            public_url=_address(values, "TALLY_PUBLIC_URL"),
            mcp_hosts=_hosts(values, "TALLY_MCP_HOSTS"),
            stripe_secret_key=_secret(values, "STRIPE_SECRET_KEY"),
            stripe_webhook_secrets=_secrets(values, "STRIPE_WEBHOOK_SECRET"),
            stripe_api_base=_address(values, "STRIPE_API_BASE") or STRIPE_API_BASE,
            stripe_prices={name: text for name, text in values.items() if name.startswith(STRIPE_PRICE)},
            e2b_api_key=_secret(values, "E2B_API_KEY"),
            e2b_api_url=_address(values, "E2B_API_URL"),
            sandboxes=_sandboxes(values),
            sandbox_dir=values.get("TALLY_SANDBOX_DIR"),
            sandbox_templates=values.get("TALLY_SANDBOX_TEMPLATES"),
            outgoing=_outgoing(values),
        )

    @property
    def is_live(self) -> bool:
        """Whether real money may move."""
        return self.mode == "live"

    def check_live(self) -> None:
        """Refuse live mode with simulated payments, or with payments that nobody could verify."""
        if not self.is_live:
            return
        if self.stripe_secret_key is None:
            raise ConfigurationError(
                "STRIPE_SECRET_KEY: expected the secret key of a Stripe account: "
                "TALLY_MODE=live does not start with simulated payments"
            )
        if not self.stripe_webhook_secrets:
            raise ConfigurationError(
                "STRIPE_WEBHOOK_SECRET: expected the signing secret of the Stripe webhook (whsec_…): "
                "TALLY_MODE=live does not start without it"
            )


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected a readable text of NAME=value lines") from error
    return {name: text for name, text in found.items() if text}


def _database_url(values: Mapping[str, str]) -> str:
    text = values.get("TALLY_DATABASE_URL", DEFAULT_DATABASE_URL)
    parse_url(text)
    return text


def _mode(values: Mapping[str, str]) -> Mode:
    text = values.get("TALLY_MODE", "test")
    if text == "test":
        return "test"
    if text == "live":
        return "live"
    raise ConfigurationError(f"TALLY_MODE: expected test or live, found {text[:100]}")


def _sandboxes(values: Mapping[str, str]) -> SandboxChoice:
    text = values.get("TALLY_SANDBOXES", "auto")
    for each in SANDBOX_CHOICES:
        if each == text:
            return each
    raise ConfigurationError(f"TALLY_SANDBOXES: expected {', '.join(SANDBOX_CHOICES)}, found {text[:100]}")


def _secret(values: Mapping[str, str], name: str) -> str | None:
    text = values.get(name)
    if text is not None and not _PRINTABLE.fullmatch(text):
        raise ConfigurationError(f"{name}: expected 1 to 512 printable characters without spaces")
    return text


def _secrets(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Several with commas between them: while one is replaced by another, both count."""
    found = tuple(text.strip() for text in values[name].split(",")) if name in values else ()
    if not all(_PRINTABLE.fullmatch(text) for text in found):
        raise ConfigurationError(
            f"{name}: expected secrets with commas between them, "
            "each of 1 to 512 printable characters without spaces"
        )
    return found


def _address(values: Mapping[str, str], name: str) -> str | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        complete = False
    if not complete or not _PRINTABLE.fullmatch(text):
        raise ConfigurationError(
            f"{name}: expected an address such as https://tally.example.com, found {text[:200]}"
        )
    return text.rstrip("/")


def _hosts(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Names of hosts with commas between them, without ports; or ``*``."""
    found = tuple(text.strip() for text in values[name].split(",")) if name in values else ()
    if not all(_HOST.fullmatch(text) for text in found):
        raise ConfigurationError(
            f"{name}: expected host names with commas between them, such as tally,tally.internal, or *; "
            f"found {values[name][:200]}"
        )
    return found


def _outgoing(values: Mapping[str, str]) -> Outgoing:
    smtp = _smtp(values)
    return Outgoing(
        allow_private=_switch(values, "TALLY_WEBHOOKS_ALLOW_PRIVATE"),
        disable_after_days=_days(values, "TALLY_WEBHOOKS_DISABLE_AFTER_DAYS", Outgoing().disable_after_days),
        smtp=smtp,
        mail_from=_mail_from(values, needed=smtp is not None),
    )


def _switch(values: Mapping[str, str], name: str) -> bool:
    text = values.get(name, "0")
    if text not in {"0", "1"}:
        raise ConfigurationError(f"{name}: expected 0 or 1, found {text[:100]}")
    return text == "1"


def _days(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, str(default))
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise ConfigurationError(f"{name}: expected a number of days from 1 to 999, found {text[:100]}")
    return int(text)


_SMTP: Final[Mapping[str, tuple[int, Literal["tls", "starttls", "offered"]]]] = {
    "smtp": (25, "offered"),
    "smtp+starttls": (587, "starttls"),
    "smtps": (465, "tls"),
}


def _smtp(values: Mapping[str, str]) -> SmtpServer | None:
    """The mail server. Its address may hold a password, so no message repeats it."""
    text = values.get("TALLY_SMTP_URL")
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        port, security = _SMTP[parts.scheme]
        found = SmtpServer(
            host=parts.hostname or "",
            port=parts.port or port,
            security=security,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )
    except (ValueError, KeyError):
        found = None
    if found is None or not found.host or parts.path.strip("/") or not _PRINTABLE.fullmatch(text):
        raise ConfigurationError(
            "TALLY_SMTP_URL: expected smtp://host:25, smtp+starttls://user:password@host:587 "
            "or smtps://user:password@host:465"
        )
    return found


def _mail_from(values: Mapping[str, str], *, needed: bool) -> str:
    text = values.get("TALLY_MAIL_FROM", "")
    if not text and not needed:
        return ""
    address = parseaddr(text)[1]
    if not text.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise ConfigurationError(
            f"TALLY_MAIL_FROM: expected a sender such as Example <billing@example.com>, found {text[:100]!r}"
        )
    return text
