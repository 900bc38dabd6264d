"""What admins do elsewhere than in the dashboard of operators stands in their record too, with its effect or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, format_rfc3339
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.operator_actions import ACTIONS
from tallystick.services.pricing import Usage
from tallystick.store.operators import ActionRow
from tests.services.installation import at_once
from tests.services.market import FEE, Market
from tests.tallies import USER

REFERRAL = """
[referral]
referrer = 50
referred = 20
"""


class Desk(Market):
    """A market with an admin who asks over REST."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder, terms=FEE + REFERRAL)
        made = self.tally.keys.create(SYSTEM, name="Olga", role="admin")
        self.dashboard: Caller = self.tally.identity.authenticate(made.key, self.world.clock())
        self.olga = replace(self.dashboard, door="rest")

    def rows(self) -> list[ActionRow]:
        """All that is written down, oldest first."""
        return list(reversed(self.tally.operator_actions.list(limit=100).items))

    def told(self) -> list[tuple[str, str, str | None]]:
        """What was done, why, and what came of it."""
        return [(row.action, row.reason, row.outcome) for row in self.rows()]

    def give(self, caller: Caller, amount: str = "5", *, key: str = "key") -> str:
        """Grant credits; gives the id of the grant."""
        made = self.tally.grants.create(
            caller, customer=USER, amount=amount, category="bonus", reason="a gift", idempotency_key=key
        )
        return to_text("grant", made.value.id)


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """An admin at work."""
    with Desk(database_url, tmp_path) as desk:
        yield desk


def test_a_grant_is_written_down_with_who_where_and_why(desk: Desk) -> None:
    """Beside the key stands its name, and what was asked for as forms have it."""
    grant = desk.give(desk.olga)
    [row] = desk.rows()
    assert ("Olga", desk.olga.key_id, "rest", "grant", "done") == (
        row.operator,
        row.key_id,
        row.door,
        row.action,
        row.status,
    )
    assert ("a gift", f"5 credits were granted ({grant}); the balance is 5 credits") == (
        row.reason,
        row.outcome,
    )
    terms = msgspec.json.decode(row.terms)
    assert {"amount": "5", "unit": "credits", "category": "bonus", "origin": "free"} == terms
    assert (row.at, row) == (row.ended_at, desk.tally.operator_actions.find(row.id))


def test_a_grant_is_written_down_with_all_of_its_terms(desk: Desk) -> None:
    """That it counts as paid, how early it is drawn, from when on and until when; times as forms have them."""
    now = desk.world.clock()
    desk.tally.grants.create(
        desk.olga,
        customer=USER,
        amount=77,
        category="task_credit",
        origin="paid",
        priority=3,
        effective_at=now + DAY,
        expires_at=now + 9 * DAY,
        idempotency_key="key",
    )
    [row] = desk.rows()
    assert {
        "amount": "77",
        "unit": "credits",
        "category": "task_credit",
        "origin": "paid",
        "priority": "3",
        "effective_at": str(now + DAY),
        "expires_at": str(now + 9 * DAY),
    } == msgspec.json.decode(row.terms)
    assert row.outcome is not None
    assert f" from {format_rfc3339(now + DAY)} on; the balance is 0 credits" in row.outcome


def test_a_referral_is_written_down_once_for_each_side(desk: Desk) -> None:
    """With its effect; a repeat gives nothing and writes nothing."""
    desk.person("bob")
    for _ in range(2):
        desk.tally.rewards.refer(desk.olga, referrer=USER, referred="bob")
    rows = desk.rows()
    assert [("grant", "Olga", "rest", "done")] * 2 == [
        (row.action, row.operator, row.door, row.status) for row in rows
    ]
    assert ["50", "20"] == [msgspec.json.decode(row.terms)["amount"] for row in rows]
    assert all(row.reason.startswith("referral of cust_") for row in rows)
    desk.person("cleo")
    desk.tally.rewards.refer(SYSTEM, referrer="bob", referred="cleo")
    assert 2 == len(desk.rows())


