"""Economy files: what is read, and what makes a version."""

import re

from tallystick.core.amounts import MICROS, PICOS
from tallystick.core.catalog import (
    DEFAULT_PRIORITIES,
    Allowance,
    AutoRefill,
    Disputes,
    Economy,
    Fee,
    LowBalance,
    Meter,
    Pack,
    Plan,
    Price,
    PurchaseRange,
    Referral,
    RevenueShare,
    Reward,
    RewardRange,
    SandboxRates,
    Settlement,
    SignUpGrant,
    Tier,
    Unit,
)
from tallystick.core.economy_file import load
from tallystick.core.times import DAY, MINUTE, Duration
from tests.core.economy_texts import FULL, SMALL


def test_a_small_economy_has_defaults_for_everything_else() -> None:
    """A title, one unit and one plan are enough."""
    economy = load(SMALL, name="small")
    assert (
        Economy(
            name="small",
            version=economy.version,
            title="Small",
            server_name="tallystick",
            key_prefix="tly_",
            primary_unit="credits",
            default_plan="free",
            checkout_expires_after=Duration(0, DAY),
            units={"credits": Unit("credits", "Credits", 2, money=False)},
            plans={"free": Plan("free", "Free", "", None)},
            meters={},
        )
        == economy
    )
    assert DEFAULT_PRIORITIES == economy.priorities


def test_everything_in_a_full_economy_is_read() -> None:
    """Each key of each section comes out as the value that it says."""
    economy = load(FULL, name="full")
    second = Meter("second", "sandbox", "A second", (Price("credits", "per_unit", 0, PICOS),))
    both = (Price("credits", "flat", 2 * MICROS), Price("USD", "per_unit", 100_000, 4_500_000))
    tiers = (Tier(10 * MICROS, 0, MICROS), Tier(None, 1))
    assert (
        Economy(
            name="full",
            version=economy.version,
            title="Full",
            server_name="full-house",
            key_prefix="full_",
            primary_unit="credits",
            default_plan="pro",
            checkout_expires_after=Duration(0, DAY // 24),
            units={
                "credits": Unit("credits", "Credits", 0, money=False),
                "USD": Unit("USD", "Dollars", 6, money=True),
            },
            sign_up=(
                SignUpGrant("credits", 500_000, "initial_grant", "Welcome"),
                SignUpGrant("USD", 7 * MICROS, "promotional_grant", "Dollars once", Duration(1, 0)),
            ),
            plans={
                "pro": Plan(
                    name="pro",
                    title="Pro",
                    description="All of it",
                    price_usd_cents=999,
                    allowances=(Allowance("credits", 10 * MICROS, 20 * MICROS), Allowance("USD", None)),
                    renews="anniversary",
                    starts="next_period",
                    can_buy_packs=False,
                    session_seconds_max=60,
                    concurrency_max=2,
                    creates_per_second=1,
                )
            },
            packs={"small": Pack("small", "Small pack", "USD", 5 * MICROS, 600, "STRIPE_PRICE_SMALL")},
            purchase=PurchaseRange("USD", 100, 100, MICROS),
            auto_refill=AutoRefill(
                MICROS, 2 * MICROS, 300, 400, 5000, 6000, Duration(0, 2 * MINUTE), Duration(0, DAY), 4
            ),
            disputes=Disputes(freeze_wallet=True),
            meters={
                "both": Meter("both", "data", "Two units at once", both, 60, "a note"),
                "second": second,
                "tiered": Meter(
                    "tiered", "data", "Tiers", (Price("credits", "volume", tiers=tiers), Price("USD", "free"))
                ),
            },
            sandbox=SandboxRates("credits", "second", "second", PICOS, PICOS, 1, 64, 30),
            task_fee=Fee(250, 250_000, "half_even"),
            settlement=Settlement("create_unbilled"),
            rewards={
                "challenge": Reward(
                    source="challenge",
                    unit="USD",
                    description="Solving",
                    ranges=(RewardRange("easy", MICROS, MICROS), RewardRange("hard", 2 * MICROS, 3_500_000)),
                    aliases=("contest",),
                    streak_step_micros=500_000,
                )
            },
            revenue_share=RevenueShare(7000, "ceil"),
            referral=Referral("USD", 5 * MICROS, 0),
            low_balance=LowBalance({"credits": (MICROS, 2_500_000)}),
            expiry_notice_days=3,
            priorities={**DEFAULT_PRIORITIES, "bonus": 5},
        )
        == economy
    )


def test_the_short_form_of_a_price_is_flat_or_free() -> None:
    """`price = 2` is two of the primary unit for each call, and 0 is free."""
    meter = '[meters.{}]\ncategory = "x"\ndescription = "X"\nprice = {}\n'
    economy = load(SMALL + meter.format("a", 2) + meter.format("b", 0), name="short")
    assert (Price("credits", "flat", 2 * MICROS),) == economy.meters["a"].prices
    assert (Price("credits", "free"),) == economy.meters["b"].prices


# Versions


def test_a_version_is_of_the_content_and_not_of_its_writing() -> None:
    """Comments, spacing, order and the ways to write a number make no new version; neither does the name."""
    other = """
    units.credits = { description = 'Credits' }   # the same
    [plans.free]
    title = "Free"
    [economy]
    default_plan = "free"
    primary_unit = "credits"
    title = "Small"
    """
    assert load(SMALL, name="small").version == load(other, name="other").version
    one, same = (
        load(FULL.replace("amount = 10\n", f"amount = {text}\n"), name="x") for text in ("10", "10.000")
    )
    assert one.version == same.version
    assert re.fullmatch(r"[0-9a-f]{12}", one.version)


def test_every_change_of_content_makes_a_version() -> None:
    """A price, a text, a truth value, and a number against the same as a text are all different."""
    texts = [
        FULL,
        FULL.replace("amount = 7", "amount = 8"),
        FULL.replace("amount = 7", 'amount = "7"'),
        FULL.replace('"Full"', '"full"'),
        FULL.replace("money = true", "money = false"),
        FULL.replace("[1, 2.5]", "[1]"),
    ]
    assert len(texts) == len({load(text, name="x").version for text in texts})
