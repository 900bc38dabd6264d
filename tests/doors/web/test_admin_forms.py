"""What the pages of operators do with forms, without a browser: who may send them, how often, and what they say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock
from time import sleep
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.times import DAY
from tallystick.ports import OutcomeUnknown
from tallystick.ports.payments import Refund
from tallystick.services.context import SYSTEM
from tallystick.services.operator_actions import ACTIONS, Wish
from tallystick.services.operators import SIGN_INS_PER_IP
from tallystick.services.pricing import Usage
from tallystick.web import routers
from tests.doors.web.browser import Reader, Site

KEY_NAME = "Olga of the office"


class Desk:
    """An operator at a site with one customer, who keeps cookies."""

    def __init__(self, site: Site) -> None:
        self.site, self.tally = site, site.tally
        self.key = self.tally.keys.create(SYSTEM, name=KEY_NAME, role="admin").key
        made = self.tally.customers.create(
            SYSTEM, external_id="ann", email="ann@example.test", metadata={"name": "Ann Ahlers"}
        )
        self.customer = to_text("cust", made.value.id)
        self.path = f"/admin/customers/{self.customer}"

    def sign_in(self, key: str | None = None, return_to: str = "") -> httpx.Response:
        """Show a key."""
        return self.site.send("/admin/sign-in", api_key=self.key if key is None else key, return_to=return_to)

    def send(self, path: str, *forms: dict[str, str], **fields: str) -> httpx.Response:
        """Send a form from its own page."""
        own = {"Origin": self.site.server.url, "Sec-Fetch-Site": "same-origin"}
        merged = dict(pair for each in (*forms, fields) for pair in each.items())
        return self.site.client.post(path, data=merged, headers=own)

    def form(self, path: str) -> dict[str, str]:
        """The token and the key of a page's forms."""
        inputs = self.site.get(path).all("input")
        hidden = {str(each["name"]): str(each["value"]) for each in inputs if each.get("type") == "hidden"}
        return {name: hidden[name] for name in ("token", "key")}

    def paid(self) -> str:
        """A pack that the customer pays for; gives the payment's id."""
        made = self.tally.checkouts.create(SYSTEM, customer="ann", package="small").value
        page = made.url.removeprefix(self.tally.context.public_url)
        self.site.send(page, action="pay", card="4242424242424242")
        self.tally.run_all()
        return to_text("pay", made.payment_id)

    def available(self) -> int:
        """What the customer can spend, in micro-units."""
        return self.tally.billing.balance(SYSTEM, customer=self.customer).available


GRANT = {
    "action": "grant",
    "amount": "50",
    "unit": "credits",
    "category": "bonus",
    "expires_at": "",
    "reason": "a gift",
}


@pytest.fixture
def desk(site: Site) -> Desk:
    """An operator who has signed in."""
    found = Desk(site)
    assert 303 == found.sign_in().status_code
    return found


# --- signing in ----------------------------------------------------------------------------------------------------


def test_nobody_sees_a_page_without_signing_in(site: Site) -> None:
    """Every page leads to where one signs in, and back; a form is told that nothing was done."""
    desk = Desk(site)
    answer = site.client.get("/admin/payments?customer=ann")
    assert (303, "/admin/sign-in?return_to=%2Fadmin%2Fpayments%3Fcustomer%3Dann") == (
        answer.status_code,
        answer.headers["location"],
    )
    answer = desk.send(desk.path, GRANT, token="guessed", key="k")
    assert (403, True) == (answer.status_code, "Nothing was done" in answer.text)
    assert 100_000_000 == desk.available()


def test_who_is_no_admin_gets_nowhere(site: Site) -> None:
    """A customer's key, a service's, and the session of a user who has signed in to /billing."""
    desk = Desk(site)
    for role, customer in (("service", None), ("user", "ann")):
        key = desk.tally.keys.create(SYSTEM, name="other", role=role, customer=customer).key
        answer = desk.sign_in(key)
        assert (403, True) == (answer.status_code, "expected an API key of the role admin" in answer.text)
    assert 422 == desk.sign_in("a guess").status_code
    site.send("/sign-in", email="ada@example.test", password="correct horse", action="register")
    assert "/admin/sign-in" in site.client.get("/admin").headers["location"]


