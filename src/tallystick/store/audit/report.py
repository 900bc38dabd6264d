"""What an audit finds: how much was checked under each rule of the ledger, and what does not hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

# Of each rule, so many violations are kept in full; all of them are counted.
KEPT: Final = 50

RULES: Final = {
    1: "debits equal credits, posted and pending",
    2: "no lot is overdrawn, and a wallet's balance is its lots less its debt",
    3: "statements have no gaps, and every line adds up",
    4: "what is pending is what the open holds reserve",
    5: "one idempotency key, one effect, one answer",
    6: "every row belongs to a transaction that was done as a whole",
    7: "one payment credits once",
    8: "what a transaction moves is what its statements say, to the last micro-unit",
    9: "replaying the journal gives what is stored, and nothing was edited",
}

Place = tuple[str, object, str]  # table, key, what of it


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that does not hold: the row and what of it, what should be there, and what is."""

    where: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class RuleReport:
    """One rule: how many facts were checked, how many violate it, and the first of those."""

    number: int
    name: str
    checked: int
    count: int
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. ``now`` is the moment, in microseconds, that "due" was judged by."""

    rules: tuple[RuleReport, ...]
    now: int
    transactions: int

    @property
    def ok(self) -> bool:
        """Whether every rule holds."""
        return not any(rule.count for rule in self.rules)


class Findings:
    """Counts what is checked and keeps what is wrong."""

    def __init__(self) -> None:
        self._checked = dict.fromkeys(RULES, 0)
        self._counts = dict.fromkeys(RULES, 0)
        self._violations: dict[int, list[Violation]] = {number: [] for number in RULES}

    def same(self, rule: int, where: Place, expected: object, found: object) -> None:
        """Check that two values are equal."""
        self._checked[rule] += 1
        if expected != found:
            self._violated(rule, where, expected, found)

    def holds(self, rule: int, where: Place, condition: bool, expected: object, found: object) -> None:  # noqa: FBT001
        """Check a condition; the other two values tell people about it."""
        self._checked[rule] += 1
        if not condition:
            self._violated(rule, where, expected, found)

    @contextmanager
    def readable(self, table: str, key: object = "all") -> Iterator[None]:
        """Rows may be so broken that they say nothing: that is a violation, not the end of the audit."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self._violated(6, (table, key, "values"), "what can be read", repr(error))

    def _violated(self, rule: int, where: Place, expected: object, found: object) -> None:
        self._counts[rule] += 1
        kept = self._violations[rule]
        if len(kept) < KEPT:
            kept.append(Violation(" ".join(map(str, where)), str(expected), str(found)))

    def report(self, *, now: int, transactions: int) -> AuditReport:
        """Everything found."""
        rules = tuple(
            RuleReport(
                number, name, self._checked[number], self._counts[number], tuple(self._violations[number])
            )
            for number, name in RULES.items()
        )
        return AuditReport(rules, now, transactions)
