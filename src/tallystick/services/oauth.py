"""The authorization server's own business: who may ask, who is asked, and what tokens are worth.

A client that registers itself proves nothing about itself, so it has no secret: its redirect and the proof of its key
(PKCE) keep a code from others. A code and a refresh token are good once. Whoever shows one again may have stolen it, or
been robbed of it: then all tokens of that app end, and the user is asked anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.redirects import EXPECTED, is_redirect
from tallystick.core.times import DAY, HOUR, MINUTE, SECOND
from tallystick.services.context import Caller, Context
from tallystick.services.keys import ACCESS_PREFIX, digest_of, new_secret
from tallystick.services.requests import is_storable
from tallystick.services.throttling import Throttle, network_of
from tallystick.store import oauth as store
from tallystick.store import throttles
from tallystick.store.oauth import AppRow, AuthorizationRow, ClientRow, TokenRow

REFRESH_PREFIX: Final = "tlr_"

REQUEST_LIVES: Final = 15 * MINUTE
CODE_LIVES: Final = MINUTE
ACCESS_LIVES: Final = HOUR
REFRESH_LIVES: Final = 30 * DAY
CLIENT_LIVES_UNUSED: Final = 7 * DAY
CLIENT_LIVES: Final = 90 * DAY

REGISTRATIONS_PER_IP: Final = Throttle("oauth:register", 30, 3600)
REQUESTS_PER_IP: Final = Throttle("oauth:authorize", 100, 900)
REFRESHES_PER_APP: Final = Throttle("oauth:refresh", 60, 3600)
MAX_CLIENTS: Final = 20_000
MAX_APPS: Final = 50
MAX_REDIRECTS: Final = 10
LONGEST_NAME: Final = 100
LONGEST_DOCUMENT: Final = 8192
LONGEST_STATE: Final = 2048
_CHALLENGE_LENGTH: Final = 43  # of SHA-256 in base 64 without padding: RFC 7636 section 4.2


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client gets. Both are shown this once; the lifetime is in seconds."""

    access: str
    refresh: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a user is asked."""

    client_id: str
    name: str
    redirect_uri: str
    state: str | None


@dataclass(frozen=True, slots=True)
class Approval:
    """What a user's word leads to: where the browser goes on, with the code."""

    redirect_uri: str
    state: str | None
    code: str


