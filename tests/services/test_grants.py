"""Granting, listing and voiding credits."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallystick.core import errors
from tallystick.core.adjustments import GrantResult
from tallystick.core.amounts import MAX_AMOUNT_MICROS, MICROS
from tallystick.core.ids import to_text
from tallystick.core.times import parse_rfc3339
from tallystick.services.context import SYSTEM, Answer, Caller
from tallystick.services.grants import GrantView
from tests.tallies import USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


def create(world: World, **changes: Any) -> Answer[GrantResult]:
    """A grant of 10 credits as a bonus, but for what is changed."""
    request: dict[str, Any] = {"customer": USER, "amount": 10, "category": "bonus", "idempotency_key": "k"}
    return world.tally.grants.create(SYSTEM, **(request | changes))


# --- making -------------------------------------------------------------------------------------------------


def test_a_grant_answers_with_its_terms_and_the_balance(world: World) -> None:
    """What was not said comes from the economy; it takes effect now and never expires."""
    result = create(world, amount=Decimal("2.5"), reason="for a report", reference="ticket 7").value
    assert ("credits", 2_500_000, "bonus", "free", 30) == (
        result.unit,
        result.amount,
        result.category,
        result.origin,
        result.priority,
    )
    assert (world.clock.micros, None, "for a report") == (
        result.effective_at,
        result.expires_at,
        result.reason,
    )
    assert (2_500_000, 2_500_000) == (result.balance, result.available)
    [grant] = world.balance().grants
    assert (result.id, "active", "ticket 7") == (grant.id, grant.status, grant.reference)


def test_terms_of_its_own_win(world: World) -> None:
    """Origin, priority, unit and times can be said."""
    result = create(
        world,
        unit="tokens",
        category="purchase",
        origin="free",
        priority=7,
        expires_at=parse_rfc3339("2027-02-01T00:00:00Z"),
    ).value
    assert ("tokens", "free", 7) == (result.unit, result.origin, result.priority)
    assert parse_rfc3339("2027-02-01T00:00:00Z") == result.expires_at
    assert "paid" == create(world, category="purchase", idempotency_key="k2").value.origin


def test_a_repeat_gives_the_first_answer_and_a_changed_repeat_is_refused(world: World) -> None:
    """One key, one effect, however the same amount is written."""
    first = create(world, reason="once")
    again = create(world, amount="10.0", reason="once")
    assert (False, True) == (first.replayed, again.replayed)
    assert first.value == again.value
    with pytest.raises(errors.IdempotencyKeyReused):
        create(world, amount=11, reason="once")
    assert 10 == world.available()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("amount", {"amount": 0}),
        ("amount", {"amount": -5}),
        ("amount", {"amount": "1e3"}),
        ("amount", {"amount": Decimal("0.0000001")}),
        ("amount", {"amount": MAX_AMOUNT_MICROS}),
        ("category", {"category": "usage"}),
        ("category", {"category": ["bonus"]}),
        ("origin", {"origin": "stolen"}),
        ("priority", {"priority": -1}),
        ("priority", {"priority": 1001}),
        ("priority", {"priority": True}),
        ("expires_at", {"expires_at": 5}),
        ("expires_at", {"expires_at": "2027-02-01T00:00:00Z"}),
        ("effective_at", {"effective_at": 10**18}),
        ("reason", {"reason": "a\x00b"}),
        ("reference", {"reference": "x" * 501}),
        ("Idempotency-Key", {"idempotency_key": "x" * 256}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(world: World, field: str, changes: dict[str, Any]) -> None:
    """The refusal names the field, and nothing changes."""
    with pytest.raises(errors.ValidationFailed) as refused:
        create(world, **changes)
    assert [field] == [each["field"] for each in refused.value.fields["errors"]]  # type: ignore[attr-defined]
    assert (0, 0, 0, 0) == world.figures()


def test_unknown_names_and_a_missing_key_are_refused(world: World) -> None:
    """A unit, a customer and a key that are not there."""
    with pytest.raises(errors.UnknownUnit):
        create(world, unit="gold")
    with pytest.raises(errors.UnknownCustomer):
        create(world, customer="nobody")
    with pytest.raises(errors.IdempotencyKeyRequired):
        create(world, idempotency_key=None)


def test_a_balance_never_grows_past_what_can_be_counted(world: World) -> None:
    """The refusal comes before any number overflows."""
    with world.tally.context.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE wallets SET balance = 4611686018427387903 - 5000000 WHERE unit = 'credits'"
        )
    with pytest.raises(errors.AmountTooLarge):
        create(world)


def test_users_cannot_give_void_claw_back_freeze_or_thaw(world: World) -> None:
    """Pitfall 41: nobody raises their own credits."""
    user = world.customer("bob")
    grant = world.grant(10, customer="bob")
    tally = world.tally
    asked: list[Callable[[], object]] = [
        lambda: tally.grants.create(user, customer="bob", amount=1, category="bonus", idempotency_key="k"),
        lambda: tally.grants.void(user, grant, idempotency_key="k"),
        lambda: tally.grants.claw_back(user, grant, amount=1, idempotency_key="k"),
        lambda: tally.wallets.freeze(user, customer="bob"),
        lambda: tally.wallets.thaw(user, customer="bob"),
    ]
    for ask in asked:
        with pytest.raises(errors.NotAllowed):
            ask()
    assert 10 * MICROS == world.balance(customer="bob").balance


def test_a_service_may_do_all_of_it(world: World) -> None:
    """Services act for any customer."""
    service = Caller(role="service", scope="service:shop", name="key_x")
    answer = world.tally.grants.create(
        service, customer=USER, amount=4, category="purchase", idempotency_key="k"
    )
    world.tally.grants.void(service, to_text("grant", answer.value.id), idempotency_key="k2")
    assert world.tally.wallets.freeze(service, customer=USER).frozen_at == world.clock.micros


# --- scheduled ----------------------------------------------------------------------------------------------


def test_a_scheduled_grant_waits_for_its_time_and_then_needs_no_worker(world: World) -> None:
    """Before, it is in no balance; from its moment on it is drawn like any other, booked at that moment."""
    world.grant(10, effective_at="2027-01-20T00:00:00Z", expires_at="2027-01-30T00:00:00Z")
    assert ["scheduled"] == [each.status for each in world.tally.grants.list(SYSTEM, customer=USER).items]
    assert parse_rfc3339("2027-01-20T00:00:00Z") == world.balance().next_grant_at
    with pytest.raises(errors.InsufficientCredits):
        world.charge(1)
    world.clock.set("2027-01-19T23:59:59.999999Z")
    assert (0, 0, 0, 0) == world.figures()
    world.clock.set("2027-01-25T00:00:00Z")
    world.charge(4)
    world.clock.set("2027-02-01T00:00:00Z")
    assert [
        ("2027-01-20T00:00:00Z", "bonus", 10),
        ("2027-01-25T00:00:00Z", "usage", -4),
        ("2027-01-30T00:00:00Z", "expiry", -6),
    ] == world.statement()
    assert world.balance().next_grant_at is None


def test_a_scheduled_grant_that_is_voided_never_starts(world: World) -> None:
    """Nothing is taken, because nothing was given."""
    grant = world.grant(10, effective_at="2027-01-20T00:00:00Z")
    world.void(grant)
    world.clock.set("2027-01-21T00:00:00Z")
    assert (0, 0, 0, 0) == world.figures()
    assert [] == world.statement()
    assert ["voided"] == [each.status for each in world.tally.grants.list(SYSTEM, customer=USER).items]


def test_a_grant_that_starts_and_ends_within_an_outage_leaves_its_trace(world: World) -> None:
    """Both events are booked, each at its own time."""
    world.grant(10, effective_at="2027-01-20T00:00:00Z", expires_at="2027-01-22T00:00:00Z")
    world.clock.set("2027-03-01T00:00:00Z")
    assert (0, 0, 0, 0) == world.figures()
    expected = [("2027-01-20T00:00:00Z", "bonus", 10), ("2027-01-22T00:00:00Z", "expiry", -10)]
    assert expected == world.statement()


# --- listing ------------------------------------------------------------------------------------------------


def test_the_list_shows_every_grant_newest_first_with_what_became_of_it(world: World) -> None:
    """Used, expired, voided, active and scheduled, in pages."""
    world.grant(1, reason="used")
    world.charge(1)
    world.grant(2, reason="expired", expires_at="2027-01-11T00:00:00Z")
    world.void(world.grant(3, reason="voided"))
    world.clock.set("2027-01-12T00:00:00Z")
    world.grant(4, reason="active")
    world.grant(5, reason="scheduled", effective_at="2027-01-13T00:00:00Z")
    world.grant(6, reason="other unit", unit="tokens")
    found: list[GrantView] = []
    cursor = None
    while True:
        page = world.tally.grants.list(SYSTEM, customer=USER, unit="credits", limit=2, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        assert page.has_more == (cursor is not None)
        if cursor is None:
            break
    states = ["scheduled", "active", "voided", "expired", "used"]
    assert [(state, state) for state in states] == [(each.reason, each.status) for each in found]
    assert [0, 4, 0, 0, 0] == [whole(each.remaining) for each in found]
    assert 6 == len(world.tally.grants.list(SYSTEM, customer=USER).items)


def test_a_user_sees_only_their_own_grants(world: World) -> None:
    """Another customer is as unknown as one that does not exist."""
    world.grant(1)
    bob = world.customer("bob")
    assert [] == list(world.tally.grants.list(bob).items)
    with pytest.raises(errors.UnknownCustomer):
        world.tally.grants.list(bob, customer=USER)


# --- voiding ------------------------------------------------------------------------------------------------


def test_a_void_takes_back_what_is_left(world: World) -> None:
    """What was spent stays spent."""
    grant = world.grant(10)
    world.grant(1, "purchase")
    world.charge(4)
    world.void(grant)
    assert (1, 1, 0, 0) == world.figures()
    assert ("adjustment", -6) == world.statement()[-1][1:]
    with pytest.raises(errors.Conflict):
        world.void(grant)


def test_a_void_takes_the_held_part_when_the_hold_ends(world: World) -> None:
    """What the hold captures is paid, and what it gives back goes the way of the grant."""
    grant = world.grant(10)
    hold = world.hold(6)
    world.void(grant)
    assert (6, 0, 6, 0) == world.figures()
    world.capture(hold, 2)
    assert (0, 0, 0, 0) == world.figures()
    assert [("bonus", 10), ("adjustment", -4), ("usage", -2), ("adjustment", -4)] == [
        line[1:] for line in world.statement()
    ]


def test_a_refund_to_a_voided_grant_goes_back_to_where_it_came_from(world: World) -> None:
    """A mistaken grant gives nothing, on whatever way."""
    grant = world.grant(10)
    charge = world.charge(10)
    world.void(grant)
    world.refund(charge)
    assert (0, 0, 0, 0) == world.figures()
    assert [("refund", 10), ("adjustment", -10)] == [line[1:] for line in world.statement()[-2:]]


def test_what_is_not_a_grant_is_not_found(world: World) -> None:
    """Garbage, other ids, and the standing lot of an unlimited plan, which nobody granted."""
    world.plan("unlimited")
    world.hold(1)
    [cover] = world.balance().grants
    for text in ("grant_zzz", "", "txn_0000000000000", "grant_0000000000000", to_text("grant", cover.id)):
        with pytest.raises(errors.NotFound):
            world.void(text)
        with pytest.raises(errors.NotFound):
            world.claw_back(text, 1)
