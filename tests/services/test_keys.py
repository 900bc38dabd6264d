"""API keys: who may make which, what they may do, and that a revoked one does nothing more."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidCursor,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    UnknownCustomer,
    UnknownUnit,
    ValidationFailed,
)
from tallystick.core.ids import to_text
from tallystick.services import keys as services
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.keys import NewKey
from tallystick.services.pricing import Usage
from tests.services.installation import Clock, Spender, at_once, customer_of, key_of, log_in, who


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def tally(database_url: str, clock: Clock) -> Iterator[Tally]:
    """An installation on that clock."""
    with Tally.open(database_url, source=clock) as tally:
        yield tally


@pytest.fixture
def ada(tally: Tally) -> Caller:
    """A user."""
    return log_in(tally)


@pytest.fixture
def eve(tally: Tally) -> Caller:
    """Another user."""
    return log_in(tally, "eve@example.com")


def text_of(key: NewKey | Caller) -> str:
    """The id of a key as the doors show it."""
    number = key.id if isinstance(key, NewKey) else key.key_id
    assert number is not None
    return to_text("key", number)


# --- making ---------------------------------------------------------------------------------------------


def test_a_users_key_acts_for_the_users_customer(tally: Tally, ada: Caller) -> None:
    """It has the same rights, holds and idempotency keys as the user, and its own name in the journal."""
    made = tally.keys.create(ada, name="laptop")
    key = who(tally, made.key)
    assert ("user", ada.customer_id, ada.scope) == (key.role, key.customer_id, key.scope)
    assert (None, made.id, text_of(made), False) == (key.user_id, key.key_id, key.name, key.key_has_budget)
    assert made.key.startswith("tly_")
    assert made.key.startswith(made.prefix)
    assert len("tly_") + 4 == len(made.prefix)
    assert 999_000_000 == Spender(tally, key).charge().balance


def test_keys_begin_as_the_economy_says_and_live_on_under_the_next(tally: Tally, ada: Caller) -> None:
    """An economy that changes its prefix does not lock anybody out."""
    before = tally.keys.create(ada, name="before").key
    tally.economies.activate("nexus")
    after = tally.keys.create(ada, name="after").key
    assert ("tly_", "nxk_") == (before[:4], after[:4])
    assert {ada.customer_id} == {who(tally, key).customer_id for key in (before, after)}


def test_a_service_key_acts_under_its_name(tally: Tally) -> None:
    """It belongs to no customer, and may act for each of them."""
    key = key_of(tally, SYSTEM, name="gateway", role="service")
    assert ("service", "service:gateway", None, True, False) == (
        key.role,
        key.scope,
        key.customer_id,
        key.is_service,
        key.is_admin,
    )
    assert key_of(tally, SYSTEM, name="root", role="admin").is_admin


@pytest.mark.parametrize("role", ["service", "admin"])
def test_nobody_but_an_admin_makes_powerful_keys(tally: Tally, ada: Caller, role: str) -> None:
    """Neither a user, nor a user's key, nor a service raises rights."""
    service = key_of(tally, SYSTEM, role="service")
    for maker in (ada, key_of(tally, ada), service):
        with pytest.raises(NotAllowed):
            tally.keys.create(maker, name="more", role=role)
    with pytest.raises(ValidationFailed, match="customer: a key of the role"):
        tally.keys.create(SYSTEM, name="both", role=role, customer=customer_of(ada))


def test_a_user_makes_no_key_for_somebody_else(tally: Tally, ada: Caller, eve: Caller) -> None:
    """Another customer is as unknown as none; a service makes keys for any customer that it names."""
    for customer in (customer_of(eve), "nobody"):
        with pytest.raises(UnknownCustomer):
            tally.keys.create(ada, name="theirs", customer=customer)
    service = key_of(tally, SYSTEM, role="service")
    made = tally.keys.create(service, name="theirs", customer=customer_of(eve))
    assert ("user", eve.customer_id) == (who(tally, made.key).role, made.customer_id)
    with pytest.raises(ValidationFailed, match="customer: expected"):
        tally.keys.create(service, name="whose?")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"role": "root"}, "role"),
        ({"expires_at": 0}, "expires_at"),
        ({"budget": ("-1", None, "day")}, "budget.amount"),
        ({"budget": (1, None, "week")}, "budget.per"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    tally: Tally, ada: Caller, change: dict[str, object], field: str
) -> None:
    """The refusal names the field, and nothing was made."""
    with pytest.raises(ValidationFailed) as caught:
        tally.keys.create(ada, **({"name": "key"} | change))  # type: ignore[arg-type]
    assert field == caught.value.detail.partition(":")[0]
    with pytest.raises(UnknownUnit):
        tally.keys.create(ada, name="key", budget=(1, "doubloons", "day"))
    assert [] == list(tally.keys.list(ada).items)


