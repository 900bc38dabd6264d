"""Notifications: numbered without gaps, committed with their cause, and told to whoever wants them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tallystick.core import events
from tallystick.core.errors import NotFound, Refusal, ValidationFailed
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.store import notifications as store
from tallystick.store.engine import Database, migrate
from tallystick.store.schema_notifications import TABLES, notifications
from tests.receivers import Receiver, emit, listen, outgoing
from tests.services.installation import Spender
from tests.tallies import USER, World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer whom nobody has told anything yet."""
    with World(database_url, tmp_path) as world:
        outgoing(world.tally)
        yield world


def told(world: World, *, customer: str | None = USER) -> list[tuple[int, str, Any]]:
    """Numbers, types and data, oldest first; amounts are exact."""
    rows = world.tally.notifications.list(SYSTEM, customer=customer, limit=100).items
    return [(row.sequence, row.type, json.loads(row.data, parse_float=Decimal)) for row in reversed(rows)]


def kinds(world: World) -> list[str]:
    """What the customer was told, oldest first."""
    return [kind for _, kind, _ in told(world)]


# --- numbers ------------------------------------------------------------------------------------------------


def test_numbers_have_no_gaps_under_eight_threads(world: World) -> None:
    """Each customer's notifications are numbered from 1, whoever writes them at the same time, and whoever gives up."""
    world.customer("bob")
    owners = {name: world.tally.customers.resolve(SYSTEM, name) for name in (USER, "bob")}
    other = world.open()

    def work(number: int) -> None:
        tally = (world.tally, other)[number % 2]
        context, name = tally.context, (USER, "bob")[number % 3 == 0]

        def write(connection: sa.Connection) -> None:
            store.emit(
                connection,
                new_id=context.new_id,
                now=context.now(),
                customer_id=owners[name],
                type="balance.low",
                data={"number": number},
            )
            if number % 7 == 0:
                raise LookupError

        with suppress(LookupError):
            context.database.transact(write)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(160)))
    other.close()
    with world.tally.database.read() as connection:
        for number in owners.values():
            query = sa.select(notifications.c.sequence).where(notifications.c.customer_id == number)
            found = sorted(connection.scalars(query))
            assert list(range(1, len(found) + 1)) == found
            assert len(found) > 30


def test_operators_are_told_with_numbers_of_their_own(world: World) -> None:
    """What concerns no customer is numbered apart."""
    assert [1, 1, 2, 2] == [emit(world.tally, name) for name in (USER, None, None, USER)]


def test_what_was_told_once_is_not_told_again(world: World) -> None:
    """The same key gives the same number, and leaves no gap."""
    numbers = [emit(world.tally, USER, once=key) for key in ("a", "b", "a", None, "b")]
    assert [1, 2, 1, 3, 2] == numbers
    assert [1, 2, 3] == [number for number, _, _ in told(world)]


def test_an_event_that_is_not_on_the_list_is_a_mistake(world: World) -> None:
    """The list of types is closed."""
    with pytest.raises(ValueError, match=r"balance\.lo"):
        emit(world.tally, USER, "balance.lo")
    assert [] == told(world)


# --- causes -------------------------------------------------------------------------------------------------


def test_a_grant_and_its_void_are_told(world: World) -> None:
    """With what they were about, in exact amounts."""
    grant = world.grant(5, reason="sorry")
    world.charge(2)
    world.void(grant)
    (one, created, first), (two, voided, second) = told(world)
    assert (1, "credit_grant.created", 2, "credit_grant.voided") == (one, created, two, voided)
    assert {
        "grant": grant,
        "unit": "credits",
        "amount": 5,
        "category": "bonus",
        "origin": "free",
        "effective_at": "2027-01-10T12:00:00Z",
        "expires_at": None,
        "reason": "sorry",
    } == first
    assert (grant, 3, "a mistake") == (second["grant"], second["amount"], second["reason"])


def test_a_refused_or_repeated_grant_tells_nothing(world: World) -> None:
    """A notification is there exactly when its cause is."""
    terms: dict[str, Any] = {"customer": USER, "category": "bonus", "idempotency_key": "same"}
    for _ in range(3):
        world.tally.grants.create(SYSTEM, amount=1, **terms)
    with pytest.raises(Refusal):
        world.tally.grants.create(SYSTEM, amount=2, **terms)
    assert ["credit_grant.created"] == kinds(world)


def test_what_time_does_is_told_at_its_own_moment(world: World) -> None:
    """A hold that ended and a grant that expired, dated when it happened and not when it was noticed."""
    grant = world.grant(5, expires_at="2027-01-10T14:00:00Z")
    hold = world.hold(2)
    world.clock.advance("P1D")
    world.tally.due_work.run_all()
    (_, created, _), (_, ended, about_hold), (_, expired, about_grant) = told(world)
    assert ["credit_grant.created", "hold.expired", "credit_grant.expired"] == [created, ended, expired]
    assert (hold, {"credits": 2}) == (about_hold["hold"], about_hold["amounts"])
    assert (grant, 5) == (about_grant["grant"], about_grant["amount"])
    rows = world.tally.notifications.list(SYSTEM, customer=USER).items
    assert ["2027-01-10T14:00:00Z", "2027-01-10T13:00:00Z"] == [
        json.loads(row.data).get("expired_at") or "2027-01-10T14:00:00Z" for row in rows[:2]
    ]
    assert [3_600_000_000] == [rows[0].at - rows[1].at]


