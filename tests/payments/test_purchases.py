"""Buying a pack or an amount, on both providers: what is paid is credited once, and what is not is not."""

from dataclasses import replace
from functools import partial

import pytest

from tallystick.core.errors import Refusal
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.payments.broken import Broken, Crash
from tests.payments.shop import USER, Shop, refused
from tests.services.installation import at_once


def test_a_pack(shop: Shop) -> None:
    """Its credits come when the event does; the payment leads to its credits, and they to the payment."""
    view = shop.order(package="middle")
    assert (2_500_000_000, 2_000, "usd") == (view.credits, view.amount_cents, view.currency)
    assert 0 == shop.balance()
    shop.hands.pay(view.session_id)
    assert 0 == shop.balance()
    shop.deliver()
    assert (2_500, 2_500, 0) == shop.figures()
    row = shop.payment(view.payment_id)
    assert ("paid", "pack", "middle") == (row.status, row.kind, row.item)
    assert row.grant_id is not None
    [grant] = shop.tally.billing.balance(SYSTEM, customer=USER).grants
    assert (row.grant_id, "purchase", "paid") == (grant.id, grant.category, grant.origin)
    [entry] = shop.tally.billing.transactions(SYSTEM, customer=USER).items
    assert to_text("pay", row.id) == shop.tally.grants.list(SYSTEM, customer=USER).items[0].reference
    assert "purchase" == entry.type
    assert row.receipt_url or row.invoice_url


def test_an_amount(shop: Shop) -> None:
    """Credits by the economy's rate."""
    view = shop.order(amount="12.34")
    shop.hands.pay(view.session_id)
    shop.deliver()
    assert 1_234 == shop.balance()


@pytest.mark.parametrize(
    "amount", ["9.99", "10000.01", "0", "-10", "10.001", "NaN", "1e400", "Infinity", "ten", ""]
)
def test_an_amount_that_is_none(shop: Shop, amount: str) -> None:
    """It is refused, and nothing is written down."""
    assert refused(lambda: shop.order(amount=amount)) == "invalid_amount"
    assert [] == shop.rows()


def test_whom_the_plan_does_not_let_buy(shop: Shop) -> None:
    """It is told which right is missing."""
    shop.tally.plans.change(SYSTEM, customer=USER, plan="closed")
    assert "plan_required" == refused(lambda: shop.order(package="middle"))
    assert "plan_required" == refused(lambda: shop.order(amount=20))


def test_a_pack_that_there_is_none_of(shop: Shop) -> None:
    """It is refused; so are both a pack and an amount, and neither."""
    assert "unknown_pack" == refused(lambda: shop.order(package="huge"))
    caller = shop.customer()
    assert "validation_failed" == refused(
        lambda: shop.tally.checkouts.create(caller, package="middle", amount=20)
    )


def test_the_success_page_asks_the_provider(shop: Shop) -> None:
    """Opening it pays nothing; with the wrong token there is nothing; after the payment it credits, once."""
    view = shop.order()
    row = shop.payment(view.payment_id)
    name = to_text("pay", row.id)
    other = shop.payment(shop.order(customer="bob").payment_id)
    assert "open" == shop.tally.checkouts.look(name, row.token).status
    for token in ("", "x", other.token):
        assert "not_found" == refused(partial(shop.tally.checkouts.look, name, token))
    assert 0 == shop.balance()
    shop.hands.pay(view.session_id)
    assert "not_found" == refused(lambda: shop.tally.checkouts.look(name, other.token))
    assert 0 == shop.balance()
    assert "paid" == shop.tally.checkouts.look(name, row.token).status
    assert 2_000 == shop.balance()
    shop.deliver()
    assert 2_000 == shop.balance()


def test_a_refill_has_no_success_page(shop: Shop) -> None:
    """Its id alone shows nothing to whoever guesses it."""
    shop.refill()
    shop.spend(450)
    shop.work()
    [refill] = shop.refills()
    assert "not_found" == refused(lambda: shop.tally.checkouts.look(to_text("pay", refill.id), ""))