def test_a_key_with_a_budget_lifts_it_by_no_means(tally: Tally, ada: Caller) -> None:
    """It makes no other key, revokes none, and sets or removes no budget; it may see its own."""
    limited = key_of(tally, ada, budget=(5, None, "day"))
    other = tally.keys.create(ada, name="other")
    own = text_of(limited)
    attempts: list[Callable[[], object]] = [
        partial(tally.keys.create, limited, name="free"),
        partial(tally.keys.revoke, limited, text_of(other)),
        partial(tally.budgets.put, limited, level="key", subject=own, amount=100, per="day"),
        partial(tally.budgets.put, limited, level="customer", amount=100, per="day"),
        partial(tally.budgets.remove, limited, level="key", subject=own, per="day"),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed, match="a key with a budget"):
            attempt()
    assert [5_000_000] == [budget.amount for budget in tally.budgets.list(limited, key=own)]


def test_a_key_makes_none_that_outlives_it(tally: Tally, clock: Clock) -> None:
    """Otherwise whoever has it for an hour would have it for ever."""
    hour = clock.micros + 3_600_000_000
    brief = who(tally, tally.keys.create(SYSTEM, name="hour", role="admin", expires_at=hour).key)
    for expires_at in (None, hour + 1):
        with pytest.raises(NotAllowed, match="outlives"):
            tally.keys.create(brief, name="more", role="admin", expires_at=expires_at)
    assert hour == tally.keys.create(brief, name="more", role="admin", expires_at=hour).expires_at


def test_a_key_expires_at_its_moment(tally: Tally, ada: Caller, clock: Clock) -> None:
    """Not before, and not after."""
    end = clock.micros + 1_000_000
    key = tally.keys.create(ada, name="second", expires_at=end).key
    clock.micros = end - 1
    assert who(tally, key).customer_id == ada.customer_id
    clock.micros = end
    with pytest.raises(NotAuthenticated):
        who(tally, key)


