"""Sandboxes: made, used and ended; and what they cost.

What waits for a sandbox waits in threads of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api import live
from tallystick.api.answers import sandboxes
from tallystick.api.answers.pages import LogPage, SandboxPage, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    ConfigureBody,
    CursorQuery,
    CustomerQuery,
    ExecuteBody,
    ExtendBody,
    IdempotencyKey,
    LimitQuery,
    SandboxBody,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, written
from tallystick.services.sandboxes import Wish
from tallystick.services.waiting import executing, waiting

routes = router("sandboxes")

StatusQuery = Annotated[sandboxes.Status | None, Query(description="Only sandboxes of this status")]
PathQuery = Annotated[str, Query(description="The file's path, from the working folder or absolute")]
PeriodQuery = Annotated[str, Query(description="7d, 30d or 90d")]
FromSecondQuery = Annotated[
    int | None, Query(ge=0, description="From which second of the life each second is shown")
]
SecondsQuery = Annotated[int, Query(ge=1, le=3600, description="How many seconds are shown")]

_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "The file", "content": _BYTES}}
_FILE_BODY: Final[dict[str, Any]] = {"requestBody": {"required": True, "content": _BYTES}}
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    201: {
        "description": (
            "What came of the code. With `Accept: text/event-stream` what it writes is streamed: `output` events with "
            "`stream` and `text`, then a `result` with the same JSON, or an `error` with the problem"
        ),
        "content": {live.EVENTS: {"schema": {"type": "string"}}},
    }
}


@routes.post("/sandboxes", status_code=201, response_model=sandboxes.SandboxAnswer)
async def create_sandbox(
    request: Request, caller: CallerOf, body: SandboxBody, *, key: IdempotencyKey = None
) -> Response:
    """Make a sandbox and wait until it is ready. One that could not be made costs nothing."""
    wish = Wish(
        template=body.template,
        name=body.name,
        env=body.env_vars,
        timeout=body.timeout,
        vcpu=body.vcpu,
        memory_mib=body.memory_mib,
        metadata=body.metadata,
        agent=body.agent,
        customer=body.customer,
    )
    answer = await waiting(partial(services(request).sandboxes.create, caller, wish, idempotency_key=key))
    return written(request, answer, sandboxes.sandbox(answer.value))


@routes.get("/sandboxes", response_model=SandboxPage)
def list_sandboxes(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    status: StatusQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A customer's sandboxes, newest first."""
    found = services(request).sandboxes.list(
        caller, customer=customer, status=status, limit=limit, cursor=cursor
    )
    return Json(page("sandboxes", found, sandboxes.sandbox))


@routes.get("/sandboxes/usage", response_model=sandboxes.SandboxUsage)
def get_sandbox_usage(
    request: Request, caller: CallerOf, *, customer: CustomerQuery = None, period: PeriodQuery = "30d"
) -> Response:
    """What a customer's sandboxes cost, what runs now, and until when the credits last."""
    found = services(request).sandbox_views.usage(caller, customer=customer, period=period)
    return Json(sandboxes.usage(found))


@routes.get("/sandboxes/templates", response_model=sandboxes.TemplateList)
def list_sandbox_templates(request: Request, _caller: CallerOf) -> Response:
    """What sandboxes can be made from, and how whoever runs them isolates and limits them."""
    found = services(request).sandboxes
    return Json(sandboxes.templates(found.provider_name, found.templates(), found.capabilities))


@routes.get("/sandboxes/{sandbox_id}", response_model=sandboxes.SandboxAnswer)
def get_sandbox(request: Request, caller: CallerOf, sandbox_id: str) -> Response:
    """One sandbox."""
    return Json(sandboxes.sandbox(services(request).sandboxes.get(caller, sandbox_id)))


@routes.get("/sandboxes/{sandbox_id}/explain", response_model=sandboxes.Bill)
def explain_sandbox(
    request: Request,
    caller: CallerOf,
    sandbox_id: str,
    *,
    from_second: FromSecondQuery = None,
    seconds: SecondsQuery = 60,
) -> Response:
    """A sandbox's bill: each transaction, and with ``from_second`` each second of its life."""
    found = services(request).sandbox_views.bill(caller, sandbox_id, from_second=from_second, seconds=seconds)
    return Json(sandboxes.bill(found))


