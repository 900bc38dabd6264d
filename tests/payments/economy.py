"""The economy of the tests of payments: a pack, any amount, refills with small caps."""

from pathlib import Path

ECONOMY = """
[economy]
title = "Shop"
primary_unit = "credits"
default_plan = "free"
[units.credits]
description = "Credits"
[plans.free]
title = "Free"
[plans.closed]
title = "May not buy"
can_buy_packs = false
[packs.middle]
title = "Middle"
credits = 2500
price_usd = 20
[purchase]
min_usd = 10
max_usd = 10000
credits_per_usd = 100
[auto_refill]
threshold_min = 10
threshold_default = 100
amount_min_usd = 10
amount_default_usd = 20
daily_max_usd = 60
monthly_max_usd = 150
[disputes]
freeze_wallet = {freeze}
[meters.work]
category = "work"
description = "A credit each"
[[meters.work.prices]]
kind = "per_unit"
per_unit = 1
"""


def economy_file(folder: Path, *, freeze: bool = False) -> str:
    """The path of the economy; with ``freeze``, an open dispute freezes the wallet."""
    path = folder / f"shop_{'freezes' if freeze else 'open'}.toml"
    path.write_text(ECONOMY.format(freeze=str(freeze).lower()))
    return str(path)
