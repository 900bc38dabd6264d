"""Operators: who may sign in and until when, and that what they do is done once and written down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, HOUR
from tallystick.services.context import SYSTEM
from tallystick.services.operator_actions import BROKE_OFF, Told, Wish
from tallystick.services.operators import SESSION_LASTS, SIGN_INS_PER_IP, Operator
from tests.tallies import USER, World


class Office(World):
    """A world with an operator in it."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.key = self.tally.keys.create(SYSTEM, name="Olga", role="admin").key
        self.token = self.tally.operators.sign_in(self.key).token
        self.olga: Operator = self.tally.operators.authenticate(self.token)

    def actions(self) -> list[tuple[str, str, str, str | None]]:
        """Operator, action, status and outcome of all that is written down, oldest first."""
        rows = reversed(self.tally.operator_actions.list(limit=100).items)
        return [(row.operator, row.action, row.status, row.outcome) for row in rows]

    def give(self, amount: str = "50", *, key: str = "form", reason: str = "a gift") -> str:
        """Grant credits; gives the status of the action."""
        done = self.tally.operator_desk.grant(
            self.olga,
            USER,
            amount=amount,
            unit="credits",
            category="bonus",
            expires_at=None,
            reason=reason,
            key=key,
        )
        return done.value.status


@pytest.fixture
def office(database_url: str, tmp_path: Path) -> Iterator[Office]:
    """A customer, and an operator who is signed in."""
    with Office(database_url, tmp_path) as office:
        yield office


# --- signing in ----------------------------------------------------------------------------------------------------


def test_only_an_admins_key_signs_in(office: Office) -> None:
    """A service's key, a customer's, a user's session and a guess do not."""
    keys, operators = office.tally.keys, office.tally.operators
    for role, customer in (("service", None), ("user", USER)):
        key = keys.create(SYSTEM, name="other", role=role, customer=customer).key
        with pytest.raises(errors.NotAllowed):
            operators.sign_in(key)
    user = office.tally.identity.register("ada@example.test", "correct horse")
    with pytest.raises(errors.NotAllowed):
        operators.sign_in(user.token)
    with pytest.raises(errors.NotAuthenticated):
        operators.sign_in("a guess")
    assert "Olga" == operators.authenticate(operators.sign_in(f" {office.key}\n").token).name


def test_a_session_is_no_key(office: Office) -> None:
    """It opens these pages and no other door."""
    with pytest.raises(errors.NotAuthenticated):
        office.tally.identity.authenticate(office.token, office.clock())


def test_a_session_ends_with_its_key(office: Office) -> None:
    """Revoking the key ends it at once, and the key's own end too."""
    office.tally.keys.revoke(SYSTEM, to_text("key", office.olga.key_id))
    with pytest.raises(errors.NotAuthenticated):
        office.tally.operators.authenticate(office.token)
    brief = office.tally.keys.create(SYSTEM, name="brief", role="admin", expires_at=office.clock() + HOUR)
    token = office.tally.operators.sign_in(brief.key).token
    office.clock.micros += HOUR
    with pytest.raises(errors.NotAuthenticated):
        office.tally.operators.authenticate(token)


def test_a_session_ends_after_its_time_and_by_signing_out(office: Office) -> None:
    """A browser that stays open does not stay signed in."""
    office.clock.micros += SESSION_LASTS - 1
    assert office.olga == office.tally.operators.authenticate(office.token)
    office.clock.micros += 1
    with pytest.raises(errors.NotAuthenticated):
        office.tally.operators.authenticate(office.token)
    token = office.tally.operators.sign_in(office.key).token
    office.tally.operators.sign_out(token)
    with pytest.raises(errors.NotAuthenticated):
        office.tally.operators.authenticate(token)


def test_guessing_keys_is_throttled(office: Office) -> None:
    """From one address; and who signs in rightly is not counted."""
    operators = office.tally.operators
    for _ in range(SIGN_INS_PER_IP.limit + 1):
        operators.sign_in(office.key, ip="192.0.2.1")
    for _ in range(SIGN_INS_PER_IP.limit):
        with pytest.raises(errors.NotAuthenticated):
            operators.sign_in("a guess", ip="192.0.2.1")
    with pytest.raises(errors.RateLimited):
        operators.sign_in(office.key, ip="192.0.2.1")
    operators.sign_in(office.key, ip="192.0.2.2")


# --- in one transaction --------------------------------------------------------------------------------------------


def test_a_form_that_is_sent_twice_acts_once(office: Office) -> None:
    """Also when both arrive at the same moment; another form acts again."""
    at_once = Barrier(2)

    def send(_: int) -> str:
        at_once.wait()
        return office.give()

    with ThreadPoolExecutor(2) as pool:
        assert ["done", "done"] == list(pool.map(send, range(2)))
    assert "done" == office.give()
    assert 50 == office.available()
    assert "done" == office.give(key="another form")
    assert 100 == office.available()
    assert [("Olga", "grant", "done")] * 2 == [action[:3] for action in office.actions()]


