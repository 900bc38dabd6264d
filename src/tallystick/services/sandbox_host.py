"""Who runs the sandboxes of this process, and how old they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.core import errors
from tallystick.ports import OutcomeUnknown
from tallystick.ports.sandboxes import Life, SandboxProvider
from tallystick.store.sandboxes import SandboxRow

LOCAL: Final = "local"  # sandboxes that end with the process that made them


class SandboxHost:
    """Who runs the sandboxes of this process, and how old they are: shared by those who ask and the keeper.

    ``ahead`` is how far the test clock is ahead of the real one, in microseconds: time that sandboxes have lived as well.
    ``missing`` says what to do where nobody runs any.
    """

    def __init__(self, *, process_id: str, ahead: Callable[[], int], missing: str) -> None:
        self._provider: SandboxProvider | None = None
        self.missing = missing
        self.process_id = process_id
        self.ahead = ahead

    def use(self, provider: SandboxProvider | None, *, missing: str) -> None:
        """Have this provider from now on; where it is None, ``missing`` says why."""
        self._provider, self.missing = provider, missing

    @property
    def provider(self) -> SandboxProvider:
        """The provider. Raises ``SandboxesUnavailable`` where there is none, saying what to do about it."""
        if self._provider is None:
            raise errors.SandboxesUnavailable(self.missing)
        return self._provider

    @property
    def is_there(self) -> bool:
        """Whether sandboxes can be made here."""
        return self._provider is not None

    def runs(self, row: SandboxRow) -> bool:
        """Whether a sandbox belongs to the provider that there is."""
        return self._provider is not None and self._provider.name == row.provider

    def provider_of(self, row: SandboxRow) -> SandboxProvider:
        """Who runs a sandbox. Raises ``OutcomeUnknown`` where that is not the provider that there is."""
        if not self.runs(row):
            raise OutcomeUnknown(f"it runs at {row.provider}, which this server does not use")
        return self.provider

    def lived_ms(self, row: SandboxRow, life: Life) -> int:
        """How long a sandbox has lived; where nobody can tell any more, as far as it was seen."""
        if life.lived_ms is None:
            return row.beat_ms
        return life.lived_ms + max(self.ahead() - row.clock_ahead, 0) // 1000

    def look(self, row: SandboxRow) -> Life:
        """Whether a sandbox runs. Raises ``OutcomeUnknown`` and ``SandboxElsewhere`` of the ports."""
        if row.handle is None:
            raise OutcomeUnknown("it is not known at its provider")
        return self.provider_of(row).look(row.handle)


def lost_reason(row: SandboxRow) -> str:
    """Why a sandbox is gone of which nobody knows its end."""
    return "host_restart" if row.provider == LOCAL else "provider_gone"


def reason_of(life: Life, row: SandboxRow) -> str:
    """Why a sandbox has ended, in our words."""
    if life.reason == "deadline":
        # Where nothing cut its lease short, nobody of ours was there to renew it.
        return "timeout" if row.funded_ms >= row.timeout_ms else row.short_of or "host_restart"
    if life.reason == "gone":
        return lost_reason(row)
    known = {"killed": "requested", "memory": "memory", "disk": "disk"}
    return known.get(life.reason or "", "crashed")
