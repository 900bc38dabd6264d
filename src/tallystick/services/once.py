"""Forms that are taken once: a second click, or the same form in a second tab, does not do it twice.

It is for what has no idempotency key because its answer cannot be given again: a secret that is shown once. A form is taken
in the transaction that carries it out: what was refused or broke off is not taken, and can be sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.times import DAY, day_start
from tallystick.services.context import Caller, Context
from tallystick.services.requests import check_text
from tallystick.services.throttling import Throttle
from tallystick.store import throttles

# Done first in a transaction; what it raises undoes all of it.
Claim: TypeAlias = Callable[[Connection], None]
_FORMS: Final = Throttle("form", 1, DAY // 1_000_000)


class Once:
    """Remembers for a day at least which forms were sent."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def claim(self, caller: Caller, form: str) -> Claim:
        """What takes a form, by the name that it was shown with. It raises ``Conflict`` when the form was taken already."""
        name = check_text(form, field="once", most=200)
        subject = _FORMS.subject(f"{caller.scope} {name}")
        today = day_start(self._context.now())

        def take(connection: Connection) -> None:
            now = throttles.add(connection, subject, today, 1)
            if now + throttles.count(connection, subject, today - DAY) > _FORMS.limit:
                raise errors.Conflict(
                    "this form was sent already, and is carried out once: look at what there is now. "
                    "A secret that you did not see is shown to nobody any more"
                )

        return take
