"""Identity: users, their sessions, and who a request comes from.

A user logs in for one customer and has the role ``user``. Tokens and keys have 256 random bits and are stored
by their digest. Passwords are hashed outside of database transactions, and as often for an email that nobody
has as for one that somebody has. Attempts are counted before the password is looked at: many at once pass no
limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.keys import (
    LONGEST_TOKEN,
    SESSION_PREFIX,
    digest_of,
    ensure_admin_key,
    new_secret,
    scope_of_service,
)
from tallystick.services.passwords import Passwords
from tallystick.services.requests import check_metadata, check_text, is_storable
from tallystick.services.throttling import Throttle, network_of
from tallystick.store import keys as key_store
from tallystick.store import oauth, throttles, users
from tallystick.store.users import User

SESSION_DAYS: Final = 30
_DAY: Final = 86_400_000_000

LOGINS_PER_EMAIL: Final = Throttle("login:email", 10, 300)
LOGINS_PER_IP: Final = Throttle("login:ip", 50, 300)
COLLISIONS_PER_IP: Final = Throttle("register:ip", 10, 3600)

SHORTEST_PASSWORD: Final = 8
LONGEST_PASSWORD: Final = 1024
LONGEST_EMAIL: Final = 320


@dataclass(frozen=True, slots=True)
class Registration:
    """A new user, logged in. The token is shown once."""

    user_id: int
    email: str
    role: str
    customer_id: int
    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A login. The token is shown once."""

    token: str
    expires_at: int
    user_id: int
    customer_id: int


