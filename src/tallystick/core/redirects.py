"""Where an app that people connect may have them sent back to: OAuth 2.1, and RFC 8252 for apps on their own machine.

A redirect carries a code to whoever listens there. So it is encrypted, or it never leaves the machine: a loopback address,
or a scheme that only the app has.
"""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

LONGEST: Final = 2000
EXPECTED: Final = (
    "an https address, an http address of this machine such as http://127.0.0.1/callback, or a private-use scheme such "
    "as com.example.app:/callback; no fragment, no user name"
)
# RFC 8252 section 7.1 wants a domain's name in reverse, so that two apps do not share a scheme. These are older than that.
_KNOWN_SCHEMES: Final = frozenset({"cursor", "vscode", "vscode-insiders"})
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_VISIBLE: Final = re.compile(r"[!-~]+")


def is_redirect(text: str) -> bool:
    """Whether an app may register this address."""
    parts = _split(text)
    if parts is None or "#" in text or "\\" in text or parts.username is not None:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme == "http":
        return is_loopback(parts.hostname)
    return "." in parts.scheme or parts.scheme in _KNOWN_SCHEMES


def matches(registered: str, asked: str) -> bool:
    """Whether a redirect is the registered one: to the letter, but for the port on the app's own machine.

    RFC 8252 section 7.3: such an app listens on whatever port is free at the moment.
    """
    if registered == asked:
        return True
    ours, theirs = _split(registered), _split(asked)
    if ours is None or theirs is None or ours.scheme not in {"http", "https"} or not is_redirect(asked):
        return False
    return _without_port(ours) == _without_port(theirs) and (
        ours.port == theirs.port or is_loopback(ours.hostname)
    )


def _without_port(parts: SplitResult) -> tuple[str, str | None, str, str]:
    return parts.scheme, parts.hostname, parts.path or "/", parts.query


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def place_of(redirect: str) -> str:
    """What a person is told of a redirect: its host, this machine, or the scheme."""
    parts = urlsplit(redirect)
    if is_loopback(parts.hostname):
        return "this computer"
    return parts.hostname or "" if parts.scheme in {"http", "https"} else f"the app for {parts.scheme}: links"


def with_answer(redirect: str, **answer: str | None) -> str:
    """The redirect with an answer added to its query, which stays as it was registered."""
    parts = urlsplit(redirect)
    added = urlencode({name: value for name, value in answer.items() if value is not None})
    return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()


def _split(text: str) -> SplitResult | None:
    """The parts of an address; None for what is none."""
    if len(text) > LONGEST or not _VISIBLE.fullmatch(text):
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return parts if _SCHEME.fullmatch(parts.scheme) else None