@routes.post(
    "/sandboxes/{sandbox_id}/execute",
    status_code=201,
    response_model=sandboxes.ExecutionAnswer,
    responses=_EVENTS,
)
async def execute_in_sandbox(
    request: Request, caller: CallerOf, sandbox_id: str, body: ExecuteBody, *, key: IdempotencyKey = None
) -> Response:
    """Run code and wait for its end; code that fails was run, and is charged."""
    tally = services(request)
    run = partial(
        tally.sandbox_runs.execute,
        caller,
        sandbox_id,
        code=body.code,
        language=body.language,
        timeout=body.timeout,
        env=body.env_vars,
        idempotency_key=key,
    )
    share = partial(executing, tally.sandboxes, caller, sandbox_id)
    if live.is_wanted(request):
        return await live.live(request, lambda audience: share(partial(run, audience=audience)))
    answer = await share(run)
    return written(request, answer, sandboxes.execution(answer.value))


@routes.put(
    "/sandboxes/{sandbox_id}/files",
    response_model=sandboxes.SandboxAnswer,
    openapi_extra=_FILE_BODY,
)
async def upload_to_sandbox(
    request: Request, caller: CallerOf, sandbox_id: str, *, path: PathQuery, key: IdempotencyKey = None
) -> Response:
    """Put a file into a sandbox, with the folders that it needs; the body is the file."""
    content = await request.body()
    runs = services(request).sandbox_runs
    upload = partial(runs.write_file, caller, sandbox_id, path, content, idempotency_key=key)
    answer = await waiting(upload)
    return written(request, answer, sandboxes.sandbox(answer.value), status=200)


@routes.get("/sandboxes/{sandbox_id}/files", response_class=Response, responses=_FILE)
async def download_from_sandbox(
    request: Request, caller: CallerOf, sandbox_id: str, *, path: PathQuery
) -> Response:
    """A file of a sandbox."""
    runs = services(request).sandbox_runs
    content = await waiting(partial(runs.read_file, caller, sandbox_id, path))
    return Response(content, media_type="application/octet-stream")


@routes.get("/sandboxes/{sandbox_id}/logs", response_model=LogPage)
def get_sandbox_logs(
    request: Request,
    caller: CallerOf,
    sandbox_id: str,
    *,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """What was run in a sandbox and what it wrote, newest first."""
    found = services(request).sandbox_runs.logs(caller, sandbox_id, limit=limit, cursor=cursor)
    return Json(page("logs", found, sandboxes.log_line))


@routes.patch("/sandboxes/{sandbox_id}", response_model=sandboxes.SandboxAnswer)
async def configure_sandbox(
    request: Request, caller: CallerOf, sandbox_id: str, body: ConfigureBody, key: IdempotencyKey = None
) -> Response:
    """Set variables that every later execution gets, or extend the time, or both."""
    change = partial(
        services(request).sandboxes.configure,
        caller,
        sandbox_id,
        env=body.env_vars,
        timeout=body.timeout,
        idempotency_key=key,
    )
    answer = await waiting(change)
    return written(request, answer, sandboxes.sandbox(answer.value), status=200)


@routes.post("/sandboxes/{sandbox_id}/extend", response_model=sandboxes.SandboxAnswer)
async def extend_sandbox(request: Request, caller: CallerOf, sandbox_id: str, body: ExtendBody) -> Response:
    """Let it run for so many seconds from now; never for less than before, nor past the plan's longest session."""
    extend = partial(services(request).sandboxes.extend, caller, sandbox_id, timeout=body.timeout)
    return Json(sandboxes.sandbox(await waiting(extend)))


@routes.post("/sandboxes/{sandbox_id}/stop", response_model=sandboxes.SandboxAnswer)
async def stop_sandbox(request: Request, caller: CallerOf, sandbox_id: str) -> Response:
    """End a sandbox now: what it lived is billed. One that has ended stays as it is."""
    row = await waiting(partial(services(request).sandboxes.stop, caller, sandbox_id))
    return Json(sandboxes.sandbox(row))


@routes.delete("/sandboxes/{sandbox_id}", response_model=sandboxes.SandboxAnswer)
async def delete_sandbox(request: Request, caller: CallerOf, sandbox_id: str) -> Response:
    """End a sandbox and give its whole bill, which stays."""
    row = await waiting(partial(services(request).sandboxes.delete, caller, sandbox_id))
    return Json(sandboxes.sandbox(row))
