"""Whether this process can do its work: its database answers, and the schema is the one that this program needs."""

from __future__ import annotations

from functools import cached_property

from tallystick.core.errors import ServiceUnavailable
from tallystick.services.context import Context
from tallystick.store import migrations


class Health:
    """Checks for a load balancer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def _needed(self) -> str | None:
        return migrations.newest()

    def check(self) -> dict[str, str]:
        """What each check found: ``ok``, or what is wrong, without anything that only the operator may know."""
        try:
            with self._context.database.read() as connection:
                found = migrations.current(connection)
        except ServiceUnavailable:
            return {"database": "away", "schema": "unknown"}
        return {"database": "ok", "schema": "ok" if found == self._needed else "not current"}