def test_the_cookie_stays_where_it_belongs(desk: Desk) -> None:
    """Out of the reach of scripts, and gone after signing out."""
    answer = desk.sign_in()
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; ")[1:])
    token = desk.form(desk.path)["token"]
    assert 403 == desk.site.send("/admin/sign-out", token="guessed").status_code
    assert 303 == desk.site.send("/admin/sign-out", token=token).status_code
    assert 303 == desk.site.client.get("/admin").status_code


@pytest.mark.parametrize("place", ["https://evil.example/admin", "//evil.example", "/billing", "/admin\n/x"])
def test_signing_in_leads_nowhere_else(desk: Desk, place: str) -> None:
    """Wherever the address that was sent leads."""
    assert "/admin" == desk.sign_in(return_to=place).headers["location"]


def test_guessing_keys_is_throttled(site: Site) -> None:
    """And the page says so."""
    desk = Desk(site)
    for _ in range(SIGN_INS_PER_IP.limit):
        assert 422 == desk.sign_in("a guess").status_code
    answer = desk.sign_in("a guess")
    assert (429, True) == (answer.status_code, f"At most {SIGN_INS_PER_IP.limit}" in answer.text)


def test_nobody_is_signed_in_or_acts_from_elsewhere(desk: Desk) -> None:
    """Another site has neither the browser's word nor the token of the session."""
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    answer = desk.site.send("/admin/sign-in", headers=elsewhere, api_key=desk.key)
    assert (403, False) == (answer.status_code, "set-cookie" in answer.headers)
    form = desk.form(desk.path)
    assert 403 == desk.site.client.post(desk.path, data=form | GRANT, headers=elsewhere).status_code
    assert 403 == desk.send(desk.path, form, GRANT, token="guessed").status_code
    assert 100_000_000 == desk.available()


def test_a_page_is_kept_by_nobody_and_loads_nothing(desk: Desk) -> None:
    """It tells of other people's money."""
    headers = desk.site.client.get(desk.path).headers
    assert "no-store" == headers["cache-control"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


# --- forms ---------------------------------------------------------------------------------------------------------


def test_a_form_acts_once_however_often_it_is_sent(desk: Desk) -> None:
    """A double click and a reload lead to the same place, and a form of another tab acts by itself."""
    one, two = desk.form(desk.path), desk.form(desk.path)
    first = desk.send(desk.path, one, GRANT)
    again = desk.send(desk.path, one, GRANT)
    assert (303, first.headers["location"]) == (again.status_code, again.headers["location"])
    assert 150_000_000 == desk.available()
    seen = desk.site.get(first.headers["location"])
    assert "50 credits were granted" in seen.words
    desk.send(desk.path, two, GRANT)
    assert 200_000_000 == desk.available()
    actions = desk.site.get(f"/admin/actions?customer=ann&operator={KEY_NAME}&action=grant&status=done")
    assert 2 == actions.words.count("a gift")


def test_a_form_that_was_changed_and_sent_again_does_nothing(desk: Desk) -> None:
    """As with the back button: the page says what stands, with a new form."""
    form = desk.form(desk.path)
    desk.send(desk.path, form, GRANT)
    answer = desk.send(desk.path, form, GRANT, amount="70")
    assert (409, True) == (answer.status_code, "sent before with other contents" in answer.text)
    assert 150_000_000 == desk.available()
    assert form["key"] not in answer.text


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"amount": "-5"}, "Amount: expected"),
        ({"amount": "many"}, "Amount: expected"),
        ({"amount": ""}, "Amount: expected"),
        ({"unit": "pebbles"}, "pebbles"),
        ({"category": "purchases"}, "expected one of"),
        ({"category": "purchase"}, "Category: expected one of"),
        ({"category": "auto_refill"}, "Category: expected one of"),
        ({"expires_at": "tomorrow"}, "expected a day like 2027-01-31"),
        ({"expires_at": "2020-01-01"}, "End: expected"),
        ({"reason": " "}, "expected why you do this"),
        ({"reason": "x" * 501}, "expected 1 to 500 characters"),
        ({"key": ""}, "load the page again"),
        ({"action": "shout"}, "expected one of the page's buttons"),
    ],
)
def test_what_is_filled_in_wrongly_is_named_and_kept(
    desk: Desk, wrong: dict[str, str], expected: str
) -> None:
    """The page is there again with what was filled in, and nothing was done."""
    answer = desk.send(desk.path, desk.form(desk.path), GRANT, wrong)
    assert 400 <= answer.status_code < 500
    assert expected in Reader(answer.text).words
    kept = GRANT | wrong
    if not {"reason", "action"} & set(wrong):
        assert kept["reason"] in answer.text
    assert 100_000_000 == desk.available()


