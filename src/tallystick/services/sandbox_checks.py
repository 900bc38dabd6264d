"""Checks of what is asked of a sandbox: names, numbers, variables and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tallystick.core import errors
from tallystick.services.requests import check_text, is_storable

MAX_NAME: Final = 100
MAX_PATH: Final = 1000
MAX_ENV_BYTES: Final = 65_536
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def check_whole(value: object, field: str, default: int, least: int, most: int) -> int:
    """A whole number in its range; the default for None. Raises ``ValidationFailed``, as all of these do."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise errors.ValidationFailed([(field, f"expected a whole number from {least} to {most}")])
    return value


def check_name(name: str | None) -> str | None:
    """What a sandbox is called."""
    found = check_text(name, field="name", most=MAX_NAME)
    if found is not None and (not found.isprintable() or not found.strip()):
        raise errors.ValidationFailed([("name", "expected printable characters that are not all blank")])
    return found


def check_path(path: str) -> str:
    """The path of a file in a sandbox; what it leads to is the sandbox's own affair."""
    if not path or len(path) > MAX_PATH or not is_storable(path):
        raise errors.ValidationFailed(
            [("path", f"expected a path of 1 to {MAX_PATH} characters without NUL")]
        )
    return path


def check_env(env: Mapping[str, object] | None, *, field: str) -> dict[str, str]:
    """Variables of the environment: names of letters, digits and underscores, and their texts."""
    found: dict[str, str] = {}
    for name, value in (env or {}).items():
        if not _ENV_NAME.fullmatch(name):
            message = f"expected names of up to 128 letters, digits and _ that begin with no digit, not {name[:40]!r}"
            raise errors.ValidationFailed([(field, message)])
        if not isinstance(value, str) or not is_storable(value):
            raise errors.ValidationFailed(
                [(field, f"expected text without NUL or lone surrogates for {name}")]
            )
        found[name] = value
    if sum(len(name) + len(value.encode()) for name, value in found.items()) > MAX_ENV_BYTES:
        raise errors.ValidationFailed([(field, f"expected at most {MAX_ENV_BYTES} bytes")])
    return found