class OAuth:
    """Register clients, ask users, and give tokens. Who may use them is said by ``ConnectedApps``."""

    def __init__(self, context: Context, *, random_text: Callable[[], str] = new_secret) -> None:
        self._context = context
        self._random_text = random_text

    @property
    def issuer(self) -> str:
        """The name of this authorization server, letter by letter as its metadata have it (RFC 9207)."""
        url = self._context.public_url
        return url if urlsplit(url).path else f"{url}/"

    # --- clients ----------------------------------------------------------------------------------------------------

    def register(
        self, client_id: str, *, name: str, redirects: Sequence[str], document: str, ip: str | None
    ) -> None:
        """Keep a client that registers itself.

        Raises ``ValidationFailed`` for a redirect that would give codes away, and ``RateLimited``.
        """
        if not 0 < len(redirects) <= MAX_REDIRECTS or not all(map(is_redirect, redirects)):
            message = f"expected 1 to {MAX_REDIRECTS} addresses, each {EXPECTED}"
            raise errors.ValidationFailed([("redirect_uris", message)])
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise errors.ValidationFailed([("client_name", f"expected 1 to {LONGEST_NAME} characters")])
        if len(document) > LONGEST_DOCUMENT or not is_storable(document):
            raise errors.ValidationFailed([("client", f"expected at most {LONGEST_DOCUMENT} characters")])
        now = self._context.now()
        row = ClientRow(client_id, name, document, now, now + CLIENT_LIVES_UNUSED)

        def work(connection: Connection) -> None:
            self._count(connection, REGISTRATIONS_PER_IP, ip, now)
            if store.count_clients(connection) >= MAX_CLIENTS:
                store.drop_client(connection)  # refusing would let whoever fills the table shut out everybody
            store.add_client(connection, row)

        self._context.database.transact(work)

    def client(self, client_id: str) -> str | None:
        """A client's registration as it was kept."""
        if not _could_be(client_id):
            return None
        with self._context.database.glance() as connection:
            found = store.client(connection, client_id, now=self._context.now())
        return None if found is None else found.document

    # --- asking the user --------------------------------------------------------------------------------------------

    def ask(
        self,
        client_id: str,
        *,
        redirect_uri: str,
        redirect_uri_sent: bool,
        state: str | None,
        code_challenge: str,
        resource: str,
        ip: str | None,
    ) -> str:
        """Keep what a client asks for, until the user answers; gives the secret name of the question."""
        if len(code_challenge) != _CHALLENGE_LENGTH or not code_challenge.isascii():
            raise errors.ValidationFailed([("code_challenge", "expected a SHA-256 digest in base 64")])
        if state is not None and (len(state) > LONGEST_STATE or not is_storable(state)):
            raise errors.ValidationFailed([("state", f"expected at most {LONGEST_STATE} characters")])
        now, name = self._context.now(), self._random_text()
        row = AuthorizationRow(
            request_hash=digest_of(name),
            client_id=client_id,
            redirect_uri=redirect_uri,
            redirect_uri_sent=redirect_uri_sent,
            state=state,
            code_challenge=code_challenge,
            resource=resource,
            code_hash=None,
            app_id=None,
            used_at=None,
            created_at=now,
            expires_at=now + REQUEST_LIVES,
        )

        def work(connection: Connection) -> None:
            self._count(connection, REQUESTS_PER_IP, ip, now)
            store.add_authorization(connection, row)

        self._context.database.transact(work)
        return name

    def request(self, name: str) -> Request:
        """What a user is asked. Raises ``NotFound`` when that is answered, or too long ago."""
        with self._context.database.read() as connection:
            return self._open(connection, name)[1]

    def approve(self, caller: Caller, name: str) -> Approval:
        """The user agrees: an app is connected, and a code is made with which its client gets tokens."""
        user_id = _user(caller)
        context, code = self._context, self._random_text()
        now = context.now()

        def work(connection: Connection) -> Approval:
            row, request = self._open(connection, name)
            apps = store.apps_of(connection, user_id, now=now)
            for old in apps[MAX_APPS - 1 :]:
                store.end_app(connection, old.id)
            until = now + CODE_LIVES
            app = AppRow(
                context.new_id(), user_id, row.client_id, request.name, row.resource, now, now, until
            )
            store.keep_client(connection, row.client_id, until=now + CLIENT_LIVES)
            store.add_app(connection, app)
            if not store.approve(
                connection,
                row.request_hash,
                code_hash=digest_of(code),
                app_id=app.id,
                now=now,
                expires_at=until,
            ):
                raise errors.NotFound("request", None)
            return Approval(row.redirect_uri, row.state, code)

        return context.database.transact(work)

    def deny(self, name: str) -> Request:
        """The user does not agree; gives what was asked."""
        now = self._context.now()

        def work(connection: Connection) -> Request:
            row, request = self._open(connection, name)
            if not store.drop_request(connection, row.request_hash, now=now):
                raise errors.NotFound("request", None)
            return request

        return self._context.database.transact(work)

    def _open(self, connection: Connection, name: str) -> tuple[AuthorizationRow, Request]:
        now = self._context.now()
        row = store.open_request(connection, digest_of(name), now=now) if _could_be(name) else None
        client = None if row is None else store.client(connection, row.client_id, now=now)
        if row is None or client is None:
            raise errors.NotFound("request", None)
        return row, Request(row.client_id, client.name, row.redirect_uri, row.state)

    # --- tokens -----------------------------------------------------------------------------------------------------

    def code(self, client_id: str, code: str) -> AuthorizationRow | None:
        """What a code of this client stands for, also when it was used; None for one that is unknown or expired."""
        if not _could_be(code):
            return None
        with self._context.database.glance() as connection:
            row = store.by_code(connection, digest_of(code))
        if row is None or row.client_id != client_id:
            return None
        return row if row.used_at is not None or row.expires_at > self._context.now() else None

    def exchange(self, client_id: str, code: str) -> Tokens | None:
        """Tokens for a code, once; a second time ends what the first one got."""
        now = self._context.now()

        def work(connection: Connection) -> Tokens | None:
            row = store.by_code(connection, digest_of(code))
            if row is None or row.client_id != client_id or row.app_id is None:
                return None
            if not store.use_code(connection, digest_of(code), now=now):
                store.end_app(connection, row.app_id)
                return None
            return self._give(connection, row.app_id, client_id, now) if row.expires_at > now else None

        return self._context.database.transact(work)

    def refreshable(self, client_id: str, token: str) -> TokenRow | None:
        """What a refresh token of this client stands for, also when it was used; None if it is unknown or expired."""
        if not token.startswith(REFRESH_PREFIX) or not _could_be(token):
            return None
        with self._context.database.glance() as connection:
            row = store.token(connection, digest_of(token))
        if row is None or row.client_id != client_id:
            return None
        return row if row.used_at is not None or row.expires_at > self._context.now() else None

    def refresh(self, client_id: str, token: str) -> Tokens | None:
        """New tokens for a refresh token, once. A second time ends the app: the token has been in two hands."""
        now = self._context.now()

        def work(connection: Connection) -> Tokens | None:
            row = store.token(connection, digest_of(token))
            if row is None or row.client_id != client_id:
                return None
            self._count(connection, REFRESHES_PER_APP, str(row.app_id), now)
            if not store.use_refresh(connection, digest_of(token), now=now):
                store.end_app(connection, row.app_id)
                return None
            return self._give(connection, row.app_id, client_id, now) if row.expires_at > now else None

        return self._context.database.transact(work)

    def revoke(self, client_id: str, token: str) -> None:
        """End the app of one of its tokens, whichever of the two; what is unknown stays so (RFC 7009)."""
        if not _could_be(token):
            return

        def work(connection: Connection) -> None:
            row = store.token(connection, digest_of(token))
            if row is not None and row.client_id == client_id:
                store.end_app(connection, row.app_id)

        self._context.database.transact(work)

    def _give(self, connection: Connection, app_id: int, client_id: str, now: int) -> Tokens | None:
        """A new pair of tokens; None when the app was ended meanwhile."""
        if not store.touch_app(connection, app_id, now=now, until=now + REFRESH_LIVES):
            return None
        store.keep_client(connection, client_id, until=now + CLIENT_LIVES)
        store.drop_access(connection, app_id)
        access, refresh = ACCESS_PREFIX + self._random_text(), REFRESH_PREFIX + self._random_text()
        for token, kind, lives in ((access, "access", ACCESS_LIVES), (refresh, "refresh", REFRESH_LIVES)):
            store.add_token(
                connection,
                token_hash=digest_of(token),
                app_id=app_id,
                kind=kind,
                created_at=now,
                expires_at=now + lives,
            )
        return Tokens(access, refresh, ACCESS_LIVES // SECOND)

    def _count(self, connection: Connection, throttle: Throttle, whose: str | None, now: int) -> None:
        if whose is None:
            return
        subject = throttle.subject(network_of(whose))
        throttle.check(throttles.add(connection, subject, throttle.window_at(now), 1), now)


def _user(caller: Caller) -> int:
    if caller.user_id is None:
        raise errors.NotAllowed("only a user connects apps: an API key is used as it is")
    return caller.user_id


def _could_be(text: str) -> bool:
    """Whether the database can be asked for it."""
    return 0 < len(text) <= LONGEST_NAME and is_storable(text)
