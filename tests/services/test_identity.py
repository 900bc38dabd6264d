"""Registration, sessions, and who a request comes from."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from typing import Literal

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from tallystick.bootstrap import Tally
from tallystick.core.errors import (
    EmailTaken,
    InvalidCredentials,
    NotAllowed,
    NotAuthenticated,
    RateLimited,
    ValidationFailed,
)
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.services.identity import Identity, Registration
from tallystick.services.passwords import Passwords
from tallystick.store import schema
from tests.services.installation import (
    PASSWORD,
    WEAK,
    Clock,
    Spender,
    at_once,
    identity_of,
    log_in,
    register,
    who,
)


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def tally(database_url: str, clock: Clock) -> Iterator[Tally]:
    """An installation on that clock."""
    with Tally.open(database_url, source=clock) as tally:
        yield tally


def rows_of(tally: Tally, table: sa.Table) -> int:
    """How many rows a table has."""
    with tally.database.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


# --- registration -------------------------------------------------------------------------------------------


def test_a_new_user_has_a_customer_with_credits_and_is_logged_in(tally: Tally) -> None:
    """Registration is all that somebody needs before the first charge."""
    registration = register(tally)
    caller = who(tally, registration.token)
    assert ("user", "ada@example.com") == (registration.role, registration.email)
    assert ("user", registration.customer_id, registration.user_id) == (
        caller.role,
        caller.customer_id,
        caller.user_id,
    )
    assert to_text("cust", registration.customer_id) == caller.scope
    assert 999_000_000 == Spender(tally, caller).charge(1).balance
    customer = tally.customers.get(caller, None)
    assert ("ada@example.com", None, {}) == (customer.email, customer.external_id, customer.metadata)


def test_registration_happens_whole_or_not_at_all(tally: Tally) -> None:
    """When the last step fails, there is no customer, no wallet and no credit either."""

    def fail() -> str:
        message = "no randomness"
        raise OSError(message)

    broken = Identity(tally.context, tally.customers, passwords=Passwords(WEAK), random_text=fail)
    with pytest.raises(OSError, match="no randomness"):
        broken.register("ada@example.com", PASSWORD)
    tables = (
        schema.customers,
        schema.users,
        schema.sessions,
        schema.wallets,
        schema.grants,
        schema.transactions,
    )
    assert [0] * len(tables) == [rows_of(tally, table) for table in tables]
    register(tally)


@pytest.mark.parametrize(
    ("registered", "same"),
    [
        ("ada@example.com", " Ada@EXAMPLE.com\n"),
        ("Ada.Lovelace+x@Example.Com", "ada.lovelace+x@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@lab.test", "ADA@lab.TEST"),
    ],
)
def test_one_address_has_one_user_however_it_is_written(tally: Tally, registered: str, same: str) -> None:
    """Case, spaces around it and the spelling of its domain do not make another address."""
    identity = identity_of(tally)
    registration = identity.register(registered, PASSWORD)
    with pytest.raises(EmailTaken):
        identity.register(same, PASSWORD)
    assert registration.user_id == identity.login(same, PASSWORD).user_id


@pytest.mark.parametrize(
    "email",
    [
        "",
        " ",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@example..com",
        "a b@example.com",
        "ada@ex\x00ample.com",
        "ada@example.com\x00",
        "\ud800@example.com",
        "a@" + "b" * 320 + ".com",
    ],
)
def test_what_is_no_address_is_not_registered(tally: Tally, email: str) -> None:
    """The refusal names the field."""
    with pytest.raises(ValidationFailed) as caught:
        identity_of(tally).register(email, PASSWORD)
    assert caught.value.detail.startswith("email: expected")
    assert 0 == rows_of(tally, schema.customers)


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "has\x00nul_in_it", "lone\ud800surrogate"])
def test_a_password_that_is_too_short_too_long_or_not_text_is_refused(tally: Tally, password: str) -> None:
    """The refusal names the field, and does not repeat the password."""
    with pytest.raises(ValidationFailed) as caught:
        identity_of(tally).register("ada@example.com", password)
    assert "password: expected 8 to 1024 characters without NUL" == caught.value.detail


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "пароль и 🔑", "  spaces count  "])
def test_a_password_may_be_any_other_text(tally: Tally, password: str) -> None:
    """It is taken exactly as it was given."""
    identity = identity_of(tally)
    identity.register("ada@example.com", password)
    assert identity.login("ada@example.com", password).token
    with pytest.raises(InvalidCredentials):
        identity.login("ada@example.com", password[:-1] + "?")


def test_a_referral_code_is_kept_and_unknown_ones_do_no_harm(tally: Tally) -> None:
    """It stands in the customer's metadata until referrals are paid."""
    registration = identity_of(tally).register("ada@example.com", PASSWORD, referral_code='FRIEND "7"')
    with tally.database.read() as connection:
        stored = connection.scalar(sa.select(schema.customers.c.metadata))
    assert {"referral_code": 'FRIEND "7"'} == json.loads(stored or "")
    assert registration.customer_id == tally.customers.resolve(who(tally, registration.token), None)
    with pytest.raises(ValidationFailed, match="referral_code: expected 1 to 100 characters"):
        identity_of(tally).register("eve@example.com", PASSWORD, referral_code="x" * 101)