def test_a_payment_that_cannot_be_looked_at_does_not_hold_up_the_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it; it is looked at again later."""
    bad, good = shop.order(), shop.order()
    for view in (bad, good):
        shop.hands.pay(view.session_id)
    shop.lose_events()
    right = shop.tally.fulfilment.look

    def look(payment_id: int) -> object:
        if payment_id == bad.payment_id:
            raise Crash
        return right(payment_id)

    monkeypatch.setattr(shop.tally.fulfilment, "look", look)
    shop.hands.advance("PT25H")
    shop.lose_events()
    shop.work(deliver=False)
    assert ("pending", "succeeded") == (
        shop.status(shop.payment(bad.payment_id)),
        shop.status(shop.payment(good.payment_id)),
    )
    monkeypatch.undo()
    shop.hands.advance("P1D")
    shop.work(deliver=False)
    assert "succeeded" == shop.status(shop.payment(bad.payment_id))


def test_a_page_expires(shop: Shop) -> None:
    """Its purchase expires by the event, or by the worker when the event is lost."""
    first, second = shop.order(), shop.order()
    shop.hands.advance("P1DT1H")
    for event in shop.hands.take_events():
        if first.session_id in str(event):
            shop.send(event)
    assert "expired" == shop.status(shop.payment(first.payment_id))
    shop.work()
    assert "expired" == shop.status(shop.payment(second.payment_id))
    assert 0 == shop.balance()


def test_a_declined_card_leaves_the_page_open(shop: Shop) -> None:
    """Another card pays on it."""
    view = shop.order()
    shop.hands.pay(view.session_id, "soft")
    shop.deliver()
    assert "pending" == shop.status(shop.payment(view.payment_id))
    shop.hands.pay(view.session_id, "good")
    shop.deliver()
    assert 2_000 == shop.balance()


@pytest.mark.parametrize("told", [True, False])
def test_a_payment_that_comes_later(shop: Shop, *, told: bool) -> None:
    """The page is complete before the money is there: nothing is credited until it is; lost events are asked for."""
    row = shop.buy(card="later")
    assert ("processing", 0) == (row.status, shop.balance())
    assert row.reference is not None
    shop.hands.settle(row.reference, succeeded=True)
    if told:
        shop.deliver()
    else:
        shop.lose_events()
        shop.hands.advance("PT1H")
        shop.work()
    assert ("succeeded", 2_000) == (shop.status(row), shop.balance())


def test_a_payment_that_never_comes(shop: Shop) -> None:
    """It has failed, and nothing was credited."""
    row = shop.buy(card="later")
    assert row.reference is not None
    shop.hands.settle(row.reference, succeeded=False)
    shop.deliver()
    assert ("failed", 0) == (shop.status(row), shop.balance())


def test_a_repeat_gives_the_same_page(shop: Shop) -> None:
    """With the same key; with another body it is refused; paying it credits once."""
    first = shop.order(key="mine")
    assert first == shop.order(key="mine")
    assert "idempotency_key_reused" == refused(lambda: shop.order(amount=30, key="mine"))
    assert "idempotency_key_reused" == refused(lambda: shop.order(package="middle", key="mine"))
    assert first.session_id != shop.order(key="other").session_id
    assert first.session_id != shop.order(customer="bob", key="mine").session_id
    shop.hands.pay(first.session_id)
    shop.deliver()
    assert (2_000, 0) == (shop.balance(), shop.balance("bob"))


def test_one_key_at_the_same_moment(shop: Shop) -> None:
    """Many that come at once with one key and one body get one page; with another body, a refusal or that page."""
    pages = at_once([lambda: shop.order(key="mine")] * 6)
    assert 1 == len({page.session_id for page in pages})  # type: ignore[union-attr]
    assert 1 == len(shop.rows())
    mixed = at_once([partial(shop.order, amount=amount, key="next") for amount in (20, 30, 40)])
    made = [each for each in mixed if not isinstance(each, Refusal)]
    lost = [each.code for each in mixed if isinstance(each, Refusal)]
    assert (1, ["idempotency_key_reused"] * 2) == (len(made), lost)
    assert 2 == len(shop.rows())


def test_a_crash_before_the_page_is_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The purchase is written down; a repeat with the key gives its page, also half an hour later, and it can be paid."""
    with monkeypatch.context() as patch:
        patch.setattr(
            shop.tally.checkouts, "_provider", Broken(shop.tally.payment_provider, "create_checkout")
        )
        with pytest.raises(Crash):
            shop.order(key="mine")
    shop.restart()
    assert ["new"] == [row.status for row in shop.rows()]
    shop.hands.advance("PT23H59M")
    shop.work()
    view = shop.order(key="mine")
    assert "pending" == shop.status(shop.payment(view.payment_id))
    shop.hands.pay(view.session_id)
    shop.deliver()
    assert (2_000, 1) == (shop.balance(), len(shop.rows()))


