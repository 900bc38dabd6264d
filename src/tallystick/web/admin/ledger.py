"""The installation itself: its economy and what changed in it, how it is, and whether the ledger's rules hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.web.admin.office import SignedIn, asked, looked, posted, show
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again

routes = APIRouter(include_in_schema=False)
ECONOMY: Final = "/admin/economy"
HEALTH: Final = "/admin/health"
AUDIT: Final = "/admin/audit"
_BATCHES: Final = "tally_commit_batch_size"
_SECONDS: Final = "tally_commit_seconds"


@routes.get(ECONOMY)
def get_economy(request: Request) -> Response:
    """The versions, and what differs between two of them."""
    return looked(request, _economy)


def _economy(request: Request, who: SignedIn) -> Response:
    economies = tally_of(request).economies
    versions, wanted = economies.versions(), asked(request, "old", "new")
    new = wanted["new"] or next((each.version for each in versions if each.active), versions[0].version)
    others = [each.version for each in versions if each.version != new]
    old = wanted["old"] or (others[0] if others else new)
    return show(
        request,
        "admin/economy.html",
        who,
        section=ECONOMY,
        economy=economies.active(),
        versions=versions,
        old=old,
        new=new,
        changes=economies.differences(old, new),
    )


@routes.get(HEALTH)
def get_health(request: Request) -> Response:
    """How the server, its database and its worker are."""
    return looked(request, _health)


def _health(request: Request, who: SignedIn) -> Response:
    tally = tally_of(request)
    figures = _figures(request)
    batches = figures[f"{_BATCHES}_count"]
    return show(
        request,
        "admin/health.html",
        who,
        section=HEALTH,
        checks=tally.health.check(),
        lag_seconds=round(tally.due_work.lag_seconds(), 1),
        waiting=tally.context.commit.depth,
        batches=int(batches),
        average=None if not batches else round(figures[f"{_BATCHES}_sum"] / batches, 1),
        commit_ms=None if not batches else round(1000 * figures[f"{_SECONDS}_sum"] / batches, 1),
        sizes=_sizes(figures),
        refills=dict(tally.refills.outcomes),
        is_sqlite=tally.database.is_sqlite,
    )


def _figures(request: Request) -> dict[str, float]:
    """The histograms of commits, as this process has counted them since its start; a bucket by its upper bound."""
    names = [f"{each}{part}" for each in (_BATCHES, _SECONDS) for part in ("_count", "_sum", "_bucket")]
    registry = request.app.state.metrics.registry.restricted_registry(names)
    return {
        sample.name + (f" {sample.labels['le']}" if "le" in sample.labels else ""): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def _sizes(figures: Mapping[str, float]) -> list[tuple[str, int]]:
    """How many commits had how many operations: the range, and the number; ranges without any are left out."""
    found, before, low = [], 0, 1
    for name, value in figures.items():
        if not name.startswith(f"{_BATCHES}_bucket "):
            continue
        bound = name.rpartition(" ")[2]
        top = None if bound == "+Inf" else int(float(bound))
        text = f"more than {low - 1}" if top is None else str(top) if top == low else f"{low} to {top}"
        if value > before:
            found.append((text, int(value) - before))
        before, low = int(value), low if top is None else top + 1
    return found


@routes.get(AUDIT)
def get_audit(request: Request) -> Response:
    """What the last audit found, and the form for another."""
    return looked(request, _audit)


@routes.post(AUDIT)
def post_audit(request: Request, form: FormOf) -> Response:
    """Begin one."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.audit(
            who.operator, reason=form.get("reason", ""), key=form.get("key", "")
        ),
        _audit,
    )


def _audit(request: Request, who: SignedIn, again: Again | None = None) -> Response:
    actions = tally_of(request).operator_actions
    running = actions.is_running("audit")  # asked first: one that ends meanwhile is in the list
    runs = actions.list(action="audit", limit=10).items
    last = next((row for row in runs if row.report is not None), None)
    return show(
        request,
        "admin/audit.html",
        who,
        section=AUDIT,
        again=again,
        running=running,
        runs=runs,
        last=last,
        report=None if last is None or last.report is None else msgspec.json.decode(last.report),
    )
