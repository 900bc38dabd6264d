"""Registration, sessions and API keys."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import billing, identity
from tallystick.api.answers.pages import KeyPage, page
from tallystick.api.auth import CallerOf, token_of
from tallystick.api.models import (
    PAGE,
    CursorQuery,
    CustomerQuery,
    KeyBody,
    LimitQuery,
    LoginBody,
    RegisterBody,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of

auth = router("auth")
keys = router("keys")


@auth.post("/auth/register", status_code=201, response_model=identity.RegisterAnswer)
def register(request: Request, body: RegisterBody) -> Response:
    """Register a user with a customer of its own, and log in. The token is shown this once."""
    tally = services(request)
    made = tally.identity.register(
        body.email, body.password, referral_code=body.referral_code, ip=_address_of(request)
    )
    caller = tally.identity.authenticate(made.token, tally.context.now())
    return Json(identity.registered(made, billing.balance(tally.billing.balance(caller))), 201)


@auth.post("/auth/login", response_model=identity.LoginAnswer)
def login(request: Request, body: LoginBody) -> Response:
    """Log in. The token is shown this once."""
    made = services(request).identity.login(body.email, body.password, ip=_address_of(request))
    return Json(identity.session(made))


@auth.post("/auth/logout", status_code=204)
def logout(request: Request, caller: CallerOf) -> Response:
    """End the session that this request shows."""
    services(request).identity.logout(caller, token_of(request))
    return Response(status_code=204)


@auth.get("/auth/me", response_model=identity.MeAnswer)
def get_me(request: Request, caller: CallerOf) -> Response:
    """Who the caller is."""
    return Json(identity.me(services(request).identity.me(caller)))


@keys.post("/keys", status_code=201, response_model=identity.NewKeyAnswer)
def create_key(request: Request, caller: CallerOf, body: KeyBody) -> Response:
    """Make an API key. It is shown this once."""
    limit = body.budget
    made = services(request).keys.create(
        caller,
        name=body.name,
        role=body.role,
        customer=body.customer,
        budget=None if limit is None else (limit.amount, limit.unit, limit.per),
        expires_at=time_of(body.expires_at, "expires_at"),
    )
    return Json(identity.new_key(made), 201)


@keys.get("/keys", response_model=KeyPage)
def list_keys(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A customer's keys, newest first, revoked ones too; an admin who names nobody sees every key."""
    found = services(request).keys.list(caller, customer=customer, limit=limit, cursor=cursor)
    return Json(page("keys", found, identity.key_line))


@keys.delete("/keys/{key_id}", status_code=204)
def revoke_key(request: Request, caller: CallerOf, key_id: str) -> Response:
    """Revoke a key: from now on nobody gets in with it."""
    services(request).keys.revoke(caller, key_id)
    return Response(status_code=204)


def _address_of(request: Request) -> str | None:
    return None if request.client is None else request.client.host
