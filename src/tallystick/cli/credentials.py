"""The tokens of `tally auth login`: one for each server, readable by their user only."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from tallystick.cli.problems import Problem


def path() -> Path:
    """Where the tokens are."""
    return user_config_path("tallystick", appauthor=False) / "credentials.json"


def find(url: str) -> dict[str, Any] | None:
    """What was saved for a server: its token, and whose it is."""
    found = _read().get(url)
    return found if isinstance(found, dict) and isinstance(found.get("token"), str) else None


def save(url: str, *, token: str, email: str, expires_at: str | None) -> Path:
    """Keep the token of a login, in place of an earlier one for this server."""
    return _write(_read() | {url: {"token": token, "email": email, "expires_at": expires_at}})


def forget(url: str) -> None:
    """Remove what was saved for a server."""
    saved = _read()
    if saved.pop(url, None) is not None:
        _write(saved)


def _read() -> dict[str, Any]:
    try:
        saved = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unusable("read", error) from error
    return saved if isinstance(saved, dict) else {}


def _write(saved: dict[str, Any]) -> Path:
    """Replace the file in one step: whoever reads meanwhile sees the old one or the new one."""
    target = path()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(saved, file, indent=2)
        fresh.replace(target)
    except OSError as error:
        raise _unusable("write", error) from error
    return target


def _unusable(verb: str, error: Exception) -> Problem:
    return Problem(
        "credentials_unusable",
        f"cannot {verb} the saved logins in {path()}: {error}",
        advice="Correct or remove the file and log in again, or set TALLY_API_KEY.",
    )
