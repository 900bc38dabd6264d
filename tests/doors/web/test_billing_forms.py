"""What the pages of people do with forms, without a browser: what is refused, kept, and said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.times import DAY
from tallystick.services.context import SYSTEM, Caller
from tallystick.web import dashboard
from tests.doors.web.browser import Reader, Site

HIRE = "/billing/agents"
HOOK = "https://example.com/hook"


class Person:
    """Somebody who has registered at a site, and keeps cookies."""

    def __init__(self, site: Site) -> None:
        self.site, self.tally = site, site.tally
        site.send("/sign-in", email="ann@example.test", password="correct horse", action="register")
        session = site.client.cookies["tally-session"]
        self.caller: Caller = self.tally.identity.authenticate(session, site.clock())
        self.customer = to_text("cust", self.caller.customer_id or 0)

    def form(self, path: str) -> dict[str, str]:
        """What the page's forms carry: the session's token, and the first form's own name."""
        inputs = self.site.get(path).all("input")
        hidden = {
            str(each["name"]): str(each["value"])
            for each in reversed(inputs)
            if each.get("type") == "hidden" and each["name"] in {"token", "once"}
        }
        return {"once": ""} | hidden

    def send(self, path: str, form: dict[str, str], **fields: str) -> httpx.Response:
        """Send a form from its own page."""
        return self.site.send(path, headers=None, **(form | fields))


@pytest.fixture
def ann(site: Site) -> Person:
    """Somebody with 100 credits."""
    return Person(site)


# --- forms that are taken once -------------------------------------------------------------------------------------


def test_a_form_for_a_key_that_was_refused_is_not_used_up(ann: Person) -> None:
    """It is corrected and sent again; then it has made its key, and makes no other."""
    path = "/billing/keys"
    form = ann.form(path)
    for wrong in ({"amount": "many"}, {"expires": "2020-01-01"}):
        assert 422 == ann.send(path, form, action="create", name="Robot", per="day", **wrong).status_code
    assert "shown this once" in ann.send(path, form, action="create", name="Robot", per="day").text
    again = ann.send(path, form, action="create", name="Robot", per="day")
    assert (409, True) == (again.status_code, "This form was sent already" in again.text)
    assert 1 == len(ann.tally.keys.list(ann.caller).items)


def test_a_form_for_a_webhook_that_was_refused_is_not_used_up(ann: Person) -> None:
    """Neither is one for a new secret whose page is gone."""
    path = "/billing/webhooks"
    form = ann.form(path)
    assert 422 == ann.send(path, form, url="http://localhost/").status_code
    assert "Its secret" in ann.send(path, form, url=HOOK).text
    [hook] = ann.tally.endpoints.list(ann.caller).items
    own = f"{path}/{to_text('whe', hook.id)}"
    form = ann.form(own)
    assert 404 == ann.send(f"{path}/whe_1", form, action="rotate").status_code
    assert "Its secret" in ann.send(own, form, action="rotate").text
    assert 409 == ann.send(own, form, action="rotate").status_code


# --- forms that are sent again while they are on their way -----------------------------------------------------------


def offered(ann: Person) -> dict[str, str]:
    """An agent of somebody else's, and the form with which it is hired."""
    ann.tally.customers.create(SYSTEM, external_id="bob")
    made = ann.tally.agents.register(SYSTEM, name="Summarist", price_per_task=10, customer="bob").value
    agent = to_text("agent", made.id)
    return ann.form(HIRE) | {"action": "hire", "agent": agent, "max_price": "10", "input": "shorten this"}


