"""Refusals: codes, sentences and facts."""

import re

import pytest

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.errors import EconomyProblem, Refusal
from tallystick.core.refusal_facts import facts_of


def every_class(base: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Give all classes of refusals of the module, the base included."""
    found = [base]
    for child in base.__subclasses__():
        found += every_class(child)
    return [each for each in found if each.__module__ == errors.__name__]


EXAMPLES = (
    errors.MalformedRequest("the body is not JSON"),
    errors.ValidationFailed([("email", "expected an address"), ("password", "expected 8 characters")]),
    errors.InvalidAmount("a number above 0"),
    errors.InvalidQuantity("a number above 0"),
    errors.AmountTooLarge(10**15),
    errors.AmountTooLarge(),
    errors.BodyTooLarge(1_048_576),
    errors.InvalidCursor(),
    errors.NotAuthenticated(),
    errors.InvalidCredentials(),
    errors.NotAllowed("only an admin may do this"),
    errors.EmailTaken(),
    errors.NotFound("charge", "chg_1"),
    errors.UnknownMeter("lokup", suggestion="lookup"),
    errors.UnknownUnit("rub"),
    errors.UnknownPlan("pro"),
    errors.UnknownPack("pro"),
    errors.UnknownCustomer("cust_1"),
    errors.Conflict("the grant is void"),
    errors.HoldNotOpen("captured"),
    errors.TaskNotReady("completed", ("created", "accepted")),
    errors.DisputeWindowClosed(1),
    errors.AgentPaused("Summarist"),
    errors.SandboxNotRunning("stopped", "timeout"),
    errors.SandboxNotRunning("creating"),
    errors.SandboxElsewhere(),
    errors.PlanLimitReached(right="sandboxes at a time", limit=5, asked=6, plan="free"),
    errors.SandboxesUnavailable("this server runs no sandboxes"),
    errors.SandboxFailed("the sandbox did not answer"),
    errors.PriceAboveMaximum(unit="credits", price=2_000_000, max_price=1_500_000),
    errors.ExceedsRefundable(unit="credits", requested=5_000_000, refundable=2_500_000),
    errors.NotCovered(unit="rUv", required=5, available=2, limit_source="wallet:rUv"),
    errors.InsufficientCredits(
        unit="rUv", required=5_000_000, available=2_000_000, limit_source="wallet:rUv"
    ),
    errors.BudgetExceeded(
        unit="rUv",
        required=5_000_000,
        available=0,
        limit_source="budget:key:key_1",
        shortfall=5_000_000,
        reset_at=9,
    ),
    errors.RateLimited(
        limit=60,
        remaining=0,
        reset_at=9,
        window_seconds=3600,
        retry_after_seconds=7,
        limit_source="meter:lookup",
    ),
    errors.WalletFrozen("USD"),
    errors.WalletFrozen("USD", "not verified"),
    errors.PlanRequired(right="buying packs", plan="pulse", plans=["edge"]),
    errors.PlanRequired(right="buying packs", plan="pulse"),
    errors.IdempotencyKeyRequired(),
    errors.IdempotencyKeyReused(),
    errors.IdempotencyInFlight(),
    errors.NotSimulated(),
    errors.PaymentFailed("the card was declined", reason="card_declined"),
    errors.AutoRefillFailed("no card is saved", update_url="https://tally.example/billing"),
    errors.TierUpgradeFailed("pay for the plan first", checkout_url="https://pay.example/1"),
    errors.InvalidSignature(),
    errors.PaymentsUnavailable(),
    errors.EconomyInvalid("mine", [EconomyProblem("units", None, "at least one unit", "nothing")]),
    errors.TestClockRefused("there is no test clock in live mode"),
    errors.ServiceUnavailable("the database is away"),
    errors.ConfigurationError("TALLY_MODE: expected test or live"),
)


def test_every_refusal_has_a_code_of_its_own() -> None:
    """Codes are stable names in lower case, and no two classes share one."""
    codes = [each.code for each in every_class()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_every_refusal_says_what_the_caller_should_do() -> None:
    """Each class has a docstring of its own, and it is a sentence."""
    for each in every_class():
        text = each.__dict__.get("__doc__")
        assert text, each
        assert text.partition("\n\n")[0].rstrip().endswith("."), each


def test_every_refusal_is_shown_here() -> None:
    """The examples of these tests leave out no class."""
    assert set(every_class()) - {Refusal} == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("refusal", EXAMPLES, ids=lambda refusal: refusal.detail)
def test_every_refusal_has_a_sentence_and_documented_facts(refusal: Refusal) -> None:
    """The detail is the text, and amounts and times are whole numbers under their documented names."""
    assert refusal.detail
    assert refusal.detail == str(refusal)
    for name in refusal.amount_fields | refusal.time_fields:
        if name in refusal.fields:
            assert isinstance(refusal.fields[name], int | None)
    assert refusal.amount_fields <= refusal.fields.keys() or not refusal.fields
    assert refusal.time_fields <= refusal.fields.keys()


def test_want_of_credits_carries_the_figures_that_decided() -> None:
    """Required, available and shortfall are in the sentence as well, and a repeat alone does not help."""
    refusal = errors.InsufficientCredits(
        unit="rUv",
        required=5_000_000,
        available=1_999_999,
        limit_source="wallet:rUv",
        topup_url="https://pay",
    )
    assert "5 rUv needed, 1.999999 rUv available in wallet:rUv: 3.000001 rUv short" == refusal.detail
    assert {
        "unit": "rUv",
        "required": 5_000_000,
        "available": 1_999_999,
        "shortfall": 3_000_001,
        "limit_source": "wallet:rUv",
        "retryable": False,
        "reset_at": None,
        "topup_url": "https://pay",
    } == refusal.fields


def test_want_of_credits_may_be_waited_out_only_where_a_moment_is_known() -> None:
    """With a moment at which a grant is due, a later try makes sense."""
    refusal = errors.InsufficientCredits(
        unit="rUv", required=5, available=0, limit_source="wallet:rUv", reset_at=1_793_491_200_000_000
    )
    assert (True, 1_793_491_200_000_000) == (refusal.fields["retryable"], refusal.fields["reset_at"])


def test_a_name_that_is_not_found_is_shortened_and_a_close_one_named() -> None:
    """A megabyte of a name does not come back."""
    assert (
        "there is no meter lokup; did you mean lookup?"
        == errors.UnknownMeter("lokup", suggestion="lookup").detail
    )
    assert "x" * 100 == errors.NotFound("charge", "x" * 10**6).fields["id"]


def test_what_is_wrong_with_an_economy_is_told_in_full() -> None:
    """The sentence and the facts have every problem with its line."""
    problems = [
        EconomyProblem("meters.lookup.price", 7, "a number above 0", "-1"),
        EconomyProblem("units", None, "at least one unit", "nothing"),
    ]
    refusal = errors.EconomyInvalid("mine", problems)
    assert (
        "economy mine has 2 problems: line 7: meters.lookup.price: expected a number above 0, found -1; "
        "units: expected at least one unit, found nothing"
    ) == refusal.detail
    assert {"key": "units", "line": None, "expected": "at least one unit", "found": "nothing"} in (
        problem._asdict() for problem in refusal.problems
    )


def test_facts_are_shown_in_the_form_of_a_door() -> None:
    """Amounts as the door shows them, times as RFC 3339, the rest as it is."""
    refusal = errors.AmountTooLarge(2_500_000)
    assert {"maximum": "2.5"} == facts_of(refusal, format_amount)
    limited = errors.RateLimited(
        limit=3, remaining=0, reset_at=0, window_seconds=3600, retry_after_seconds=5, limit_source="meter:x"
    )
    facts = facts_of(limited, format_amount)
    assert ("1970-01-01T00:00:00Z", 3, "meter:x") == (
        facts["reset_at"],
        facts["limit"],
        facts["limit_source"],
    )