def test_a_crash_after_the_page_is_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat gives the very page that was made; there is one, and it credits once."""
    with monkeypatch.context() as patch:
        broken = Broken(shop.tally.payment_provider, "create_checkout", after=True)
        patch.setattr(shop.tally.checkouts, "_provider", broken)
        with pytest.raises(Crash):
            shop.order(key="mine")
    shop.restart()
    made = shop.last_page()
    assert made == shop.order(key="mine").session_id == shop.last_page()
    shop.hands.pay(made)
    shop.deliver()
    assert 2_000 == shop.balance()


def test_a_page_whose_answer_was_lost_is_paid_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was shown its address; should it be paid anyhow, it is credited, also when it was given up before."""
    for given_up in (False, True):
        with monkeypatch.context() as patch:
            broken = Broken(shop.tally.payment_provider, "create_checkout", after=True)
            patch.setattr(shop.tally.checkouts, "_provider", broken)
            with pytest.raises(Crash):
                shop.order()
        page = shop.last_page()
        if given_up:
            shop.hands.advance("PT3M")
            shop.work()
            assert "expired" == shop.rows()[-1].status
        shop.hands.pay(page)
        shop.deliver()
    assert 4_000 == shop.balance()


ALTERED = (
    {"amount_cents": 1},
    {"amount_cents": 2_001},
    {"currency": "jpy"},
    {"payer": "cus_somebody_else"},
)


@pytest.mark.parametrize("altered", ALTERED, ids=lambda altered: "_".join(map(str, *altered.items())))
def test_what_was_paid_is_not_what_was_ordered(shop: Shop, altered: dict[str, object]) -> None:
    """It is never credited, whoever asks, and the operator is told."""
    view = shop.order()
    shop.hands.pay(view.session_id)
    shop.hands.change(view.session_id, **altered)
    shop.deliver()
    row = shop.payment(view.payment_id)
    assert "mismatch" == shop.tally.checkouts.look(to_text("pay", row.id), row.token).status
    shop.work()
    report = shop.reconcile()
    assert ("mismatch", 0) == (shop.payment(row.id).status, shop.balance())
    assert [(to_text("pay", row.id), "order and payment")] == [
        (each.subject, each.what) for each in report.differences
    ]


def test_what_is_paid_for_real_is_not_a_test(shop: Shop) -> None:
    """A page of the other mode credits nothing."""
    if shop.hands.name == "simulated":
        view = shop.order()
        shop.hands.pay(view.session_id)
        provider = Broken(shop.tally.payment_provider, "")
        found = shop.tally.payment_provider.checkout(view.session_id)
        assert found is not None
        provider.answers["checkout"] = replace(found, live=True)
        shop.tally.fulfilment._provider = provider  # type: ignore[assignment] # noqa: SLF001
    else:
        view = shop.order()
        shop.hands.pay(view.session_id)
        shop.hands.change(view.session_id, live=True)
    shop.deliver()
    assert ("mismatch", 0) == (shop.payment(view.payment_id).status, shop.balance())


def test_a_page_with_the_reference_of_another_purchase(shop: Shop) -> None:
    """It credits neither of them, and the reconciler tells of the money."""
    view, other = shop.order(amount=10), shop.order(amount=1_000)
    shop.hands.pay(view.session_id)
    shop.hands.change(view.session_id, reference=to_text("pay", other.payment_id))
    shop.deliver()
    assert 0 == shop.balance()
    assert shop.reconcile().differences
    assert ("mismatch", "open") == (
        shop.payment(view.payment_id).status,
        shop.payment(other.payment_id).status,
    )
    assert 0 == shop.balance()


def test_a_payment_stays_paid_whatever_the_provider_shows_later(shop: Shop) -> None:
    """Its credits are not taken back because a payer's name has changed at the provider."""
    row = shop.buy()
    shop.hands.change(str(row.checkout), payer="cus_merged")
    assert [] == shop.reconcile().differences
    assert ("succeeded", 2_000) == (shop.status(row), shop.balance())


def test_money_that_our_books_do_not_know(shop: Shop) -> None:
    """A second page that was paid for a purchase which has one is told of, with both."""
    row = shop.buy()
    page = shop.order(amount=10)
    shop.hands.pay(page.session_id)
    shop.hands.change(page.session_id, reference=to_text("pay", row.id))
    found = {each.what for each in shop.reconcile().differences}
    assert "payment" in found
    assert 2_000 == shop.balance()
