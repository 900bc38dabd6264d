"""A stateful double of Stripe's API, for tests that drive the real SDK.

What it accepts and answers is held against a contract that is derived from the SDK's own types. What it does not
implement it refuses with 501, and the test fails.
"""

from tests.stripe_double.double import StripeDouble, judged_double

__all__ = ["StripeDouble", "judged_double"]
