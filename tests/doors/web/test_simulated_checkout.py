"""Paying on the simulated page, as a browser does it: over HTTP, with forms and redirects."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tallystick.bootstrap import Tally
from tallystick.config import Config
from tallystick.core.errors import NotSimulated
from tallystick.services.context import SYSTEM
from tallystick.web import simulated
from tests.doors.web.browser import CANCEL, CONFIRMED, GOOD, LATER, SOFT, SUCCESS, Reader, Site, path_of

HOSTILE = '<script>alert("1")</script>&\'"><img src=x>'


def test_a_page_is_paid(site: Site) -> None:
    """The page says what it is for and that it is a test; Pay leads to the success page, and the payment stands."""
    page = site.checkout()
    assert page.url is not None
    assert page.url.endswith(path_of(page))
    seen = site.get(path_of(page))
    assert "TEST MODE" in seen.words
    assert "$40.50" in seen.words
    assert "Middle pack" in seen.words
    assert "ada@example.test" in seen.words
    assert {"pay", "cancel"} == {each["value"] for each in seen.all("button")}
    assert GOOD in {each["value"] for each in seen.all("input")}

    answer = site.pay(page)
    assert (303, SUCCESS.replace("{CHECKOUT_SESSION_ID}", page.id)) == (
        answer.status_code, answer.headers["location"]
    )  # fmt: skip
    assert ("complete", "paid") == (site.read(page).status, site.read(page).paid)
    assert ("succeeded", 4_050) == (site.payment(page).status, site.payment(page).amount_cents)
    assert "can be paid once only" in site.get(path_of(page)).words


def test_nothing_comes_from_elsewhere(site: Site) -> None:
    """No script, no link to a file, and a policy that allows none; forms may lead to the shop and nowhere else."""
    answer = site.client.get(path_of(site.checkout()))
    seen = Reader(answer.text)
    assert [] == [tag for tag, _ in seen.tags if tag in {"script", "link", "img", "iframe", "object"}]
    assert [] == [attributes for _, attributes in seen.tags if {"style", "onclick", "src"} & set(attributes)]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "form-action 'self' https://shop.example.test;" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("nosniff", "no-store") == (
        answer.headers["x-content-type-options"], answer.headers["cache-control"]
    )  # fmt: skip
    viewport = next(each for each in seen.all("meta") if each.get("name") == "viewport")
    assert "width=device-width,initial-scale=1" == viewport["content"]


def test_every_choice_has_a_label(site: Site) -> None:
    """Each card stands in a label with its meaning, and one is chosen already."""
    text = site.client.get(path_of(site.checkout())).text
    labels = re.findall(r'<label class="card"><input type="radio".*?</label>', text, re.DOTALL)
    assert 17 == len(labels)
    assert 1 == text.count(" checked")


def test_a_declined_card_leaves_the_page_open(site: Site) -> None:
    """The page tells why, nothing was paid, and another card pays."""
    page = site.checkout()
    answer = site.pay(page, SOFT)
    assert (303, path_of(page)) == (answer.status_code, answer.headers["location"])
    seen = site.get(path_of(page))
    assert "insufficient funds" in seen.words
    assert ("open", "unpaid") == (site.read(page).status, site.read(page).paid)
    assert 303 == site.pay(page).status_code
    assert "paid" == site.read(page).paid


def test_a_payment_is_confirmed_or_refused(site: Site) -> None:
    """A card that wants it asks first; nothing is paid before, and a refusal is a decline."""
    page = site.checkout()
    asked = site.pay(page, CONFIRMED)
    assert 200 == asked.status_code
    assert {"confirm", "refuse"} == {each["value"] for each in Reader(asked.text).all("button")}
    assert "unpaid" == site.read(page).paid

    refused = site.pay(page, CONFIRMED, action="refuse")
    assert path_of(page) == refused.headers["location"]
    assert ("failed", "authentication") == (site.payment(page).status, site.payment(page).decline)
    assert "confirm" in site.get(path_of(page)).words

    assert 303 == site.pay(page, CONFIRMED, action="confirm").status_code
    assert "paid" == site.read(page).paid


def test_paying_later_completes_the_page_unpaid(site: Site) -> None:
    """The success page is shown, and no money has come."""
    page = site.checkout()
    assert site.pay(page, LATER).headers["location"].startswith("https://shop.example.test/done")
    assert ("complete", "unpaid") == (site.read(page).status, site.read(page).paid)
    assert "processing" == site.payment(page).status


def test_cancelling_leads_back_and_leaves_the_page_open(site: Site) -> None:
    """Cancel goes to the shop; the page can still be paid until it expires."""
    page = site.checkout()
    answer = site.pay(page, action="cancel")
    assert (303, CANCEL) == (answer.status_code, answer.headers["location"])
    assert ("open", None) == (site.read(page).status, site.read(page).payment)


def test_an_expired_page_takes_nothing(site: Site) -> None:
    """After its time the page says so, and a form that was open before pays nothing."""
    page = site.checkout()
    site.clock.advance("PT1H")
    assert 303 == site.pay(page).status_code
    assert "has expired" in site.get(path_of(page), status=410).words
    assert ("expired", "unpaid", None) == (
        site.read(page).status, site.read(page).paid, site.read(page).payment
    )  # fmt: skip


def test_a_double_click_pays_once(site: Site) -> None:
    """Eight clicks at once make one payment, and each leads to the success page."""
    page = site.checkout()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.pay(page), range(8)))
    assert {303} == {each.status_code for each in answers}
    assert 1 == len({each.headers["location"] for each in answers})
    kinds = [event.type for event in site.payments.events(since=0)]
    assert (1, 1) == (
        kinds.count("payment_intent.succeeded"), kinds.count("checkout.session.completed")
    )  # fmt: skip


def test_a_page_that_is_not_there(site: Site) -> None:
    """A guessed id is nothing, and neither is the id of something else."""
    page = site.checkout()
    site.pay(page)
    payment = site.payment(page).id
    for name in ("cs_sim_guessed", payment, "%00", "..%2f"):
        assert 404 == site.client.get(f"/simulated/checkout/{name}").status_code
        assert 404 == site.client.get(f"/simulated/portal/{name}").status_code
    assert 404 == site.send("/simulated/checkout/cs_sim_guessed", action="pay", card=GOOD).status_code
    assert 404 == site.client.get(f"/simulated/receipt/{page.id}").status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.test"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example.test"},
        {"Origin": "null"},
    ],
)
def test_a_form_from_elsewhere_is_refused(site: Site, headers: dict[str, str]) -> None:
    """A form that another site sends does nothing."""
    page = site.checkout()
    answer = site.send(path_of(page), headers=headers, action="pay", card=GOOD)
    assert 403 == answer.status_code
    assert ("open", None) == (site.read(page).status, site.read(page).payment)


def test_a_form_that_cannot_be_read(site: Site) -> None:
    """Another type, another button, or a card that is no test card: nothing is done."""
    page = site.checkout()
    assert 403 == site.client.post(path_of(page), json={"action": "pay", "card": GOOD}).status_code
    assert 400 == site.client.post(
        path_of(page), content=b"\xff\xfe=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
    ).status_code  # fmt: skip
    assert 422 == site.send(path_of(page), action="steal").status_code
    answer = site.pay(page, "4111111111111111")
    assert 422 == answer.status_code
    assert "not one of the test cards" in answer.text
    assert "open" == site.read(page).status


def test_hostile_words_stay_words(site: Site) -> None:
    """Markup in a title or an e-mail is shown as it was written."""
    payer = site.payer_of(f"{HOSTILE}@example.test")
    page = site.checkout(title=HOSTILE, payer=payer)
    seen = site.get(path_of(page))
    assert HOSTILE in seen.words
    assert f"{HOSTILE}@example.test" in seen.words
    assert [] == seen.all("script") + seen.all("img")
    site.pay(page)
    receipt = site.get(f"/simulated/receipt/{site.payment(page).id}")
    assert HOSTILE in receipt.words
    assert [] == receipt.all("script") + receipt.all("img")


def test_a_receipt_tells_what_was_paid(site: Site) -> None:
    """The receipt has the amount, the card, and what went back; the payment names its address."""
    page = site.checkout()
    site.pay(page)
    payment = site.payment(page)
    assert payment.receipt_url is not None
    site.payments.refund(payment.id, amount_cents=50, reference="refund_1", key=site.key())
    seen = site.get("/simulated/receipt/" + payment.receipt_url.rpartition("/")[2])
    for words in ("$40.50", "$0.50", "4242", "Middle pack", "TEST MODE"):
        assert words in seen.words
    assert "paid" in site.get(f"/simulated/receipt/{payment.invoice}").words


def test_there_are_no_such_pages_where_payments_are_real(database_url: str) -> None:
    """With a Stripe key nothing is simulated: no pages, no controls."""
    config = Config(database_url=database_url, stripe_secret_key="sk_test_x")
    with Tally.from_config(config) as tally:
        assert ((), None) == (simulated.routers(tally), tally.simulated_payments)
        with pytest.raises(NotSimulated):
            tally.simulated_controls.act(SYSTEM, "pay_1", "dispute")
