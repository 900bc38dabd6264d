"""Operators at a browser: signed in with an admin's API key, for a working day at most, and never longer than the key.

The session is not the key: whoever gets hold of it can use these pages until it ends, and no other door. It is looked up
with its key at each request, so that revoking the key ends it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.times import HOUR
from tallystick.services.context import Caller, Context
from tallystick.services.identity import Identity
from tallystick.services.keys import LONGEST_TOKEN, digest_of, new_secret, scope_of_service
from tallystick.services.requests import is_storable
from tallystick.services.throttling import Throttle, network_of
from tallystick.store import operators as store
from tallystick.store import throttles

SESSION_LASTS: Final = 12 * HOUR
SIGN_INS_PER_IP: Final = Throttle("operator:ip", 20, 300)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who has signed in: an admin's key and its name. ``session_id`` tells this session's forms from others'."""

    caller: Caller
    key_id: int
    name: str
    session_id: str


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """A new session. The token is shown once; ``expires_at`` in microseconds."""

    token: str
    expires_at: int


class Operators:
    """Sign in, out, and tell who a session belongs to."""

    def __init__(
        self, context: Context, identity: Identity, *, random_text: Callable[[], str] = new_secret
    ) -> None:
        self._context = context
        self._identity = identity
        self._random_text = random_text

    def sign_in(self, key: str, *, ip: str | None = None) -> OperatorSession:
        """A session for an admin's key.

        Raises ``NotAuthenticated`` for what is no key, ``NotAllowed`` for a key that is no admin's, and ``RateLimited``
        after too many of either from one address.
        """
        counted = None if ip is None else self._count(ip)
        caller = self._identity.authenticate(key.strip(), self._context.now())
        if not caller.is_admin or caller.key_id is None:
            raise errors.NotAllowed("this key is not an admin's: expected an API key of the role admin")
        number, now, token = caller.key_id, self._context.now(), self._random_text()

        def work(connection: Connection) -> None:
            if counted is not None:
                throttles.take_back(connection, *counted)
            store.prune_sessions(connection, now=now)
            store.add_session(
                connection,
                token_hash=digest_of(token),
                key_id=number,
                created_at=now,
                expires_at=now + SESSION_LASTS,
            )

        self._context.database.transact(work)
        return OperatorSession(token, now + SESSION_LASTS)

    def _count(self, ip: str) -> tuple[str, int]:
        """Count a failure in advance, so that many attempts at once pass no limit."""
        now, subject = self._context.now(), SIGN_INS_PER_IP.subject(network_of(ip))
        window_at = SIGN_INS_PER_IP.window_at(now)

        def work(connection: Connection) -> None:
            SIGN_INS_PER_IP.check(throttles.add(connection, subject, window_at, 1), now)

        self._context.database.transact(work)
        return subject, window_at

    def authenticate(self, token: str) -> Operator:
        """Who has signed in with this session, if it and its key still hold. Raises ``NotAuthenticated``."""
        if not 0 < len(token) <= LONGEST_TOKEN or not is_storable(token):
            raise errors.NotAuthenticated("sign in with an admin's API key")
        digest, now = digest_of(token), self._context.now()
        with self._context.database.glance() as connection:
            found = store.session(connection, digest)
        if found is None or not _holds(found, now):
            raise errors.NotAuthenticated("the session has ended: sign in with an admin's API key")
        caller = Caller(
            role="admin",
            scope=scope_of_service(found.name),
            name=to_text("key", found.key_id),
            key_id=found.key_id,
            key_has_budget=found.key_has_budget,
        )
        return Operator(caller, found.key_id, found.name, digest[:16])

    def sign_out(self, token: str) -> None:
        """End a session; one that has ended already stays ended."""
        self._context.database.transact(lambda connection: store.end_session(connection, digest_of(token)))


def _holds(found: store.SessionKey, now: int) -> bool:
    key_in_time = found.key_expires_at is None or found.key_expires_at > now
    return found.expires_at > now and found.key_revoked_at is None and found.role == "admin" and key_in_time
