"""The words that rows and doors share: entry types, lot categories, transfer phases, system accounts. One word per thing."""

from typing import Final

# Phases of a transfer, after TigerBeetle's: a pending transfer is later posted or voided, in full or in parts.
POSTED: Final = 0
PENDING: Final = 1
POST_PENDING: Final = 2
VOID_PENDING: Final = 3

# Kinds of ledger accounts. A `cover` is the standing lot of an unlimited plan: what returns to it goes back to issuance.
LOT: Final = "lot"
COVER: Final = "cover"
DEBT: Final = "debt"
SYSTEM: Final = "system"

GRANTED_CATEGORIES: Final = frozenset(
    {"initial_grant", "bonus", "monthly_grant", "promotional_grant", "adjustment"}
)
PURCHASED_CATEGORIES: Final = frozenset({"purchase", "auto_refill"})
EARNED_CATEGORIES: Final = frozenset({"task_credit", "reward", "referral"})
GRANT_CATEGORIES: Final = GRANTED_CATEGORIES | PURCHASED_CATEGORIES | EARNED_CATEGORIES

ENTRY_TYPES: Final = GRANT_CATEGORIES | {
    "usage",
    "task_debit",
    "platform_fee",
    "refund",
    "expiry",
    "clawback",
    "debt_repayment",
}

UNLIMITED: Final = "unlimited"
REVENUE: Final = "revenue"
SALES: Final = "sales"
FEES: Final = "fees"
BREAKAGE: Final = "breakage"
CLAWBACK: Final = "clawback"

SYSTEM_ACCOUNTS: Final = (
    REVENUE,
    SALES,
    FEES,
    BREAKAGE,
    CLAWBACK,
    f"issuance:{UNLIMITED}",
    *sorted(f"issuance:{category}" for category in GRANTED_CATEGORIES | EARNED_CATEGORIES),
)

# Which lifetime total of a wallet an entry of this type counts in; a refund takes back what was spent.
TOTALS: Final = ("granted", "purchased", "earned", "spent", "expired", "removed")


def source_account(category: str) -> str:
    """The system account that a grant of ``category`` is paid from."""
    return SALES if category in PURCHASED_CATEGORIES else f"issuance:{category}"


def origin_of(category: str) -> str:
    """``paid`` for what money bought, ``free`` for everything else; a caller may say otherwise."""
    return "paid" if category in PURCHASED_CATEGORIES else "free"


def total_of(entry_type: str, amount_micros: int) -> tuple[str, int]:
    """The wallet's lifetime total that an entry adds to, and by how much.

    ``balance = granted + purchased + earned - spent - expired - removed`` holds for every wallet.
    """
    if entry_type in {"usage", "task_debit", "platform_fee", "refund"}:
        return "spent", -amount_micros
    if entry_type == "expiry":
        return "expired", -amount_micros
    if amount_micros < 0 or entry_type in {"clawback", "debt_repayment"}:
        return "removed", -amount_micros
    if entry_type in PURCHASED_CATEGORIES:
        return "purchased", amount_micros
    if entry_type in EARNED_CATEGORIES:
        return "earned", amount_micros
    return "granted", amount_micros
