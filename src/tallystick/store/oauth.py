"""What the authorization server keeps: clients, authorizations, connected apps and their tokens.

A row that may be used once is claimed by one statement, so that of two processes one gets it. A connected app is touched
before tokens are added to it: whoever ends it meanwhile waits, and then deletes them too.
"""

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.driver import Driver
from tallystick.store.engine import raw_connection
from tallystick.store.schema_oauth import connected_apps, oauth_authorizations, oauth_clients, oauth_tokens

_OWNER: Final = (
    "SELECT u.id, u.customer_id, a.client_id, a.resource, t.expires_at FROM oauth_tokens t "
    "JOIN connected_apps a ON a.id = t.app_id JOIN users u ON u.id = a.user_id "
    "WHERE t.kind = 'access' AND {names:t.token_hash}"
)
_IS_UNUSED: Final = ~sa.exists().where(connected_apps.c.client_id == oauth_clients.c.id)


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A program that registered itself. ``document`` is its registration as JSON."""

    id: str
    name: str
    document: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class AuthorizationRow:
    """What a client asked for, and what became of it."""

    request_hash: str
    client_id: str
    redirect_uri: str
    redirect_uri_sent: bool
    state: str | None
    code_challenge: str
    resource: str
    code_hash: str | None
    app_id: int | None
    used_at: int | None
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class AppRow:
    """A user's connected app; it ends at ``expires_at`` unless its client comes back before."""

    id: int
    user_id: int
    client_id: str
    name: str
    resource: str
    created_at: int
    used_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token of a connected app. A refresh token with ``used_at`` has been replaced by another."""

    app_id: int
    client_id: str
    kind: str
    resource: str
    used_at: int | None
    expires_at: int


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whom an access token acts for, where, and until when."""

    user_id: int
    customer_id: int
    client_id: str
    resource: str
    expires_at: int


# --- clients ---------------------------------------------------------------------------------------------------------


