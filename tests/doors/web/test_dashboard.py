"""Every page of the dashboard in a real browser: what is shown, who can use it, and what no page does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core.ids import to_text
from tallystick.core.times import DAY
from tallystick.core.words import ENTRY_TYPES
from tallystick.services.context import SYSTEM
from tallystick.web.words import ENTRY_WORDS
from tests.doors.web.axe import serious
from tests.doors.web.dashboard import PAGES, Dashboard, dashboard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Somebody with some of everything."""
    folder: Path = tmp_path_factory.mktemp("dashboard")
    with dashboard(f"sqlite:///{folder / 'dashboard.db'}", folder) as made:
        fill(made)
        yield made


def fill(made: Dashboard) -> None:
    """Some of everything that pages show."""
    made.tally.keys.create(made.caller, name="Reader", budget=(5, None, "day"))
    made.tally.budgets.put(made.caller, level="agent", subject="scout", amount=50, per="month")
    made.tally.endpoints.create(made.caller, url="https://example.com/hook")
    made.grant(
        30, key="g1", category="promotional_grant", reason="Spring", expires_at=made.server.clock() + 9 * DAY
    )
    made.charge("lookup", 1, key="c1", agent="scout")
    made.charge("tiered", 12, key="c2")
    made.tally.checkouts.create(made.caller, package="middle")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_page(found: Dashboard, scheme: str) -> None:
    """In both schemes, on a telephone of 320 pixels: axe finds nothing serious, and no page is wider than the screen."""
    page = found.page
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    found.go("/billing/transactions")
    explained = [each.get_attribute("href") or "" for each in page.get_by_text("Explain").all()]
    found.go("/billing/webhooks")
    hook = page.locator("tbody a").get_attribute("href") or ""
    others = ("/billing/success", "/billing/transactions/txn_1", "/sign-in")
    for path in (*PAGES, explained[0], explained[-1], hook, *others):
        words = found.go(path)
        assert len(words) > 20
        assert (path, []) == (path, serious(page))
        assert (path, 320) == (path, page.evaluate("document.documentElement.scrollWidth"))
        assert (path, 1) == (path, page.locator("h1").count())


def test_the_balance_is_that_of_now(found: Dashboard) -> None:
    """It changes while somebody looks, and the page says when it cannot any more."""
    page = found.page
    found.go("/billing")
    before = page.inner_text(".amount")
    found.grant(7, key="live")
    page.wait_for_function("before => document.querySelector('.amount').innerText !== before", arg=before)
    assert int(before.split()[0]) + 7 == int(page.inner_text(".amount").split()[0])

    elsewhere = found.tab()
    found.go("/billing", elsewhere)
    elsewhere.click("text=Sign out")
    elsewhere.wait_for_url("**/sign-in?*")
    page.wait_for_selector("text=You were signed out")
    found.sign_in(elsewhere)
    elsewhere.close()


def test_a_balance_says_what_is_held_and_what_ends_next(found: Dashboard) -> None:
    """Held credits are told apart from those that can be spent, and the soonest end is named."""
    found.tally.holds.create_amount(
        SYSTEM, amount=5, customer=found.customer, idempotency_key="hold", expires_in=3600
    )
    words = found.go("/billing")
    assert "5 more are held for work under way" in words
    assert "expire next, on 2027-01-19 12:00 UTC" in words


def test_the_chart_and_the_tables_have_the_same_figures(found: Dashboard) -> None:
    """A bar for each meter, a line for what was earned, figures under the pointer, and all of it as text."""
    page = found.page
    page.set_viewport_size({"width": 1000, "height": 800})
    words = found.go("/billing/usage?period=7d")
    today = page.locator(".chart .bars path").nth(6)
    today.wait_for()
    assert ["tiered", "lookup", "earned"] == [
        each.text_content() for each in page.locator(".chart .legendtext").all()
    ]
    bar = today.bounding_box()
    assert bar is not None
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    page.wait_for_selector(".chart .hoverlayer .legend")
    assert "tiered : 11 credits" in (page.locator(".chart .hoverlayer").text_content() or "")
    assert "you spent 12 credits and earned 0 credits" in words
    assert "tiered 11, lookup 1" in words
    for period in ("7d", "30d", "90d"):
        found.go(f"/billing/usage?period={period}")
        assert f"{period[:-1]} days" == page.locator("[aria-label=Periods] [aria-current]").inner_text()
    assert "expected one of 7d, 30d, 90d" in found.go("/billing/usage?period=1y")


def test_transactions_are_found_by_type_and_day(found: Dashboard) -> None:
    """Filters are kept, and what cannot be a day is answered with what was expected."""
    page = found.page
    found.go("/billing/transactions")
    page.select_option("select[name=type]", "promotional_grant")
    page.fill("input[name=to]", "2027-01-10")
    page.click("text=Show")
    assert ["Promotion\nSpring"] == [
        each.inner_text() for each in page.locator("tbody td:nth-child(2)").all()
    ]
    assert "promotional_grant" == page.input_value("select[name=type]")
    assert "There are no such transactions" in found.go("/billing/transactions?to=2027-01-09")
    assert "From: expected a day such as 2027-01-31" in found.go("/billing/transactions?from=yesterday")
    assert "expected one of" in found.go("/billing/transactions?type=magic")


