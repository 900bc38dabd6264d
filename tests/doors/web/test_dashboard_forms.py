"""Every form of the dashboard in a real browser: done, refused, sent twice, sent late, and from a second tab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.ids import to_text
from tests.doors.mcp.connecting import PASSWORD
from tests.doors.web.dashboard import EMAIL, Dashboard, dashboard
from tests.receivers import Receiver, answering, outgoing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Somebody at the dashboard."""
    folder: Path = tmp_path_factory.mktemp("forms")
    with dashboard(f"sqlite:///{folder / 'forms.db'}", folder) as made:
        yield made


def make_key(found: Dashboard, name: str) -> str:
    """A key made on the page; gives what is shown once."""
    page = found.page
    found.go("/billing/keys")
    page.fill("input[name=name]", name)
    page.click("text=Make the key")
    return page.inner_text(".secret")


def test_a_key_is_shown_once_and_revoked_in_two_tabs(found: Dashboard) -> None:
    """It works until it is revoked; the tab that comes second finds it revoked, and breaks nothing."""
    page = found.page
    key = make_key(found, "Robot")
    assert (
        found.caller.customer_id == found.tally.identity.authenticate(key, found.server.clock()).customer_id
    )
    assert key not in found.go("/billing/keys")
    other = found.tab()
    found.go("/billing/keys", other)
    for tab in (page, other):
        row = tab.locator("tr", has_text="Robot")
        row.locator("summary").click()
        row.locator("button").click()
        tab.wait_for_selector("tr:has-text('Robot') >> text=Revoked 2027-01-10")
    with pytest.raises(errors.NotAuthenticated):
        found.tally.identity.authenticate(key, found.server.clock())
    other.close()


def test_a_form_that_is_sent_twice_makes_one_key(found: Dashboard) -> None:
    """By two clicks, or by loading the answer again: one key, and whoever comes second is told."""
    page = found.page
    found.go("/billing/keys")
    page.fill("input[name=name]", "Twice")
    page.dblclick("text=Make the key")
    assert page.inner_text(".secret").startswith("tly_")
    page.reload()
    assert "This form was sent already" in page.inner_text("[role=alert]")
    assert 1 == page.locator("tbody th", has_text="Twice").count()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "Poor", "amount": "many"}, "Budget: expected"),
        ({"name": "Past", "expires": "2027-01-01"}, "End: expected a time in the future"),
    ],
)
def test_a_wrong_key_is_refused_with_words(found: Dashboard, fields: dict[str, str], problem: str) -> None:
    """The field is named with what was expected, and the form can be sent again."""
    page = found.page
    found.go("/billing/keys")
    for name, value in fields.items():
        page.fill(f"input[name={name}]", value)
    page.click("text=Make the key")
    assert problem in page.inner_text("[role=alert]")
    assert 0 == page.locator("tbody th", has_text=fields["name"]).count()
    for name, value in fields.items():
        assert value == page.input_value(f"input[name={name}]")
        page.fill(f"input[name={name}]", "")
    page.fill("input[name=name]", f"Good instead of {fields['name']}")
    page.click("text=Make the key")
    assert page.inner_text(".secret").startswith("tly_")


def test_budgets_are_set_changed_and_removed(found: Dashboard) -> None:
    """A second one of the same kind changes the first; one that is gone already is told as that."""
    page = found.page
    for amount in ("50", "20.5"):
        found.go("/billing/budgets")
        page.check("input[value=agent]")
        page.fill("input[name=agent]", "scout")
        page.fill("input[name=amount]", amount)
        page.click("text=Set the budget >> visible=true")
        page.wait_for_selector(f"td:has-text('{amount} credits a day')")
    assert 1 == page.locator("tbody tr").count()
    other = found.tab()
    found.go("/billing/budgets", other)
    for tab in (page, other):
        tab.click("tbody summary")
        tab.click("tbody button")
        tab.wait_for_selector("text=There are no budgets")
    assert "budget" in other.inner_text("[role=alert]")
    page.fill("input[name=amount]", "-1")
    page.click("text=Set the budget >> visible=true")
    assert "Amount: expected" in page.inner_text("[role=alert]")
    other.close()


