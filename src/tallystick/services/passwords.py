"""Passwords: hashed with Argon2id, a few at a time, and never inside a database transaction."""

from __future__ import annotations

import secrets
import threading
from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# Each hash takes 64 MiB for some tens of milliseconds; a crowd at the door must not take all memory.
HASHES_AT_ONCE: Final = 4


class Passwords:
    """Hash and verify; ``hasher`` says how hard, by default as hard as argon2-cffi advises."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = threading.BoundedSemaphore(HASHES_AT_ONCE)

    def hash(self, password: str) -> str:
        """What to store of a password."""
        with self._turns:
            return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; None, for no such user, takes as long and is never right."""
        # Made by whoever comes first, known or unknown, so that its making tells nothing.
        decoy = self._decoy
        with self._turns:
            try:
                self._hasher.verify(decoy if stored is None else stored, password)
            except VerifyMismatchError:
                return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _decoy(self) -> str:
        return self.hash(secrets.token_urlsafe())
