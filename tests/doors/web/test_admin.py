"""The dashboard of operators in a real browser, without scripts: every page, every form, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, ViewportSize

from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.services.operators import SESSION_LASTS
from tallystick.services.pricing import Usage
from tests.browser import open_browser
from tests.doors.mcp.connecting import PASSWORD, Installation
from tests.doors.web.axe import serious
from tests.receivers import Receiver, answering, emit, outgoing

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}


class Office:
    """A server in whose books much has happened, and an operator's browser."""

    def __init__(self, server: Installation, page: Page) -> None:
        self.server, self.tally, self.page = server, server.tally, page
        self.complaints: list[str] = []
        self.watch(page)
        made = self.tally.keys.create(SYSTEM, name="Olga", role="admin")
        self.key, self.key_id = made.key, to_text("key", made.id)
        customer = self.tally.customers.create(
            SYSTEM, external_id="ann", email="ann@example.test", metadata={"name": "Ann Ahlers"}
        )
        self.customer = to_text("cust", customer.value.id)
        usage = Usage(meter="lookup", customer="ann", quantity=1)
        self.charge = to_text("chg", self.tally.charges.create(SYSTEM, usage, idempotency_key="1").value.id)
        self.payment = self.pay()

    def pay(self) -> str:
        """A pack that was bought."""
        made = self.tally.checkouts.create(SYSTEM, customer="ann", package="small").value
        found = self.tally.simulated_payments
        assert found is not None
        found.pay(made.session_id, "4242424242424242", confirmed=False)
        self.tally.run_all()
        return to_text("pay", made.payment_id)

    def watch(self, page: Page) -> None:
        """Note what the browser says against a page."""
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def deliver(self) -> tuple[str, str]:
        """An endpoint of the operator's own that failed once: its id, and the delivery's."""
        outgoing(self.tally)
        with Receiver(answering(500)) as receiver:
            made = self.tally.endpoints.create(SYSTEM, url=receiver.url)
            self.server.clock.advance("PT1S")
            emit(self.tally, "ann")
            self.tally.delivery.run_once()
        [found] = self.tally.endpoints.deliveries(SYSTEM).items
        return to_text("whe", made.endpoint.id), to_text("whd", found.delivery.id)

    def sign_in(self, page: Page | None = None, path: str = "/admin") -> None:
        """Sign in on the way to a page, with the keyboard alone."""
        page = page or self.page
        page.goto(f"{self.server.url}{path}")
        self.show_key(page)
        page.wait_for_url(f"{self.server.url}{path}")

    def show_key(self, page: Page | None = None) -> None:
        """Type the key into the field that has the focus by itself."""
        page = page or self.page
        page.locator("[name=api_key]:focus").wait_for()
        page.keyboard.type(self.key)
        page.keyboard.press("Enter")

    def go(self, path: str, page: Page | None = None) -> str:
        """Look at a page; gives its words."""
        page = page or self.page
        page.goto(f"{self.server.url}{path}")
        return page.inner_text("main")

    def tab(self) -> Page:
        """A second tab of the same browser."""
        tab = self.page.context.new_page()
        self.watch(tab)
        return tab

    def available(self) -> int:
        """What the customer can spend, in whole credits."""
        return self.tally.billing.balance(SYSTEM, customer="ann").available // 1_000_000

    def fill(self, reason: str, button: str, page: Page | None = None, **fields: str) -> str:
        """Fill in the form of a button and press it; gives what the next page says."""
        page = page or self.page
        form = page.locator("form", has=page.get_by_role("button", name=button, exact=True))
        for name, value in fields.items():
            form.locator(f"[name={name}]").fill(value)
        form.locator("[name=reason]").fill(reason)
        press(form.get_by_role("button", name=button, exact=True))
        return page.inner_text("main")


def press(button: Locator) -> None:
    """Send a form, and wait for what it leads to: the same address may come back as another page."""
    with button.page.expect_navigation():
        button.click()


@contextmanager
def office(url: str, folder: Path) -> Iterator[Office]:
    """An operator's browser; at the end it has complained of nothing that a page was told not to load."""
    with Installation(url, folder) as server, open_browser() as first:
        browser = first.context.browser
        assert browser is not None
        # No scripts at all, and a context of its own, which may have several tabs.
        context = browser.new_context(viewport=PHONE, java_script_enabled=False)
        found = Office(server, context.new_page())
        yield found
        complaints = [each for each in found.complaints if "status of 4" not in each]
        assert not complaints, complaints


def pages(found: Office) -> list[str]:
    """Every page, with something on each."""
    endpoint, delivery = found.deliver()
    simulated = found.tally.simulated_payments
    assert simulated is not None
    provider = found.tally.checkouts.get(SYSTEM, found.pay())
    simulated.act(str(provider.reference), "dispute")
    found.tally.run_all()
    [action] = found.tally.operator_actions.list(limit=1).items
    return [
        "/admin",
        "/admin?words=Ahlers",
        "/admin?words=nobody",
        f"/admin/customers/{found.customer}",
        f"/admin/customers/{found.customer}/statement",
        f"/admin/charges/{found.charge}",
        "/admin/payments",
        f"/admin/payments/{found.payment}",
        f"/admin/payments/{to_text('pay', provider.id)}",
        "/admin/disputes",
        "/admin/reconciliation",
        "/admin/tasks",
        "/admin/tasks?show=all",
        "/admin/deliveries",
        f"/admin/deliveries/{delivery}",
        "/admin/endpoints",
        f"/admin/endpoints/{endpoint}",
        "/admin/economy",
        "/admin/health",
        "/admin/audit",
        "/admin/actions",
        f"/admin/actions/{to_text('act', action.id)}",
        "/admin/customers/nobody",
    ]


