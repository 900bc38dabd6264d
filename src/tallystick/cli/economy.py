"""`tally economy`: check, compare and show economy files, without a server; and `tally prices`, with one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.rendering import facts, text
from tallystick.cli.tables import Column, table

if TYPE_CHECKING:
    from tallystick.core.catalog import Economy

noun = Noun("economy", "Economy files: check, compare, list and show them. No server is needed.")

FileArgument = Annotated[
    str, typer.Argument(metavar="ECONOMY", help="A shipped economy's name, or the path of a file.")
]


def register(root: Noun) -> None:
    """Put the economy's group and the live prices under the root."""
    root.add(noun)
    root.command("prices")(prices)


def prices(session: Session) -> Output:
    """Show what everything costs on the server right now."""
    from tallystick.cli.rate_card import show_meters

    card = session.remote.get("/prices")

    def show(out: Console) -> None:
        out.print(text(f"{card['economy']}, version {card['economy_version']}", "bold"))
        show_meters(out, card["meters"])

    return Output(card, show)


@noun.command("check")
def check(_session: Session, file: FileArgument) -> Output:
    """Check an economy file, and explain everything that is wrong with it by key and line."""
    from tallystick.core.errors import EconomyInvalid

    try:
        economy = _load(file)
    except EconomyInvalid as refusal:
        return _explained(file, refusal)
    counts = {name: len(getattr(economy, name)) for name in ("units", "plans", "packs", "meters", "rewards")}
    data = {"ok": True, "economy": economy.name, "economy_version": economy.version, "errors": [], **counts}

    def show(out: Console) -> None:
        out.print(text(f"{file} is a valid economy.", "green"))
        out.print(facts([("name", economy.name), ("version", economy.version), *counts.items()]))

    return Output(data, show)


def _explained(file: str, refusal: Any) -> Output:  # noqa: ANN401 - EconomyInvalid, which is imported late
    problems = [problem._asdict() for problem in refusal.problems]

    def show(out: Console) -> None:
        columns = (
            Column("line", "line", "amount"),
            Column("key", "key"),
            Column("expected", "expected", wraps=True),
            Column("found", "found", wraps=True),
        )
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        out.print(text(f"{file} has {count}:", "bold red"))
        out.print(table(problems, columns))

    return Output({"ok": False, "economy": file, "errors": problems}, show, status=1)


@noun.command("diff")
def diff(
    _session: Session,
    old: Annotated[str, typer.Argument(help="What holds now: a shipped name or a path.")],
    new: Annotated[str, typer.Argument(help="What is to hold: a shipped name or a path.")],
) -> Output:
    """Say what changes between two economies, and for whom."""
    from tallystick.core.economy_diff import diff as compare

    before, after = _load(old), _load(new)
    changes = [dataclasses.asdict(change) for change in compare(before, after)]
    data = {
        "old": {"economy": before.name, "economy_version": before.version},
        "new": {"economy": after.name, "economy_version": after.version},
        "changes": changes,
    }
    columns = (
        Column("what", "path", wraps=True),
        Column("old", "old", wraps=True),
        Column("new", "new", wraps=True),
        Column("for whom", "affects", wraps=True),
    )
    return Output(data, lambda out: out.print(table(changes, columns, empty="nothing changes for anybody")))


@noun.command("list")
def list_(_session: Session) -> Output:
    """List the economies that come with Tallystick."""
    from tallystick.economies import SHIPPED

    found = [
        {
            "economy": economy.name,
            "economy_version": economy.version,
            "title": economy.title,
            "primary_unit": economy.primary_unit,
            "plans": len(economy.plans),
            "meters": len(economy.meters),
        }
        for economy in map(_load, SHIPPED)
    ]
    columns = (
        Column("name", "economy"),
        Column("title", "title", wraps=True),
        Column("unit", "primary_unit"),
        Column("plans", "plans", "amount"),
        Column("meters", "meters", "amount"),
        Column("version", "economy_version"),
    )
    return Output({"economies": found}, lambda out: out.print(table(found, columns)))


@noun.command("show")
def show_(_session: Session, file: FileArgument = "starter") -> Output:
    """Show an economy as a rate card: units, plans, packs, prices, fees and rewards."""
    from tallystick.cli.rate_card import show_economy

    economy = as_data(_load(file))
    return Output(economy, lambda out: show_economy(out, economy))


def _load(name_or_path: str) -> Economy:
    from tallystick import economies
    from tallystick.core.economy_file import load

    return load(economies.read(name_or_path), name=economies.name_of(str(Path(name_or_path))))


def as_data(economy: Economy) -> dict[str, Any]:
    """The whole of an economy: what REST shows of it, and what only its operator reads."""
    import json
    from decimal import Decimal

    from tallystick.api.answers.economy import prices as rate_card
    from tallystick.api.answers.economy import public
    from tallystick.api.rendering import cents, json_bytes, number

    refill, share, referral, sandbox = (
        economy.auto_refill,
        economy.revenue_share,
        economy.referral,
        economy.sandbox,
    )
    more = {
        "meters": rate_card(economy).meters,
        "key_prefix": economy.key_prefix,
        "auto_refill": refill
        and {
            "threshold_min": number(refill.threshold_min_micros),
            "threshold_default": number(refill.threshold_default_micros),
            "amount_min_usd": cents(refill.amount_min_usd_cents),
            "amount_default_usd": cents(refill.amount_default_usd_cents),
        },
        "revenue_share": share
        and {"author_basis_points": share.author_basis_points, "rounding": share.rounding},
        "referral": referral
        and {
            "unit": referral.unit,
            "referrer": number(referral.referrer_micros),
            "referred": number(referral.referred_micros),
        },
        "rewards": [
            {
                "source": reward.source,
                "unit": reward.unit,
                "description": reward.description,
                "aliases": list(reward.aliases),
                "streak_step": number(reward.streak_step_micros),
                "ranges": [
                    {
                        "difficulty": each.difficulty,
                        "min": number(each.min_micros),
                        "max": number(each.max_micros),
                    }
                    for each in reward.ranges
                ],
            }
            for reward in economy.rewards.values()
        ],
        "sandbox": sandbox
        and {
            "vcpu_meter": sandbox.vcpu_meter,
            "gib_meter": sandbox.gib_meter,
            "default_vcpu": sandbox.default_vcpu,
            "default_memory_mib": sandbox.default_memory_mib,
            "default_timeout_seconds": sandbox.default_timeout_seconds,
            "idle_warning_seconds": sandbox.idle_warning_seconds,
        },
        "priorities": dict(economy.priorities),
    }
    whole: dict[str, Any] = json.loads(json_bytes(public(economy)), parse_float=Decimal)
    whole |= json.loads(json_bytes(more), parse_float=Decimal)
    return whole
