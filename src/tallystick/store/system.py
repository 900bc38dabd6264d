"""The system's own ledger accounts, per unit: issuance, sales, revenue, fees, breakage, clawback."""

from collections.abc import Iterable

from tallystick.core import errors


class SystemAccounts:
    """Their ids, as the database has them."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], int] = {}
        self.all_ids: frozenset[int] = frozenset()

    def set(self, found: Iterable[tuple[str, str, int]]) -> None:
        """Take (unit, code, id) of every system account."""
        self._ids = {(unit, code): number for unit, code, number in found}
        self.all_ids = frozenset(self._ids.values())

    def __contains__(self, unit_and_code: tuple[str, str]) -> bool:
        """Whether there is an account of this unit and code."""
        return unit_and_code in self._ids

    def id_of(self, unit: str, code: str) -> int:
        """The account of a unit with a code."""
        try:
            return self._ids[unit, code]
        except KeyError:
            raise errors.UnknownUnit(unit) from None

    def with_code(self, code: str) -> list[int]:
        """The accounts with a code, in every unit."""
        return [number for (_, each), number in self._ids.items() if each == code]
