"""API keys: made, listed and revoked. A key makes none that may do or spend more than itself, or outlives it.

A user's key has the role ``user`` and acts for that user's customer. Keys of the roles ``service`` and
``admin`` belong to no customer; what they did goes by their name, so that a new key of the same name takes
over.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import parse_amount
from tallystick.core.ids import from_text
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.once import Claim
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.pricing import Number
from tallystick.services.requests import check_text
from tallystick.store import budgets as budget_store
from tallystick.store import keys as store
from tallystick.store.budgets import BudgetRow
from tallystick.store.keys import KeyRow

ROLES: Final = ("user", "service", "admin")
PERIODS: Final = ("day", "month")
MAX_KEYS: Final = 1000
SHORTEST_GIVEN_KEY: Final = 8
LONGEST_TOKEN: Final = 512
SESSION_PREFIX: Final = "tls_"
ACCESS_PREFIX: Final = "tlo_"  # of the tokens with which a connected app acts for its user
_SHOWN_DIGITS: Final = 4

KeyInfo = KeyRow
BudgetTerms = tuple[Number, str | None, str]  # amount, unit (None: the primary one), "day" or "month"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key: ``key`` is shown this once, and afterwards recognised by its ``prefix``."""

    id: int
    key: str
    prefix: str
    name: str
    role: str
    customer_id: int | None
    expires_at: int | None
    created_at: int


def new_secret() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is stored of a token or key: nobody can guess its 256 random bits, so a plain digest is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def scope_of_service(name: str) -> str:
    """What the idempotency keys and holds of a service belong to: its name, whichever key it shows."""
    return f"service:{name}"


def refuse_limited(caller: Caller) -> None:
    """A key that may only spend so much may not lift that, nor make a key that may spend more."""
    if caller.key_has_budget:
        raise errors.NotAllowed("a key with a budget manages neither keys nor budgets")


class Keys:
    """Create, list and revoke API keys."""

    def __init__(
        self, context: Context, customers: Customers, *, random_text: Callable[[], str] = new_secret
    ) -> None:
        self._context = context
        self._customers = customers
        self._random_text = random_text

    def create(
        self,
        caller: Caller,
        *,
        name: str,
        role: str = "user",
        customer: str | None = None,
        budget: BudgetTerms | None = None,
        expires_at: int | None = None,
        claim: Claim | None = None,
    ) -> NewKey:
        """A new key, with a budget of its own if one is given. ``expires_at`` in microseconds.

        ``claim`` takes the form that asks for it, in the same transaction.
        """
        refuse_limited(caller)
        owner = self._owner(caller, role, customer)
        text = check_text(name, field="name", most=100)
        if text is None:
            raise errors.ValidationFailed([("name", "expected 1 to 100 characters")])
        now = self._context.now()
        if expires_at is not None and expires_at <= now:
            raise errors.ValidationFailed([("expires_at", "expected a time in the future")])
        terms = None if budget is None else self._terms(budget)
        start = self._context.economy().key_prefix
        key = start + self._random_text()
        row = KeyRow(
            id=self._context.new_id(),
            customer_id=owner,
            name=text,
            role=role,
            prefix=key[: len(start) + _SHOWN_DIGITS],
            created_by=caller.name,
            created_at=now,
            expires_at=expires_at,
            revoked_at=None,
        )

        def work(connection: Connection) -> None:
            if claim is not None:
                claim(connection)
            self._insert(connection, caller, row, key, terms)

        self._context.database.transact(work)
        return NewKey(row.id, key, row.prefix, text, role, owner, expires_at, now)

    def _owner(self, caller: Caller, role: str, customer: str | None) -> int | None:
        """Whose key it will be, if the caller may make one of this role."""
        if role not in ROLES:
            raise errors.ValidationFailed([("role", "expected user, service or admin")])
        if role == "user":
            return self._customers.resolve(caller, customer)
        if not caller.is_admin:
            raise errors.NotAllowed(f"a key of the role {role} is made by an admin")
        if customer is not None:
            raise errors.ValidationFailed([("customer", f"a key of the role {role} belongs to no customer")])
        return None

    def _terms(self, budget: BudgetTerms) -> tuple[int, str, str]:
        amount, unit, per = budget
        return budget_terms(self._context, amount=amount, unit=unit, per=per, field="budget.")

    def _insert(
        self,
        connection: Connection,
        caller: Caller,
        row: KeyRow,
        key: str,
        terms: tuple[int, str, str] | None,
    ) -> None:
        maker = None if caller.key_id is None else store.by_id(connection, caller.key_id)
        latest = None if maker is None else maker.expires_at
        if latest is not None and (row.expires_at is None or row.expires_at > latest):
            raise errors.NotAllowed("a key makes no key that outlives it: name an earlier expires_at")
        owner = row.customer_id
        if (
            owner is not None
            and store.count_usable(connection, customer_id=owner, now=row.created_at) >= MAX_KEYS
        ):
            raise errors.Conflict(f"a customer has at most {MAX_KEYS} keys: revoke one first")
        store.add(connection, row, key_hash=digest_of(key))
        if terms is not None:
            amount, unit, per = terms
            limit = BudgetRow(
                self._context.new_id(), owner, "key", row.id, None, unit, amount, per, row.created_at
            )
            budget_store.put(connection, limit)

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[KeyInfo]:
        """The keys of a customer, revoked ones too, newest first; an admin who names nobody sees all."""
        owner = None
        if customer is not None or not caller.is_admin:
            owner = self._customers.resolve(caller, customer)
        most, below = check_limit(limit), position_of("keys", cursor)
        with self._context.database.read() as connection:
            rows = store.page(connection, customer_id=owner, below=below, limit=most + 1)
        return page_of("keys", rows, limit=most, position=lambda row: row.id)

    def revoke(self, caller: Caller, key_id: str) -> None:
        """From now on nobody gets in with this key, in any process. Repeating it changes nothing."""
        refuse_limited(caller)
        number = from_text("key", key_id)

        def work(connection: Connection) -> None:
            row = None if number is None else store.by_id(connection, number)
            if row is None or not may_manage(caller, row.customer_id):
                raise errors.NotFound("key", key_id)
            store.revoke(connection, row.id, revoked_at=self._context.now())

        self._context.database.transact(work)


