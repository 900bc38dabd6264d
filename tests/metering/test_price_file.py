"""A gateway's prices: what is in the file is served, and a mistake in it is told by file and key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tallystick.core.errors import ConfigurationError
from tallystick.metering import Lease, Rule
from tallystick.metering.price_file import PriceFile, read_price_file

WHOLE = """
[tools.look_up]
amount = 0.1
unit = "credits"

[tools.rows]
meter = "search"
quantity = "arguments.most"
used = "result.items"
charge_on = "always"
when_away = { quantity = 20, seconds = 60 }

[tools.help]
free = true

[default]
amount = 5
"""


def read(folder: Path, text: str) -> PriceFile:
    (folder / "gateway.toml").write_text(text)
    return read_price_file(folder / "gateway.toml")


def test_a_whole_file(tmp_path: Path) -> None:
    """Exact amounts, meters with measures, what is free, and the price of everything else."""
    prices = read(tmp_path, WHOLE)
    assert Rule(amount=Decimal("0.1"), unit="credits") == prices.rule("look_up")
    assert prices.rule("rows") == Rule(
        meter="search",
        quantity="arguments.most",
        used="result.items",
        charge_on="always",
        when_away=Lease(quantity=20, seconds=60),
    )
    assert [None, Rule(amount=5)] == [prices.rule(name) for name in ("help", "other")]
    assert prices.lends
    assert prices.serves("other")


def test_what_is_not_named_is_not_served(tmp_path: Path) -> None:
    """Unless there is a default, which may say that it is free."""
    prices = read(tmp_path, "[tools.look_up]\namount = 1\n")
    assert [True, False] == [prices.serves(name) for name in ("look_up", "other")]
    free = read(tmp_path, "[default]\nfree = true\n")
    assert (True, None) == (free.serves("other"), free.rule("other"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one tool"),
        ("tools = 3", "tools: expected a table"),
        ("[tools.a]\nprice = 2", "tools.a: expected of meter"),
        ("[tools.a]", "tools.a: expected a rule to have either a meter or an amount"),
        ("[tools.a]\namount = -1", "tools.a: expected amount"),
        ("[tools.a]\nfree = false", "tools.a: expected free = true alone"),
        ("[tools.a]\nfree = true\namount = 1", "tools.a: expected free = true alone"),
        ("[tools.a]\namount = 1\ncharge_on = [200]", "tools.a.charge_on: expected success or always"),
        ("[default]\nmeter = 'x'\nquantity = 'result.y'", "default: expected quantity"),
        ("[tool.a]\namount = 1", "found 'tool'"),
        ("[tools.a", "is not TOML"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    """Before anything is served."""
    with pytest.raises(ConfigurationError) as raised:
        read(tmp_path, text)
    assert f"{tmp_path / 'gateway.toml'}: " in raised.value.detail
    assert said in raised.value.detail


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Its name is told."""
    with pytest.raises(ConfigurationError, match=r"nothing\.toml: cannot be read: No such file"):
        read_price_file(tmp_path / "nothing.toml")


def test_meters_are_those_of_the_economy(tmp_path: Path) -> None:
    """Another one is a mistake in the file."""
    prices = read(tmp_path, WHOLE)
    prices.check_meters({"search": {}})
    with pytest.raises(
        ConfigurationError, match=r"tools\.rows\.meter: expected a meter of the economy \(gpt\)"
    ):
        prices.check_meters({"gpt": {}})
