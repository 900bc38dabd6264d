"""The lines of keys in a TOML text."""

import tomllib
from typing import Any

import pytest

from tallystick.core.toml_lines import Path, key_lines, line_of, show_path
from tallystick.economies import SHIPPED, read

TEXT = '''# A comment with [brackets] and = signs
title = "one # two" # and a comment with "quotes"
"quoted key".inner = 'x = [1]'

[table]
text = """
[not.a.table]
not = "a key"
"""
raw = \'\'\'
[nor.this]\'\'\'
list = [
  1, # one
  [2,
   3],
]
rows = [
  { a = 1, b = { c = "}" } },

  { a = 2 }, { a = 3 },
]
empty = []
inline = { deep.key = 1, other = [ { x = 1 } ] }
when = 1979-05-27 07:32:00
last = ""

[[table.items]]
name = "first"
[table.items.more]
x = 1
[[table.items.parts]]
y = 1
[[ table . items ]]
name = "second"
[[table.items.parts]]
y = 2
[["odd"]]
z = 3
'''


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Give the path of every key and element inside a value."""
    found: list[Path] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(*path, key), *paths(item, (*path, key))]
    return found


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("quoted key", "inner"), 3),
        (("table",), 5),
        (("table", "text"), 6),
        (("table", "raw"), 10),
        (("table", "list"), 12),
        (("table", "list", 0), 13),
        (("table", "list", 1), 14),
        (("table", "list", 1, 1), 15),
        (("table", "rows", 0, "a"), 18),
        (("table", "rows", 0, "b", "c"), 18),
        (("table", "rows", 1, "a"), 20),
        (("table", "rows", 2, "a"), 20),
        (("table", "empty"), 22),
        (("table", "inline", "deep", "key"), 23),
        (("table", "inline", "other", 0, "x"), 23),
        (("table", "when"), 24),
        (("table", "last"), 25),
        (("table", "items", 0), 27),
        (("table", "items", 0, "name"), 28),
        (("table", "items", 0, "more", "x"), 30),
        (("table", "items", 0, "parts", 0, "y"), 32),
        (("table", "items", 1, "name"), 34),
        (("table", "items", 1, "parts", 0, "y"), 36),
        (("odd", 0, "z"), 38),
    ],
    ids=lambda value: show_path(value) if isinstance(value, tuple) else str(value),
)
def test_every_key_is_found_on_its_line(path: Path, line: int) -> None:
    """Headers, pairs, arrays, inline tables and arrays of tables all have their lines."""
    assert line == key_lines(TEXT)[path]


@pytest.mark.parametrize("name", [*SHIPPED, "the text of these tests"])
def test_every_key_that_the_reader_finds_has_a_line(name: str) -> None:
    """The scanner and the reader see the same keys; only tables without a header have no line."""
    text = read(name) if name in SHIPPED else TEXT
    data = tomllib.loads(text)
    lines = key_lines(text)
    for path in paths(data):
        if path not in lines:
            assert any(known[: len(path)] == path for known in lines), path
    assert set(lines) <= set(paths(data))


def test_the_same_text_with_windows_line_ends_has_the_same_lines() -> None:
    """Carriage returns are space."""
    assert key_lines(TEXT) == key_lines(TEXT.replace("\n", "\r\n"))


def test_a_missing_key_is_shown_at_the_table_around_it() -> None:
    """The nearest place that has a line is the best there is."""
    lines = key_lines(TEXT)
    assert 27 == line_of(lines, ("table", "items", 0, "missing", "deeper"))
    assert line_of(lines, ("nowhere",)) is None


def test_a_path_is_written_as_people_do() -> None:
    """Positions are in brackets."""
    assert "plans.pro.allowances[0].amount" == show_path(("plans", "pro", "allowances", 0, "amount"))
