"""The suite for Stripe's own test mode: said to be left out without a key, and fit to run with one."""

import pytest

from tests.providers.live_suites import left_out, pytest_run
from tests.stripe_double import StripeDouble

SUITE = "tests/providers/test_stripe_live.py"
LEFT_OUT = "Stripe's own test mode: not run (no STRIPE_TEST_SECRET_KEY)"
EXPECTED = "STRIPE_TEST_SECRET_KEY: expected a key of Stripe's test mode"


@pytest.mark.slow
def test_a_run_without_a_key_says_so() -> None:
    """The suite is neither run nor skipped; who asks for it by name is told what is missing."""
    assert "tests/providers/test_stripe_declines.py" in left_out(SUITE, LEFT_OUT, EXPECTED)


@pytest.mark.slow
def test_with_a_key_it_is_collected() -> None:
    """All of it, and nothing is said to be left out; a key of live mode is refused."""
    run = pytest_run("tests/providers", "--collect-only", STRIPE_TEST_SECRET_KEY="sk_test_x")
    assert (0, False) == (run.returncode, LEFT_OUT in run.stdout)
    assert f"{SUITE}::test_a_dispute_takes_the_money" in run.stdout
    live = pytest_run(SUITE, "--collect-only", STRIPE_TEST_SECRET_KEY="sk_live_x")
    assert (False, True) == (live.returncode == 0, EXPECTED in live.stdout)


@pytest.mark.slow
def test_it_runs(stripe_double: StripeDouble) -> None:
    """Against the double, as far as that knows Stripe's own names of cards."""
    run = pytest_run(
        SUITE,
        "-k",
        "kind_of_page or pays_and_is_refunded",
        STRIPE_TEST_SECRET_KEY=stripe_double.api_key,
        STRIPE_API_BASE=stripe_double.url,
    )
    assert "6 passed" in run.stdout, run.stdout + run.stderr
