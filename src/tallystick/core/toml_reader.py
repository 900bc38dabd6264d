"""Reading typed values out of a TOML table, noting everything that is wrong instead of stopping at the first.

A ``Table`` hands out one key at a time. What is missing or of the wrong form is noted with its key, its line,
what was expected and what was found, and a harmless stand-in is returned so that reading goes on. Keys that
nobody asked for are noted by ``close``. Numbers are exact: TOML's decimal numbers are read as ``Decimal``,
never as floats.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, TypeVar

from tallystick.core.amounts import MAX_AMOUNT_MICROS, scaled_int
from tallystick.core.errors import EconomyProblem, ValidationFailed
from tallystick.core.times import Duration, parse_duration
from tallystick.core.toml_lines import Path, key_lines, line_of, show_path

_Choice = TypeVar("_Choice", bound=str)

MAX_USD_CENTS = 10**11
MAX_PRICE_PICOS = MAX_AMOUNT_MICROS * 10**6
_REQUIRED: Any = object()
_SHOWN_CHARACTERS = 60
_SHOWN_BITS = 128
_SLIP = 0.75  # How much alike two keys are when one is taken for a slip of the pen for the other.
_SYNTAX_ERROR = re.compile(
    r"(?P<message>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL
)


@dataclass
class Problems:
    """What was found wrong so far, and where each key of the text stands."""

    lines: dict[Path, int]
    found: list[EconomyProblem] = field(default_factory=list)

    def note(self, path: Path, expected: str, value: object) -> None:
        """Note that something else was expected at a path."""
        self.found.append(EconomyProblem(show_path(path), line_of(self.lines, path), expected, _shown(value)))

    def in_order(self) -> list[EconomyProblem]:
        """Give the problems in the order of the text."""
        return sorted(self.found, key=lambda problem: (problem.line or 0, problem.key))


@dataclass
class Table:
    """One TOML table that is being read."""

    data: dict[str, Any]
    path: Path
    problems: Problems
    known: set[str] = field(default_factory=set)

    def note(self, key: str, expected: str) -> None:
        """Note that the value of a key is not what was expected."""
        self.problems.note((*self.path, key), expected, self.data.get(key, _REQUIRED))

    def has(self, key: str) -> bool:
        """Say whether the key is there; it then counts as known."""
        self.known.add(key)
        return key in self.data

    def close(self) -> None:
        """Note every key that was not asked for, with the known key that it most resembles."""
        for key in self.data.keys() - self.known:
            close = get_close_matches(key, self.known - self.data.keys(), n=1, cutoff=_SLIP)
            expected = (
                f"{close[0]} (did you mean that?)" if close else f"one of {', '.join(sorted(self.known))}"
            )
            path = (*self.path, key)
            line = line_of(self.problems.lines, path)
            self.problems.found.append(EconomyProblem(show_path(path), line, expected, "an unknown key"))

    def text(
        self, key: str, default: str = _REQUIRED, *, pattern: str = r".+", expected: str = "a text"
    ) -> str:
        """Read a text that matches a pattern."""
        value = self._value(key, default, expected)
        if key not in self.data or (isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL)):
            return str(value)
        self.note(key, expected)
        return ""

    def choice(self, key: str, choices: Sequence[_Choice], default: _Choice = _REQUIRED) -> _Choice:
        """Read one of a few words."""
        expected = f"one of {', '.join(choices)}"
        value = self._value(key, default, expected)
        for choice in choices:
            if choice == value:
                return choice
        if key in self.data:
            self.note(key, expected)
        return choices[0]

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._value(key, default, "true or false")
        if isinstance(value, bool):
            return value
        self.note(key, "true or false")
        return default

    def integer(self, key: str, default: int = _REQUIRED, *, minimum: int, maximum: int) -> int:
        """Read a whole number between two bounds, both allowed."""
        expected = f"a whole number from {minimum} to {maximum}"
        value = self._value(key, default, expected)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        if key in self.data:
            self.note(key, expected)
        return minimum

    def limit(self, key: str) -> int | None:
        """Read a whole number above 0 that may be left out: no limit."""
        return self.integer(key, minimum=1, maximum=10**9) if self.has(key) else None

    def amount(self, key: str, default: int = _REQUIRED, *, positive: bool = True) -> int:
        """Read an amount of units, or a quantity, as micro-units; zero only where it need not be positive."""
        return self._scaled(key, default, decimals=6, maximum=MAX_AMOUNT_MICROS, positive=positive)

    def unit_price(self, key: str, *, positive: bool = True) -> int:
        """Read what one quantity costs, as picos: at most twelve decimals."""
        return self._scaled(key, _REQUIRED, decimals=12, maximum=MAX_PRICE_PICOS, positive=positive)

    def usd(self, key: str, *, positive: bool = True) -> int:
        """Read US dollars as cents."""
        return self._scaled(key, _REQUIRED, decimals=2, maximum=MAX_USD_CENTS, positive=positive)

    def amounts(self, key: str, *, positive: bool = True, length: int | None = None) -> tuple[int, ...]:
        """Read an array of rising amounts as micro-units, of a given length if one is asked for."""
        expected = "an array of " + (f"{length} " if length else "") + "numbers, smallest first"
        value = self.data.get(key) if self.has(key) else None
        items = value if isinstance(value, list) else []
        scaled = [scaled_int(item, decimals=6, maximum=MAX_AMOUNT_MICROS) for item in items]
        micros = tuple(item for item in scaled if isinstance(item, int))
        right_length = len(items) == length if length else bool(items)
        if (
            right_length
            and len(micros) == len(items)
            and micros == tuple(sorted(micros))
            and micros[0] >= positive
        ):
            return micros
        self.note(key, expected)
        return (0,) * (length or 0)

    def duration(self, key: str, default: Duration | None = None) -> Duration | None:
        """Read an ISO 8601 duration that may be left out."""
        if not self.has(key):
            return default
        value = self.data[key]
        try:
            duration = parse_duration(value if isinstance(value, str) else "")
        except ValidationFailed:
            duration = Duration(0, 0)
        if duration == Duration(0, 0):
            self.note(key, "a duration such as P30D, PT24H or P1M, at most 100 years")
        return duration

    def strings(self, key: str, *, pattern: str, expected: str) -> tuple[str, ...]:
        """Read an array of texts that all match a pattern; left out, it is empty."""
        value = self._value(key, [], expected)
        if isinstance(value, list) and all(
            isinstance(item, str) and re.fullmatch(pattern, item) for item in value
        ):
            return tuple(value)
        self.note(key, expected)
        return ()

    def table(self, key: str) -> "Table | None":
        """Open a table inside this one, if it is there."""
        if not self.has(key):
            return None
        return self._open(self.data[key], (*self.path, key))

    def tables(self, key: str) -> "list[Table]":
        """Open an array of tables inside this one; left out, it is empty."""
        if not self.has(key):
            return []
        value = self.data[key]
        if not isinstance(value, list):
            self.note(key, f"an array of tables: [[{show_path((*self.path, key))}]]")
            return []
        opened = [self._open(item, (*self.path, key, position)) for position, item in enumerate(value)]
        return [table for table in opened if table is not None]

    def named_tables(self, pattern: str, expected: str) -> "list[tuple[str, Table]]":
        """Open every table inside this one; their keys are names that match a pattern."""
        self.known |= self.data.keys()
        opened = []
        for name, value in self.data.items():
            if not re.fullmatch(pattern, name, re.ASCII):
                self.problems.note((*self.path, name), expected, name)
            table = self._open(value, (*self.path, name))
            if table is not None:
                opened.append((name, table))
        return opened

    def _open(self, value: object, path: Path) -> "Table | None":
        if isinstance(value, dict):
            return Table(value, path, self.problems)
        self.problems.note(path, "a table", value)
        return None

    def _value(self, key: str, default: object, expected: str) -> object:
        """Give the raw value, or the default; note it when there is neither."""
        if self.has(key):
            return self.data[key]
        if default is _REQUIRED:
            self.note(key, expected)
            return ""
        return default

    def _scaled(self, key: str, default: int, *, decimals: int, maximum: int, positive: bool) -> int:
        value = self._value(key, default, "a number")
        if key not in self.data:
            return default if default is not _REQUIRED else 0
        scaled = scaled_int(value, decimals=decimals, maximum=maximum)
        if scaled == 0 and positive:
            scaled = "a number above 0"
        if isinstance(scaled, str):
            self.note(key, scaled)
            return 0
        return scaled


def read_toml(text: str) -> tuple[Table, Problems]:
    """Open the outermost table of a text. Text that is no TOML gives an empty table and the one problem."""
    try:
        data = tomllib.loads(text, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        match = _SYNTAX_ERROR.fullmatch(str(error))
        message, line = (match["message"], match["line"]) if match else (str(error), None)
        problems = Problems({})
        problems.found.append(
            EconomyProblem("(the file)", int(line) if line else None, "valid TOML", message)
        )
        return Table({}, (), problems), problems
    problems = Problems(key_lines(text))
    return Table(data, (), problems), problems


def _decimal(text: str) -> Decimal:
    """Read a TOML float exactly; what is beyond any decimal is no number, and refused where it stands."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _shown(value: object) -> str:
    """Show a value as it might stand in the file, shortened."""
    if value is _REQUIRED:
        return "nothing"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return "a very large number"
    if isinstance(value, Decimal) and abs(value.adjusted()) < _SHOWN_CHARACTERS:
        return f"{value:f}"
    plain = str(value).lower() if isinstance(value, bool) else str(value)
    text = f'"{value}"' if isinstance(value, str) else plain
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
