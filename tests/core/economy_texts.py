"""Economy files to test with: the smallest that there can be, and one with every key."""

SMALL = """
[economy]
title = "Small"
primary_unit = "credits"
default_plan = "free"
[units.credits]
description = "Credits"
[plans.free]
title = "Free"
"""

FULL = """
[economy]
title = "Full"
server_name = "full-house"
key_prefix = "full_"
primary_unit = "credits"
default_plan = "pro"
checkout_expires_after = "PT1H"

[units.credits]
description = "Credits"
decimals_shown = 0
[units.USD]
description = "Dollars"
decimals_shown = 6
money = true

[[sign_up]]
amount = "0.5"
description = "Welcome"
[[sign_up]]
unit = "USD"
amount = 7
category = "promotional_grant"
description = "Dollars once"
expires_after = "P1M"

[plans.pro]
title = "Pro"
description = "All of it"
price_usd = 9.99
renews = "anniversary"
starts = "next_period"
can_buy_packs = false
session_seconds_max = 60
concurrency_max = 2
creates_per_second = 1
[[plans.pro.allowances]]
amount = 10
rollover_cap = 20
[[plans.pro.allowances]]
unit = "USD"
amount = "unlimited"

[packs.small]
title = "Small pack"
unit = "USD"
credits = 5
price_usd = 6
stripe_price_env = "STRIPE_PRICE_SMALL"

[purchase]
unit = "USD"
min_usd = 1
max_usd = 1
credits_per_usd = 1

[auto_refill]
threshold_min = 1
threshold_default = 2
amount_min_usd = 3
amount_default_usd = 4
daily_max_usd = 50
monthly_max_usd = 60
cooldown = "PT2M"
idle_after = "P1D"
pause_after_failures = 4

[disputes]
freeze_wallet = true

[meters.both]
category = "data"
description = "Two units at once"
hourly_limit = 60
note = "a note"
[[meters.both.prices]]
kind = "flat"
flat = 2
[[meters.both.prices]]
unit = "USD"
kind = "per_unit"
flat = 0.1
per_unit = 0.0000045

[meters.second]
category = "sandbox"
description = "A second"
[[meters.second.prices]]
kind = "per_unit"
per_unit = 1

[meters.tiered]
category = "data"
description = "Tiers"
[[meters.tiered.prices]]
kind = "volume"
tiers = [ { up_to = 10, per_unit = 0, flat = 1 }, { per_unit = 0.000000000001 } ]
[[meters.tiered.prices]]
unit = "USD"
kind = "free"

[sandbox]
vcpu_meter = "second"
gib_meter = "second"
default_vcpu = 1
default_memory_mib = 64
default_timeout_seconds = 30

[task_fee]
basis_points = 250
fixed = 0.25
rounding = "half_even"

[settlement]
on_insufficient = "create_unbilled"

[rewards.challenge]
unit = "USD"
description = "Solving"
aliases = ["contest"]
ranges = { easy = [1, 1], hard = [2, 3.5] }
streak_step = 0.5

[revenue_share]
author_basis_points = 7000
rounding = "ceil"

[referral]
unit = "USD"
referrer = 5
referred = 0

[low_balance]
credits = [1, 2.5]

[expiry_notice]
days = 3

[priorities]
bonus = 5
"""