def add_client(connection: Connection, row: ClientRow) -> None:
    """A new client."""
    connection.execute(
        oauth_clients.insert().values(
            id=row.id,
            name=row.name,
            document=row.document,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
    )


def client(connection: Connection, client_id: str, *, now: int) -> ClientRow | None:
    """A client whose registration has not ended."""
    found = connection.execute(
        sa.select(oauth_clients).where(oauth_clients.c.id == client_id, oauth_clients.c.expires_at > now)
    ).first()
    return None if found is None else ClientRow(*found)


def count_clients(connection: Connection) -> int:
    """How many clients there are, ended ones that were not deleted yet included."""
    return int(connection.scalar(sa.select(sa.func.count()).select_from(oauth_clients)) or 0)


def drop_client(connection: Connection) -> None:
    """Delete the client that would end first among those that nobody has connected, to make room for another."""
    some = sa.select(oauth_clients.c.id).where(_IS_UNUSED).order_by(oauth_clients.c.expires_at).limit(1)
    connection.execute(oauth_clients.delete().where(oauth_clients.c.id.in_(some)))


def keep_client(connection: Connection, client_id: str, *, until: int) -> None:
    """A client that is used stays registered."""
    connection.execute(
        oauth_clients.update()
        .where(oauth_clients.c.id == client_id, oauth_clients.c.expires_at < until)
        .values(expires_at=until)
    )


# --- authorizations --------------------------------------------------------------------------------------------------


def add_authorization(connection: Connection, row: AuthorizationRow) -> None:
    """A new question to a user."""
    connection.execute(
        oauth_authorizations.insert().values(
            request_hash=row.request_hash,
            client_id=row.client_id,
            redirect_uri=row.redirect_uri,
            redirect_uri_sent=int(row.redirect_uri_sent),
            state=row.state,
            code_challenge=row.code_challenge,
            resource=row.resource,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
    )


def open_request(connection: Connection, request_hash: str, *, now: int) -> AuthorizationRow | None:
    """A question that nobody has answered, and that is not too old."""
    return _authorization(connection, *_is_open(request_hash, now))


def by_code(connection: Connection, code_hash: str) -> AuthorizationRow | None:
    """The authorization that a code stands for, used and expired ones too."""
    return _authorization(connection, oauth_authorizations.c.code_hash == code_hash)


def _authorization(connection: Connection, *conditions: sa.ColumnElement[bool]) -> AuthorizationRow | None:
    found = connection.execute(sa.select(oauth_authorizations).where(*conditions)).mappings().first()
    if found is None:
        return None
    return AuthorizationRow(**{**found, "redirect_uri_sent": bool(found["redirect_uri_sent"])})


def _is_open(request_hash: str, now: int) -> tuple[sa.ColumnElement[bool], ...]:
    columns = oauth_authorizations.c
    return columns.request_hash == request_hash, columns.code_hash.is_(None), columns.expires_at > now


def approve(
    connection: Connection, request_hash: str, *, code_hash: str, app_id: int, now: int, expires_at: int
) -> bool:
    """Give a question its code; False when it is not open any more."""
    answered = oauth_authorizations.update().where(*_is_open(request_hash, now))
    values = {"code_hash": code_hash, "app_id": app_id, "expires_at": expires_at}
    return connection.execute(answered.values(values)).rowcount == 1


def drop_request(connection: Connection, request_hash: str, *, now: int) -> bool:
    """Take a question away; False when it is not open any more."""
    return connection.execute(oauth_authorizations.delete().where(*_is_open(request_hash, now))).rowcount == 1


def use_code(connection: Connection, code_hash: str, *, now: int) -> bool:
    """Claim a code; False for whoever comes second."""
    columns = oauth_authorizations.c
    claimed = oauth_authorizations.update().where(columns.code_hash == code_hash, columns.used_at.is_(None))
    return connection.execute(claimed.values(used_at=now)).rowcount == 1


# --- connected apps --------------------------------------------------------------------------------------------------


def add_app(connection: Connection, row: AppRow) -> None:
    """A new connected app, with no tokens yet."""
    connection.execute(
        connected_apps.insert().values(
            id=row.id,
            user_id=row.user_id,
            client_id=row.client_id,
            resource=row.resource,
            created_at=row.created_at,
            used_at=row.used_at,
            expires_at=row.expires_at,
        )
    )


def touch_app(connection: Connection, app_id: int, *, now: int, until: int) -> bool:
    """Note that an app was used, and lock it until the end of the transaction; False when it has ended."""
    touched = connected_apps.update().where(connected_apps.c.id == app_id)
    return connection.execute(touched.values(used_at=now, expires_at=until)).rowcount == 1


def apps_of(connection: Connection, user_id: int, *, now: int) -> list[AppRow]:
    """A user's connected apps, the last used first."""
    columns = connected_apps.c
    query = (
        sa.select(
            columns.id,
            columns.user_id,
            columns.client_id,
            oauth_clients.c.name,
            columns.resource,
            columns.created_at,
            columns.used_at,
            columns.expires_at,
        )
        .join_from(connected_apps, oauth_clients)
        .where(columns.user_id == user_id, columns.expires_at > now)
        .order_by(columns.used_at.desc(), columns.id.desc())
    )
    return [AppRow(*row) for row in connection.execute(query)]


def end_app(connection: Connection, app_id: int, *, user_id: int | None = None) -> bool:
    """Delete an app with its tokens, if it is this user's; False when there is none."""
    ended = connected_apps.delete().where(connected_apps.c.id == app_id)
    if user_id is not None:
        ended = ended.where(connected_apps.c.user_id == user_id)
    return connection.execute(ended).rowcount == 1


def end_apps_of(connection: Connection, user_id: int) -> int:
    """Delete every app of a user with its tokens: when its sessions end, its password changes, or it is shut out."""
    return connection.execute(connected_apps.delete().where(connected_apps.c.user_id == user_id)).rowcount


# --- tokens ----------------------------------------------------------------------------------------------------------


def add_token(
    connection: Connection, *, token_hash: str, app_id: int, kind: str, created_at: int, expires_at: int
) -> None:
    """A new token of an app that was touched in the same transaction."""
    values = {"token_hash": token_hash, "app_id": app_id, "kind": kind}
    connection.execute(oauth_tokens.insert().values(**values, created_at=created_at, expires_at=expires_at))


def token(connection: Connection, token_hash: str) -> TokenRow | None:
    """A token by its digest, used and expired ones too."""
    columns = oauth_tokens.c
    query = sa.select(
        columns.app_id,
        connected_apps.c.client_id,
        columns.kind,
        connected_apps.c.resource,
        columns.used_at,
        columns.expires_at,
    )
    found = connection.execute(
        query.join_from(oauth_tokens, connected_apps).where(columns.token_hash == token_hash)
    ).first()
    return None if found is None else TokenRow(*found)


def use_refresh(connection: Connection, token_hash: str, *, now: int) -> bool:
    """Claim a refresh token; False for whoever comes second."""
    columns = oauth_tokens.c
    claimed = oauth_tokens.update().where(columns.token_hash == token_hash, columns.used_at.is_(None))
    return connection.execute(claimed.values(used_at=now)).rowcount == 1


def drop_access(connection: Connection, app_id: int) -> None:
    """End the access tokens of an app that gets a new one."""
    columns = oauth_tokens.c
    connection.execute(oauth_tokens.delete().where(columns.app_id == app_id, columns.kind == "access"))


def owner(connection: Connection, driver: Driver, token_hash: str) -> TokenOwner | None:
    """Whom an access token acts for: one indexed read, as every call asks."""
    statement, names = driver.sql(_OWNER), driver.names([token_hash])
    found: Any = raw_connection(connection).execute(statement, (names,)).fetchone()
    return None if found is None else TokenOwner(*found)


# --- what has ended --------------------------------------------------------------------------------------------------


def prune(connection: Connection, *, now: int, used_before: int, limit: int) -> dict[str, int]:
    """Delete what has ended, at most so many of each. Codes that were used stay a while, so that a second use is seen."""
    kinds = (
        ("oauth_tokens", oauth_tokens, oauth_tokens.c.token_hash, oauth_tokens.c.expires_at < now),
        ("connected_apps", connected_apps, connected_apps.c.id, connected_apps.c.expires_at < now),
        (
            "oauth_authorizations",
            oauth_authorizations,
            oauth_authorizations.c.request_hash,
            oauth_authorizations.c.expires_at < used_before,
        ),
        ("oauth_clients", oauth_clients, oauth_clients.c.id, (oauth_clients.c.expires_at < now) & _IS_UNUSED),
    )
    counts = {}
    for name, table, key, ended in kinds:
        some = sa.select(key).where(ended).limit(limit)
        counts[name] = connection.execute(table.delete().where(key.in_(some))).rowcount
    return counts