def test_two_who_register_one_address_at_once_make_one_user(database_url: str, tally: Tally) -> None:
    """Also in two processes, exactly one gets in, and nobody is left with a customer of nobody's."""
    with Tally.open(database_url) as other:
        services = [identity_of(tally), identity_of(other)] * 4
        answers = at_once([partial(each.register, "ada@example.com", PASSWORD) for each in services])
    assert 1 == sum(isinstance(answer, Registration) for answer in answers)
    assert 7 == sum(isinstance(answer, EmailTaken) for answer in answers)
    assert [1, 1, 1] == [rows_of(tally, table) for table in (schema.users, schema.customers, schema.wallets)]


def test_pitfall_43_registration_cannot_be_used_to_learn_which_emails_exist(
    tally: Tally, clock: Clock
) -> None:
    """After ten taken emails in an hour, an address is told nothing more, not even of free ones."""
    identity = identity_of(tally)
    identity.register("ada@example.com", PASSWORD, ip="203.0.113.7")
    for _ in range(10):
        with pytest.raises(EmailTaken):
            identity.register("ada@example.com", PASSWORD, ip="203.0.113.7")
    for email in ("ada@example.com", "free@example.com"):
        with pytest.raises(RateLimited) as caught:
            identity.register(email, PASSWORD, ip="203.0.113.7")
    fields = caught.value.fields
    assert ("register:ip", 10, 3600) == (
        fields["limit_source"],
        fields["limit"],
        fields["retry_after_seconds"],
    )
    identity.register("else@example.com", PASSWORD, ip="203.0.113.8")
    clock.at("2026-03-10T13:00:00Z")
    identity.register("free@example.com", PASSWORD, ip="203.0.113.7")


def test_collisions_are_counted_exactly_when_they_come_at_once(database_url: str, tally: Tally) -> None:
    """Thirty at the same moment in two processes learn of ten."""
    register(tally)
    with Tally.open(database_url, source=tally.clock.now) as other:
        services = [identity_of(tally), identity_of(other)] * 15
        answers = at_once(
            [partial(each.register, "ada@example.com", PASSWORD, ip="2001:db8::1") for each in services]
        )
    assert 10 == sum(isinstance(answer, EmailTaken) for answer in answers)
    assert 20 == sum(isinstance(answer, RateLimited) for answer in answers)


def test_many_newcomers_from_one_address_are_welcome(tally: Tally) -> None:
    """Only collisions count: a school behind one address registers."""
    identity = identity_of(tally)
    names = [f"pupil{number}@example.com" for number in range(30)]
    answers = at_once([partial(identity.register, name, PASSWORD, ip="203.0.113.7") for name in names])
    assert 30 == sum(isinstance(answer, Registration) for answer in answers)


