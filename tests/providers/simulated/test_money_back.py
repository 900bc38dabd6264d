"""Refunds and disputes beyond what every provider does: refunds that fail or take time, and odd orders."""

import pytest

from tallystick.ports import ProviderRefused
from tests.providers.conformance import bought, fresh, page_of, payer_of, payment_of, read
from tests.providers.simulated.simulation import Simulation


def types(simulation: Simulation) -> list[str]:
    """What was told since the last time, in order."""
    return [event.type for event in simulation.told()]


def test_a_refund_that_fails_is_ours_again(simulation: Simulation) -> None:
    """A failed refund counts no more, and may be made again."""
    payment = bought(simulation)
    simulation.provider.refund(payment.id, amount_cents=1_000, reference="refund_1", key=fresh("key"))
    simulation.told()
    simulation.act(payment.id, "fail-refund")
    assert ["refund.updated", "refund.failed"] == types(simulation)
    assert 0 == payment_of(simulation, payment.id).refunded_cents
    [made] = simulation.provider.refunds(payment.id)
    assert ("failed", "expired_or_canceled_card") == (made.status, made.failure)
    simulation.provider.refund(payment.id, amount_cents=1_000, reference="refund_2", key=fresh("key"))
    simulation.act(payment.id, "fail-refund")
    with pytest.raises(ProviderRefused):
        simulation.act(payment.id, "fail-refund")


def test_a_refund_of_a_late_payment_takes_its_time(simulation: Simulation) -> None:
    """It is pending, counts already, and arrives by the clock."""
    page = page_of(simulation, payer_of(simulation))
    simulation.pay(page, "later")
    payment = payment_of(simulation, read(simulation, page).payment)
    with pytest.raises(ProviderRefused):
        simulation.provider.refund(payment.id, amount_cents=1, reference="refund_0", key=fresh("key"))
    simulation.settle(payment.id, succeeded=True)
    made = simulation.provider.refund(payment.id, amount_cents=400, reference="refund_1", key=fresh("key"))
    assert ("pending", 400) == (made.status, payment_of(simulation, payment.id).refunded_cents)
    simulation.told()
    simulation.advance("PT10M")
    assert ["refund.updated"] == types(simulation)
    assert ["succeeded"] == [each.status for each in simulation.provider.refunds(payment.id)]


def test_a_refund_made_at_the_provider_has_no_reference(simulation: Simulation) -> None:
    """An operator may refund on the provider's own pages, the rest or a part."""
    payment = bought(simulation)
    found = simulation.provider.act(payment.id, "refund", amount_cents=250)
    assert found is not None
    assert 250 == found.refunded_cents
    simulation.act(payment.id, "refund")
    assert [(750, None), (250, None)] == [
        (each.amount_cents, each.reference) for each in simulation.provider.refunds(payment.id)
    ]


def test_a_dispute_takes_what_was_not_refunded(simulation: Simulation) -> None:
    """Refund and dispute together never take more than came."""
    payment = bought(simulation)
    simulation.provider.refund(payment.id, amount_cents=400, reference="refund_1", key=fresh("key"))
    simulation.dispute(payment.id)
    [dispute] = payment_of(simulation, payment.id).disputes
    assert (600, 600) == (dispute.amount_cents, dispute.withdrawn_cents)
    with pytest.raises(ProviderRefused):
        simulation.dispute(payment.id)
    simulation.decide(payment.id, won=False)
    for action in ("dispute", "win", "lose", "refund"):
        with pytest.raises(ProviderRefused):
            simulation.act(payment.id, action)


def test_an_inquiry_becomes_a_dispute(simulation: Simulation) -> None:
    """It is one dispute all along; the funds go when it is one in earnest."""
    payment = bought(simulation)
    simulation.inquire(payment.id)
    with pytest.raises(ProviderRefused):
        simulation.inquire(payment.id)
    with pytest.raises(ProviderRefused):
        simulation.decide(payment.id, won=False)
    [asked] = payment_of(simulation, payment.id).disputes
    simulation.told()
    simulation.dispute(payment.id)
    assert ["charge.dispute.updated", "charge.dispute.funds_withdrawn"] == types(simulation)
    [opened] = payment_of(simulation, payment.id).disputes
    assert (asked.id, "open", 1_000) == (opened.id, opened.status, opened.withdrawn_cents)
    simulation.decide(payment.id, won=True)
    assert ["charge.dispute.closed", "charge.dispute.funds_reinstated"] == types(simulation)
    simulation.provider.refund(payment.id, amount_cents=1_000, reference="refund_1", key=fresh("key"))


def test_a_refund_ends_an_inquiry(simulation: Simulation) -> None:
    """Whoever has the money back asks no more."""
    payment = bought(simulation)
    simulation.inquire(payment.id)
    simulation.provider.refund(payment.id, amount_cents=1_000, reference="refund_1", key=fresh("key"))
    assert ["closed"] == [each.status for each in payment_of(simulation, payment.id).disputes]


def test_a_card_that_is_detached_is_not_charged(simulation: Simulation) -> None:
    """The card of a payment is gone with word of it; a payment is found by our own id, too."""
    payer = payer_of(simulation)
    page = page_of(simulation, payer, save_card=True)
    simulation.pay(page, "good")
    card = simulation.provider.default_card(payer)
    assert card is not None
    simulation.told()
    simulation.act(str(page.reference), "detach-card")
    assert [("payment_method.detached", "payer", payer, {"object": card.id})] == [
        (event.type, event.subject, event.subject_id, dict(event.facts)) for event in simulation.told()
    ]
    assert simulation.provider.default_card(payer) is None
    with pytest.raises(ProviderRefused):
        simulation.act(str(page.reference), "detach-card")


def test_an_expired_page_cancels_what_was_tried(simulation: Simulation) -> None:
    """A payment that failed on a page is over with the page."""
    page = page_of(simulation, payer_of(simulation))
    simulation.pay(page, "soft")
    payment = payment_of(simulation, read(simulation, page).payment)
    assert "failed" == payment.status
    simulation.let_expire(page)
    assert "canceled" == payment_of(simulation, payment.id).status


def test_nobody_and_nothing(simulation: Simulation) -> None:
    """A payment that is not there is None; an action that is not there is refused."""
    for name in ("pi_sim_none", "pay_none", "\x00", "\ud800", ""):
        assert simulation.provider.act(name, "dispute") is None
    with pytest.raises(ProviderRefused):
        simulation.provider.act(bought(simulation).id, "steal")
