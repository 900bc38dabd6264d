"""The shipped economies: every figure that their sources give."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tallystick.core.amounts import MICROS, fee_of
from tallystick.core.catalog import AutoRefill, Economy, Fee, Plan, PurchaseRange, RevenueShare, SandboxRates
from tallystick.core.economy_file import load
from tallystick.core.errors import ConfigurationError
from tallystick.core.rating import rate
from tallystick.core.times import DAY, Duration
from tallystick.economies import SHIPPED, name_of, read

ECONOMIES: Mapping[str, Economy] = {name: load(read(name), name=name) for name in SHIPPED}
DAY_SECONDS = 86_400


def cost(economy: Economy, meter: str, quantity: int = 1) -> dict[str, int]:
    """Give what a whole quantity of a meter costs in each unit, in micro-units."""
    rated = rate(economy.meter(meter), quantity * MICROS)
    return {each.unit: each.amount_micros for each in rated}


def gifts(economy: Economy) -> list[tuple[str, int, str]]:
    """Give the sign-up grants: unit, whole units, category."""
    return [(grant.unit, grant.amount_micros // MICROS, grant.category) for grant in economy.sign_up]


def limits(plan: Plan) -> tuple[int | None, int | None, int | None]:
    """Give the session, concurrency and creation limits of a plan."""
    return plan.session_seconds_max, plan.concurrency_max, plan.creates_per_second


def allowance(plan: Plan) -> int | None:
    """Give the whole credits of a plan's one allowance."""
    (only,) = plan.allowances
    return None if only.amount_micros is None else only.amount_micros // MICROS