def test_a_form_that_was_changed_and_sent_again_is_refused(office: Office) -> None:
    """What it did first stands, and nothing else is done."""
    office.give("50")
    with pytest.raises(errors.IdempotencyKeyReused):
        office.give("60")
    assert 50 == office.available()


def test_what_is_refused_is_written_down_and_changes_nothing(office: Office) -> None:
    """With why, and a repeat of the form is told the same."""
    office.grant(10)
    charge = office.charge(4)
    for key in ("one", "one", "two"):
        done = office.tally.operator_desk.refund_charge(
            office.olga, charge, amount="5", unit="credits", reason="a complaint", key=key
        )
        assert "refused" == done.value.status
    assert 6 == office.available()
    assert [("Olga", "refund_charge", "refused")] * 2 == [action[:3] for action in office.actions()]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_nothing_is_done_without_a_reason(office: Office, reason: str) -> None:
    """And nothing is written down."""
    with pytest.raises(errors.ValidationFailed, match="reason"):
        office.give(reason=reason)
    assert (0, []) == (office.available(), office.actions())


def test_an_action_that_cannot_be_written_down_is_not_done(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credits and their record are committed together."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tallystick.store.operators.end", broken)
    with pytest.raises(ZeroDivisionError):
        office.give()
    assert (0, []) == (office.available(), office.actions())


def test_freezing_and_thawing(office: Office) -> None:
    """Both are written down, and a wallet that is frozen already says so."""
    office.grant(10)
    desk, olga = office.tally.operator_desk, office.olga
    for key, frozen in (("1", True), ("2", True), ("3", False), ("4", False)):
        desk.set_frozen(olga, USER, unit="credits", frozen=frozen, reason="a doubt", key=key)
        assert frozen == (office.balance().frozen_at is not None)
    assert [
        "the credits wallet is frozen",
        "the credits wallet is frozen already",
        "the credits wallet can be drawn from again",
        "the credits wallet was not frozen",
    ] == [action[3] for action in office.actions()]


def test_the_customers_statement_names_the_operators_key(office: Office) -> None:
    """The journal and the record of actions can be held beside each other."""
    office.give()
    with office.tally.database.read() as connection:
        callers = connection.exec_driver_sql("SELECT caller FROM transactions WHERE kind = 'grant'")
        assert [office.olga.caller.name] == list(callers.scalars())


# --- around --------------------------------------------------------------------------------------------------------


def wish(key: str = "form", action: str = "reconcile") -> Wish:
    """What a form asks for."""
    return Wish(action, "because", key)


def test_an_action_that_broke_off_is_visible_and_its_form_goes_on_with_it(office: Office) -> None:
    """Whoever was asked did not answer: it stays begun, and is completed by the same form."""
    actions = office.tally.operator_actions

    def unanswered() -> str:
        raise errors.PaymentsUnavailable

    with pytest.raises(errors.PaymentsUnavailable):
        actions.around(office.olga, wish(), unanswered)
    assert [("Olga", "reconcile", "begun", None)] == office.actions()
    assert "done" == actions.around(office.olga, wish(), lambda: "done at last").value.status
    assert "done at last" == actions.around(office.olga, wish(), lambda: "not again").value.outcome
    assert [("Olga", "reconcile", "done", "done at last")] == office.actions()


def test_a_fault_is_written_down(office: Office) -> None:
    """Without internals, which are in the log."""

    def broken() -> str:
        raise ZeroDivisionError

    office.tally.operator_actions.around(office.olga, wish(), broken)
    assert [("Olga", "reconcile", "failed", BROKE_OFF)] == office.actions()


# --- beside --------------------------------------------------------------------------------------------------------


def test_one_long_action_of_a_kind_runs_at_a_time(office: Office) -> None:
    """The second is told to wait, the first form sent again is told of the first, and closing waits for the end."""
    actions, go = office.tally.operator_actions, Event()

    def work() -> Told:
        go.wait(10)
        return Told("done", {"found": [1]})

    first = actions.beside(office.olga, wish("one"), work).value
    assert ("begun", True) == (first.status, actions.is_running("reconcile"))
    assert first == actions.beside(office.olga, wish("one"), work).value
    with pytest.raises(errors.Conflict):
        actions.beside(office.olga, wish("two"), work)
    go.set()
    actions.close()
    assert ("done", '{"found":[1]}', False) == (
        actions.list().items[0].status,
        actions.list().items[0].report,
        actions.is_running("reconcile"),
    )


