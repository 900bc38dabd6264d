"""What people are told at their addresses where programs get a problem: no page, no such method, a mistake of ours."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tallystick.web.frame import plain
from tallystick.web.refusals import sentence

# Where one goes on, by the beginning of the address.
_PLACES: Final = {
    "/admin": ("/admin", "To the dashboard of operators"),
    "/billing": ("/billing", "To your credits"),
    "/apps": ("/apps", "To your apps"),
    "/oauth/consent": ("/apps", "To your apps"),
    "/simulated": ("/billing", "To your credits"),
    "/sign-in": ("/sign-in", "Sign in"),
    "/sign-out": ("/sign-in", "Sign in"),
}
_WORDS: Final = {
    405: ("Nothing to see here", "This address takes forms only. Go to the page that the form is on."),
    413: ("Too long", "What you sent is too long: nothing was done. Go back and make it shorter."),
    500: ("A mistake of ours", "Look at what there is now before you do it again. The log tells more."),
    503: ("One moment", "The database does not answer just now. Try it again in a moment."),
}


def tell(request: Request, status: int, title: str, detail: str) -> Response | None:
    """The page for an address of people; None for every other one."""
    path = request.url.path
    place = next(
        (place for start, place in _PLACES.items() if path == start or path.startswith(f"{start}/")), None
    )
    if place is None:
        return None
    heading, words = _WORDS.get(status, (title, sentence(detail)))
    return plain(request, heading, words, status=status, onward=place)
