"""The REST door: routes, problems, the frame around every request, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tallystick.api import docs, openapi, problems
from tallystick.api.auth import Gate
from tallystick.api.metrics import Metrics
from tallystick.api.middleware import Frame
from tallystick.api.rendering import json_bytes
from tallystick.api.routes import (
    agents,
    billing,
    charges,
    customers,
    economy,
    exports,
    grants,
    holds,
    identity,
    operations,
    payments,
    sandboxes,
    settlements,
    simulated,
    webhooks,
)
from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text

# Those that are asked for most stand first: routes are tried in this order.
ROUTERS = (
    charges.routes,
    holds.routes,
    settlements.routes,
    agents.routes,
    sandboxes.routes,
    billing.routes,
    payments.routes,
    payments.dashboard,
    exports.routes,
    grants.routes,
    identity.auth,
    identity.keys,
    customers.customers,
    customers.budgets,
    webhooks.routes,
    economy.public,
    economy.clock,
    simulated.routes,
    operations.routes,
)


def create_app(
    tally: Tally,
    *,
    metrics: Metrics | None = None,
    worker_lag: Callable[[], float] | None = None,
    extra_routes: Sequence[APIRouter] = (),
    extra_apps: Mapping[str, Starlette] | None = None,
    tell: problems.Tell = lambda *_: None,
) -> FastAPI:
    """An ASGI application over the services of ``tally``, which the caller closes when the application has ended.

    ``metrics`` are those that the group commit reports to; ``extra_routes`` are those of other doors, and
    ``extra_apps`` doors that are whole applications, by their paths; ``tell`` makes the pages that people get for problems.
    """
    figures, apps = metrics or Metrics(), extra_apps or {}
    figures.watch(
        worker_lag=worker_lag,
        queue_depth=lambda: tally.context.commit.depth,
        refills=lambda: dict(tally.refills.outcomes),
    )
    gate = Gate(
        lambda tokens: tally.identity.authenticate_all(tokens, tally.context.now()),
        in_thread=not tally.database.is_sqlite,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for each in apps.values():
                await running.enter_async_context(each.router.lifespan_context(each))
            yield
        gate.close()

    app = FastAPI(
        title="Tallystick",
        version=version("tallystick"),
        description=openapi.DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.tally, app.state.metrics, app.state.gate = tally, figures, gate
    app.state.base, app.state.closing, app.state.tell = tally.context.public_url, False, tell
    for router in (*ROUTERS, *extra_routes):
        app.router.routes.extend(router.routes)
    app.router.routes.extend(
        Route(route.path, each, include_in_schema=False)
        for each in apps.values()
        for route in each.routes
        if isinstance(route, Route)
    )
    app.include_router(operations.routes, prefix="/api/v1", include_in_schema=False)
    app.router.redirect_slashes = False  # A redirect would lead to whatever host the client named.
    problems.install(app)
    app.add_middleware(Frame, metrics=figures, new_id=lambda: to_text("req", tally.context.new_id()))
    _add_pages(app)
    return app


def _add_pages(app: FastAPI) -> None:
    """The OpenAPI document and what people read of it; nothing comes from elsewhere."""

    @cache
    def document() -> bytes:
        return json_bytes(openapi.document_of(app))

    @cache
    def page() -> str:
        return docs.page_of(openapi.document_of(app))

    @app.get("/openapi.json", include_in_schema=False)
    async def get_document() -> Response:
        return Response(document(), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> Response:
        return Response(page(), media_type="text/html; charset=utf-8", headers=docs.HEADERS)

    @app.get("/", include_in_schema=False)
    async def get_root(request: Request) -> Response:
        return RedirectResponse(request.url_for("get_docs").path)
