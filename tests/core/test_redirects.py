"""Where apps may have people sent back to."""

import pytest

from tallystick.core.redirects import is_loopback, is_redirect, matches, place_of, with_answer

GOOD = (
    "https://app.example/back",
    "https://app.example:8443/back?tenant=1",
    "http://127.0.0.1/back",
    "http://127.8.8.8:1/back",
    "http://localhost:3000",
    "http://[::1]:3000/back",
    "com.example.app:/back",
    "cursor://anysphere.cursor-mcp/oauth/callback",
)
BAD = (
    "",
    "https://",
    "https:///back",
    "https://app.example/back#part",
    "https://ann@app.example/back",
    "https://app.example\\@evil.example/",
    "https://app.example/with space",
    "https://app.example:port/",
    "https://[::1/",
    f"https://app.example/{'x' * 2000}",
    "http://app.example/back",
    "http://127.0.0.1.evil.example/back",
    "http://localhost@evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "1.app:/back",
    "/back",
)


@pytest.mark.parametrize("address", GOOD)
def test_what_may_be_registered(address: str) -> None:
    """Encrypted addresses, those of the machine itself, and schemes that only one app has."""
    assert is_redirect(address)
    assert matches(address, address)


@pytest.mark.parametrize("address", BAD)
def test_what_may_not(address: str) -> None:
    """Addresses that others could listen on, that run as a program, or that two readers would read in two ways."""
    assert not is_redirect(address)
    assert not matches("https://app.example/back", address)


@pytest.mark.parametrize(
    ("expected", "registered", "asked"),
    [
        (True, "http://127.0.0.1/back", "http://127.0.0.1:5000/back"),
        (True, "http://[::1]:1/back", "http://[::1]:2/back"),
        (True, "https://app.example", "https://app.example/"),
        (False, "http://127.0.0.1/back", "http://127.0.0.1/other"),
        (False, "http://127.0.0.1/back", "http://localhost/back"),
        (False, "http://127.0.0.1/back", "https://127.0.0.1/back"),
        (False, "http://127.0.0.1/back", "http://127.0.0.1/back?more=1"),
        (False, "https://app.example/back", "https://app.example:8443/back"),
        (False, "https://app.example/back", "https://evil.example/back"),
        (False, "com.example.app:/back", "com.example.app:/other"),
        (False, "no address", "https://app.example/back"),
    ],
)
def test_a_redirect_is_the_registered_one(*, expected: bool, registered: str, asked: str) -> None:
    """To the letter, but for the port on the app's own machine."""
    assert expected == matches(registered, asked)


def test_what_people_are_told_of_a_redirect() -> None:
    """Its host, or whose it is."""
    assert "app.example" == place_of("https://app.example:8443/back")
    assert "this computer" == place_of("http://127.0.0.1:5000/back")
    assert "the app for com.example.app: links" == place_of("com.example.app:/back")
    assert not is_loopback(None)


def test_an_answer_keeps_what_was_registered() -> None:
    """The query stays byte for byte, and what is None is left out."""
    assert "https://app.example/back?code=a+b" == with_answer(
        "https://app.example/back", code="a b", state=None
    )
    assert "https://app.example/back?flag&x=%FF&code=c" == with_answer(
        "https://app.example/back?flag&x=%FF", code="c"
    )
    assert "com.example.app:/back?code=c" == with_answer("com.example.app:/back", code="c")
