"""Pages for people: made on the server, without scripts, and with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from tallystick.bootstrap import Tally
from tallystick.web import apps, billing, buying, signing_in, simulated

__all__ = ["routers"]


def routers(tally: Tally) -> Sequence[APIRouter]:
    """The pages that this installation has; those of simulated payments only where payments are simulated."""
    return (billing.routes, buying.routes, signing_in.routes, apps.routes, *simulated.routers(tally))
