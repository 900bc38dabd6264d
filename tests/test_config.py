"""Settings: read from the environment and .env, and every mistake told by the variable's name."""

from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.config import Config, Outgoing, SmtpServer
from tallystick.core.errors import ConfigurationError
from tallystick.services.clock import system_time

LIVE = {"TALLY_MODE": "live", "STRIPE_SECRET_KEY": "sk_live_x", "STRIPE_WEBHOOK_SECRET": "whsec_x"}


def test_everything_has_a_default(tmp_path: Path) -> None:
    """Without any setting: a file here, the starter economy, test mode."""
    config = Config.from_environment({}, dotenv=tmp_path / ".env")
    assert config == Config()
    assert ("sqlite:///tally.db", "starter", "test", None, None) == (
        config.database_url,
        config.economy,
        config.mode,
        config.admin_key,
        config.public_url,
    )


def test_every_setting_is_read() -> None:
    """Each by its name; an empty one counts as not set."""
    config = Config.from_environment(
        {
            "TALLY_DATABASE_URL": "postgresql://u:p@h/d",
            "TALLY_ECONOMY": "flux",
            "TALLY_MODE": "live",
            "TALLY_ADMIN_KEY": "tly_admin",
            "TALLY_PUBLIC_URL": "https://tally.example.com/",
            "STRIPE_SECRET_KEY": "sk_x",
            "STRIPE_WEBHOOK_SECRET": "whsec_x",
            "STRIPE_API_BASE": "http://127.0.0.1:12111",
            "STRIPE_PRICE_STARTER": "price_1",
            "STRIPE_PRICE_PRO": "",
            "E2B_API_KEY": "e2b_x",
            "E2B_API_URL": "https://api.example.com",
            "TALLY_WEBHOOKS_ALLOW_PRIVATE": "1",
            "TALLY_WEBHOOKS_DISABLE_AFTER_DAYS": "9",
            "TALLY_SMTP_URL": "smtps://me%40x:p%2Fw@mail.example.com",
            "TALLY_MAIL_FROM": "Example <billing@example.com>",
        },
        dotenv=None,
    )
    assert config == Config(
        database_url="postgresql://u:p@h/d",
        economy="flux",
        mode="live",
        admin_key="tly_admin",
        public_url="https://tally.example.com",
        stripe_secret_key="sk_x",
        stripe_webhook_secrets=("whsec_x",),
        stripe_api_base="http://127.0.0.1:12111",
        stripe_prices={"STRIPE_PRICE_STARTER": "price_1"},
        e2b_api_key="e2b_x",
        e2b_api_url="https://api.example.com",
        outgoing=Outgoing(
            allow_private=True,
            disable_after_days=9,
            smtp=SmtpServer(host="mail.example.com", port=465, security="tls", user="me@x", password="p/w"),
            mail_from="Example <billing@example.com>",
        ),
    )


