"""Each test card, on a page and without its owner; keys, repeats and refusals."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import CheckoutOrder, Payment
from tallystick.providers.simulated import CARDS, TestCard
from tallystick.store.engine import Database
from tests.providers.conformance import fresh, order_of, page_of, payer_of, payment_of, read, with_card
from tests.providers.simulated.simulation import Simulation

DECLINED = {
    "4000000000009995": ("soft", "insufficient_funds"),
    "4000000000000002": ("soft", "generic_decline"),
    "4000000000009987": ("hard", "lost_card"),
    "4000000000009979": ("hard", "stolen_card"),
    "4000000000000069": ("hard", "expired_card"),
    "4000000000001109": ("hard", "do_not_try_again"),
}
DECLINED_LATER = {
    "4000002760003184": ("authentication", "authentication_required"),
    "4000000000000341": ("soft", "insufficient_funds"),
    "4000000000001208": ("hard", "lost_card"),
    "4000000000001307": ("hard", "do_not_try_again"),
}
LATE = {"4000000000002107": "succeeded", "4000000000002206": "failed", "4000000000002305": "processing"}


def pack(simulation: Simulation, payer: str) -> CheckoutOrder:
    """A pack of ten dollars."""
    return CheckoutOrder(
        reference=fresh(),
        mode="payment",
        payer=payer,
        title="Pack",
        success_url="https://shop.example.test/done",
        cancel_url="https://shop.example.test/back",
        expires_at=simulation.now() + HOUR,
        amount_cents=1_000,
    )


def saved(simulation: Simulation, number: str) -> str:
    """A payer with this card."""
    payer = payer_of(simulation)
    outcome = simulation.provider.pay(page_of(simulation, payer, mode="setup").id, number, confirmed=True)
    assert "done" == outcome
    return payer


@pytest.mark.parametrize("card", CARDS, ids=lambda card: str(card.number))
def test_a_card_on_a_page(simulation: Simulation, card: TestCard) -> None:
    """Each card does on a page what it says."""
    page = page_of(simulation, payer_of(simulation))
    outcome = simulation.provider.pay(page.id, card.number)
    if card.number == "4000002760003184":
        assert "unconfirmed" == outcome
        assert ("open", None) == (read(simulation, page).status, read(simulation, page).payment)
        return
    payment = payment_of(simulation, read(simulation, page).payment)
    if card.number in DECLINED:
        assert ("declined", "failed", *DECLINED[card.number]) == (
            outcome, payment.status, payment.decline, payment.failure
        )  # fmt: skip
        assert payment.failure_text
        return
    assert ("done", None, None) == (outcome, payment.decline, payment.failure)
    assert ("processing" if card.number in LATE else "succeeded") == payment.status


@pytest.mark.parametrize("card", CARDS, ids=lambda card: str(card.number))
def test_a_card_without_its_owner(simulation: Simulation, card: TestCard) -> None:
    """Each card that can be saved does later what it says; one that is declined on a page is not saved."""
    if card.number in DECLINED:
        payer = payer_of(simulation)
        page = page_of(simulation, payer, mode="setup")
        assert "declined" == simulation.provider.pay(page.id, card.number)
        assert simulation.provider.default_card(payer) is None
        assert "payment_intent.payment_failed" not in {event.type for event in simulation.told()}
        return
    payer = saved(simulation, card.number)
    kept = simulation.provider.default_card(payer)
    assert kept is not None
    assert (card.brand, card.number[-4:]) == (kept.brand, kept.last4)
    order, key = order_of(payer), fresh("key")
    if card.later in {"answer_lost", "request_lost"}:
        with pytest.raises(OutcomeUnknown):
            simulation.provider.charge_card(order, key=key)
    payment = simulation.provider.charge_card(order, key=key)
    if card.number in DECLINED_LATER:
        assert ("failed", *DECLINED_LATER[card.number]) == (payment.status, payment.decline, payment.failure)
    else:
        assert ("processing" if card.number in LATE else "succeeded") == payment.status


@pytest.mark.parametrize("number", LATE)
def test_a_late_payment_settles_by_the_clock(simulation: Simulation, number: str) -> None:
    """After ten minutes it has come, or failed, or still waits for a hand."""
    page = page_of(simulation, payer_of(simulation))
    simulation.provider.pay(page.id, number)
    simulation.advance("PT9M59S")
    assert "processing" == payment_of(simulation, read(simulation, page).payment).status
    simulation.advance("PT1S")
    payment = payment_of(simulation, read(simulation, page).payment)
    assert LATE[number] == payment.status
    assert ("paid" if payment.status == "succeeded" else "unpaid") == read(simulation, page).paid
    if payment.status == "failed":
        assert "soft" == payment.decline
    if payment.status != "processing":
        with pytest.raises(ProviderRefused):
            simulation.provider.act(payment.id, "settle")


def test_a_real_card_is_never_taken(simulation: Simulation) -> None:
    """A number that is no test card is refused, and nothing of it is kept."""
    page = page_of(simulation, payer_of(simulation))
    with pytest.raises(ProviderRefused) as caught:
        simulation.provider.pay(page.id, "4111 1111 1111 1111")
    assert "incorrect_number" == caught.value.code
    assert read(simulation, page).payment is None


def test_a_chosen_card_is_charged(simulation: Simulation) -> None:
    """An order may name a card of the payer, and no other; without any card it is refused."""
    payer = saved(simulation, "4242424242424242")
    first = simulation.provider.default_card(payer)
    simulation.provider.pay(page_of(simulation, payer, mode="setup").id, "4000000000000341")
    assert first is not None
    order = replace(order_of(payer), card=first.id)
    assert "succeeded" == simulation.provider.charge_card(order, key=fresh("key")).status
    assert "failed" == simulation.provider.charge_card(order_of(payer), key=fresh("key")).status

    with pytest.raises(ProviderRefused) as caught:
        simulation.provider.charge_card(order_of(payer_of(simulation)), key=fresh("key"))
    assert "no_card" == caught.value.code
    with pytest.raises(ProviderRefused):
        simulation.provider.charge_card(replace(order, payer=payer_of(simulation)), key=fresh("key"))


@pytest.mark.parametrize(
    "change",
    [
        {"amount_cents": 49},
        {"amount_cents": 100_000_000},
        {"payer": "cus_sim_nobody"},
        {"currency": "USD"},
        {"success_url": "javascript:alert(1)"},
        {"cancel_url": "https://a.example.test/\n"},
        {"price": "price_1", "amount_cents": 0},
    ],
    ids=str,
)
def test_a_page_that_no_provider_would_offer(simulation: Simulation, change: dict[str, object]) -> None:
    """An amount out of range, a payer or an address that is none is refused, and the key stays free."""
    order = pack(simulation, payer_of(simulation))
    key = fresh("key")
    with pytest.raises(ProviderRefused):
        simulation.provider.create_checkout(replace(order, **change), key=key)  # type: ignore[arg-type]
    assert "open" == simulation.provider.create_checkout(order, key=key).status


@pytest.mark.parametrize(("asked", "given"), [(MINUTE, 30 * MINUTE), (2 * HOUR, 2 * HOUR), (9 * DAY, DAY)])
def test_a_page_is_open_for_half_an_hour_to_a_day(simulation: Simulation, asked: int, given: int) -> None:
    """Its end is brought within these bounds."""
    order = replace(pack(simulation, payer_of(simulation)), expires_at=simulation.now() + asked)
    made = simulation.provider.create_checkout(order, key=fresh("key"))
    assert simulation.now() + given == made.expires_at


def test_a_key_gives_what_it_made_for_a_day(simulation: Simulation) -> None:
    """A repeat gives the same payment as it stands now; after a day the key is forgotten."""
    payer = with_card(simulation, "good")
    order, key = order_of(payer), fresh("key")
    first = simulation.provider.charge_card(order, key=key)
    simulation.provider.refund(first.id, amount_cents=100, reference=fresh(), key=fresh("key"))
    assert replace(first, refunded_cents=100) == simulation.provider.charge_card(order, key=key)
    with pytest.raises(ProviderRefused) as caught:
        simulation.provider.charge_card(replace(order, amount_cents=1), key=key)
    assert "idempotency_error" == caught.value.code
    with pytest.raises(ProviderRefused):
        simulation.provider.create_payer(reference="cust_1", email=None, key=key)

    simulation.micros += DAY
    again = simulation.provider.charge_card(order, key=key)
    assert first.id != again.id
    newest = simulation.provider.find_payment(payer=payer, reference=order.reference, since=0)
    assert newest is not None
    assert again.id == newest.id


def test_a_declined_charge_is_not_tried_again_with_its_key(simulation: Simulation) -> None:
    """The key of a declined attempt gives the decline again: another attempt needs a key of its own."""
    payer = with_card(simulation, "then_soft")
    order, key = order_of(payer), fresh("key")
    first = simulation.provider.charge_card(order, key=key)
    simulation.provider.pay(page_of(simulation, payer, mode="setup").id, "4242424242424242")
    assert first == simulation.provider.charge_card(order, key=key)
    assert "succeeded" == simulation.provider.charge_card(order, key=fresh("key")).status


def at_once(count: int, work: Callable[[], Payment]) -> list[Payment]:
    """So many times the same, at the same moment."""
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(work) for _ in range(count)]]


def test_eight_repeats_at_once_charge_once(simulation: Simulation, database_url: str) -> None:
    """Eight requests with one key, from two processes, make one payment and give one answer."""
    payer = with_card(simulation, "good")
    order, key = order_of(payer), fresh("key")
    other = Database(database_url)
    providers = [simulation.provider, simulation.open(other)] * 4
    answers = at_once(8, lambda: providers.pop().charge_card(order, key=key))
    other.close()
    assert 1 == len({answer.id for answer in answers})
    assert ["payment_intent.succeeded"] == [
        event.type for event in simulation.told() if event.subject == "payment"
    ]


def test_refunds_at_once_never_give_back_too_much(simulation: Simulation) -> None:
    """Of eight refunds of 30 % at once, three go through."""
    payer = with_card(simulation, "good")
    payment = simulation.provider.charge_card(order_of(payer, cents=1_000), key=fresh("key"))

    def give_back() -> bool:
        try:
            simulation.provider.refund(payment.id, amount_cents=300, reference=fresh(), key=fresh("key"))
        except ProviderRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = [future.result() for future in [pool.submit(give_back) for _ in range(8)]]
    assert (3, 900) == (sum(done), payment_of(simulation, payment.id).refunded_cents)