# What each kind of action is about; nothing where that is the customer, or the installation.
ABOUT = dict.fromkeys(("grant", "void_grant", "claw_back", "freeze", "thaw", "reconcile", "audit")) | {
    "refund_charge": "chg_0000000000001",
    "decide_task": "task_0000000000001",
    "refund_payment": "pay_0000000000001",
    "replay_delivery": "whd_0000000000001",
    "replay_endpoint": "whe_0000000000001",
    "enable_endpoint": "whe_0000000000001",
}


@pytest.mark.parametrize("kind", [*ACTIONS, "of a later version"])
def test_every_kind_of_action_has_its_page(desk: Desk, kind: str) -> None:
    """With a link to what it was about, if that has a page; what is not known is shown as it is."""
    about = ABOUT[kind] if kind in ACTIONS else "box_1"
    operator = desk.tally.operators.authenticate(desk.site.client.cookies["tally-operator"])
    wish = Wish(kind, "because", "k", desk.tally.customers.resolve(SYSTEM, "ann"), about)
    row = desk.tally.operator_actions.within(operator, wish, lambda _connection: "done").value
    page = desk.site.get(f"/admin/actions/{to_text('act', row.id)}")
    assert "because" in page.words
    if about is not None:
        assert about in page.words
        linked = [each["href"] for each in page.all("a") if str(each.get("href")).endswith(about)]
        assert (kind in ACTIONS) == bool(linked)


def test_what_an_admin_did_elsewhere_is_shown_with_its_door(desk: Desk) -> None:
    """Also where no reason was given."""
    operator = desk.tally.operators.authenticate(desk.site.client.cookies["tally-operator"])
    caller = replace(operator.caller, door="cli")
    desk.tally.grants.create(caller, customer="ann", amount=5, category="bonus", idempotency_key="k")
    [row] = desk.tally.operator_actions.list(action="grant").items
    assert f"{row.operator} (command line)" in desk.site.get("/admin/actions").words
    words = desk.site.get(f"/admin/actions/{to_text('act', row.id)}").words
    assert "command line" in words
    assert "No reason was given" in words


def test_freezing_and_thawing(desk: Desk) -> None:
    """A frozen wallet is told on its page, and the form becomes the one to thaw it."""
    for action, expected in (("freeze", "Frozen since"), ("thaw", "Freeze the credits wallet")):
        fields = {"action": action, "unit": "credits", "reason": "a doubt"}
        answer = desk.send(desk.path, desk.form(desk.path), fields)
        words = desk.site.get(answer.headers["location"]).words
        assert expected in words
        assert (action == "freeze") == ("cannot be spent while the wallet is frozen" in words)


@pytest.mark.parametrize(
    "path",
    [
        "/admin/customers/nobody",
        "/admin/customers/nobody/statement",
        "/admin/charges/chg_1",
        "/admin/payments/pay_1",
        "/admin/deliveries/whd_1",
        "/admin/endpoints/whe_1",
        "/admin/actions/act_1",
        "/admin/economy?old=1&new=2",
        "/admin/economy?old=%00",
        "/admin/economy?new=%00",
        "/admin/payments?customer=nobody",
        "/admin/actions?customer=nobody",
    ],
)
def test_what_is_not_there_is_said_so(desk: Desk, path: str) -> None:
    """With the way back, and no internals."""
    assert "here is no" in desk.site.get(path, status=404).words


