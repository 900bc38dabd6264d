"""Requests that are still running: the same idempotency key at the same time is told to wait, not done or answered twice."""

from tallystick.core.errors import IdempotencyInFlight


class InFlight:
    """The idempotency keys whose first request is still running in this process."""

    def __init__(self) -> None:
        self._owners: dict[str, object] = {}

    def claim(self, key: str | None, owner: object) -> None:
        """Take a key for ``owner``. Raises ``IdempotencyInFlight`` while it is somebody else's."""
        # setdefault is one step of the interpreter: of two threads only one becomes the owner.
        if key is not None and self._owners.setdefault(key, owner) is not owner:
            raise IdempotencyInFlight

    def release(self, key: str | None, owner: object) -> None:
        """Give the key back; one that somebody else owns stays theirs."""
        if key is not None and self._owners.get(key) is owner:
            del self._owners[key]