def packs(economy: Economy) -> dict[str, tuple[int, int, str | None]]:
    """Give the packs: whole credits, cents, environment variable."""
    return {
        pack.name: (pack.credits_micros // MICROS, pack.price_usd_cents, pack.stripe_price_env)
        for pack in economy.packs.values()
    }


NEXUS_PACKS = {
    "starter": (1000, 1000, "STRIPE_PRICE_STARTER"),
    "pro": (5000, 4000, "STRIPE_PRICE_PRO"),
    "enterprise": (25_000, 15_000, "STRIPE_PRICE_ENTERPRISE"),
}


# What all have in common


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_economy_is_valid_and_named(name: str) -> None:
    """Each has a title, a version and a server's name."""
    economy = ECONOMIES[name]
    assert (name, 12) == (economy.name, len(economy.version))
    assert economy.title
    assert Duration(0, DAY) == economy.checkout_expires_after
    assert ("flow-nexus" if name == "flow-nexus" else "tallystick") == economy.server_name
    assert ("nxk_" if name == "nexus" else "tly_") == economy.key_prefix


def test_versions_tell_the_economies_apart() -> None:
    """No two have the same content."""
    assert len(SHIPPED) == len({economy.version for economy in ECONOMIES.values()})


def test_an_economy_is_read_by_name_or_by_path(tmp_path: Path) -> None:
    """A path to a file does what a shipped name does, and the file's name becomes the economy's."""
    path = tmp_path / "my-economy.toml"
    path.write_text(read("starter"), encoding="utf-8")
    assert read("starter") == read(str(path))
    assert ["starter", "my-economy"] == [name_of("starter"), name_of(str(path))]


@pytest.mark.parametrize("name", ["strater", "no/such/file.toml", "../starter", "bad\0name", ".", ""])
def test_an_economy_that_cannot_be_read_names_those_there_are(name: str) -> None:
    """A slip in the name of an economy is a mistake in the configuration."""
    with pytest.raises(ConfigurationError, match="starter, flow-nexus, e2b, flux, nexus"):
        read(name)


# flow-nexus


def test_flow_nexus_gives_356_credits_and_100_dollars_at_sign_up() -> None:
    """100 for the registration, 256 as a bonus, and $100 once; the allowance waits for month two."""
    economy = ECONOMIES["flow-nexus"]
    assert [("rUv", 100, "initial_grant"), ("rUv", 256, "bonus"), ("USD", 100, "initial_grant")] == gifts(
        economy
    )
    assert ("free", "next_period") == (economy.default_plan, economy.plan("free").starts)
    assert (("rUv", False), ("USD", True)) == tuple(
        (unit.name, unit.money) for unit in economy.units.values()
    )
    assert ("rUv", 6) == (economy.primary_unit, economy.unit("USD").decimals_shown)


def test_flow_nexus_has_three_plans() -> None:
    """100, 1,000 and unlimited; $0, $29 and custom."""
    plans = ECONOMIES["flow-nexus"].plans
    assert {"free": 100, "pro": 1000, "enterprise": None} == {
        name: allowance(plan) for name, plan in plans.items()
    }
    assert [0, 2900, None] == [plan.price_usd_cents for plan in plans.values()]
    assert {None} == {plan.allowances[0].rollover_cap_micros for plan in plans.values()}
    assert ["next_period", "now", "now"] == [plan.starts for plan in plans.values()]
    assert [(3600, 5, 5), (DAY_SECONDS, 20, 5), (DAY_SECONDS, None, None)] == [
        limits(each) for each in plans.values()
    ]


def test_what_a_plan_gives_each_month() -> None:
    """In the primary unit; None is unlimited, and what gives nothing there gives none."""
    economy = ECONOMIES["flow-nexus"]
    given = {name: economy.monthly_micros(name) for name in economy.plans}
    assert (1_000 * MICROS, None, 0) == (given["pro"], given["enterprise"], economy.monthly_micros("nothing"))


def test_flow_nexus_sells_ten_credits_for_a_dollar() -> None:
    """From $10 to $10,000; $50 buys 500."""
    economy = ECONOMIES["flow-nexus"]
    assert PurchaseRange("rUv", 1000, 1_000_000, 10 * MICROS) == economy.purchase
    assert 500 * MICROS == economy.purchase.credits_for(5000)
    assert AutoRefill(10 * MICROS, 100 * MICROS, 1000, 5000) == economy.auto_refill
    assert {
        "rUv": (20 * MICROS, 100 * MICROS),
        "USD": (5 * MICROS, 20 * MICROS),
    } == economy.low_balance.thresholds
    assert {} == economy.packs


def test_the_worked_examples_of_flow_nexus_come_out_exactly() -> None:
    """Create, execute, execute, delete cost 5 rUv; a swarm costs 10, and a challenge 5."""
    economy = ECONOMIES["flow-nexus"]
    calls = ("sandbox_create", "sandbox_execute", "sandbox_execute", "sandbox_delete")
    assert 5 * MICROS == sum(cost(economy, call)["rUv"] for call in calls)
    assert {"rUv": 10 * MICROS} == cost(economy, "swarm_init")
    assert {"rUv": 5 * MICROS} == cost(economy, "challenge_submit")


FLOW_NEXUS_PRICES = {
    "swarm_create_from_template": 10,
    "swarm_scale": 5,
    "swarm_monitor": 3,
    "agent_spawn": 3,
    "task_orchestrate": 5,
    "daa_agent_create": 12,
    "sandbox_configure": 2,
    "sandbox_upload": 2,
    "storage_upload": 1,
    "storage_get_url": 1,
    "storage_delete": 1,
    "workflow_create": 20,
    "workflow_execute": 30,
    "workflow_pipeline": 35,
    "workflow_automation": 25,
    "workflow_template": 8,
    "neural_train": 10,
    "neural_train_medium": 25,
    "neural_train_large": 50,
    "neural_train_xl": 100,
    "neural_predict": 10,
    "neural_deploy_template": 50,
    "github_repo_analyze": 75,
    "github_release": 50,
    "github_workflow": 50,
    "github_code_review": 40,
    "github_pull_request": 20,
    "seraphina_chat": 2,
    "seraphina_chat_standard": 4,
    "seraphina_chat_advanced": 8,
    "seraphina_chat_premium": 20,
    "app_install": 1,
    "app_analytics": 1,
    "app_update": 2,
    "template_update": 2,
}


@pytest.mark.parametrize(("meter", "credits_each"), FLOW_NEXUS_PRICES.items())
def test_flow_nexus_follows_the_readme(meter: str, credits_each: int) -> None:
    """What the worked examples do not settle costs what the README says."""
    assert {"rUv": credits_each * MICROS} == cost(ECONOMIES["flow-nexus"], meter)


def test_lists_balances_profiles_and_health_are_free_in_flow_nexus() -> None:
    """Everything that has no price in any source is free as well, and nothing else is."""
    economy = ECONOMIES["flow-nexus"]
    free = {name for name, meter in economy.meters.items() if meter.prices[0].kind == "free"}
    named = {"sandbox_list", "swarm_list", "check_balance", "ruv_balance", "ruv_history", "user_profile"}
    assert named | {"system_health", "challenges_list", "leaderboard_get", "template_list"} <= free
    priced = {"swarm_init", "sandbox_create", "sandbox_execute", "challenge_submit", *FLOW_NEXUS_PRICES}
    assert economy.meters.keys() - free - priced == {
        "vcpu_seconds",
        "gib_seconds",
        "storage_gib_days",
        "api_call",
    }
    assert {"rUv": 1_000} == cost(economy, "api_call")
    assert {"rUv": 10_000} == cost(economy, "storage_gib_days")


def test_disagreeing_sources_are_noted_beside_the_price_in_flow_nexus() -> None:
    """Whoever reads a price sees what else was said."""
    noted = {name for name, meter in ECONOMIES["flow-nexus"].meters.items() if meter.note}
    assert {"swarm_init", "sandbox_create", "sandbox_delete", "challenge_submit", "agent_spawn"} <= noted


def test_flow_nexus_rewards() -> None:
    """Beginner 10 to 50, advanced 100 to 500, first place 500; authors get 70 %; a streak adds 1."""
    economy = ECONOMIES["flow-nexus"]
    challenge = economy.rewards["challenge"]
    assert [(10, 50), (100, 500), (500, 500)] == [
        tuple(bound // MICROS for bound in challenge.bounds(each) or ())
        for each in ("beginner", "advanced", "first_place")
    ]
    assert RevenueShare(7000, "floor") == economy.revenue_share
    assert {"challenge", "app_usage", "referral", "daily_engagement", "achievement"} == economy.rewards.keys()
    assert MICROS == economy.rewards["daily_engagement"].streak_step_micros
    assert economy.referral is not None
    assert (50 * MICROS, 0) == (economy.referral.referrer_micros, economy.referral.referred_micros)


# e2b


@pytest.mark.parametrize("name", ["e2b", "flow-nexus"])
def test_infrastructure_costs_what_e2b_charges(name: str) -> None:
    """$0.000014 for a vCPU and $0.0000045 for a GiB, each second: the default size costs $0.1089 an hour."""
    economy = ECONOMIES[name]
    timeout = 300 if name == "e2b" else 3600
    rates = SandboxRates("USD", "vcpu_seconds", "gib_seconds", 14_000_000, 4_500_000, 2, 512, timeout)
    assert rates == economy.sandbox
    assert {"USD": 100_800} == cost(economy, "vcpu_seconds", 2 * 3600)
    assert {"USD": 8_100} == cost(economy, "gib_seconds", 1800)


def test_e2b_plans() -> None:
    """Hobby is free with $100 once; Pro costs $150 and usage; Ultimate is custom."""
    economy = ECONOMIES["e2b"]
    assert [("USD", 100, "initial_grant")] == gifts(economy)
    assert ["hobby", "pro", "ultimate"] == list(economy.plans)
    assert [0, 15_000, None] == [plan.price_usd_cents for plan in economy.plans.values()]
    limits_of = [limits(plan) for plan in economy.plans.values()]
    assert [(3600, 20, 1), (DAY_SECONDS, 100, 5), (None, None, None)] == limits_of
    assert {()} == {plan.allowances for plan in economy.plans.values()}
    assert (True, 6) == (economy.unit("USD").money, economy.unit("USD").decimals_shown)
    assert PurchaseRange("USD", 1000, 1_000_000, MICROS) == economy.purchase


# flux


def test_flux_plans() -> None:
    """Edge gives 200 on the 1st, use it or lose it; Pulse gives nothing and may buy no packs."""
    economy = ECONOMIES["flux"]
    edge, pulse = economy.plan("edge"), economy.plan("pulse")
    assert "pulse" == economy.default_plan
    assert ((), False) == (pulse.allowances, pulse.can_buy_packs)
    assert (200, None, True) == (allowance(edge), edge.allowances[0].rollover_cap_micros, edge.can_buy_packs)
    assert ("calendar", "now") == (edge.renews, edge.starts)
    assert () == economy.sign_up


def test_flux_packs() -> None:
    """500 for $5 and 2,000 for $15, drawn after the monthly credits."""
    economy = ECONOMIES["flux"]
    assert {"starter": (500, 500, None), "pro": (2000, 1500, None)} == packs(economy)
    assert economy.priority("monthly_grant") < economy.priority("purchase")
    assert economy.purchase is None


def test_flux_look_ups_cost_little_and_bulk_and_scoring_more() -> None:
    """Every priced tool has an hourly limit of its own."""
    economy = ECONOMIES["flux"]
    expected = {
        "profile_lookup": 1,
        "company_lookup": 1,
        "post_lookup": 1,
        "search": 2,
        "audience_insights": 5,
    }
    expected |= {"lead_score": 5, "bulk_lookup": 1, "bulk_score": 5, "data_api_request": 1, "balance": 0}
    assert expected == {name: cost(economy, name)["credits"] // MICROS for name in economy.meters}
    assert {"credits": 1100 * MICROS} == cost(economy, "bulk_score", 250)
    assert {"credits": 250 * MICROS} == cost(economy, "bulk_lookup", 250)
    unlimited = {name for name, meter in economy.meters.items() if meter.hourly_limit is None}
    assert {"balance"} == unlimited


# nexus


def test_nexus_packs_and_sign_up() -> None:
    """1,000 free credits, and three packs whose Stripe prices come from the environment."""
    economy = ECONOMIES["nexus"]
    assert [("credits", 1000, "initial_grant")] == gifts(economy)
    assert NEXUS_PACKS == packs(economy)
    assert ["standard"] == list(economy.plans)
    assert {} == economy.meters


def test_nexus_takes_five_percent_from_the_owner() -> None:
    """Requester -10, owner +9.5, platform +0.5."""
    economy = ECONOMIES["nexus"]
    assert Fee(500, 0, "floor") == economy.task_fee
    assert 500_000 == fee_of(10 * MICROS, 500, 0, economy.task_fee.rounding)
    assert "reject" == economy.settlement.on_insufficient


# starter


def test_starter_has_one_of_everything() -> None:
    """Three plans, three packs, every shape of price, one hourly limit, a 5 % fee and rewards."""
    economy = ECONOMIES["starter"]
    assert [("credits", 1000, "initial_grant")] == gifts(economy)
    plans = {name: (allowance(plan), plan.price_usd_cents) for name, plan in economy.plans.items()}
    assert {"free": (100, 0), "pro": (2000, 1900), "enterprise": (None, None)} == plans
    assert ("free", "next_period") == (economy.default_plan, economy.plan("free").starts)
    assert 2000 * MICROS == economy.plan("pro").allowances[0].rollover_cap_micros
    assert NEXUS_PACKS == packs(economy)
    kinds = {meter.prices[0].kind for meter in economy.meters.values()}
    assert {"free", "flat", "per_unit", "graduated", "volume"} == kinds
    limited = {name: meter.hourly_limit for name, meter in economy.meters.items() if meter.hourly_limit}
    assert {"search": 120} == limited
    assert Fee(500, 0, "floor") == economy.task_fee
    assert {"challenge", "daily"} == economy.rewards.keys()


@pytest.mark.parametrize(
    ("meter", "quantity", "micros"),
    [
        ("ping", 1, 0),
        ("lookup", 1, 1_000_000),
        ("search", 1, 3_000_000),
        ("gpt", 1000, 2_000_000),
        ("gpt", 730, 1_460_000),
        ("render", 60, 20_000_000),
        ("enrich", 100, 50_000_000),
        ("enrich", 1010, 276_000_000),
        ("export", 1000, 11_000_000),
        ("export", 1001, 8_008_000),
        ("vcpu_seconds", 3600, 5_040_000),
        ("gib_seconds", 3600, 1_620_000),
    ],
)
def test_starter_prices(meter: str, quantity: int, micros: int) -> None:
    """Every meter of the tour costs what its comment says."""
    assert {"credits": micros} == cost(ECONOMIES["starter"], meter, quantity)