def test_an_audit_runs_in_a_process_of_its_own(office: Office) -> None:
    """Its report is kept: every rule, what was checked, and what is wrong."""
    office.grant(10)
    office.charge(3)
    office.tally.operator_desk.audit(office.olga, reason="the end of the month", key="form")
    while office.tally.operator_actions.is_running("audit"):
        pass
    [row] = office.tally.operator_actions.list(action="audit").items
    assert ("done", "3 transactions were checked: every rule holds") == (row.status, row.outcome)
    assert '"ok":true' in str(row.report)


def test_an_audit_ends_with_its_server(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for it, and the record says that it did not end."""
    monkeypatch.setattr("tallystick.services.audit_process.LOOKS_EVERY_SECONDS", 0.01)
    office.tally.operator_desk.audit(office.olga, reason="a trial", key="form")
    office.tally.operator_actions.close()
    assert [("Olga", "audit", "failed", "the server stopped before the audit ended")] == office.actions()


# --- reading -------------------------------------------------------------------------------------------------------


def test_actions_are_found_by_what_they_are_about(office: Office) -> None:
    """By kind, outcome, operator and customer, page by page."""
    office.give(key="1")
    office.tally.operator_desk.set_frozen(
        office.olga, USER, unit="credits", frozen=True, reason="a doubt", key="2"
    )
    list_ = office.tally.operator_actions.list
    customer_id = office.tally.customers.resolve(SYSTEM, USER)
    assert ["freeze", "grant"] == [
        row.action for row in list_(operator="Olga", customer_id=customer_id).items
    ]
    assert ["grant"] == [row.action for row in list_(action="grant", status="done").items]
    assert [] == list_(operator="Otto").items
    first = list_(limit=1)
    assert ["grant"] == [row.action for row in list_(cursor=first.next_cursor).items]
    with pytest.raises(errors.ValidationFailed, match="expected one of grant, void_grant"):
        list_(action="shout")


def test_customers_are_found_by_what_is_known_of_them(office: Office) -> None:
    """By an id of ours, and by a part of the external id, e-mail or name, whatever its case; signs mean themselves."""
    number = office.tally.customers.create(
        SYSTEM, external_id="acme_1", email="Ada@Example.test", metadata={"name": "Löwe & Söhne"}
    ).value.id
    search = office.tally.customers.search
    for words in (to_text("cust", number), "ACME", "ada@", "löwe", "Söhne", " acme "):
        assert [number] == [each.id for each in search(SYSTEM, words).items], words
    for words in (to_text("cust", 1), "100%", "acme%1", "nobody"):
        assert [] == search(SYSTEM, words).items, words
    first = search(SYSTEM, "", limit=1)
    assert (number, True) == (first.items[0].id, first.has_more)
    assert ["ann"] == [each.external_id for each in search(SYSTEM, "", cursor=first.next_cursor).items]


def test_versions_of_an_economy_and_what_differs(office: Office) -> None:
    """The newest first, and which of them prices now."""
    path = office.write_economy(Path(office.economy).read_text().replace("A credit each", "One each"))
    office.clock.micros += DAY
    office.tally.economies.activate(path)
    new, old = office.tally.economies.versions()
    assert (True, False) == (new.active, old.active)
    assert ["meter work description"] == [
        each.path for each in office.tally.economies.differences(old.version, new.version)
    ]


def test_the_record_stays_readable_while_it_grows(office: Office) -> None:
    """What fills a form's fields is kept as it was written, in a row that is written once."""

    def work(_connection: Connection) -> str:
        return "done"

    asked = Wish("grant", "because", "form", 1, "chg_1", {"amount": "5", "unit": ""})
    row = office.tally.operator_actions.within(office.olga, asked, work).value
    assert ('{"amount":"5"}', "because", 1, "chg_1") == (row.terms, row.reason, row.customer_id, row.subject)
    assert row == office.tally.operator_actions.find(row.id)


def test_a_database_from_before_the_dashboard_is_upgraded(database_url: str, tmp_path: Path) -> None:
    """Its tables are as in a new one, and what it had is there."""
    with Office(database_url, tmp_path) as office:
        office.give()
        inspector = sa.inspect(office.tally.database.engine)
        expected = {name: inspector.get_columns(name) for name in ("operator_actions", "operator_sessions")}
        with office.tally.database.write() as connection:
            for statement in (
                "DROP TABLE operator_actions",
                "DROP TABLE operator_sessions",
                "UPDATE alembic_version SET version_num = '0007'",
            ):
                connection.exec_driver_sql(statement)
        office.tally.close()
        office.tally = office.open()
        inspector = sa.inspect(office.tally.database.engine)
        found = {name: inspector.get_columns(name) for name in expected}
        assert [column["name"] for each in expected.values() for column in each] == [
            column["name"] for each in found.values() for column in each
        ]
        assert 50 == office.available()