def test_everybody_can_use_every_page(sqlite_url: str, tmp_path: Path) -> None:
    """Axe finds nothing serious in the light or in the dark, and nothing is wider than a telephone; nor are errors."""
    with office(sqlite_url, tmp_path) as found:
        found.sign_in(path=f"/admin/customers/{found.customer}")
        found.fill("a gift", "Give these credits", amount="5")
        everything = pages(found)
        browser = found.page.context.browser
        assert browser is not None
        looking = browser.new_context(
            viewport=PHONE, storage_state=found.page.context.storage_state(), color_scheme="dark"
        ).new_page()
        found.watch(looking)
        for path in everything:
            found.go(path, looking)
            assert (path, []) == (path, serious(looking))
            assert (path, 390) == (path, looking.evaluate("document.documentElement.scrollWidth"))
            assert 1 == looking.locator("h1").count()
        looking.emulate_media(color_scheme="light")
        for path in everything[3:6]:
            found.go(path, looking)
            assert (path, []) == (path, serious(looking))
        looking.keyboard.press("Tab")
        assert "Skip to the content" == looking.locator(":focus").inner_text()
        for heading, ends in (("ann", False), ("Your session has ended", True)):
            found.go(f"/admin/customers/{found.customer}", looking)
            if ends:
                looking.context.clear_cookies()
            found.fill("a gift", "Give these credits", looking, amount="many")
            assert (heading, []) == (looking.inner_text("h1"), serious(looking))
        found.go("/admin", looking)
        assert [] == serious(looking)
        for words in ("“Olga”", "Reconciliation", "Sign out"):
            assert words in found.page.inner_text("body")


def test_credits_are_given_and_a_charge_goes_back(sqlite_url: str, tmp_path: Path) -> None:
    """From the search to the record of it: what was filled in wrongly is named and kept, and a double click acts once."""
    with office(sqlite_url, tmp_path) as found:
        found.sign_in()
        page = found.page
        page.fill("[name=words]", "ahlers")
        page.keyboard.press("Enter")
        page.click(f"text={found.customer}")
        assert 199 == found.available()
        said = found.fill("a gift for waiting", "Give these credits", amount="1.2345678")
        assert "expected" in page.inner_text("[role=alert]")
        assert "1.2345678" == page.input_value("[name=amount]")
        assert (
            "a gift for waiting" in said
            or "a gift for waiting" == page.locator(".panel [name=reason]").last.input_value()
        )
        page.fill("[name=amount]", "50")
        page.get_by_role("button", name="Give these credits").dblclick()
        page.wait_for_url("**done=act_*")
        assert "50 credits were granted" in page.inner_text("[role=status]")
        page.reload()
        assert 249 == found.available()

        page.click(f"text={found.charge}")
        found.fill("it never came", "Give back")
        assert "1 credit went back" in page.inner_text("[role=status]")
        assert "Nothing is left to give back" in page.inner_text("main")
        assert 250 == found.available()

        said = found.go("/admin/actions?operator=Olga")
        assert 1 == said.count("a gift for waiting")
        assert "refund charge" in said
        page.select_option("[name=action]", "grant")
        press(page.get_by_role("button", name="Show"))
        assert "it never came" not in page.inner_text("main")
        press(page.locator("table a").first)
        assert "Amount" in page.inner_text("main")


def test_a_wallet_is_frozen_and_thawed(sqlite_url: str, tmp_path: Path) -> None:
    """The form stands folded beside the wallet, and turns into its opposite."""
    with office(sqlite_url, tmp_path) as found:
        found.sign_in(path=f"/admin/customers/{found.customer}")
        page = found.page
        page.click("summary:has-text('Freeze the credits wallet')")
        wallet = page.get_by_label("Wallet in credits")
        wallet.locator("[name=reason]").fill("a doubt")
        press(wallet.get_by_role("button"))
        assert "Frozen since" in page.get_by_label("Wallet in credits").inner_text()
        page.click("summary:has-text('Thaw the credits wallet')")
        wallet.locator("[name=reason]").fill("no doubt any more")
        press(wallet.get_by_role("button"))
        assert "Frozen since" not in page.get_by_label("Wallet in credits").inner_text()


def test_two_tabs_give_a_payment_back_once(sqlite_url: str, tmp_path: Path) -> None:
    """The second one is told that nothing is left, and both are written down."""
    with office(sqlite_url, tmp_path) as found:
        path = f"/admin/payments/{found.payment}"
        found.sign_in(path=path)
        second = found.tab()
        found.go(path, second)
        assert "$1 was paid back" in found.fill("a complaint", "Pay back")
        assert "expected at most the $0 that are left" in found.fill("a complaint", "Pay back", second)
        assert 99 == found.available()
        assert {"done", "refused"} == {row.status for row in found.tally.operator_actions.list().items}