def test_two_webhook_secrets_count_while_one_replaces_the_other() -> None:
    """They stand in one variable with a comma between them, and spaces around it do no harm."""
    config = Config.from_environment({"STRIPE_WEBHOOK_SECRET": "whsec_new, whsec_old"}, dotenv=None)
    assert ("whsec_new", "whsec_old") == config.stripe_webhook_secrets


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    """Nothing in the file is replaced by the value of another variable."""
    (tmp_path / ".env").write_text("TALLY_ECONOMY=nexus\nTALLY_MODE=test\nSTRIPE_SECRET_KEY='a$HOME{b}'\n")
    config = Config.from_environment({"TALLY_ECONOMY": "e2b", "TALLY_MODE": ""}, dotenv=tmp_path / ".env")
    assert ("e2b", "test", "a$HOME{b}") == (config.economy, config.mode, config.stripe_secret_key)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Bytes that are no text are a clear mistake."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"\.env: expected a readable text"):
        Config.from_environment({}, dotenv=tmp_path / ".env")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TALLY_DATABASE_URL", "mysql://h/d", "sqlite:///path/to/file.db"),
        ("TALLY_DATABASE_URL", "tally.db", "sqlite:///path/to/file.db"),
        ("TALLY_MODE", "production", "test or live"),
        ("TALLY_ADMIN_KEY", "two words", "printable characters without spaces"),
        ("TALLY_PUBLIC_URL", "tally.example.com", "an address such as"),
        ("TALLY_PUBLIC_URL", "ftp://x", "an address such as"),
        ("TALLY_PUBLIC_URL", "http://x:99999", "an address such as"),
        ("STRIPE_API_BASE", "http://", "an address such as"),
        ("E2B_API_URL", "http://[", "an address such as"),
        ("STRIPE_SECRET_KEY", "sk\n", "printable characters without spaces"),
        ("STRIPE_WEBHOOK_SECRET", "é", "printable characters without spaces"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_old,,whsec_new", "secrets with commas between them"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_old whsec_new", "printable characters without spaces"),
        ("TALLY_WEBHOOKS_ALLOW_PRIVATE", "yes", "0 or 1"),
        ("TALLY_WEBHOOKS_DISABLE_AFTER_DAYS", "0", "days from 1 to 999"),
        ("TALLY_SMTP_URL", "https://mail.example.com", "smtp://host:25"),
        ("TALLY_SMTP_URL", "smtp://", "smtp://host:25"),
        ("TALLY_SMTP_URL", "smtp://host:99999", "smtp://host:25"),
        ("TALLY_MAIL_FROM", "nobody", "a sender such as"),
        ("TALLY_MAIL_FROM", "a@b\nBcc: c@d", "a sender such as"),
    ],
)
def test_a_mistake_names_its_variable(name: str, value: str, expected: str) -> None:
    """And what was expected of it."""
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environment({name: value}, dotenv=None)
    assert caught.value.detail.startswith(f"{name}: expected")
    assert expected in caught.value.detail


def test_a_mail_server_needs_a_sender() -> None:
    """And its password is shown nowhere."""
    with pytest.raises(ConfigurationError, match=r"^TALLY_MAIL_FROM: expected a sender"):
        Config.from_environment({"TALLY_SMTP_URL": "smtps://u:s3cret@h"}, dotenv=None)
    config = Config.from_environment(
        {"TALLY_SMTP_URL": "smtps://u:s3cret@h", "TALLY_MAIL_FROM": "a@b.test"}, dotenv=None
    )
    assert "s3cret" not in repr(config)
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environment(
            {"TALLY_SMTP_URL": "smtps://u:s3cret@h/x", "TALLY_MAIL_FROM": "a@b"}, dotenv=None
        )
    assert "s3cret" not in caught.value.detail


def test_secrets_are_not_shown() -> None:
    """Neither by repr nor in the message about a wrong one."""
    config = Config.from_environment(
        {**LIVE, "TALLY_ADMIN_KEY": "s3cret", "E2B_API_KEY": "e2b_s3cret"}, dotenv=None
    )
    assert not {"s3cret", "sk_live_x", "whsec_x"} & set(repr(config).replace("'", " ").split())
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environment({"TALLY_ADMIN_KEY": "my s3cret"}, dotenv=None)
    assert "s3cret" not in caught.value.detail


@pytest.mark.parametrize("missing", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_live_mode_needs_real_payments(missing: str, sqlite_url: str) -> None:
    """It starts neither with simulated payments nor without the webhook's secret."""
    environ = {name: value for name, value in LIVE.items() if name != missing} | {
        "TALLY_DATABASE_URL": sqlite_url
    }
    with pytest.raises(ConfigurationError, match=f"^{missing}: expected"):
        Tally.from_config(Config.from_environment(environ, dotenv=None))


def test_live_mode_refuses_a_database_on_a_test_clock(database_url: str) -> None:
    """Credits that expired in a future that has not come would be wrong for ever."""
    with Tally.from_config(Config(database_url=database_url)) as tally:
        tally.clock.move_to(system_time() + 86_400_000_000)
    live = Config.from_environment({**LIVE, "TALLY_DATABASE_URL": database_url}, dotenv=None)
    with pytest.raises(ConfigurationError, match=r"^TALLY_MODE: expected test"):
        Tally.from_config(live)


def test_live_mode_starts_on_the_real_time(database_url: str) -> None:
    """With everything set, and without a test clock."""
    live = Config.from_environment({**LIVE, "TALLY_DATABASE_URL": database_url}, dotenv=None)
    with Tally.from_config(live, public_url="http://127.0.0.1:9") as tally:
        assert "http://127.0.0.1:9" == tally.context.public_url
        assert abs(tally.clock.now() - system_time()) < 60_000_000