@pytest.mark.parametrize(
    "path",
    [
        "/admin?cursor=x",
        "/admin/actions?status=maybe",
        "/admin/actions?action=maybe",
        "/admin/deliveries?status=maybe",
        "/admin/customers/ann/statement?type=maybe",
        "/admin/customers/ann/statement?from=maybe",
        "/admin?words=%00",
    ],
)
def test_what_is_asked_wrongly_is_named(desk: Desk, path: str) -> None:
    """A filter that does not exist, and a cursor that no page gave."""
    assert "Go back and correct it" in desk.site.get(path, status=422).words


def test_a_grant_over_rest_is_shown_with_its_terms(desk: Desk) -> None:
    """Also those that the dashboard's own form has no fields for, with times as people read them."""
    who = desk.tally.identity.authenticate(desk.key, desk.site.clock())
    terms: dict[str, Any] = {"origin": "paid", "effective_at": desk.site.clock() + DAY, "priority": 3}
    desk.tally.grants.create(
        replace(who, door="rest"),
        customer="ann",
        amount=77,
        category="task_credit",
        idempotency_key="g",
        **terms,
    )
    [row] = desk.tally.operator_actions.list(action="grant").items
    words = desk.site.get(f"/admin/actions/{to_text('act', row.id)}").words
    assert "Originpaid" in words
    assert "2027-01-11 12:00 UTC" in words


# --- money ---------------------------------------------------------------------------------------------------------


def test_a_payment_is_paid_back_once(desk: Desk) -> None:
    """A part of it, then the rest; the credits go with the money, and more than is left is refused."""
    path = f"/admin/payments/{desk.paid()}"
    assert 200_000_000 == desk.available()
    form = desk.form(path)
    for _ in range(2):
        answer = desk.send(path, form, amount="0.40", reason="a complaint")
        assert 303 == answer.status_code
    assert "$0.40 was paid back" in desk.site.get(answer.headers["location"]).words
    assert 160_000_000 == desk.available()
    answer = desk.send(path, desk.form(path), amount="0.61", reason="a complaint")
    assert (422, True) == (answer.status_code, "at most the $0.60" in answer.text)
    desk.send(path, desk.form(path), amount="", reason="the rest")
    assert 100_000_000 == desk.available()
    assert "Pay it back" not in desk.site.get(path).words


def test_a_charge_in_two_units_is_given_back_in_each(desk: Desk) -> None:
    """The form stays as long as something of any unit is left, and names what went back of each."""
    usage = Usage(meter="both", quantity=3, customer="ann")
    charge = to_text("chg", desk.tally.charges.create(SYSTEM, usage, idempotency_key="both").value.id)
    path = f"/admin/charges/{charge}"
    desk.send(path, desk.form(path), amount="1", unit="credits", reason="a complaint")
    page = desk.site.get(path)
    assert "1 credit and 0 USD" in page.words
    assert "0 credits and 0.06 USD" in page.words
    answer = desk.send(path, desk.form(path), amount="0.02", unit="USD", reason="a part of it")
    assert "0.02 USD went back" in desk.site.get(answer.headers["location"]).words
    answer = desk.send(path, desk.form(path), amount="", reason="the rest")
    page = desk.site.get(answer.headers["location"])
    assert "0.04 USD went back" in page.words
    assert "0 credits and 0.04 USD" not in page.words
    assert "Nothing is left to give back" in page.words


def test_a_double_click_pays_back_once(desk: Desk) -> None:
    """Both arrive at the same moment, and lead to the same action."""
    payment = desk.paid()
    path = f"/admin/payments/{payment}"
    form, at_once = desk.form(path), Barrier(2)

    def click(_: int) -> httpx.Response:
        at_once.wait()
        return desk.send(path, form, amount="0.40", reason="a complaint")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(click, range(2))
    assert (303, 303) == (first.status_code, second.status_code)
    assert first.headers["location"] == second.headers["location"]
    _, refunds, _ = desk.tally.checkouts.detail(SYSTEM, payment)
    assert [(40, "succeeded")] == [(each.amount_cents, each.status) for each in refunds]
    assert 160_000_000 == desk.available()