def test_deliveries_are_sent_again(sqlite_url: str, tmp_path: Path) -> None:
    """One by one, or all that an endpoint missed; one that was given up is enabled first."""
    with office(sqlite_url, tmp_path) as found:
        endpoint, delivery = found.deliver()
        found.sign_in(path="/admin/deliveries")
        page = found.page
        press(page.locator("table a").first)
        assert "is sent again" in found.fill("their server is back", "Send again")
        assert delivery in page.inner_text("h1")
        row = found.tally.endpoints.delivery(SYSTEM, delivery).delivery
        assert ("pending", 0) == (row.status, row.attempts)
        found.go(f"/admin/endpoints/{endpoint}")
        said = found.fill("they lost a day", "Send again", since="2027-01-01T00:00")
        assert "3 notifications are sent again" in said
        found.tally.database.transact(
            lambda connection: connection.exec_driver_sql("UPDATE endpoints SET status = 'disabled'")
        )
        found.go(f"/admin/deliveries/{delivery}")
        assert "The endpoint is disabled: enable it first" in found.fill("again", "Send again")
        found.go(f"/admin/endpoints/{endpoint}")
        assert "is sent to" in found.fill("it works again", "Enable")


def wait_for(found: Office, words: str) -> str:
    """Look again until the page says so."""
    end = time.monotonic() + 30
    while words not in (said := found.page.inner_text("main")):
        assert time.monotonic() < end, said
        press(found.page.get_by_role("link", name="Look again"))
    return said


def test_books_are_reconciled_and_audited(sqlite_url: str, tmp_path: Path) -> None:
    """Beside the requests; the page tells the result, what is wrong too, and keeps it."""
    with office(sqlite_url, tmp_path) as found:
        found.sign_in(path="/admin/reconciliation")
        found.fill("the end of the month", "Reconcile")
        wait_for(found, "Nothing differs")
        found.go("/admin/audit")
        assert "No audit was run" in found.page.inner_text("main")
        found.fill("the end of the month", "Audit")
        wait_for(found, "Every rule holds")
        found.tally.database.transact(
            lambda connection: connection.exec_driver_sql("UPDATE wallets SET balance = balance + 1")
        )
        found.go("/admin/audit")
        found.fill("a doubt", "Audit")
        said = wait_for(found, "Not every rule holds")
        assert "wallets" in said


def test_the_economy_says_what_changed(sqlite_url: str, tmp_path: Path) -> None:
    """Between the active version and the one before, or any two."""
    with office(sqlite_url, tmp_path) as found:
        path = tmp_path / "door.toml"
        path.write_text(path.read_text().replace('title = "Door"', 'title = "Gate"'))
        found.server.clock.advance("P1D")
        found.tally.economies.activate(str(path))
        found.sign_in(path="/admin/economy")
        said = found.page.inner_text("main")
        assert all(words in said for words in ("economy title", "Door", "Gate", "active"))
        found.page.select_option("[name=old]", index=0)
        press(found.page.get_by_role("button", name="Compare"))
        assert "Nothing differs" in found.page.inner_text("main")


def test_a_session_that_has_ended_does_nothing_and_leads_back(sqlite_url: str, tmp_path: Path) -> None:
    """After its time, and when its key is revoked while a form is being filled in."""
    with office(sqlite_url, tmp_path) as found:
        path = f"/admin/customers/{found.customer}"
        found.sign_in(path=path)
        found.server.clock.micros += SESSION_LASTS
        said = found.fill("a gift", "Give these credits", amount="50")
        assert "Nothing was done" in said
        found.page.get_by_role("link", name="Sign in").click()
        found.show_key()
        found.page.wait_for_url(f"{found.server.url}{path}")
        found.tally.keys.revoke(SYSTEM, found.key_id)
        assert "Nothing was done" in found.fill("a gift", "Give these credits", amount="50")
        assert 199 == found.available()
        found.go(path)
        found.show_key()
        assert "no API key that holds" in found.page.inner_text("[role=alert]")


def test_a_customer_is_no_operator(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever has signed in to /billing, and whoever has a key of another role."""
    with office(sqlite_url, tmp_path) as found:
        page = found.page
        page.goto(f"{found.server.url}/sign-in")
        page.fill("[name=email]", "ada@example.test")
        page.fill("[name=password]", PASSWORD)
        press(page.locator("button[value=register]"))
        found.go("/admin")
        assert "Sign in as an operator" in page.inner_text("h1")
        page.fill("[name=api_key]", found.tally.keys.create(SYSTEM, name="app", role="service").key)
        page.keyboard.press("Enter")
        assert "expected an API key of the role admin" in page.inner_text("[role=alert]")
        found.sign_in()
        press(page.get_by_role("button", name="Sign out"))
        found.go("/admin/payments")
        assert "Sign in as an operator" in page.inner_text("h1")
