"""The whole purchase, as a new user would do it: a server process, the REST door, and a real browser for the pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser import open_browser
from tests.servers import Server, running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser, of the size of a telephone."""
    with open_browser() as found:
        yield found


@pytest.fixture
def server(sqlite_template: Path, tmp_path: Path) -> Iterator[Server]:
    """A server as `make serve` starts it."""
    path = shutil.copyfile(sqlite_template, tmp_path / "tally.db")
    with running_server(tmp_path, economy="starter", database_url=f"sqlite:///{path}") as running:
        yield running


@pytest.fixture
def user(server: Server) -> Iterator[httpx.Client]:
    """Somebody who has just registered."""
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30) as client:
        answer = client.post("/auth/register", json={"email": "ada@example.com", "password": "correct horse"})
        assert 201 == answer.status_code
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield client


def checkout(user: httpx.Client, **body: Any) -> dict[str, Any]:
    """Ask for a page to pay on."""
    answer = user.post("/billing/checkout", json=body)
    assert 201 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def balance(user: httpx.Client) -> float:
    found: float = user.get("/billing/balance").json()["balance"]
    return found


def pay(page: Page, card: str) -> None:
    """Choose a card and press the button; the cards that do not simply pay are shown on demand."""
    more = page.locator("details:not([open]) summary")
    if more.count():
        more.first.click()
    page.locator(f'input[name="card"][value="{card}"]').check()
    page.locator('button[value="pay"]').click()


def test_a_new_user_buys_the_middle_pack(user: httpx.Client, page: Page) -> None:
    """Registered, paid on the simulated page in a browser, told so, and the credits are there."""
    before = balance(user)
    made = checkout(user, package="pro")
    page.goto(made["url"])
    expect(page.get_by_text("TEST MODE")).to_be_visible()
    expect(page.get_by_text("$40.00").first).to_be_visible()
    assert before == balance(user)
    pay(page, "4242424242424242")
    page.wait_for_url("**/billing/success**")
    expect(page.get_by_role("heading", name="Paid")).to_be_visible()
    expect(page.get_by_text("5000 credits were added.")).to_be_visible()
    assert before + 5000 == balance(user)
    [payment] = user.get("/billing/payments").json()["payments"]
    assert ("succeeded", 40, 5000) == (payment["status"], payment["amount"], payment["credits"])
    page.reload()  # the success page, once more
    assert before + 5000 == balance(user)


def test_a_declined_card_adds_nothing_and_another_one_does(user: httpx.Client, page: Page) -> None:
    """The page says what is wrong, stays open, and takes the next card."""
    before = balance(user)
    made = checkout(user, amount=12.5)
    page.goto(made["url"])
    pay(page, "4000000000009995")
    expect(page.get_by_text("insufficient funds", exact=False).first).to_be_visible()
    assert before == balance(user)
    pay(page, "5555555555554444")
    page.wait_for_url("**/billing/success**")
    expect(page.get_by_text("1250 credits were added.")).to_be_visible()
    assert before + 1250 == balance(user)


def test_turning_back_and_a_forged_address_add_nothing(
    user: httpx.Client, page: Page, server: Server
) -> None:
    """The cancel page says that nothing was paid; the success page of an unpaid purchase says the same, whoever opens it."""
    before = balance(user)
    made = checkout(user, package="starter")
    page.goto(made["url"])
    page.locator('button[value="cancel"]').click()
    page.wait_for_url("**/billing/cancel**")
    expect(page.get_by_role("heading", name="Not paid yet")).to_be_visible()
    page.goto(page.url.replace("/cancel", "/success"))
    expect(page.get_by_role("heading", name="Not paid yet")).to_be_visible()
    page.goto(f"{server.url}/billing/success?payment={made['payment']}&token=guessed")
    expect(page.get_by_role("heading", name="No such payment")).to_be_visible()
    assert before == balance(user)


def test_a_payment_that_comes_later_is_told_as_what_it_is(user: httpx.Client, page: Page) -> None:
    """On its way: nothing is added before the money has come."""
    before = balance(user)
    page.goto(checkout(user, package="starter")["url"])
    pay(page, "4000000000002305")
    page.wait_for_url("**/billing/success**")
    expect(page.get_by_role("heading", name="On its way")).to_be_visible()
    assert before == balance(user)