# --- passwords ----------------------------------------------------------------------------------------------


class Watched(PasswordHasher):
    """A hasher that notes what it does, and does something else first."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.done: list[str] = []
        self.before = before

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        """As ever."""
        self.before()
        self.done.append("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        """As ever."""
        self.before()
        self.done.append("verify")
        return super().verify(hash, password)


def test_pitfall_43_an_unknown_email_takes_the_same_work_as_a_known_one(tally: Tally) -> None:
    """What is hashed does not depend on whether there is such a user."""
    hasher = Watched()
    identity = identity_of(tally, hasher=hasher)
    identity.register("ada@example.com", PASSWORD)
    done: list[list[str]] = []
    for email in ("nobody@example.com", "ada@example.com", "nobody@example.com", "no address"):
        hasher.done = []
        with pytest.raises(InvalidCredentials, match="the email or the password is wrong"):
            identity.login(email, "wrong password")
        done.append(hasher.done)
    hasher.done = []
    with pytest.raises(EmailTaken):
        identity.register("ada@example.com", PASSWORD)
    assert [["hash", "verify"], ["verify"], ["verify"], ["verify"], ["hash"]] == [*done, hasher.done]


def test_passwords_are_hashed_while_others_write(tally: Tally) -> None:
    """A hash takes long: it is never made inside a database transaction."""
    finished: list[bool] = []

    def write() -> None:
        statement = schema.settings.insert().values(name=f"note {len(finished)}", value="")
        writer = Thread(
            target=tally.database.transact,
            args=[lambda connection: connection.execute(statement)],
            daemon=True,
        )
        writer.start()
        writer.join(10)
        finished.append(not writer.is_alive())

    identity = identity_of(tally, hasher=Watched(write))
    identity.register("ada@example.com", PASSWORD, ip="203.0.113.7")
    identity.login("ada@example.com", PASSWORD, ip="203.0.113.7")
    assert [True] * 3 == finished


def test_a_hash_of_earlier_parameters_is_renewed_at_login(tally: Tally) -> None:
    """Whoever logs in gets today's hash, and still gets in with the same password."""
    register(tally)
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    hashes: list[str | None] = []
    for _ in range(2):
        identity_of(tally, hasher=stronger).login("ada@example.com", PASSWORD)
        with tally.database.read() as connection:
            hashes.append(connection.scalar(sa.select(schema.users.c.password_hash)))
    assert hashes[0] is not None
    assert "m=16,t=2,p=1" in hashes[0]
    assert hashes[0] == hashes[1]


def test_nothing_that_opens_a_door_is_stored(tally: Tally) -> None:
    """Neither tokens nor keys nor passwords stand in the database, only their digests."""
    registration = register(tally)
    caller = who(tally, registration.token)
    key = tally.keys.create(caller, name="key", budget=(5, None, "day")).key
    admin = tally.identity.ensure_admin_key(None)
    assert admin is not None
    stored = []
    with tally.database.read() as connection:
        for table in schema.metadata.sorted_tables:
            stored += [str(value) for row in connection.execute(sa.select(table)) for value in row]
    assert any("ada@example.com" == text for text in stored)
    for secret in (PASSWORD, registration.token, registration.token[4:], key, key[4:], admin, admin[4:]):
        assert not any(secret in text for text in stored)


# --- sessions -----------------------------------------------------------------------------------------------


def test_a_session_lasts_thirty_days(tally: Tally, clock: Clock) -> None:
    """Until its last microsecond, and no longer."""
    registration = register(tally)
    clock.at("2026-04-09T11:59:59.999999Z")
    assert registration.user_id == who(tally, registration.token).user_id
    clock.at("2026-04-09T12:00:00Z")
    assert registration.expires_at == clock.micros
    with pytest.raises(NotAuthenticated):
        who(tally, registration.token)
    session = identity_of(tally).login("ada@example.com", PASSWORD)
    assert registration.user_id == who(tally, session.token).user_id


