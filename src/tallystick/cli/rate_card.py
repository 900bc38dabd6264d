"""Economies for people: prices in words, and a rate card on one page, from the form that REST has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tallystick.cli.rendering import amount, facts, text, units
from tallystick.cli.tables import Column, Row, table


def price_text(price: Row, *, one_tier: bool = False) -> str:
    """A price in words: ``1 rUv``, ``0.002 USD each``, ``0.01 up to 1,000, then 0.005 USD each (volume)``."""
    unit, kind = price["unit"], price["kind"]
    if kind == "free":
        return "free"
    if kind == "flat":
        return units(price["flat"], unit)
    if kind in {"graduated", "volume"} and not one_tier:
        steps = []
        for tier in price["tiers"]:
            end = "" if tier["up_to"] is None else f" up to {amount(tier['up_to'])}"
            steps.append(f"{_flat_first(tier)}{amount(tier['per_unit'])}{end}")
        return f"{', then '.join(steps)} {unit} each ({kind})"
    return f"{_flat_first(price)}{units(price['per_unit'], unit)} each"


def _flat_first(price: Row) -> str:
    return f"{amount(price['flat'])} and " if price["flat"] else ""


def show_meters(out: Console, meters: list[Row]) -> None:
    """What things cost, one meter a line, in the file's order."""
    limited = any(meter["hourly_limit"] is not None for meter in meters)
    columns = (
        Column("meter", "meter"),
        Column("category", "category"),
        Column("price", lambda row: " + ".join(price_text(each) for each in row["prices"]), wraps=True),
        *([Column("calls an hour", "hourly_limit", "amount")] if limited else []),
        Column("what", "description", wraps=True),
    )
    out.print(table(meters, columns, title="Prices", empty="nothing has a price"))


def show_economy(out: Console, economy: Mapping[str, Any]) -> None:
    """A whole economy, readable."""
    out.print(
        text(f"{economy['title']} ({economy['economy']}, version {economy['economy_version']})", "bold")
    )
    columns = (
        Column("unit", "unit"),
        Column("primary", lambda row: "primary" if row["primary"] else ""),
        Column("what", "description", wraps=True),
    )
    out.print(table(economy["units"], columns, title="Units"))
    gifts = (
        Column("amount", "amount", "amount"),
        Column("unit", "unit"),
        Column("kind", "category"),
        Column("expires after", "expires_after"),
        Column("what", "description", wraps=True),
    )
    out.print(table(economy["sign_up"], gifts, title="At sign-up", empty="no credits at sign-up"))
    _show_plans(out, economy)
    _show_sales(out, economy)
    show_meters(out, economy["meters"])
    noted = [meter for meter in economy["meters"] if meter["note"]]
    if noted:
        out.print(table(noted, (Column("meter", "meter"), Column("note", "note", wraps=True)), title="Notes"))
    _show_rules(out, economy)


def _show_plans(out: Console, economy: Mapping[str, Any]) -> None:
    columns = (
        Column(
            "plan", lambda row: row["plan"] + (" (default)" if row["plan"] == economy["default_plan"] else "")
        ),
        Column(
            "a month", lambda row: "custom" if row["price_usd"] is None else f"${amount(row['price_usd'])}"
        ),
        Column("allowance", lambda row: ", ".join(map(_allowance, row["allowances"])) or None, wraps=True),
        Column("renews", "renews"),
        Column("packs", "can_buy_packs"),
        Column("sandboxes", _rights, wraps=True),
        Column("what", "description", wraps=True),
    )
    out.print(table(economy["plans"], columns, title="Plans"))


def _allowance(allowance: Row) -> str:
    if allowance["amount"] is None:
        return f"unlimited {allowance['unit']}"
    cap = allowance["rollover_cap"]
    rollover = "" if cap is None else f" (up to {amount(cap)} roll over)"
    return f"{units(allowance['amount'], allowance['unit'])}{rollover}"


def _rights(plan: Row) -> str | None:
    rights = (
        ("concurrency_max", "{} at a time"),
        ("creates_per_second", "{} new a second"),
        ("session_seconds_max", "{} s each"),
    )
    return ", ".join(words.format(plan[name]) for name, words in rights if plan[name] is not None) or None


def _show_sales(out: Console, economy: Mapping[str, Any]) -> None:
    columns = (
        Column("pack", "pack"),
        Column("credits", "credits", "amount"),
        Column("unit", "unit"),
        Column("US dollars", "price_usd", "amount"),
        Column("title", "title", wraps=True),
    )
    if economy["packs"]:
        out.print(table(economy["packs"], columns, title="Packs"))
    if sale := economy["purchase"]:
        each = f"{units(sale['credits_per_usd'], sale['unit'])} for a dollar"
        out.print(text(f"Any amount from ${amount(sale['min_usd'])} to ${amount(sale['max_usd'])}: {each}."))
    if refill := economy["auto_refill"]:
        below = f"below {amount(refill['threshold_default'])} (at least {amount(refill['threshold_min'])})"
        buys = f"for ${amount(refill['amount_default_usd'])} (at least ${amount(refill['amount_min_usd'])})"
        out.print(text(f"Automatic refill: {below}, {buys}."))


def _show_rules(out: Console, economy: Mapping[str, Any]) -> None:
    fee = economy["task_fee"]
    fixed = f" and {amount(fee['fixed'])}" if fee["fixed"] else ""
    share_of_tasks = f"{_percent(fee['basis_points'])}{fixed}, rounded {fee['rounding']}"
    pairs = [("fee on tasks", share_of_tasks if fee["basis_points"] or fee["fixed"] else "none")]
    if share := economy["revenue_share"]:
        pairs.append(
            ("authors get", f"{_percent(share['author_basis_points'])}, rounded {share['rounding']}")
        )
    if referral := economy["referral"]:
        both = (
            f"{amount(referral['referrer'])} to the referrer, {amount(referral['referred'])} to the newcomer"
        )
        pairs.append(("referral", f"{both}, in {referral['unit']}"))
    if sandbox := economy["sandbox"]:
        size = f"{sandbox['default_vcpu']} vCPU, {sandbox['default_memory_mib']} MiB"
        pairs.append(
            ("sandboxes", f"by {sandbox['vcpu_meter']} and {sandbox['gib_meter']}; by default {size}")
        )
    for unit, thresholds in economy["low_balance"].items():
        pairs.append((f"low balance in {unit}", "below " + ", ".join(amount(each) for each in thresholds)))
    columns = (
        Column("source", "source"),
        Column(
            "reward",
            lambda row: ", ".join(
                f"{each['difficulty']} {amount(each['min'])}–{amount(each['max'])}" for each in row["ranges"]
            ),
        ),
        Column("unit", "unit"),
        Column("what", "description", wraps=True),
    )
    if economy["rewards"]:
        out.print(table(economy["rewards"], columns, title="Rewards"))
    out.print(facts(pairs))


def _percent(basis_points: int) -> str:
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d} %" if rest else f"{whole} %"