def test_credits_beyond_the_rollover_cap_are_told_to_expire(world: World) -> None:
    """Also where no grant ends as a whole."""
    world.plan("roll")
    world.clock.set("2027-04-01T00:00:00Z")
    world.tally.due_work.run_all()
    lost = [data["amount"] for _, kind, data in told(world) if kind == "credit_grant.expired"]
    assert -sum(amount for _, kind, amount in world.statement() if kind == "expiry") == sum(lost) > 0


def test_a_change_of_plan_is_told_once(world: World) -> None:
    """Changing to the same plan again changes nothing."""
    world.plan("lose")
    world.plan("lose")
    [(_, kind, data)] = told(world)
    assert ("plan.changed", "lose", "none", {"credits": 100}) == (
        kind,
        data["plan"],
        data["previous"],
        data["granted"],
    )


def test_a_budget_is_told_of_at_its_marks_once_in_a_period(world: World) -> None:
    """At 50 and 80 % and when it is used up, however often the mark is passed; and again in the next period."""
    world.grant(100)
    world.tally.budgets.put(SYSTEM, level="customer", customer=USER, amount=10, per="day")
    world.charge(7)
    charge = world.charge(1)
    world.refund(charge)
    world.charge(1)
    world.charge(2)
    for _ in range(3):
        with pytest.raises(Refusal):
            world.charge(1)
    world.clock.advance("P1D")
    world.charge(9)
    found = [data for _, kind, data in told(world) if kind == "budget.reached"]
    assert [(50, 7), (80, 8), (100, 10), (80, 9)] == [(data["percent"], data["spent"]) for data in found]
    assert {"customer"} == {data["level"] for data in found}


def test_the_budget_of_a_services_key_is_told_to_the_operator(world: World) -> None:
    """It belongs to no customer."""
    world.grant(100)
    made = world.tally.keys.create(SYSTEM, name="gateway", role="service", budget=(5, None, "day"))
    caller = world.tally.identity.authenticate(made.key, world.tally.context.now())
    Spender(world.tally, caller, customer=USER).charge(5, meter="work")
    assert ["credit_grant.created"] == kinds(world)
    [row, *_] = world.tally.notifications.list(SYSTEM, event_type="budget.reached").items
    assert (None, 1) == (row.customer_id, row.sequence)


# --- reading ------------------------------------------------------------------------------------------------


def test_notifications_are_listed_in_pages_and_by_type(world: World) -> None:
    """Newest first; a user sees its own customer's alone."""
    bob = world.customer("bob")
    for _ in range(3):
        emit(world.tally, USER, "balance.low")
        emit(world.tally, "bob", "payment.failed")
    first = world.tally.notifications.list(SYSTEM, limit=4)
    rest = world.tally.notifications.list(SYSTEM, limit=4, cursor=first.next_cursor)
    assert (True, False, 6) == (first.has_more, rest.has_more, len({*first.items, *rest.items}))
    assert 3 == len(world.tally.notifications.list(SYSTEM, event_type="balance.*").items)
    mine = world.tally.notifications.list(bob)
    assert {"payment.failed"} == {row.type for row in mine.items}
    with pytest.raises(NotFound):
        world.tally.notifications.list(bob, customer=USER)
    with pytest.raises(ValidationFailed):
        world.tally.notifications.list(SYSTEM, event_type="nothing.*")


def test_what_happened_long_ago_is_deleted(world: World) -> None:
    """After 90 days; the numbers go on."""
    with Receiver() as receiver:
        listen(world.tally, receiver.url)
        emit(world.tally, USER)
        world.tally.delivery.run_once()
        world.clock.advance("P91D")
        emit(world.tally, USER)
        world.tally.delivery.run_once()
        assert [2] == [number for number, _, _ in told(world)]
        assert 1 == len(world.tally.endpoints.deliveries(SYSTEM).items)


# --- preferences --------------------------------------------------------------------------------------------


def test_preferences_are_kept_and_checked(world: World) -> None:
    """Everything is on at first; what is not named stays."""
    bob = world.customer("bob")
    view = world.tally.notifications.preferences(bob)
    assert (True, events.MAILED_TYPES, False) == (view.email, view.types, view.available)
    world.tally.notifications.set_preferences(bob, types=["balance.low"])
    view = world.tally.notifications.set_preferences(bob, email=False)
    assert (False, ("balance.low",)) == (view.email, view.types)
    with pytest.raises(ValidationFailed):
        world.tally.notifications.set_preferences(bob, types=["hold.expired"])
    with pytest.raises(NotFound):
        world.tally.notifications.preferences(bob, customer=USER)
    assert to_text("cust", view.customer_id) == bob.scope


# --- the schema ---------------------------------------------------------------------------------------------


def test_a_database_of_the_first_schema_gets_the_tables(blank_database_url: str) -> None:
    """An installation from before notifications is brought up to date, and nothing else is touched."""
    migrate(blank_database_url)
    database = Database(blank_database_url, pool_size=2)
    with database.write() as connection:
        for table in TABLES:
            table.drop(connection)
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    migrate(blank_database_url)
    with database.read() as connection:
        assert [0] * len(TABLES) == [
            connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in TABLES
        ]
    database.close()
