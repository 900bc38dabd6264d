"""The apps that users have connected: whom their access tokens act for, and how they are disconnected.

An access token acts as its user, at the one resource that it was made for. It is looked up each time, so that whatever
ends the app ends it at once, in every process.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text, to_text
from tallystick.services.context import Caller, Context
from tallystick.services.keys import ACCESS_PREFIX, LONGEST_TOKEN, digest_of
from tallystick.services.requests import is_storable
from tallystick.store import oauth as store


@dataclass(frozen=True, slots=True)
class ConnectedApp:
    """An app that acts as its user, until ``expires_at`` unless it comes back before."""

    id: str
    name: str
    connected_at: int
    used_at: int
    expires_at: int


class ConnectedApps:
    """Tell who an access token acts for; list and end a user's apps."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def is_access_token(self, token: str) -> bool:
        """Whether this is a token of an app, and not one of a session or an API key."""
        return token.startswith(ACCESS_PREFIX)

    def authenticate(self, token: str, now: int, *, resource: str) -> Caller:
        """The user that an access token acts for at ``resource``. Raises ``NotAuthenticated``."""
        if len(token) > LONGEST_TOKEN or not is_storable(token):
            raise errors.NotAuthenticated
        database = self._context.database
        with database.glance() as connection:
            owner = store.owner(connection, database.driver, digest_of(token))
        if owner is None or owner.expires_at <= now or owner.resource != resource:
            raise errors.NotAuthenticated("this access token is expired, ended, or made for another server")
        return Caller(
            role="user",
            scope=to_text("cust", owner.customer_id),
            name=to_text("usr", owner.user_id),
            customer_id=owner.customer_id,
            user_id=owner.user_id,
        )

    def list(self, caller: Caller) -> list[ConnectedApp]:
        """The user's apps, the last used first."""
        with self._context.database.read() as connection:
            rows = store.apps_of(connection, _user(caller), now=self._context.now())
        return [
            ConnectedApp(to_text("app", row.id), row.name, row.created_at, row.used_at, row.expires_at)
            for row in rows
        ]

    def end(self, caller: Caller, app: str) -> None:
        """Disconnect an app: its tokens are worth nothing from now on. Raises ``NotFound``."""
        user_id, number = _user(caller), from_text("app", app)

        def work(connection: Connection) -> bool:
            return number is not None and store.end_app(connection, number, user_id=user_id)

        if not self._context.database.transact(work):
            raise errors.NotFound("connected app", app)

    def end_by_token(self, token: str) -> None:
        """Disconnect the app that shows this access token; nothing happens when it has ended already."""

        def work(connection: Connection) -> None:
            row = store.token(connection, digest_of(token))
            if row is not None:
                store.end_app(connection, row.app_id)

        self._context.database.transact(work)


def _user(caller: Caller) -> int:
    if caller.user_id is None:
        raise errors.NotAllowed("only users have connected apps")
    return caller.user_id