def test_a_logout_ends_one_session_at_once_in_every_process(database_url: str, tally: Tally) -> None:
    """The user's other sessions go on."""
    first = register(tally).token
    second = identity_of(tally).login("ada@example.com", PASSWORD).token
    with Tally.open(database_url, source=tally.clock.now) as other:
        caller = who(other, first)
        tally.identity.logout(caller, first)
        for process in (tally, other):
            with pytest.raises(NotAuthenticated):
                who(process, first)
            assert caller == who(process, second)
    tally.identity.logout(caller, first)


def test_nobody_ends_a_session_of_somebody_else(tally: Tally) -> None:
    """A token that is not the caller's own stays valid; a key has no session at all."""
    token = register(tally).token
    eve = log_in(tally, "eve@example.com")
    tally.identity.logout(eve, token)
    assert who(tally, token).user_id is not None
    key = who(tally, tally.keys.create(eve, name="key").key)
    with pytest.raises(NotAllowed):
        tally.identity.logout(key, token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "tls_",
        "tly_",
        "tls_unknown",
        "tly_unknown",
        "\x00",
        "tls_\ud800",
        "x" * 513,
        "пароль",
        "%' OR 1=1",
    ],
)
def test_what_is_no_token_of_ours_authenticates_nobody(tally: Tally, token: str) -> None:
    """Whatever is sent, the answer is the same refusal."""
    log_in(tally)
    with pytest.raises(NotAuthenticated, match="a valid session token or API key is needed"):
        who(tally, token)


def test_a_token_is_not_taken_for_a_key_nor_its_digest_for_a_token(tally: Tally) -> None:
    """Whoever reads the database cannot log in with what stands there."""
    register(tally)
    with tally.database.read() as connection:
        digest = str(connection.scalar(sa.select(schema.sessions.c.token_hash)))
    for token in (digest, f"tls_{digest}", f"tly_{digest}"):
        with pytest.raises(NotAuthenticated):
            who(tally, token)


def test_many_are_authenticated_together_and_each_gets_its_own_answer(tally: Tally, clock: Clock) -> None:
    """Requests of one moment share their reads, never their rights."""
    ada, eve = register(tally), register(tally, "eve@example.com")
    caller = who(tally, ada.token)
    key = tally.keys.create(caller, name="key", budget=(1, None, "day"))
    short = tally.keys.create(caller, name="short", expires_at=clock.micros + 1)
    revoked = tally.keys.create(caller, name="revoked")
    tally.keys.revoke(caller, to_text("key", revoked.id))
    tokens = [ada.token, eve.token, key.key, short.key, revoked.key, "tls_unknown", "", ada.token]
    found = tally.identity.authenticate_all(tokens, clock.micros + 1)
    assert set(tokens) == set(found)
    assert [caller, who(tally, eve.token), who(tally, key.key)] == [found[token] for token in tokens[:3]]
    assert [True] * 4 == [isinstance(found[token], NotAuthenticated) for token in tokens[3:7]]
    assert {} == tally.identity.authenticate_all([], clock.micros)


def test_a_caller_learns_who_it_is(tally: Tally) -> None:
    """Users by their email, keys by their name, both with their customer."""
    user = log_in(tally)
    key = who(tally, tally.keys.create(user, name="nightly job").key)
    me, its = tally.identity.me(user), tally.identity.me(key)
    assert ("user", user.user_id, "ada@example.com", user.customer_id, None) == (
        me.role,
        me.user_id,
        me.email,
        me.customer_id,
        me.key_id,
    )
    assert ("user", None, None, user.customer_id, key.key_id, "nightly job") == (
        its.role,
        its.user_id,
        its.email,
        its.customer_id,
        its.key_id,
        its.name,
    )
    assert ("admin", "system") == (tally.identity.me(SYSTEM).role, tally.identity.me(SYSTEM).name)
