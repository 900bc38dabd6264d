"""Agents and tasks on the dashboard: offered, hired, done, refused, and sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tests.doors.web.axe import serious
from tests.doors.web.dashboard import Dashboard, dashboard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Somebody at the dashboard, with 100 credits."""
    folder: Path = tmp_path_factory.mktemp("agents")
    with dashboard(f"sqlite:///{folder / 'agents.db'}", folder) as made:
        yield made


@pytest.fixture(scope="module")
def bob(found: Dashboard) -> Caller:
    """Somebody else, who offers an agent for 10 credits."""
    number = found.tally.customers.create(SYSTEM, external_id="bob").value.id
    text = to_text("cust", number)
    caller = Caller(role="user", scope=text, name=text, customer_id=number)
    found.tally.agents.register(
        caller, name="Summarist", price_per_task=10, description="Makes long texts short"
    )
    return caller


def available(found: Dashboard) -> float:
    """What she can spend."""
    return found.tally.billing.balance(found.caller).available / MICROS


def hire(found: Dashboard, words: str = "shorten this") -> str:
    """Hire bob's agent on the page; gives the task."""
    page = found.page
    found.go("/billing/agents?q=summar")
    page.click("summary:has-text('Hire')")
    page.fill("textarea[name=input]", words)
    page.click("button[value=hire]")
    page.wait_for_url("**/billing/tasks/task_*")
    return page.url.rpartition("/")[2]


def test_an_agent_is_offered_changed_and_paused(found: Dashboard) -> None:
    """A name that is taken and a price that is none are told; the fields say of what they are."""
    page = found.page

    def offer(price: str) -> None:
        found.go("/billing/agents")
        if not page.is_visible("input[name=name]"):
            page.click("text=Offer an agent")
        form = page.locator("form", has=page.locator("input[name=name]"))
        form.locator("input[name=name]").fill("Parrot")
        form.locator("input[name=price]").fill(price)
        form.locator("input[name=capabilities]").fill("echo, noise")
        form.locator("button").click()

    offer("much")
    assert "Price per task: expected" in page.inner_text("[role=alert]")
    offer("2.5")
    row = page.locator("tr", has_text="Parrot")
    assert "2.5 credits" in row.inner_text()
    row.locator("input[name=price]").fill("3")
    row.locator("button[value=change]").click()
    row.locator("button[value=pause]").click()
    page.wait_for_selector("tr:has-text('Parrot') >> text=Paused")
    [agent] = found.tally.agents.find(found.caller, owner="me", text="Parrot").items
    assert (3 * MICROS, "paused", ("echo", "noise")) == (agent.price, agent.status, agent.capabilities)
    row.locator("button[value=resume]").click()
    page.wait_for_selector("tr:has-text('Parrot') >> text=Can be hired")


def test_a_task_is_hired_done_and_disputed(found: Dashboard, bob: Caller) -> None:
    """The page says at each step what it is, and what of the price has moved; axe finds nothing serious."""
    page, before = found.page, available(found)
    task = hire(found)
    assert "Waiting." in page.inner_text("main")
    assert before - 10 == available(found)
    found.tally.tasks.accept(bob, task, idempotency_key="a")
    assert "Being worked on." in found.go(f"/billing/tasks/{task}")
    found.tally.tasks.complete(bob, task, output={"short": True}, idempotency_key="b")
    words = found.go(f"/billing/tasks/{task}")
    assert "of which the agent's owner got 9.5 and the platform 0.5" in words
    assert '"short": true' in words
    assert not serious(page)
    page.click("summary:has-text('not what was agreed')")
    page.fill("textarea[name=words]", "too short")
    page.dblclick("text=Dispute the task")
    page.wait_for_selector("text=The operator decides")
    found.tally.tasks.resolve(SYSTEM, task, refund=10, reason="right", idempotency_key="c")
    assert "Paid back" in found.go(f"/billing/tasks/{task}")
    assert task in found.page.url
    assert "Paid back" in found.go("/billing/tasks?role=requester")
    assert not serious(page)
    assert before == available(found)


def test_a_task_is_taken_back_in_two_tabs(found: Dashboard, bob: Caller) -> None:
    """The second tab finds it cancelled, and is told so."""
    del bob
    before = available(found)
    task = hire(found, "never mind")
    other = found.tab()
    found.go(f"/billing/tasks/{task}", other)
    for tab in (found.page, other):
        tab.click("summary:has-text('Take the task back')")
        tab.click("text=Cancel the task")
        tab.wait_for_selector("text=Cancelled.")
    assert "The task is cancelled" in other.inner_text("[role=alert]")
    other.close()
    assert before == available(found)


def test_the_owner_works_on_the_page(found: Dashboard, bob: Caller) -> None:
    """Accepts, completes with words, and sees what was earned; what cannot be paid is refused in words."""
    page = found.page
    made = found.tally.agents.register(found.caller, name="Echo", price_per_task=3).value
    agent = to_text("agent", made.id)
    task = found.tally.tasks.create(bob, agent=agent, input="hello", idempotency_key="hello").value
    path = f"/billing/tasks/{to_text('task', task.id)}"
    found.go(path)
    page.click("text=Accept the task")
    page.fill("textarea[name=words] >> nth=0", "hello hello")
    page.click("text=Complete the task")
    page.wait_for_selector("text=hello hello")
    assert "yours" in found.go("/billing/tasks?role=owner")
    dear = found.tally.agents.register(bob, name="Dear", price_per_task=1000).value
    assert dear.price
    found.go("/billing/agents?q=Dear")
    page.click("summary:has-text('Hire')")
    page.fill("textarea[name=input]", "please")
    page.click("button[value=hire]")
    assert "credits needed" in page.inner_text("[role=alert]")


def test_nobody_sees_the_tasks_of_others(found: Dashboard, bob: Caller) -> None:
    """They are not found, like tasks that there are not."""
    agent = found.tally.agents.register(bob, name="Own", price_per_task=0).value
    task = found.tally.tasks.create(
        bob, agent=to_text("agent", agent.id), input=1, idempotency_key="own"
    ).value
    for number in (to_text("task", task.id), "task_0000000000000", "nothing"):
        assert "There is no task" in found.go(f"/billing/tasks/{number}")
