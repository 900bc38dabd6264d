"""Operators decide disputes of tasks, and see which tasks were not billed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.doors.web.browser import Site
from tests.doors.web.test_admin_forms import Desk


@pytest.fixture
def desk(site: Site) -> Desk:
    """An operator who has signed in."""
    found = Desk(site)
    assert 303 == found.sign_in().status_code
    return found


def disputed(desk: Desk) -> str:
    """A task of ann's for 10 credits that was completed, and then disputed."""
    tally = desk.tally
    tally.customers.create(SYSTEM, external_id="bob")
    agent = tally.agents.register(SYSTEM, name="Summarist", price_per_task=10, customer="bob").value
    made = tally.tasks.create(
        SYSTEM, agent=to_text("agent", agent.id), input="<b>", customer="ann", idempotency_key="a"
    )
    task = to_text("task", made.value.id)
    tally.tasks.accept(SYSTEM, task, idempotency_key="b")
    tally.tasks.complete(SYSTEM, task, output={"is": "short"}, idempotency_key="c")
    tally.tasks.dispute(SYSTEM, task, reason="too short", idempotency_key="d")
    return task


def test_a_dispute_is_decided_once_with_its_reason(desk: Desk) -> None:
    """What is no part of the price is refused; the same form twice pays back once, and it is written down."""
    task, before = disputed(desk), desk.available()
    path = f"/admin/tasks/{task}"
    assert task in desk.site.get("/admin/tasks").words
    page = desk.site.get(path)
    assert "too short" in page.words
    assert "both sides of the task see it" in page.words
    assert "<b>" in page.words
    form = desk.form(path)
    refused = desk.send(path, form, refund="11", reason="all of it")
    assert (422, True) == (refused.status_code, "is more than the 10 left to refund" in refused.text)
    assert 422 == desk.send(path, desk.form(path), refund="4", reason=" ").status_code
    form = desk.form(path)
    for _ in range(2):
        assert 303 == desk.send(path, form, refund="4", reason="half of it was usable").status_code
    assert before + 4 * MICROS == desk.available()
    [action] = [
        each for each in desk.tally.operator_actions.list(action="decide_task").items if each.status == "done"
    ]
    assert ("half of it was usable", task) == (action.reason, action.subject)
    assert "Paid back" in desk.site.get(path).words
    assert "No task is disputed." in desk.site.get("/admin/tasks").words


def test_tasks_that_were_not_billed_are_found(desk: Desk, tmp_path: Path) -> None:
    """Where the economy lets them be made."""
    economy = tmp_path / "site.toml"
    economy.write_text(economy.read_text() + '\n[settlement]\non_insufficient = "create_unbilled"\n')
    desk.tally.economies.activate(str(economy))
    desk.tally.customers.create(SYSTEM, external_id="bob")
    agent = desk.tally.agents.register(SYSTEM, name="Dear", price_per_task=5000, customer="bob").value
    made = desk.tally.tasks.create(
        SYSTEM, agent=to_text("agent", agent.id), input=1, customer="ann", idempotency_key="a"
    )
    assert "unbilled" == made.value.billing
    task = to_text("task", made.value.id)
    assert task in desk.site.get("/admin/tasks?show=unbilled").words
    assert task not in desk.site.get("/admin/tasks").words
    assert "not billed" in desk.site.get(f"/admin/tasks/{task}").words