def test_a_double_click_on_hire_leads_to_one_task(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six at once, while the first takes its time: all of them lead to the task that it made."""
    form, at_once = offered(ann), Barrier(6)
    ledger = ann.tally.context.ledger
    post = ledger.post_hot

    def slowly(*given: Any, **terms: Any) -> Any:
        sleep(0.1)
        return post(*given, **terms)

    def click(_: int) -> httpx.Response:
        at_once.wait()
        return ann.send(HIRE, form)

    monkeypatch.setattr(ledger, "post_hot", slowly)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(click, range(6)))
    assert [303] * 6 == [each.status_code for each in answers]
    assert 1 == len({each.headers["location"] for each in answers})
    assert 1 == len(ann.tally.tasks.list(ann.caller).items)


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        (errors.IdempotencyInFlight(), 409, "still being carried out"),
        (errors.ServiceUnavailable("the database is away"), 503, "The database does not answer just now"),
        (errors.PaymentsUnavailable("no answer"), 503, "The payment provider has given no answer yet"),
    ],
)
def test_a_form_of_which_nobody_knows_what_came_keeps_its_number(
    ann: Person, monkeypatch: pytest.MonkeyPatch, refusal: errors.Refusal, status: int, words: str
) -> None:
    """Sent again from the page that says so, it is the same form, and is done once."""
    form = offered(ann)
    create = ann.tally.tasks.create

    def lost(*given: Any, **terms: Any) -> None:
        create(*given, **terms)
        raise refusal

    with monkeypatch.context() as patch:
        patch.setattr(dashboard, "WAIT_SECONDS", 0)
        patch.setattr(ann.tally.tasks, "create", lost)
        answer = ann.send(HIRE, form)
    page = Reader(answer.text)
    assert (status, True) == (answer.status_code, words in page.words)
    assert "Idempotency-Key" not in page.words
    [again] = [each["value"] for each in page.all("input") if each["name"] == "once"]
    assert form["once"] == again
    assert 303 == ann.send(HIRE, form | {"once": again}).status_code
    assert 1 == len(ann.tally.tasks.list(ann.caller).items)


def test_a_form_that_was_refused_gets_a_new_number(ann: Person) -> None:
    """What was refused is corrected, and then is another request."""
    form = offered(ann)
    answer = ann.send(HIRE, form | {"max_price": "9"})
    [again] = [each["value"] for each in Reader(answer.text).all("input") if each["name"] == "once"]
    assert form["once"] != again


# --- what pages say ------------------------------------------------------------------------------------------------


def test_a_frozen_balance_is_not_said_to_be_spendable(ann: Person) -> None:
    """Neither on the page, nor in what it looks for again."""
    ann.tally.wallets.freeze(SYSTEM, customer=ann.customer)
    for path in ("/billing", "/billing/balance"):
        words = ann.site.get(path).words
        assert "You can spend this now" not in words
        assert "Nothing of this can be spent while the account is frozen" in words


def test_held_credits_that_expire_are_told(ann: Person) -> None:
    """Where all that expires is held, and where a part of it is."""
    terms: dict[str, Any] = {
        "customer": ann.customer,
        "category": "bonus",
        "expires_at": ann.site.clock() + 9 * DAY,
    }
    assert "None of them expire" in ann.site.get("/billing").words
    ann.tally.grants.create(SYSTEM, amount=7, idempotency_key="g1", **terms)
    assert "7 of them expire next, on 2027-01-19 12:00 UTC" in ann.site.get("/billing").words
    hold: dict[str, Any] = {"customer": ann.customer, "expires_in": 3600}
    ann.tally.holds.create_amount(SYSTEM, amount=3, idempotency_key="h1", **hold)
    words = ann.site.get("/billing").words
    assert "4 of them and 3 of those that are held expire next, on 2027-01-19" in words
    ann.tally.holds.create_amount(SYSTEM, amount=4, idempotency_key="h2", **hold)
    assert "7 of those that are held expire next" in ann.site.get("/billing").words


def test_agents_of_others_are_found_behind_many_of_ones_own(ann: Person) -> None:
    """Those that were offered later fill no page of theirs."""
    ann.tally.customers.create(SYSTEM, external_id="bob")
    ann.tally.agents.register(SYSTEM, name="Summarist", price_per_task=10, customer="bob")
    for number in range(26):
        ann.tally.agents.register(ann.caller, name=f"Parrot {number}", price_per_task=1)
    words = ann.site.get("/billing/agents").words
    assert "Hire Summarist" in words
    assert "Nobody else offers" not in words
    assert "Hire Parrot" not in words


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/billing/", 404),
        ("/billing/nope", 404),
        ("/admin/", 404),
        ("/admin/nope", 404),
        ("/apps/nope", 404),
        ("/billing/portal", 405),
        ("/sign-out", 405),
    ],
)
def test_people_get_pages_where_there_is_none(ann: Person, path: str, status: int) -> None:
    """Whoever mistypes an address reads words, with a way on; programs get problems as ever."""
    page = ann.site.get(path, status=status)
    assert "request_id" not in page.words
    assert any(each.get("href") in {"/billing", "/admin", "/apps", "/sign-in"} for each in page.all("a"))
    assert "application/problem+json" == ann.site.client.get("/nope").headers["content-type"]


def test_a_form_that_cannot_be_taken_is_answered_with_a_page(ann: Person) -> None:
    """One for a task that there is not, one that is too long, and one that no page of ours has."""
    form = ann.form("/billing/agents")
    unknown = ann.send("/billing/tasks/task_0000000000000", form, action="accept")
    assert (404, True) == (unknown.status_code, "There is no task task_0000000000000." in unknown.text)
    assert 'href="/billing/tasks">Back' in unknown.text
    long = ann.send("/billing/agents", form, action="hire", input="x" * 1_100_000)
    assert (413, True) == (long.status_code, "<h1>Too long</h1>" in long.text)
    many = ann.send("/billing/agents", form, **{f"field {number}": "x" for number in range(20)})
    assert (400, True) == (many.status_code, "at most 20 fields" in many.text)
    assert "from another page" not in many.text
    own = {"Origin": ann.site.server.url, "Sec-Fetch-Site": "same-origin"}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    wild = ann.site.client.post("/billing/agents", content=b"token=\xff", headers=own | kind)
    assert (400, True) == (wild.status_code, "cannot be read" in wild.text)


def test_signing_in_leads_back_to_the_very_page(ann: Person) -> None:
    """That of a task or of a transaction, and not to their lists."""
    for path in ("/billing/tasks/task_1", "/billing/transactions/txn_1", "/billing/webhooks/whe_1?status=x"):
        answer = httpx.get(f"{ann.site.server.url}{path}")
        assert f"/sign-in?return_to={quote(path, safe='')}" == answer.headers["location"]


# --- refusals ------------------------------------------------------------------------------------------------------

OFFER = {"action": "offer", "name": "Parrot", "price": "2", "unit": "USD"}
BUDGET = {"action": "set", "level": "agent", "agent": "scout", "unit": "USD", "per": "month", "amount": "5"}
KEY = {"action": "create", "name": "Robot", "per": "month"}


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (
            "/billing/agents",
            OFFER | {"price": "1,000"},
            "Price per task: expected digits such as 1000 or 12.50",
        ),
        ("/billing/agents", OFFER | {"price": "$5"}, "without commas or a currency's sign"),
        (
            "/billing/agents",
            OFFER | {"description": "x\x00"},
            "expected text without characters that nothing",
        ),
        ("/billing/budgets", BUDGET | {"amount": "5."}, "Amount: expected digits such as 1000 or 12.50"),
        ("/billing/budgets", BUDGET | {"agent": ""}, "Agent or key: expected the name of an agent."),
        ("/billing/keys", KEY | {"amount": "-1"}, "Budget: expected a number that is not negative"),
        ("/billing/keys", KEY | {"expires": "2027-01-01"}, "End: expected a time in the future."),
        (
            "/billing/webhooks",
            {"url": "http://localhost/", "description": "mine", "about task": "on"},
            "Address: ",
        ),
        ("/billing", {"amount": "1,000"}, "Amount: expected digits such as 1000 or 12.50"),
    ],
)
def test_what_is_refused_is_said_in_words_and_kept(
    ann: Person, path: str, fields: dict[str, str], words: str
) -> None:
    """Whoever typed it corrects the one field that was wrong."""
    answer = ann.send(path, ann.form(path), **fields)
    page = Reader(answer.text)
    assert 422 == answer.status_code
    assert words in page.words
    shown = {str(each.get("value")) for each in page.all("input")}
    typed = {
        name: text for name, text in fields.items() if name in {"name", "price", "agent", "amount", "url"}
    }
    assert set(typed.values()) - {""} <= shown
    chosen = answer.text.count(" selected>") + answer.text.count(" checked>")
    assert chosen == sum(name in {"unit", "per", "level", "about task"} for name in fields)


def test_a_refused_task_keeps_what_was_asked(ann: Person) -> None:
    """Its words are the longest that anybody types here."""
    ann.tally.customers.create(SYSTEM, external_id="bob")
    agent = ann.tally.agents.register(SYSTEM, name="Dear", price_per_task=1000, customer="bob").value
    form = ann.form("/billing/agents") | {"action": "hire", "agent": to_text("agent", agent.id)}
    answer = ann.send("/billing/agents", form, max_price="1000", input="a long story")
    assert (402, True) == (answer.status_code, ">a long story</textarea>" in answer.text)


def test_a_form_that_was_changed_and_sent_again_is_told_in_words(ann: Person) -> None:
    """Nobody has ever heard of an Idempotency-Key."""
    form = ann.form("/billing") | {"key": "the form's own"}
    assert 200 == ann.send("/billing", form, pack="small").status_code
    again = ann.send("/billing", form, amount="20")
    assert (409, True) == (again.status_code, "sent before with other contents" in again.text)
    assert "Idempotency" not in again.text


def test_secrets_are_not_kept(ann: Person) -> None:
    """A password that was refused has to be typed again."""
    form = ann.form("/billing/password")
    answer = ann.send("/billing/password", form, old="wrong guess", new="battery staple", again="staple")
    assert (422, True) == (answer.status_code, "New password again: expected" in answer.text)
    assert not {"wrong guess", "battery staple"} & {
        str(each.get("value")) for each in Reader(answer.text).all("input")
    }
    answer = ann.site.send("/sign-in", email="", password="wrong guess", action="register")
    assert "E-mail: expected" in answer.text


def test_two_budgets_can_be_told_apart(ann: Person) -> None:
    """Also by whoever hears the buttons and sees no table."""
    for unit in ("credits", "USD"):
        ann.tally.budgets.put(ann.caller, level="customer", unit=unit, amount=5, per="day")
    words = ann.site.get("/billing/budgets").words
    assert "Remove Everything you spend, 5 credits per day" in words
    assert "Remove Everything you spend, 5 USD per day" in words


def test_a_part_that_went_back_is_named(ann: Person) -> None:
    """With its money, where one looks after paying."""
    made = ann.tally.checkouts.create(ann.caller, package="small").value
    payments = ann.tally.simulated_payments
    assert payments is not None
    payments.pay(made.session_id, "4242424242424242", confirmed=False)
    ann.tally.run_all()
    payment = to_text("pay", made.payment_id)
    ann.tally.payment_refunds.create(SYSTEM, payment, amount="0.40", idempotency_key="r")
    token = ann.tally.checkouts.get(SYSTEM, payment).token
    words = ann.site.get(f"/billing/success?payment={payment}&token={token}").words
    assert "$0.40 of this payment went back" in words
