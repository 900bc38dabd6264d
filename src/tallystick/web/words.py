"""What people read for the words that rows and doors share."""

from __future__ import annotations

from typing import Final

# Each type of a statement's entries: its name, and what it means for the balance.
ENTRY_WORDS: Final = {
    "initial_grant": ("Welcome credits", "You got these when you joined."),
    "bonus": ("Bonus", "You got these on top of something else."),
    "monthly_grant": ("Monthly credits", "Your plan gives these in each period."),
    "promotional_grant": ("Promotion", "The operator gave you these."),
    "adjustment": ("Correction", "The operator corrected your balance."),
    "purchase": ("Purchase", "You paid for these."),
    "auto_refill": ("Automatic refill", "Your saved card paid for these when your balance was low."),
    "task_credit": ("Task done", "One of your agents earned these."),
    "reward": ("Reward", "You earned these."),
    "referral": ("Referral", "Somebody joined through you."),
    "usage": ("Usage", "You used something that costs credits."),
    "task_debit": ("Task paid", "You paid an agent of somebody else for a task."),
    "platform_fee": ("Platform fee", "The operator's share of a task."),
    "refund": ("Refund", "Credits that you had spent came back."),
    "expiry": ("Expired", "These were not used in their time."),
    "clawback": ("Taken back", "What paid for these went back, so the credits did, too."),
    "debt_repayment": ("Debt repaid", "New credits paid what you owed."),
}
# Each status of a task: its name, and what it means for those who have to do with it.
TASK_WORDS: Final = {
    "created": ("Waiting", "The price is held; nobody has accepted the task yet."),
    "accepted": ("Being worked on", "The price is held until the task is completed."),
    "completed": ("Completed", "The work is done, and what was held is paid."),
    "failed": ("Failed", "Nothing came of it, and what was held went back."),
    "cancelled": ("Cancelled", "It was taken back, and so was what was held."),
    "timed_out": ("Timed out", "It was not done in time, and what was held went back."),
    "disputed": ("Disputed", "The operator decides how much of the price comes back."),
    "refunded": ("Paid back", "The operator's decision was that the price, or a part of it, came back."),
}
# Each status of a sandbox, why one stopped, and what is done with sandboxes.
SANDBOX_WORDS: Final = {
    "creating": "Being made",
    "running": "Running",
    "stopped": "Stopped",
    "failed": "Not made",
}
SANDBOX_REASONS: Final = {
    "requested": "You ended it, or a program of yours did.",
    "timeout": "Its time was over.",
    "credits": "There were no credits for more time.",
    "budget": "A budget allowed no more time.",
    "frozen": "The account was frozen.",
    "plan": "Your plan lets none live longer.",
    "memory": "It used more memory than it had.",
    "disk": "It used more disk than it had.",
    "crashed": "It broke down.",
    "host_restart": "The server that ran it was restarted.",
    "provider_gone": "Whoever ran it has it no more.",
}
SANDBOX_OPERATIONS: Final = {
    "create": "Making it",
    "execute": "Running code",
    "upload": "Putting in a file",
    "configure": "Changing its settings",
    "delete": "Deleting it",
    "running": "Running time",
}
# What a grant's origin means for people.
ORIGIN_WORDS: Final = {"paid": "bought", "free": "free"}
LEVEL_WORDS: Final = {"customer": "Everything you spend", "agent": "Agent", "key": "API key"}
STATUS_WORDS: Final = {
    "pending": "not paid yet",
    "processing": "on its way",
    "succeeded": "paid",
    "failed": "not paid: failed",
    "expired": "not paid: expired",
    "mismatch": "being looked at",
    "partially_refunded": "partly refunded",
    "refunded": "refunded",
    "disputed": "disputed",
    "charged_back": "charged back",
}
# Through which door an admin did something.
DOOR_WORDS: Final = {
    "admin": "operators’ dashboard",
    "rest": "REST",
    "cli": "command line",
    "mcp": "MCP",
}
