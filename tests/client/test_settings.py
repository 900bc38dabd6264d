"""Where a client finds its server and its key, and what it says when it cannot use them."""

import math

import pytest

from tallystick.client import AsyncTallyClient, ConfigurationError, Retries, TallyClient, TallyError, Timeouts
from tests.doors.api.door import Door


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set unless a test sets it."""
    monkeypatch.delenv("TALLY_URL", raising=False)
    monkeypatch.delenv("TALLY_API_KEY", raising=False)


def test_the_environment_says_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins; without both, the server is on this machine and nobody asks."""
    with TallyClient() as client:
        assert ("http://127.0.0.1:8080", None) == (client.settings.base_url, client.settings.api_key)
    monkeypatch.setenv("TALLY_URL", "https://tally.example.com/base/api/v1/")
    monkeypatch.setenv("TALLY_API_KEY", "tly_1")
    with TallyClient() as client:
        assert "https://tally.example.com/base" == client.settings.base_url
        assert "tly_1" == client.settings.api_key
    with TallyClient(api_key="tly_2", base_url="http://localhost:1") as client:
        assert ("http://localhost:1", "tly_2") == (client.settings.base_url, client.settings.api_key)


@pytest.mark.parametrize(
    "url",
    [
        "tally",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://[",
        "http://me:secret@x",
        "http://x?a=1",
        "http://x\n",
        "http://..:80",
        f"http://{'a' * 64}.example",
        b"http://x",
    ],
    ids=repr,
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """With the name of the setting."""
    for kind in (TallyClient, AsyncTallyClient):
        with pytest.raises(ConfigurationError, match="TALLY_URL"):
            kind(base_url=url)


@pytest.mark.parametrize("key", ["tly_ 1", "tly_1\n", "schlüssel"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigurationError, match="TALLY_API_KEY") as refused:
        TallyClient(api_key=key)
    assert key not in str(refused.value)


def test_a_key_of_another_type_is_refused() -> None:
    """Bytes are no text."""
    with pytest.raises(ConfigurationError, match="found bytes"):
        TallyClient(api_key=b"tly_1")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, None, True, "5"], ids=repr)
def test_a_time_that_is_none_is_refused_at_once(seconds: float) -> None:
    """With its name."""
    for name in ("total_seconds", "connect_seconds"):
        with pytest.raises(ConfigurationError, match=name):
            Timeouts(**{name: seconds})


def test_a_key_is_never_shown() -> None:
    """Neither by the client nor by its settings."""
    with TallyClient(api_key="tly_secret") as client:
        assert "tly_secret" not in repr(client) + repr(client.settings) + repr(vars(client.settings).keys())


def test_one_client_becomes_the_other(door: Door) -> None:
    """With the same settings, there and back."""
    patient = Timeouts(total_seconds=7)
    with TallyClient(
        base_url=door.url, api_key="tly_1", timeouts=patient, retries=Retries(tries=1)
    ) as client:
        awaited = client.awaitable()
        again = awaited.blocking()
        assert client.settings == awaited.settings == again.settings
        again.close()


def test_without_a_key_the_refusal_says_what_to_set(door: Door) -> None:
    """Prices need none; a balance does."""
    with TallyClient(base_url=door.url) as nobody:
        assert "lookup" in {each.meter for each in nobody.prices.get().meters}
        with pytest.raises(TallyError, match="TALLY_API_KEY") as refused:
            nobody.billing.get_balance()
    assert ("NOT_AUTHENTICATED", 401) == (refused.value.code, refused.value.status)


def test_logging_in_gives_a_client_of_ones_own(door: Door) -> None:
    """A session's token is as good as a key, until it is ended."""
    with TallyClient(base_url=door.url) as nobody:
        token = nobody.auth.register(email="ada@example.test", password="correct horse").token
        with nobody.with_key(token) as ada:
            assert "ada@example.test" == ada.auth.me().email
            ada.auth.logout()
            with pytest.raises(TallyError):
                ada.auth.me()
