"""Disputes: what a customer told the bank, what the bank took, and how it ended."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import balance
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

ANSWERABLE = frozenset({"needs_response", "warning_needs_response"})
OPEN = ANSWERABLE | {"under_review", "warning_under_review"}
SECONDS_TO_ANSWER = 7 * 24 * 60 * 60
EVIDENCE = (
    "access_activity_log billing_address customer_email_address customer_name customer_purchase_ip product_description "
    "receipt refund_policy service_date uncategorized_text"
)


def opened(account: Account, charge: Json, *, amount: int, reason: str, inquiry: bool) -> Json:
    """Let a bank ask about a charge, or take its money at once."""
    dispute = account.new(
        "dispute",
        "du",
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence=account.contract.blank("dispute", "evidence") | {"enhanced_evidence": {}},
        evidence_details={
            "due_by": account.now() + SECONDS_TO_ANSWER,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method_details={
            "type": "card",
            "card": {
                "brand": "visa",
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": "visa",
                "network_reason_code": "83",
            },
        },
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    account.change(charge, disputed=True)
    account.emit("charge.dispute.created", dispute)
    if not inquiry:
        withdraw(account, dispute)
    return dispute


def withdraw(account: Account, dispute: Json) -> None:
    """Take the money and the fee out of the balance."""
    _book(account, dispute, amount=-dispute["amount"], fee=balance.DISPUTE_FEE)
    account.emit("charge.dispute.funds_withdrawn", dispute)


def reinstate(account: Account, dispute: Json) -> None:
    """Give the money back."""
    _book(account, dispute, amount=dispute["amount"], fee=0)
    account.emit("charge.dispute.funds_reinstated", dispute)


def escalate(account: Account, dispute: Json) -> None:
    """Let an inquiry become a chargeback."""
    account.change(dispute, "charge.dispute.updated", status="needs_response", is_charge_refundable=False)
    withdraw(account, dispute)


def end(account: Account, dispute: Json, *, status: str) -> Json:
    """Close a dispute: ``won``, ``lost``, ``warning_closed`` or ``prevented``."""
    account.change(dispute, status=status, is_charge_refundable=False)
    account.emit("charge.dispute.closed", dispute)
    return dispute


@route("GET", "/v1/disputes/{dispute}")
def retrieve(account: Account, parameters: Json, dispute: str) -> Json:
    del parameters
    return account.find("dispute", dispute)


@route("GET", "/v1/disputes", f"{PAGING} created charge payment_intent")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("charge", "payment_intent")}
    return page(account.all("dispute", **asked), parameters, url="/v1/disputes")


@route(
    "POST",
    "/v1/disputes/{dispute}",
    " ".join(["metadata submit", *(f"evidence.{name}" for name in EVIDENCE.split())]),
)
def update(account: Account, parameters: Json, dispute: str) -> Json:
    found = account.find("dispute", dispute)
    evidence = {key: text or None for key, text in parameters.get("evidence", {}).items()}
    if evidence and found["status"] not in ANSWERABLE:
        raise errors.refused("This dispute is already closed or under review.", code="dispute_not_answerable")
    details = found["evidence_details"] | ({"has_evidence": True} if evidence else {})
    changes: Json = {
        "evidence": found["evidence"] | evidence,
        "metadata": merged_metadata(found["metadata"], parameters),
    }
    if evidence and parameters.get("submit", True):
        details |= {"submission_count": details["submission_count"] + 1, "submission_method": "manual"}
        changes["status"] = found["status"].replace("needs_response", "under_review")
    return account.change(found, "charge.dispute.updated", **changes, evidence_details=details)


@route("POST", "/v1/disputes/{dispute}/close")
def close(account: Account, parameters: Json, dispute: str) -> Json:
    del parameters
    found = account.find("dispute", dispute)
    if found["status"] not in ANSWERABLE:
        raise errors.refused("This dispute is already closed.", code="dispute_already_closed")
    return end(account, found, status="lost" if found["status"] == "needs_response" else "warning_closed")


def _book(account: Account, dispute: Json, *, amount: int, fee: int) -> None:
    booked = balance.entry(
        account, amount=amount, fee=fee, currency=dispute["currency"], source=dispute["id"], kind="adjustment"
    )
    account.change(dispute, balance_transactions=[*dispute["balance_transactions"], booked])
