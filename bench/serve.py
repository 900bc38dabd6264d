"""``tally serve`` with one more route, which authenticates, validates a charge's body and does no more."""

from __future__ import annotations

import sys

from fastapi import FastAPI
from starlette.responses import Response

from bench.machine import on_one_core
from tallystick.api import server
from tallystick.api.app import create_app
from tallystick.api.auth import CallerOf
from tallystick.api.models import IdempotencyKey, UsageBody
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router
from tallystick.bench_http import HOST
from tallystick.config import Config
from tallystick.worker import Worker

NOTHING = "/api/v1/bench/nothing"
routes = router("bench")


@routes.post("/bench/nothing", status_code=201)
async def do_nothing(caller: CallerOf, body: UsageBody, key: IdempotencyKey = None) -> Response:
    """Say what was understood."""
    return Json({"meter": body.meter, "caller": caller.name, "key": key}, 201)


def with_nothing(*arguments: object, **options: object) -> FastAPI:
    """The usual application with the route before ``POST /charges``: routes are tried in order."""
    options["extra_routes"] = [*options.get("extra_routes", ()), routes]  # type: ignore[misc] # a list of routers
    app = create_app(*arguments, **options)  # type: ignore[arg-type] # passed on as they came
    found = app.router.routes
    [nothing] = [route for route in found if getattr(route, "path", "") == NOTHING]
    found.remove(nothing)
    found.insert(0, nothing)
    return app


if __name__ == "__main__":
    vars(server)["create_app"] = with_nothing
    with on_one_core():
        server.serve(Config.from_environment(dotenv=None), host=HOST, port=int(sys.argv[1]), worker=Worker)
