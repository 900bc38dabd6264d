"""An economy with every kind of plan: for the state machines and the simulation."""

from tallystick.core.catalog import Economy
from tallystick.core.economy_file import load

TEXT = """
[economy]
title = "Everything"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits"
[units.USD]
description = "Dollars"
money = true

[[sign_up]]
amount = 100
category = "initial_grant"
description = "Welcome"
[[sign_up]]
amount = "25.5"
category = "bonus"
description = "Soon gone"
expires_after = "P10D"
[[sign_up]]
unit = "USD"
amount = 5
category = "promotional_grant"
description = "Dollars once"
expires_after = "P2M"

[plans.free]
title = "Free: the first month is the sign-up grant's"
starts = "next_period"
[[plans.free.allowances]]
amount = 100

[plans.pro]
title = "Pro: rolls over"
[[plans.pro.allowances]]
amount = 1000
rollover_cap = 500

[plans.club]
title = "Club: from the day of joining, in both units"
renews = "anniversary"
[[plans.club.allowances]]
amount = 300
[[plans.club.allowances]]
unit = "USD"
amount = "10.000001"
rollover_cap = 15

[plans.max]
title = "Max: unlimited credits, counted dollars"
[[plans.max.allowances]]
amount = "unlimited"
[[plans.max.allowances]]
unit = "USD"
amount = 50

[plans.pause]
title = "Pause: nothing"
renews = "anniversary"

[low_balance]
credits = [20, 90, 200]
USD = [2]
"""


def economy() -> Economy:
    """A new one each time; they are all equal."""
    return load(TEXT, name="everything")