def may_manage(caller: Caller, owner: int | None) -> bool:
    """Users manage what is their own customer's, services any customer's, admins also what is nobody's."""
    if owner is None:
        return caller.is_admin
    return caller.is_service or owner == caller.customer_id


def budget_terms(
    context: Context, *, amount: Number, unit: str | None, per: str, field: str = ""
) -> tuple[int, str, str]:
    """A budget's amount in micro-units, its unit and its period. An amount of 0 lets nothing through."""
    economy = context.economy()
    micros = parse_amount(amount, field=f"{field}amount", allow_zero=True)
    if per not in PERIODS:
        raise errors.ValidationFailed([(f"{field}per", "expected day or month")])
    return micros, economy.primary_unit if unit is None else economy.unit(unit).name, per


def ensure_admin_key(
    context: Context, given: str | None, *, random_text: Callable[[], str] = new_secret
) -> str | None:
    """See to it that an admin can get in: by the key of the environment, or by a new one if there is none.

    Gives the new key, which is shown once. Raises ``ConfigurationError`` when the given one cannot be one.
    """
    start = context.economy().key_prefix
    if given:
        check_given_key(given)
        key, prefix = given, start if given.startswith(start) else ""
    else:
        key = start + random_text()
        prefix = key[: len(start) + _SHOWN_DIGITS]

    def work(connection: Connection) -> bool:
        store.take_turns(connection)
        now = context.now()
        if given:
            found = store.by_hash(connection, digest_of(given))
            if found is not None:
                check_still_admin(found, now)
                return False
        elif store.has_usable_admin(connection, now=now):
            return False
        row = KeyRow(context.new_id(), None, "admin", "admin", prefix, "system", now, None, None)
        store.add(connection, row, key_hash=digest_of(key))
        return True

    made = context.database.transact(work)
    return key if made and not given else None


def check_given_key(key: str) -> None:
    """A key of the operator's own making must fit into a header, and must not look like a session or an app's token."""
    readable = key.isascii() and key.isprintable() and " " not in key
    taken = key.startswith((SESSION_PREFIX, ACCESS_PREFIX))
    if not readable or not SHORTEST_GIVEN_KEY <= len(key) <= LONGEST_TOKEN or taken:
        length = f"{SHORTEST_GIVEN_KEY} to {LONGEST_TOKEN}"
        expected = (
            f"{length} visible ASCII characters, not beginning with {SESSION_PREFIX} or {ACCESS_PREFIX}"
        )
        raise errors.ConfigurationError(f"TALLY_ADMIN_KEY: expected {expected}")


def check_still_admin(found: KeyRow, now: int) -> None:
    """A restart never gives back to a key what was taken from it."""
    expired = found.expires_at is not None and found.expires_at <= now
    if found.role != "admin" or found.revoked_at is not None or expired:
        raise errors.ConfigurationError(
            "TALLY_ADMIN_KEY: this key is revoked, expired or no admin's; set another"
        )