def test_every_kind_of_action_is_written_down(desk: Desk) -> None:
    """A reason is not asked for: where none was given, none stands there."""
    tally, olga = desk.tally, desk.olga
    voided, clawed = desk.give(olga), desk.give(olga, "7", key="more")
    charge = tally.charges.create(olga, Usage("work", quantity=3, customer=USER), idempotency_key="c").value
    tally.charges.refund(olga, to_text("chg", charge.id), amount=2, idempotency_key="r")
    tally.grants.void(olga, voided, idempotency_key="v")
    tally.grants.claw_back(olga, clawed, amount=7, reason="a mistake", idempotency_key="b")
    tally.wallets.freeze(olga, customer=USER, reason="odd")
    tally.wallets.thaw(olga, customer=USER)
    desk.person("anna", paid=10)
    desk.person("bob")
    task = desk.hire("anna", desk.agent("bob", 10))
    desk.work("bob", task)
    desk.dispute("anna", task)
    tally.tasks.resolve(olga, task, refund=4, reason="half of it", idempotency_key="d")
    assert [
        ("refund_charge", "", "2 credits went back; the balance is 11 credits"),
        ("void_grant", "", "4 credits of it were taken back"),
        ("claw_back", "a mistake", "7 credits were taken back"),
        ("freeze", "odd", "the credits wallet is frozen"),
        ("thaw", "", "the credits wallet can be drawn from again"),
        ("decide_task", "half of it", "4 of 10 credits that were paid went back"),
    ] == desk.told()[2:]
    subjects = [row.subject for row in desk.rows()[2:]]
    assert [to_text("chg", charge.id), voided, clawed, None, None, task] == subjects
    assert {row.action for row in desk.rows()} <= set(ACTIONS)


def test_what_changed_nothing_is_not_written_down(desk: Desk) -> None:
    """A repeat, one by eight at once, what is refused, what was so before, and a key that was used for something else."""
    at_once([lambda: desk.give(desk.olga)] * 8)
    desk.give(desk.olga)
    with pytest.raises(errors.IdempotencyKeyReused):
        desk.give(desk.olga, "6")
    with pytest.raises(errors.NotFound):
        desk.tally.grants.void(desk.olga, "grant_nothing", idempotency_key="v")
    for change in (desk.tally.wallets.thaw, desk.tally.wallets.freeze, desk.tally.wallets.freeze):
        change(desk.olga, customer=USER)
    desk.tally.wallets.thaw(SYSTEM, customer=USER)
    grant = desk.give(desk.olga, "7", key="another")
    with pytest.raises(errors.ExceedsRefundable):
        desk.tally.grants.claw_back(desk.olga, grant, amount=8, idempotency_key="b")
    assert ["grant", "freeze", "grant"] == [row.action for row in desk.rows()]
    assert 12 * MICROS == desk.world.balance(customer=USER).balance


def test_of_one_key_sent_for_two_customers_at_once_one_is_done(desk: Desk) -> None:
    """They wait for no lock of each other's: the database refuses the second, which then is told so."""
    desk.person("bob")

    def give(customer: str) -> bool:
        try:
            desk.tally.grants.create(
                desk.olga, customer=customer, amount=5, category="bonus", idempotency_key="both"
            )
        except errors.IdempotencyKeyReused:
            return False
        return True

    told = at_once([lambda: give(USER), lambda: give("bob")])
    assert [False, True] == sorted(map(bool, told))
    assert 1 == len(desk.rows())


def test_what_cannot_be_written_down_is_not_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record and the credits are one transaction."""

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("tallystick.store.operators.add", broken)
    with pytest.raises(RuntimeError):
        desk.give(desk.olga)
    assert 0 == desk.world.balance(customer=USER).balance
    monkeypatch.undo()
    desk.give(desk.olga)
    assert 1 == len(desk.rows())


def test_only_admins_keys_are_written_down_here(desk: Desk) -> None:
    """Not what services and the installation itself do; the dashboard keeps the record of its own forms."""
    made = desk.tally.keys.create(SYSTEM, name="gateway", role="service")
    service = desk.tally.identity.authenticate(made.key, desk.world.clock())
    for number, caller in enumerate((service, SYSTEM, desk.dashboard)):
        desk.give(caller, key=f"key {number}")
    assert [] == desk.rows()


def test_a_record_from_before_doors_is_upgraded(database_url: str, tmp_path: Path) -> None:
    """What stands in it was done from the dashboard."""
    with Desk(database_url, tmp_path) as desk:
        desk.give(desk.olga)
        with desk.tally.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE operator_actions DROP COLUMN door")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0011'")
        desk.tally.close()
        desk.tally = desk.world.tally = desk.world.open()
        columns = sa.inspect(desk.tally.database.engine).get_columns("operator_actions")
        assert ("door", False) == (columns[-1]["name"], columns[-1]["nullable"])
        assert ["admin"] == [row.door for row in desk.rows()]
