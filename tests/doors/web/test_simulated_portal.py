"""The payer's own page: cards, plans and bills."""

from tallystick.ports.payments import Subscription
from tests.doors.web.browser import GOOD, SOFT, Site, path_of

THEN_SOFT = "4000000000000341"
MASTER = "5555555555554444"


def portal_of(site: Site, payer: str | None = None) -> str:
    """The path of a payer's page."""
    address = site.payments.portal(payer or site.payer, return_url="https://shop.example.test/account")
    return "/simulated/portal/" + address.rpartition("/")[2]


def subscribed(site: Site, card: str = GOOD) -> Subscription:
    """A plan that the payer has begun."""
    page = site.checkout(mode="subscription")
    assert "a month" in site.get(path_of(page)).words
    site.pay(page, card)
    found = site.payments.subscription(str(site.read(page).subscription))
    assert found is not None
    return found


def test_a_payer_sees_cards_plans_and_bills(site: Site) -> None:
    """What is charged, what runs and what was billed, with the way back."""
    path = portal_of(site)
    assert "No plan" in site.get(path).words
    subscribed(site)
    seen = site.get(path)
    for words in (
        "TEST MODE",
        "visa •••• 4242",
        "(is charged)",
        "$40.50 a month, active",
        "paid",
        "2027-01-10",
    ):
        assert words in seen.words
    links = [str(each["href"]) for each in seen.all("a")]
    assert "https://shop.example.test/account" in links
    receipt = next(link for link in links if "/simulated/receipt/" in link)
    assert "2027-01-10 to 2027-02-10" in site.get("/simulated/receipt/" + receipt.rpartition("/")[2]).words


def test_a_plan_ends_with_its_period_and_may_be_kept(site: Site) -> None:
    """Cancelling is for the end of the period, and can be taken back before."""
    plan = subscribed(site)
    path = portal_of(site)
    answer = site.send(path, action="end", subscription=plan.id)
    assert (303, path) == (answer.status_code, answer.headers["location"])
    assert "Ends on 2027-02-10" in site.get(path).words
    found = site.payments.subscription(plan.id)
    assert found is not None
    assert found.ends_at == plan.period_end

    assert 303 == site.send(path, action="resume", subscription=plan.id).status_code
    assert "Paid until 2027-02-10" in site.get(path).words


def test_another_card_pays_what_is_owed(site: Site) -> None:
    """A renewal that failed is paid as soon as the payer gives a card that pays."""
    plan = subscribed(site, THEN_SOFT)
    site.clock.set("2027-02-10T12:00:00Z")
    site.payments.run_once()
    path = portal_of(site)
    assert "past due" in site.get(path).words
    refused = site.send(path, action="card", card=SOFT)
    assert 422 == refused.status_code
    assert "insufficient funds" in refused.text

    assert 303 == site.send(path, action="card", card=MASTER).status_code
    site.payments.run_once()
    found = site.payments.subscription(plan.id)
    card = site.payments.default_card(site.payer)
    assert found is not None
    assert card is not None
    assert ("active", "4444") == (found.status, card.last4)


def test_a_page_is_for_its_own_payer_and_for_an_hour(site: Site) -> None:
    """Another payer's plan is not there, a form from elsewhere does nothing, and the address ends."""
    plan = subscribed(site)
    other = portal_of(site, site.payer_of("eve@example.test"))
    assert 404 == site.send(other, action="end", subscription=plan.id).status_code
    own = portal_of(site)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert 403 == site.send(own, headers=foreign, action="end", subscription=plan.id).status_code
    assert 422 == site.send(own, action="nothing").status_code
    found = site.payments.subscription(plan.id)
    assert found is not None
    assert found.ends_at is None

    site.clock.advance("PT1H")
    site.get(own, status=404)
    assert 404 == site.send(own, action="end", subscription=plan.id).status_code