@dataclass(frozen=True, slots=True)
class Me:
    """Who the caller is. ``name`` is the name of a key; a user is named by its id."""

    role: str
    user_id: int | None
    email: str | None
    customer_id: int | None
    key_id: int | None
    name: str


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A login as it was counted, to be taken back when the password is right."""

    email: str
    ip: str | None
    email_window: int
    ip_window: int


class Identity:
    """Register, log in and out, and tell who a token or key belongs to."""

    def __init__(
        self,
        context: Context,
        customers: Customers,
        *,
        passwords: Passwords | None = None,
        random_text: Callable[[], str] = new_secret,
    ) -> None:
        self._context = context
        self._customers = customers
        self._passwords = passwords or Passwords()
        self._random_text = random_text

    # --- registration ---------------------------------------------------------------------------------------

    def register(
        self, email: str, password: str, *, referral_code: str | None = None, ip: str | None = None
    ) -> Registration:
        """A new user with a customer, its wallets, its sign-up grants and a session, all in one transaction.

        Raises ``EmailTaken``; an address that found too many taken emails in an hour gets ``RateLimited``.
        """
        address = check_email(email)
        check_password(password)
        code = check_text(referral_code or None, field="referral_code", most=100)
        metadata = check_metadata({"referral_code": code} if code else None) or "{}"
        subject = None if ip is None else COLLISIONS_PER_IP.subject(network_of(ip))
        if subject is not None:
            with self._context.database.read() as connection:
                self._check_collisions(connection, subject, throttles.count)
        password_hash = self._passwords.hash(password)
        registration = self._twice(
            lambda connection: self._register(connection, address, password_hash, metadata, subject)
        )
        if registration is None:
            raise errors.EmailTaken
        return registration

    def _twice(self, work: Callable[[Connection], Registration | None]) -> Registration | None:
        """Another request may register the same email at this moment: then the second look finds it taken."""
        database = self._context.database
        try:
            return database.transact(work)
        except Exception as error:
            if database.driver.is_conflict(getattr(error, "orig", None)):
                return database.transact(work)
            raise

    def _check_collisions(
        self, connection: Connection, subject: str, count: Callable[[Connection, str, int], int]
    ) -> None:
        now = self._context.now()
        COLLISIONS_PER_IP.check(count(connection, subject, COLLISIONS_PER_IP.window_at(now)) + 1, now)

    def _register(
        self, connection: Connection, email: str, password_hash: str, metadata: str, subject: str | None
    ) -> Registration | None:
        """None when the email is taken: that is counted, so the transaction commits."""
        context = self._context
        if subject is not None:
            self._check_collisions(connection, subject, throttles.lock)
        if users.by_email(connection, email) is not None:
            if subject is not None:
                throttles.add(connection, subject, COLLISIONS_PER_IP.window_at(context.now()), 1)
            return None
        customer_id = self._customers.open(connection, external_id=None, email=email, metadata=metadata)
        user = User(context.new_id(), customer_id, email, password_hash)
        users.add(connection, user, created_at=context.now())
        session = self._open_session(connection, user)
        return Registration(user.id, email, "user", customer_id, session.token, session.expires_at)

    def _open_session(self, connection: Connection, user: User) -> Session:
        now = self._context.now()
        token = SESSION_PREFIX + self._random_text()
        expires_at = now + SESSION_DAYS * _DAY
        users.add_session(
            connection, token_hash=digest_of(token), user_id=user.id, created_at=now, expires_at=expires_at
        )
        return Session(token, expires_at, user.id, user.customer_id)

    # --- login ----------------------------------------------------------------------------------------------

    def login(self, email: str, password: str, *, ip: str | None = None) -> Session:
        """A new session. Raises ``InvalidCredentials``, or ``RateLimited`` after too many failures."""
        address = login_email(email)
        check_password(password, least=1)
        database = self._context.database
        attempt = database.transact(lambda connection: self._count_attempt(connection, address, ip))
        for _ in range(2):  # the password may be changed, or hashed anew, while it is looked at
            with database.read() as connection:
                user = users.by_email(connection, address)
            right = self._passwords.verify(None if user is None else user.password_hash, password)
            if user is None or not right:
                break
            session = self._log_in(user, password, attempt)
            if session is not None:
                return session
        raise errors.InvalidCredentials

    def _log_in(self, user: User, password: str, attempt: _Attempt) -> Session | None:
        """A session for a password that was right; None where it is another by now."""
        outdated = self._passwords.is_outdated(user.password_hash)
        renewed = self._passwords.hash(password) if outdated else None

        def work(connection: Connection) -> Session | None:
            # Who changed the password ended the sessions of the old one: this one must not come after.
            if not users.lock_as_read(connection, user):
                return None
            self._take_back(connection, attempt)
            if renewed is not None:
                users.set_password_hash(connection, user, renewed)
            return self._open_session(connection, user)

        return self._context.database.transact(work)

    def change_password(
        self, caller: Caller, *, old: str, new: str, token: str, ip: str | None = None
    ) -> None:
        """Replace the user's password, and end whatever else got in with the old one.

        Every app is disconnected and every session ends, except that of ``token``. Wrong old passwords count as failed
        logins do. Raises ``NotAllowed`` for an API key, ``ValidationFailed``, ``RateLimited``, and ``Conflict`` when it was
        changed at the same time.
        """
        if caller.user_id is None:
            raise errors.NotAllowed("an API key has no password: sign in")
        user_id, database = caller.user_id, self._context.database
        check_password(new)
        with database.read() as connection:
            user = users.by_id(connection, user_id)
        if user is None:
            raise errors.NotAuthenticated
        attempt = database.transact(lambda connection: self._count_attempt(connection, user.email, ip))
        is_possible = is_storable(old) and len(old) <= LONGEST_PASSWORD
        if not is_possible or not self._passwords.verify(user.password_hash, old):
            raise errors.ValidationFailed([("old", "expected the password that you have now")])
        password_hash = self._passwords.hash(new)

        def work(connection: Connection) -> None:
            if not users.set_password_hash(connection, user, password_hash):
                raise errors.Conflict("the password was changed at the same time: sign in with the new one")
            self._take_back(connection, attempt)
            users.end_sessions_of(connection, user_id, but=digest_of(token))
            oauth.end_apps_of(connection, user_id)

        database.transact(work)

    def _count_attempt(self, connection: Connection, email: str, ip: str | None) -> _Attempt:
        """Count a failure in advance, or refuse; always the address first, so that nobody waits in a ring."""
        now = self._context.now()
        attempt = _Attempt(
            LOGINS_PER_EMAIL.subject(email),
            None if ip is None else LOGINS_PER_IP.subject(network_of(ip)),
            LOGINS_PER_EMAIL.window_at(now),
            LOGINS_PER_IP.window_at(now),
        )
        if attempt.ip is not None:
            LOGINS_PER_IP.check(throttles.add(connection, attempt.ip, attempt.ip_window, 1), now)
        LOGINS_PER_EMAIL.check(throttles.add(connection, attempt.email, attempt.email_window, 1), now)
        return attempt

    def _take_back(self, connection: Connection, attempt: _Attempt) -> None:
        """It was no failure. The email starts afresh; what else the address got wrong stays counted."""
        if attempt.ip is not None:
            throttles.take_back(connection, attempt.ip, attempt.ip_window)
        throttles.forget(connection, attempt.email)

    def logout(self, caller: Caller, token: str) -> None:
        """End the session of this token. An API key has none: it is revoked instead."""
        if caller.user_id is None:
            raise errors.NotAllowed("an API key has no session to end: revoke it instead")
        user_id, token_hash = caller.user_id, digest_of(token)
        self._context.database.transact(
            lambda connection: users.end_session(connection, token_hash=token_hash, user_id=user_id)
        )

    def end_sessions(self, caller: Caller) -> None:
        """End every session of the user, and every app that it has connected: sign out everywhere."""
        if caller.user_id is None:
            raise errors.NotAllowed("an API key has no sessions to end: revoke it instead")
        user_id = caller.user_id

        def work(connection: Connection) -> None:
            users.end_sessions_of(connection, user_id)
            oauth.end_apps_of(connection, user_id)

        self._context.database.transact(work)

    # --- who is it? -----------------------------------------------------------------------------------------

    def authenticate(self, token: str, now: int) -> Caller:
        """Who a session token or API key belongs to, read each time, so that a revocation holds at once.

        Raises ``NotAuthenticated`` for what is unknown, expired or revoked.
        """
        found = self.authenticate_all([token], now)[token]
        if isinstance(found, errors.NotAuthenticated):
            raise found
        return found

    def authenticate_all(
        self, tokens: Iterable[str], now: int
    ) -> dict[str, Caller | errors.NotAuthenticated]:
        """As ``authenticate``, for requests that came at once: at most two indexed reads for all."""
        found: dict[str, Caller | errors.NotAuthenticated] = {}
        sessions: dict[str, str] = {}
        keys: dict[str, str] = {}
        for token in tokens:
            found[token] = errors.NotAuthenticated()
            if 0 < len(token) <= LONGEST_TOKEN and is_storable(token):
                hashes = sessions if token.startswith(SESSION_PREFIX) else keys
                hashes[digest_of(token)] = token
        driver = self._context.database.driver
        with self._context.database.glance() as connection:
            if sessions:
                for digest, owner in users.session_owners(connection, driver, list(sessions)).items():
                    if owner.expires_at > now:
                        found[sessions[digest]] = _caller_of_session(owner)
            if keys:
                for digest, bearer in key_store.bearers(connection, driver, list(keys)).items():
                    if bearer.revoked_at is None and (bearer.expires_at is None or bearer.expires_at > now):
                        found[keys[digest]] = _caller_of_key(bearer)
        return found

    def me(self, caller: Caller) -> Me:
        """The caller's own record."""
        email, name = None, caller.name
        with self._context.database.read() as connection:
            if caller.user_id is not None:
                user = users.by_id(connection, caller.user_id)
                email = None if user is None else user.email
            if caller.key_id is not None:
                key = key_store.by_id(connection, caller.key_id)
                name = name if key is None else key.name
        return Me(caller.role, caller.user_id, email, caller.customer_id, caller.key_id, name)

    def ensure_admin_key(self, key: str | None) -> str | None:
        """See to it that ``key`` is an admin's, or without one, that some admin has a key; gives a new one.

        Raises ``ConfigurationError`` when the given key cannot be an admin's.
        """
        return ensure_admin_key(self._context, key, random_text=self._random_text)