def test_a_customer_has_only_so_many_keys(tally: Tally, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revoked and expired ones make room."""
    monkeypatch.setattr(services, "MAX_KEYS", 2)
    made = [tally.keys.create(ada, name="key") for _ in range(2)]
    with pytest.raises(Conflict, match="at most 2 keys"):
        tally.keys.create(ada, name="third")
    tally.keys.revoke(ada, text_of(made[0]))
    tally.keys.create(ada, name="third")


# --- revoking -------------------------------------------------------------------------------------------


def test_a_revoked_key_does_nothing_more_in_any_process(database_url: str, tally: Tally, ada: Caller) -> None:
    """At once, and repeating it is harmless; the key stays in the list with the moment."""
    made = tally.keys.create(ada, name="lost")
    with Tally.open(database_url, source=tally.clock.now) as other:
        assert who(other, made.key).key_id == made.id
        tally.keys.revoke(ada, text_of(made))
        for process in (tally, other):
            with pytest.raises(NotAuthenticated):
                who(process, made.key)
    [listed] = tally.keys.list(ada).items
    tally.keys.revoke(ada, text_of(made))
    assert [listed] == list(tally.keys.list(ada).items)
    assert listed.revoked_at is not None


def test_pitfall_42_somebody_elses_key_is_not_found(tally: Tally, ada: Caller, eve: Caller) -> None:
    """Nothing tells a key of others from one that does not exist; and it is not revoked."""
    theirs = tally.keys.create(eve, name="theirs")
    service = tally.keys.create(SYSTEM, name="service", role="service")
    for key_id in (text_of(theirs), text_of(service), to_text("key", 1), "key_", "x", ""):
        with pytest.raises(NotFound, match="there is no key"):
            tally.keys.revoke(ada, key_id)
    with pytest.raises(NotFound):
        tally.keys.revoke(who(tally, service.key), text_of(service))
    assert who(tally, theirs.key).customer_id == eve.customer_id
    tally.keys.revoke(who(tally, service.key), text_of(theirs))
    tally.keys.revoke(SYSTEM, text_of(service))
    for key in (theirs.key, service.key):
        with pytest.raises(NotAuthenticated):
            who(tally, key)


def test_pitfall_06_holds_outlive_the_key_that_made_them(tally: Tally, ada: Caller) -> None:
    """They belong to the customer, or to the service by its name."""
    key = key_of(tally, ada)
    hold = Spender(tally, key).hold(100)
    tally.keys.revoke(ada, text_of(key))
    assert 1000_000_000 == Spender(tally, ada).release(hold).available
    old = key_of(tally, SYSTEM, name="gateway", role="service")
    hold = Spender(tally, old, customer=customer_of(ada)).hold(100)
    tally.keys.revoke(SYSTEM, text_of(old))
    new = key_of(tally, SYSTEM, name="gateway", role="service")
    assert 60_000_000 == Spender(tally, new, customer=customer_of(ada)).capture(hold, 60).captured


def test_a_new_key_of_the_same_service_repeats_what_the_old_one_did(tally: Tally, ada: Caller) -> None:
    """A key is changed in the middle of retries, and nobody is charged twice."""
    old, new, other = (key_of(tally, SYSTEM, name=name, role="service") for name in ("a", "a", "b"))
    usage = Usage("lookup", customer=customer_of(ada))
    first = tally.charges.create(old, usage, idempotency_key="1")
    again = tally.charges.create(new, usage, idempotency_key="1")
    assert (first.value, True) == (again.value, again.replayed)
    with pytest.raises(IdempotencyKeyReused):
        tally.charges.create(new, Usage("search", customer=customer_of(ada)), idempotency_key="1")
    assert not tally.charges.create(other, usage, idempotency_key="1").replayed


# --- listing --------------------------------------------------------------------------------------------


def test_keys_are_listed_newest_first_in_pages(tally: Tally, ada: Caller, eve: Caller) -> None:
    """Each one once, and none of anybody else's."""
    made = [tally.keys.create(ada, name=f"key {number}") for number in range(5)]
    tally.keys.create(eve, name="theirs")
    names: list[str] = []
    cursor = None
    while True:
        page = tally.keys.list(ada, limit=2, cursor=cursor)
        names += [key.name for key in page.items]
        cursor = page.next_cursor
        if not page.has_more:
            break
    assert [f"key {number}" for number in (4, 3, 2, 1, 0)] == names
    assert made[-1].prefix == tally.keys.list(ada).items[0].prefix
    with pytest.raises(InvalidCursor):
        tally.keys.list(ada, cursor="garbage")
    with pytest.raises(ValidationFailed, match="limit"):
        tally.keys.list(ada, limit=101)


def test_who_sees_which_keys(tally: Tally, ada: Caller, eve: Caller) -> None:
    """Users see their customer's, services those of a customer they name, admins all."""
    mine, theirs = tally.keys.create(ada, name="mine"), tally.keys.create(eve, name="theirs")
    service = tally.keys.create(SYSTEM, name="service", role="service")
    caller = who(tally, service.key)
    assert [mine.id] == [key.id for key in tally.keys.list(ada).items]
    assert [theirs.id] == [key.id for key in tally.keys.list(caller, customer=customer_of(eve)).items]
    assert [service.id, theirs.id, mine.id] == [key.id for key in tally.keys.list(SYSTEM).items]
    with pytest.raises(UnknownCustomer):
        tally.keys.list(ada, customer=customer_of(eve))
    with pytest.raises(ValidationFailed):
        tally.keys.list(caller)


def test_keys_made_at_once_are_all_different(tally: Tally, ada: Caller) -> None:
    """Each has its own secret and its own id."""
    made = at_once([partial(tally.keys.create, ada, name="key")] * 8)
    keys = [key for key in made if isinstance(key, NewKey)]
    assert 8 == len({key.key for key in keys}) == len({key.id for key in keys})
