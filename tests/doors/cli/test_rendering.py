"""Figures stay exact and whole, whatever the width of the terminal."""

import io
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tallystick.cli.rendering import amount, answer_facts, facts, json_text, moment, text
from tallystick.cli.tables import Column, Row, fit, table

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15)


def drawn(thing: object, width: int = 120) -> str:
    """A thing as a terminal of this width shows it."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(thing)
    return out.getvalue()


def test_json_stays_json_where_signs_are_missing() -> None:
    """A terminal that knows ASCII alone gets JSON's own escapes."""
    found = json_text({"name": "\u00fcn\u00ef \U0001f4a5"}, encoding="ascii")
    assert found.isascii()
    assert {"name": "\u00fcn\u00ef \U0001f4a5"} == json.loads(found)


@given(DECIMALS | st.integers(min_value=-(10**20), max_value=10**20), st.integers(min_value=0, max_value=8))
def test_amounts_are_exact(value: Decimal | int, places: int) -> None:
    """Taking the thousands' commas out gives the number back."""
    assert Decimal(amount(value, places).replace(",", "")) == value


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        (1234567, 0, "1,234,567"),
        (Decimal("-0.5"), 0, "-0.5"),
        (Decimal("0.0000045"), 0, "0.0000045"),
        (Decimal("10.50"), 0, "10.5"),
        (Decimal("1E+3"), 0, "1,000"),
        (3, 2, "3.00"),
        (
            Decimal("123456789012345678901234567890.123456"),
            0,
            "123,456,789,012,345,678,901,234,567,890.123456",
        ),
        (None, 0, "–"),
    ],
)
def test_amounts_are_readable(value: Decimal | int | None, places: int, shown: str) -> None:
    """Thousands apart, no exponent, no zeros that say nothing."""
    assert shown == amount(value, places)


def test_points_are_below_each_other() -> None:
    """A column of amounts has as many decimals as its finest, at the right."""
    rows: list[Row] = [{"amount": 1000}, {"amount": Decimal("-0.25")}, {"amount": Decimal("356.5")}]
    lines = drawn(table(rows, [Column("amount", "amount", "amount")])).splitlines()
    assert ["1,000.00", "   -0.25", "  356.50"] == lines[2:]


def test_json_keeps_every_digit() -> None:
    """No float is ever in between."""
    assert '"a": 0.1000000000000000055511151231257827' in json_text(
        {"a": Decimal("0.1000000000000000055511151231257827")}
    )
    assert '"b": 999999999.999999' in json_text({"b": Decimal("999999999.999999")})


def test_control_characters_cannot_rewrite_the_terminal() -> None:
    """An escape sequence in a description is shown as what it is not."""
    assert "\ufffd[2Jhello" == text("\x1b[2Jhello").plain
    assert "[bold]not markup[/bold]" in drawn(facts([("a", "[bold]not markup[/bold]")]))


def test_times_are_readable_and_in_utc() -> None:
    """The fraction goes, the Z stays; what is no time stays as it is."""
    assert "2026-11-01 09:30:00Z" == moment("2026-11-01T09:30:00.123456Z")
    assert "never" == moment("never")


def test_texts_fold_before_anything_is_cut() -> None:
    """In a narrow terminal the widest text gives way, and every figure stays whole."""
    rows = [
        {"what": "a long description of a charge", "amount": Decimal("123456.789"), "id": "chg_0123456789abc"}
    ]
    columns = [Column("what", "what", wraps=True), Column("amount", "amount", "amount"), Column("id", "id")]
    for width in (80, 45, 40):
        shown = drawn(table(rows, columns), width)
        assert "123,456.789" in shown
        assert "chg_0123456789abc" in shown


def test_where_a_table_would_cut_rows_become_lists() -> None:
    """Below the width of its figures, a table is a list of names and values."""
    rows = [{"amount": Decimal("123456.789"), "id": "chg_0123456789abc"}]
    columns = [Column("amount", "amount", "amount"), Column("id", "id")]
    lines = [line.rstrip() for line in drawn(table(rows, columns), 28).splitlines()]
    assert ["amount  123,456.789", "id      chg_0123456789abc"] == lines[:2]


def test_widths_that_cannot_fit_are_none() -> None:
    """Only what may fold gives way, and never below a few letters."""
    assert [20, 10] == fit([20, 10], [True, False], 32)
    assert [15, 10] == fit([20, 10], [True, False], 27)
    assert fit([20, 10], [True, False], 15) is None
    assert fit([20, 10], [False, False], 31) is None


def test_no_rows_are_said_in_words() -> None:
    """An empty list is no empty table."""
    assert "no keys" in drawn(table([], [Column("id", "id")], title="Keys", empty="no keys"))


def test_an_answer_shows_its_plain_values() -> None:
    """Ranks have no decimals beside amounts, metadata is shown, nothing is invented."""
    shown = drawn(
        answer_facts({"amount": Decimal("0.5"), "priority": 20, "metadata": {"a": "b"}, "x": None, "y": []})
    )
    assert ["amount 0.5", "priority 20", "metadata a b"] == [
        " ".join(line.split()) for line in shown.splitlines()
    ]