def _caller_of_session(owner: users.SessionOwner) -> Caller:
    return Caller(
        role="user",
        scope=to_text("cust", owner.customer_id),
        name=to_text("usr", owner.user_id),
        customer_id=owner.customer_id,
        user_id=owner.user_id,
    )


def _caller_of_key(bearer: key_store.Bearer) -> Caller:
    customer_id = bearer.customer_id
    return Caller(
        role=bearer.role,
        scope=scope_of_service(bearer.name) if customer_id is None else to_text("cust", customer_id),
        name=to_text("key", bearer.id),
        customer_id=customer_id,
        key_id=bearer.id,
        key_has_budget=bearer.has_budget,
    )


def check_email(email: object) -> str:
    """The normalised form of an address that may be registered; whether mail reaches it is not asked."""
    text = login_email(email)
    try:
        return _normalised(text)
    except EmailNotValidError as error:
        raise errors.ValidationFailed([("email", f"expected an email address: {error}")]) from None


def login_email(email: object) -> str:
    """An address as users are looked up by it: one that could not be registered is simply unknown."""
    text = email.strip().lower() if isinstance(email, str) else ""
    if not 0 < len(text) <= LONGEST_EMAIL or not is_storable(text):
        raise errors.ValidationFailed([("email", f"expected 1 to {LONGEST_EMAIL} characters without NUL")])
    try:
        return _normalised(text)
    except EmailNotValidError:
        return text


def _normalised(text: str) -> str:
    # .test is the domain that standards set aside for trying things out.
    return validate_email(text, check_deliverability=False, test_environment=True).normalized.lower()


def check_password(password: object, *, least: int = SHORTEST_PASSWORD) -> None:
    """Refuse a password that is too short to be safe, or so long that hashing it is the point."""
    length = len(password) if isinstance(password, str) and is_storable(password) else 0
    if not least <= length <= LONGEST_PASSWORD:
        expected = f"expected {least} to {LONGEST_PASSWORD} characters without NUL"
        raise errors.ValidationFailed([("password", expected)])
