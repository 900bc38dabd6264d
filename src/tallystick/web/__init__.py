"""Pages for people: made on the server, usable without scripts, and with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from tallystick.bootstrap import Tally
from tallystick.web import (
    admin,
    agents,
    apps,
    assets,
    billing,
    budgets,
    buying,
    keys,
    password,
    payments,
    plan,
    refills,
    sandboxes,
    signing_in,
    simulated,
    transactions,
    usage,
    webhooks,
)
from tallystick.web.lost import tell

__all__ = ["routers", "tell"]


def routers(tally: Tally) -> Sequence[APIRouter]:
    """The pages that this installation has; those of simulated payments only where payments are simulated."""
    pages = (
        assets,
        signing_in,
        buying,
        billing,
        transactions,
        usage,
        payments,
        agents,
        sandboxes,
        plan,
        refills,
        budgets,
        keys,
        webhooks,
        password,
        apps,
    )
    return (*(each.routes for each in pages), *admin.routers, *simulated.routers(tally))
