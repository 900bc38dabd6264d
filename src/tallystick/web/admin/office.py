"""What the pages of operators share: who has signed in, where else one can go, and what becomes of a form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import Micros, parse_rfc3339
from tallystick.problem_details import status_of
from tallystick.services.context import Answer, Caller
from tallystick.services.operators import Operator
from tallystick.services.pages import Page
from tallystick.store.operators import ActionRow
from tallystick.web.frame import frame, page, see_other, tally_of
from tallystick.web.refusals import Again, again_of, sentence, told

COOKIE: Final = "tally-operator"
HOME: Final = "/admin"
SIGN_IN: Final = "/admin/sign-in"
NAVIGATION: Final = (
    (HOME, "Customers"),
    ("/admin/payments", "Payments"),
    ("/admin/reconciliation", "Reconciliation"),
    ("/admin/disputes", "Disputes"),
    ("/admin/tasks", "Tasks"),
    ("/admin/deliveries", "Deliveries"),
    ("/admin/endpoints", "Endpoints"),
    ("/admin/economy", "Economy"),
    ("/admin/health", "Health"),
    ("/admin/audit", "Audit"),
    ("/admin/actions", "Actions"),
)
_STYLE: Final = files("tallystick.web").joinpath("templates", "admin", "admin.css").read_text("utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ALLOWS: Final = {"style-src": f"'sha256-{_STYLE_HASH}'"}

Form: TypeAlias = dict[str, str]
See: TypeAlias = Callable[[Request, "SignedIn"], Response]
Act: TypeAlias = Callable[[Request, "SignedIn", Form], Answer[ActionRow]]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who looks at a page. ``token`` belongs into the forms of this session."""

    operator: Operator
    token: str

    @property
    def caller(self) -> Caller:
        """Whom services know the operator as."""
        return self.operator.caller


# --- who has signed in ---------------------------------------------------------------------------------------------


def cookie(request: Request) -> str:
    """The cookie's name. With its prefix, browsers keep other hosts of the domain from setting it."""
    return f"__Host-{COOKIE}" if is_secure(request) else COOKIE


def is_secure(request: Request) -> bool:
    """Whether this installation is reached over HTTPS."""
    return str(request.app.state.base).startswith("https:")


def session_of(request: Request) -> str:
    """The session that the browser shows."""
    return request.cookies.get(cookie(request), "")


def signed_in(request: Request) -> SignedIn | None:
    """Who has signed in here, if anybody has."""
    session = session_of(request)
    try:
        operator = tally_of(request).operators.authenticate(session)
    except errors.NotAuthenticated:
        return None
    return SignedIn(operator, hashlib.sha256(f"form:{session}".encode()).hexdigest())


def is_own_form(form: Form, who: SignedIn) -> bool:
    """Whether a form was on a page of this session."""
    return hmac.compare_digest(form.get("token", "").encode(), who.token.encode())


def to_sign_in(return_to: str) -> Response:
    """The way to the page to sign in on, and back."""
    return see_other(f"{SIGN_IN}?return_to={quote(return_to, safe='')}")


# --- pages ---------------------------------------------------------------------------------------------------------


def bare(request: Request, name: str, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """A page for whoever has not signed in."""
    style = Markup(_STYLE)  # noqa: S704 - our own file
    return page(
        name, status=status, allows=_ALLOWS, admin_style=style, **(frame(request) | {"who": None} | values)
    )


def show(
    request: Request,
    name: str,
    who: SignedIn,
    *,
    section: str,
    again: Again | None = None,
    **values: Any,  # noqa: ANN401 - whatever the template shows
) -> Response:
    """A page of ``section``, with the way to the others, and what came of the form that led here."""
    done = from_text("act", request.query_params.get("done", ""))
    return bare(
        request,
        name,
        status=200 if again is None else again.status,
        who=who.operator,
        token=who.token,
        key=again.key if again is not None and again.key else secrets.token_urlsafe(),
        problem=None if again is None else again.problem,
        filled={} if again is None else again.form,
        done=tally_of(request).operator_actions.find(done),
        navigation=NAVIGATION,
        section=section,
        amount=format_amount,
        text_of=to_text,
        **values,
    )


def looked(request: Request, see: See) -> Response:
    """Answer a GET: a page for whoever has signed in, or a plain sentence for what is refused."""
    who = signed_in(request)
    if who is None:
        query = request.url.query
        return to_sign_in(f"{request.url.path}?{query}" if query else request.url.path)
    return _seen(request, who, see)


def _seen(request: Request, who: SignedIn, see: See) -> Response:
    try:
        return see(request, who)
    except errors.Refusal as refusal:
        status, title = status_of(type(refusal))
        again = Again(told(refusal), status, {})
        return show(request, "admin/told.html", who, section="", heading=title, again=again)


def posted(
    request: Request, form: Form | None, act: Act, again: Callable[[Request, SignedIn, Again], Response]
) -> Response:
    """Answer a form: carry the action out and go back to its page, or show the page ``again`` with what was refused."""
    who = signed_in(request)
    if form is not None and who is None:
        return bare(request, "admin/ended.html", status=403, return_to=request.url.path)
    if form is None or who is None or not is_own_form(form, who):
        return bare(request, "admin/foreign.html", status=403)
    try:
        row = act(request, who, form).value
    except errors.Refusal as refusal:
        found = again_of(refusal, form, key=form.get("key"))
    else:
        if row.status in {"done", "begun"}:
            return see_other(f"{request.url.path}?done={to_text('act', row.id)}")
        found = Again(sentence(row.outcome or row.status), 422 if row.status == "refused" else 500, form)
    return _seen(request, who, lambda request, who: again(request, who, found))


def no_button() -> errors.ValidationFailed:
    """What a form gets whose page has several buttons, and that was sent by none of them."""
    return errors.ValidationFailed([("action", "expected one of the page's buttons")])


# --- what addresses and forms say ----------------------------------------------------------------------------------


def asked(request: Request, *names: str) -> dict[str, str]:
    """Filters of a list: an empty field asks for nothing."""
    return {name: request.query_params.get(name, "").strip() for name in names}


def further(request: Request, found: Page[Any]) -> str | None:
    """The address of what comes after this page of a list."""
    if found.next_cursor is None:
        return None
    kept = {name: value for name, value in request.query_params.items() if name not in {"cursor", "done"}}
    return f"{request.url.path}?{urlencode({**kept, 'cursor': found.next_cursor})}"


def moment_of(text: str, *, field: str) -> Micros | None:
    """A day, or a day and a time (UTC), as browsers send them; None where nothing is filled in.

    Raises ``ValidationFailed`` for anything else.
    """
    text = text.strip()
    if not text:
        return None
    try:
        return parse_rfc3339(f"{text}:00Z" if "T" in text else f"{text}T00:00:00Z", field=field)
    except errors.ValidationFailed:
        message = "expected a day like 2027-01-31, or a day and a time like 2027-01-31T18:00 (UTC)"
        raise errors.ValidationFailed([(field, message)]) from None
