"""Disputes: opened, answered, won, lost, asked only, closed."""

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes


def happened(double: StripeDouble) -> list[str]:
    return [each.removeprefix("charge.dispute.") for each in scenes.types(double, "charge.dispute")]


@pytest.fixture
def charge(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> str:
    """A charge of ten dollars."""
    return str(scenes.paid(stripe_double, stripe_client).latest_charge)


def test_a_chargeback_takes_the_money_at_once(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """The amount and a fee leave the balance, and the charge is disputed."""
    dispute = stripe_client.v1.disputes.retrieve(stripe_double.dispute(charge)["id"])
    assert ("needs_response", 1000, charge) == (dispute.status, dispute.amount, dispute.charge)
    assert [(-1000, 1500)] == [(each.amount, each.fee) for each in dispute.balance_transactions]
    assert stripe_client.v1.charges.retrieve(charge).disputed
    assert ["created", "funds_withdrawn"] == happened(stripe_double)
    assert [dispute.id] == [each.id for each in stripe_client.v1.disputes.list({"charge": charge}).data]


def test_a_dispute_is_answered_and_won(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """Evidence is staged, then submitted; the money comes back when the bank agrees."""
    dispute = stripe_double.dispute(charge, amount=600, reason="product_not_received")["id"]
    staged = stripe_client.v1.disputes.update(
        dispute, {"evidence": {"customer_name": "Ann"}, "submit": False}
    )
    assert ("needs_response", True, 0) == (
        staged.status,
        staged.evidence_details.has_evidence,
        staged.evidence_details.submission_count,
    )
    submitted = stripe_client.v1.disputes.update(
        dispute, {"evidence": {"uncategorized_text": "used"}, "submit": True}
    )
    assert ("under_review", "Ann") == (submitted.status, submitted.evidence.customer_name)
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.disputes.update(dispute, {"evidence": {"customer_name": "Bob"}})
    stripe_double.win(dispute)
    found = stripe_client.v1.disputes.retrieve(dispute)
    assert ("won", [-600, 600]) == (found.status, [each.amount for each in found.balance_transactions])
    assert ["created", "funds_withdrawn", "updated", "updated", "closed", "funds_reinstated"] == happened(
        stripe_double
    )


def test_a_lost_dispute_keeps_the_money(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """Nothing comes back, and a second refund by the product is refused."""
    dispute = stripe_double.dispute(charge)["id"]
    stripe_double.lose(dispute)
    assert "lost" == stripe_client.v1.disputes.retrieve(dispute).status
    assert ["created", "funds_withdrawn", "closed"] == happened(stripe_double)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.refunds.create({"charge": charge})
    assert "charge_disputed" == caught.value.code
    with pytest.raises(ValueError, match="lost"):
        stripe_double.win(dispute)


def test_closing_a_dispute_loses_it(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """Whoever closes it accepts it; it cannot be closed twice."""
    dispute = stripe_double.dispute(charge)["id"]
    assert "lost" == stripe_client.v1.disputes.close(dispute).status
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.disputes.close(dispute)


@pytest.mark.parametrize("ending", ["close_inquiry", "prevent"])
def test_an_inquiry_takes_no_money(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str, ending: str
) -> None:
    """A warning that ends as one leaves the balance alone; the charge can be refunded meanwhile."""
    dispute = stripe_double.dispute(charge, inquiry=True)["id"]
    assert "warning_needs_response" == stripe_client.v1.disputes.retrieve(dispute).status
    assert 400 == stripe_client.v1.refunds.create({"charge": charge, "amount": 400}).amount
    getattr(stripe_double, ending)(dispute)
    expected = {"close_inquiry": "warning_closed", "prevent": "prevented"}[ending]
    found = stripe_client.v1.disputes.retrieve(dispute)
    assert (expected, []) == (found.status, found.balance_transactions)
    assert ["created", "closed"] == happened(stripe_double)


def test_an_inquiry_can_become_a_chargeback(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """Then the money leaves, and may come back by another way than winning."""
    dispute = stripe_double.dispute(charge, inquiry=True)["id"]
    stripe_double.escalate(dispute)
    stripe_double.reinstate_funds(dispute)
    stripe_double.withdraw_funds(dispute)
    found = stripe_client.v1.disputes.retrieve(dispute)
    assert ("needs_response", [-1000, 1000, -1000]) == (
        found.status,
        [each.amount for each in found.balance_transactions],
    )
    assert ["created", "updated", "funds_withdrawn", "funds_reinstated", "funds_withdrawn"] == happened(
        stripe_double
    )


def test_only_what_was_not_refunded_is_disputed(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, charge: str
) -> None:
    """After a partial refund the bank takes the rest."""
    stripe_client.v1.refunds.create({"charge": charge, "amount": 300})
    assert 700 == stripe_double.dispute(charge)["amount"]
    with pytest.raises(ValueError, match="disputed before"):
        stripe_double.dispute(charge)