def test_a_transaction_is_explained(found: Dashboard) -> None:
    """Which credits gave what, at which price, with which budget; another customer's is not found."""
    found.go("/billing/transactions?type=usage")
    found.page.get_by_text("Explain").last.click()
    words = found.page.inner_text("main")
    assert "lookup: 1 credit for a quantity of 1" in words
    assert "Promotion (Spring), free, expiring 2027-01-19 12:00 UTC" in words
    assert "budget:agent:scout: 1 credit" in words
    assert "Nobody has edited it" in words
    found.go("/billing/transactions?type=usage")
    found.page.get_by_text("Explain").first.click()
    working = found.page.inner_text("main")
    assert "10 at 1 each: 10\n2 at 0.5 each: 1" in working
    other = found.tally.identity.register("eve@example.test", "correct horse battery")
    eve = found.tally.identity.authenticate(other.token, found.server.clock())
    [line, *_] = found.tally.billing.transactions(eve).items
    assert "transaction" in found.go(f"/billing/transactions/{to_text('txn', line.id)}")
    assert "Not found" == found.page.inner_text("h1")


def test_every_unit_has_its_pages(found: Dashboard) -> None:
    """Whoever has dollars beside credits sees them, live too; a unit that there is not is told as that."""
    page = found.page
    found.go("/billing")
    page.click("[aria-label=Units] >> text=USD")
    page.wait_for_url("**/billing?unit=USD")
    assert "5 USD" == page.inner_text(".amount")
    found.grant(2, key="dollars", unit="USD")
    page.wait_for_selector(".amount:has-text('7 USD')")
    found.go("/billing/transactions")
    page.click("[aria-label=Units] >> text=USD")
    page.select_option("select[name=type]", "bonus")
    page.click("text=Show")
    page.wait_for_url("**unit=USD*")
    assert ["+2"] == [each.inner_text() for each in page.locator("tbody td:nth-child(3)").all()]
    assert "spent 0 USD and earned 0 USD" in found.go("/billing/usage?unit=USD")
    assert "gold" in found.go("/billing?unit=gold")
    assert "Unknown unit" == page.inner_text("h1")


def test_pages_work_without_scripts(found: Dashboard) -> None:
    """Everything but the chart and the live balance: a key is made, and a form is refused with words."""
    browser = found.page.context.browser
    assert browser is not None
    plain = browser.new_context(java_script_enabled=False).new_page()
    found.sign_in(plain)
    assert "You can spend this now" in plain.inner_text("main")
    found.go("/billing/keys", plain)
    plain.fill("input[name=name]", "No scripts")
    plain.click("text=Make the key")
    assert plain.inner_text(".secret").startswith("tly_")
    assert "By day" in found.go("/billing/usage", plain)
    plain.context.close()


def test_somebody_pays_and_is_told_by_the_payment(found: Dashboard) -> None:
    """The banner follows the payment's state: bought, turned back, nobody else's, none at all."""
    page = found.page
    found.go("/billing")
    page.click("button[value=large]")
    page.wait_for_url("**/simulated/checkout/*")
    page.click("button[value=cancel]")
    page.wait_for_url("**/billing/cancel?*")
    assert "Not paid yet" in page.inner_text(".banner")
    cancelled = page.url
    page.click("text=Back to the page to pay on")
    page.wait_for_url("**/simulated/checkout/*")
    page.click("button[value=pay]")
    page.wait_for_url("**/billing/success?*")
    assert "2500 credits were added" in page.inner_text(".banner")
    page.goto(cancelled)  # the address says one thing, the payment another
    assert "Paid" == page.inner_text(".banner h1")
    standing = "No plan is paid for. The card that is charged for refills is visa •••• 4242."
    assert standing in found.go("/billing/success")
    assert "As it stands now" == page.inner_text(".banner h1")
    words = found.go("/billing/payments")
    assert "$15.00" in words
    page.click("text=Invoice")
    assert "$15.00" in page.inner_text("main")


def test_nobody_is_thanked_without_a_session(found: Dashboard) -> None:
    """An address without a payment leads to signing in, and back to what really stands."""
    browser = found.page.context.browser
    assert browser is not None
    stranger = browser.new_context().new_page()
    assert "Thank you" not in found.go("/billing/success?plan=plan_1", stranger)
    assert "/sign-in" in stranger.url
    stranger.context.close()


def test_each_type_of_entry_has_words() -> None:
    """A new type needs a name and a meaning for people."""
    assert set(ENTRY_WORDS) == ENTRY_TYPES
