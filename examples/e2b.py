"""E2B: real money by the second, and the four ways in which it seems to disappear.

Run it with a server of that economy:  tally serve --economy e2b
"""

from datetime import datetime, timedelta
from typing import Any

from examples.api import Api, Refused, admin, heading, register, say, statement

DAY = 24 * 3600
VCPU = 2
GIB = 0.5
WARN_BELOW = 20  # the higher threshold of the economy file


def run(user: Api, seconds: int, *, sandboxes: int = 1, why: str) -> dict[str, Any]:
    """Charge running sandboxes of the default size: seconds × (vCPU × $0.000014 + GiB × $0.0000045)."""
    return user.post(
        "/charges",
        meter="vcpu_seconds",
        quantity=seconds * VCPU * sandboxes,
        also=[{"meter": "gib_seconds", "quantity": seconds * GIB * sandboxes}],
        description=why,
    )


def forgotten(user: Api, operator: Api) -> None:
    """A sandbox that nobody stops is billed day after day; the threshold tells while something is left."""
    for days in range(5, 60, 5):
        operator.post("/test/clock", advance="P5D")
        charge = run(user, 5 * DAY, why="a sandbox that nobody stopped")
        say(f"{days} days", costs=charge["amount"], left=charge["available"])
        if charge["available"] < WARN_BELOW:
            say(f"ALERT: less than {WARN_BELOW} USD are left")
            return


def main() -> None:
    """Play the scene."""
    operator = admin()
    user, customer = register("eve")
    say("Eve signs up", balance=user.get("/billing/balance")["balance"], unit="USD")
    say("one hour of 2 vCPU and 512 MiB", costs=run(user, 3600, why="one hour")["amount"])

    heading("1. A forgotten sandbox")
    forgotten(user, operator)

    heading("2. Sandboxes in parallel")
    charge = run(user, 3600, sandboxes=20, why="twenty at a time")
    say("twenty at a time for an hour", costs=charge["amount"], left=charge["available"])

    heading("3. Credits that expire")
    now = datetime.fromisoformat(operator.post("/test/clock", advance="PT0S")["now"])
    expires_at = (now + timedelta(days=7)).isoformat().replace("+00:00", "Z")
    grant = operator.post(
        "/grants",
        customer=customer,
        amount=50,
        category="promotional_grant",
        expires_at=expires_at,
        reason="hackathon",
    )
    say("a grant for a week", amount=grant["amount"], available=grant["available"])
    run(user, DAY, why="drawn from what expires first")
    operator.post("/test/clock", advance="P7D")
    balance = user.get("/billing/balance")
    say("a week later", expired=balance["expired"], left=balance["available"])

    heading("4. A wallet that is frozen")
    operator.post(f"/customers/{customer}/freeze", reason="the account is not verified")
    try:
        run(user, 3600, why="one hour")
    except Refused as refused:
        say(f"{refused.status} {refused.code}", says=refused.problem["detail"])
    operator.post("/test/clock", advance="P30D")
    balance = user.get("/billing/balance")
    say("a month later nothing is lost", balance=balance["balance"], frozen_since=balance["frozen_at"][:10])
    for wallet in operator.get(f"/customers/{customer}/explain")["wallets"]:
        say("explained", balance=wallet["balance"], frozen_since=wallet["frozen_at"][:10])
    operator.post(f"/customers/{customer}/thaw")
    say("thawed: one hour", costs=run(user, 3600, why="one hour")["amount"])

    heading("Where did it go?")
    statement(user)
    for wallet in operator.get(f"/customers/{customer}/explain")["wallets"]:
        say("explained", balance=wallet["balance"], statement_agrees=wallet["statement_agrees"])
        for lot in wallet["grants"]:
            say(f"  {lot['category']} of {lot['amount']}", left=lot["remaining"])


if __name__ == "__main__":
    main()
