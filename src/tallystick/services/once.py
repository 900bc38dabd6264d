"""Forms that are taken once: a second click, or the same form in a second tab, does not do it twice.

It is for what has no idempotency key because its answer cannot be given again: a secret that is shown once.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.times import DAY, day_start
from tallystick.services.context import Caller, Context
from tallystick.services.requests import check_text
from tallystick.services.throttling import Throttle
from tallystick.store import throttles

_FORMS: Final = Throttle("form", 1, DAY // 1_000_000)


class Once:
    """Remembers for a day at least which forms were sent."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def claim(self, caller: Caller, form: str) -> None:
        """Take a form by the name that it was shown with. Raises ``Conflict`` when it was taken already."""
        name = check_text(form, field="once", most=200)
        subject = _FORMS.subject(f"{caller.scope} {name}")
        today = day_start(self._context.now())

        def work(connection: Connection) -> int:
            before = throttles.count(connection, subject, today - DAY)
            return before + throttles.add(connection, subject, today, 1)

        if self._context.database.transact(work) > _FORMS.limit:
            raise errors.Conflict("this form was sent already, and was carried out once: see what it did")