def test_whoever_sends_a_form_while_it_is_worked_on_gets_its_outcome(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at once, with a provider that refuses what is under way: all of them lead to the one refund."""
    path = f"/admin/payments/{desk.paid()}"
    form, refund = desk.form(path), desk.site.payments.refund
    at_once, under_way = Barrier(8), Lock()

    def one_at_a_time(*given: Any, **terms: Any) -> Refund:
        if not under_way.acquire(blocking=False):
            message = "the key is in use"
            raise OutcomeUnknown(message)
        try:
            sleep(0.2)
            return refund(*given, **terms)
        finally:
            under_way.release()

    def click(_: int) -> httpx.Response:
        at_once.wait()
        return desk.send(path, form, amount="0.40", reason="a complaint")

    monkeypatch.setattr(desk.site.payments, "refund", one_at_a_time)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, range(8)))
    assert [303] * 8 == [each.status_code for each in answers]
    assert 1 == len({each.headers["location"] for each in answers})
    assert 160_000_000 == desk.available()


def test_a_provider_that_does_not_answer_leaves_the_same_form(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent again as it is, asks first, and the money goes back once."""
    path = f"/admin/payments/{desk.paid()}"
    form, refund = desk.form(path), desk.site.payments.refund

    def lost(*given: object, **terms: object) -> None:
        refund(*given, **terms)  # type: ignore[arg-type]
        message = "the answer was lost"
        raise OutcomeUnknown(message)

    with monkeypatch.context() as patch:
        patch.setattr(desk.site.payments, "refund", lost)
        answer = desk.send(path, form, amount="", reason="a complaint")
    assert (503, True) == (answer.status_code, f'value="{form["key"]}"' in answer.text)
    assert "begun" in desk.site.get("/admin/actions?status=begun&action=refund_payment").words
    assert 303 == desk.send(path, form, amount="", reason="a complaint").status_code
    assert 1 == desk.site.get(path).words.count("a complaint")
    assert "begun; no outcome" not in desk.site.get("/admin/actions").words
    assert 100_000_000 == desk.available()


def test_a_database_that_is_away_is_told_without_internals(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database said stays in the log."""

    def away(*_: object, **__: object) -> None:
        message = "connection to db.internal refused"
        raise errors.ServiceUnavailable(message)

    monkeypatch.setattr(desk.tally.operator_actions, "within", away)
    form = desk.form(desk.path)
    answer = desk.send(desk.path, form, GRANT)
    assert (503, False) == (answer.status_code, "db.internal" in answer.text)
    assert f'value="{form["key"]}"' in answer.text


def test_over_https_the_cookie_is_for_this_host_alone(sqlite_url: str) -> None:
    """And goes over HTTPS only."""
    public = "https://credits.example.test"
    with Tally.open(sqlite_url, public_url=public) as tally:
        key = tally.keys.create(SYSTEM, name=KEY_NAME, role="admin").key
        with TestClient(create_app(tally, extra_routes=routers(tally)), base_url=public) as client:
            here = {"Sec-Fetch-Site": "same-origin"}
            answer = client.post(
                "/admin/sign-in", data={"api_key": key}, headers=here, follow_redirects=False
            )
            name, _, terms = answer.headers["set-cookie"].partition("=")
            assert ("__Host-tally-operator", True) == (name, "Secure" in terms.split("; "))
            assert KEY_NAME in client.get("/admin").text


def test_no_page_is_left_over() -> None:
    """Each template is shown by some route."""
    folder = Path(__file__).parents[3] / "src" / "tallystick" / "web"
    code = "".join(path.read_text() for path in (folder / "admin").glob("*.py"))
    pages = {path.name for path in (folder / "templates" / "admin").glob("*.html")} - {
        "base.html",
        "parts.html",
    }
    assert {name for name in pages if f'"admin/{name}"' not in code} == set()