def test_a_plan_is_paid_first_and_ends_with_its_period(found: Dashboard) -> None:
    """The page tells what is paid and what follows, and that a page to pay on is still open."""
    page = found.page
    found.go("/billing/plan")
    page.dblclick("text=Change to Pro for $19.00 a month")
    page.wait_for_url("**/simulated/checkout/*")
    checkout = page.url
    assert "Pro is not paid yet" in found.go("/billing/plan")
    page.goto(checkout)
    page.locator("input[name=card]").first.check()
    page.click("button[value=pay]")
    page.wait_for_url("**/billing/success*")
    assert "The plan pro is active, until 2027-02-10, when it renews" in page.inner_text(".banner")
    assert "You are on the plan Pro" in found.go("/billing/plan")
    page.click("text=Change to Free")
    page.wait_for_selector("text=Pro is paid until 2027-02-10. Then Free follows.")
    page.click("text=Keep Pro")
    page.wait_for_selector("text=It is paid until 2027-02-10, when it renews.")
    found.go("/billing/payments")
    page.click("text=Open that page")
    page.wait_for_url("**/simulated/portal/*")


def test_a_webhook_is_made_tried_disabled_and_deleted(found: Dashboard) -> None:
    """Its secret is shown once, a test arrives, and what failed can be sent again."""
    page = found.page
    with Receiver() as receiver:
        outgoing(found.tally)
        found.go("/billing/webhooks")
        page.fill("input[name=url]", receiver.url)
        page.check("input[name='about balance']")
        page.click("button:has-text('Send events there')")
        secret = page.inner_text(".secret")
        assert secret.startswith("whsec_")
        hook = to_text("whe", found.tally.endpoints.list(found.caller).items[0].id)
        assert secret not in found.go(f"/billing/webhooks/{hook}")
        assert "is told balance.*" in page.inner_text("main")
        page.click("text=Send a test")
        page.wait_for_selector("td:has-text('a test')")
        receiver.answer = answering(500)
        found.tally.run_all()
        assert "500" in found.go(f"/billing/webhooks/{hook}?status=pending")
        page.click("text=New secret")
        assert secret != page.inner_text(".secret")
        assert "The one before signs too" in page.inner_text(".banner")
        page.click("text=Disable")
        page.wait_for_selector("text=It is disabled: disabled by hand")
        assert "dropped" in page.inner_text("table")
        page.click("button:has-text('Enable')")
        page.wait_for_selector("text=It is enabled")
        receiver.answer = answering(204)
        page.click("button:has-text('Send again')")
        page.wait_for_selector("td:has-text('pending')")
        found.tally.run_all()
        assert "delivered (204)" in found.go(f"/billing/webhooks/{hook}")
        other = found.tab()
        found.go(f"/billing/webhooks/{hook}", other)
        page.click("summary")
        page.click("text=Delete this webhook")
        page.wait_for_selector("text=Nothing is sent anywhere")
        other.click("text=Send a test")
        assert "endpoint" in other.inner_text("[role=alert]")
        other.close()


def test_a_webhook_of_a_private_address_is_refused(found: Dashboard) -> None:
    """Nobody has this server call its own network."""
    outgoing(found.tally, allow_private=False)
    page = found.page
    found.go("/billing/webhooks")
    page.fill("input[name=url]", "http://127.0.0.1:1/")
    page.click("button:has-text('Send events there')")
    assert "Address: expected a public address" in page.inner_text("[role=alert]")


def test_a_session_that_ended_changes_nothing(found: Dashboard) -> None:
    """Pages lead to signing in and back; a form is not carried out, and its sender is told so."""
    browser = found.page.context.browser
    assert browser is not None
    page = browser.new_context().new_page()
    found.sign_in(page)
    found.go("/billing/keys", page)
    page.context.clear_cookies()
    page.fill("input[name=name]", "Too late")
    page.click("text=Make the key")
    assert "You were signed out, and nothing was changed" in page.inner_text("main")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[value=sign_in]")
    page.wait_for_url("**/billing/keys")
    assert 0 == page.locator("tbody th", has_text="Too late").count()
    page.context.clear_cookies()
    found.go("/billing/transactions?type=usage", page)
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[value=sign_in]")
    page.wait_for_url("**/billing/transactions?type=usage")
    page.context.close()


def test_a_form_of_an_earlier_session_is_not_taken(found: Dashboard) -> None:
    """Whoever signed in anew in another tab loads the page again first."""
    page, other = found.page, found.tab()
    found.go("/billing/keys")
    found.sign_in(other)
    page.fill("input[name=name]", "Of before")
    page.click("text=Make the key")
    assert "Not taken" == page.inner_text("h1")
    other.close()


def test_a_page_that_there_is_not_says_so(found: Dashboard) -> None:
    """Addresses that somebody typed lead to words, not to an error."""
    for path in ("/billing/webhooks/whe_1", "/billing/transactions/txn_1", "/billing/transactions?cursor=x"):
        found.go(path)
        assert "Back" in found.page.inner_text("main")
