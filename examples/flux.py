"""Flux: 200 credits on the 1st, use them or lose them, and packs that stay. Months pass on the test clock.

Run it with a server of that economy:  tally serve --economy flux
"""

from datetime import datetime, timedelta
from typing import Any

from examples.api import Api, Refused, admin, heading, register, say, statement


def month_after(moment: datetime) -> datetime:
    """The first moment of the next month."""
    later = moment.replace(day=1) + timedelta(days=32)
    return later.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def go_to(operator: Api, moment: datetime) -> None:
    """Move the test clock."""
    operator.post("/test/clock", now=moment.isoformat().replace("+00:00", "Z"))
    print(f"\n-- it is {moment:%Y-%m-%d %H:%M} --")


def show_grants(user: Api) -> None:
    """What the balance is made of, in the order in which it is drawn."""
    balance = user.get("/billing/balance")
    parts = ", ".join(f"{grant['remaining']} {grant['category']}" for grant in balance["grants"])
    say("balance", credits=balance["balance"], of=parts or "nothing")


def drawn(charge: dict[str, Any]) -> str:
    """What each grant gave."""
    return " + ".join(str(part["amount"]) for part in charge["grants"])


def main() -> None:
    """Play the scene."""
    operator = admin()
    first = month_after(datetime.fromisoformat(operator.post("/test/clock", advance="PT0S")["now"]))
    go_to(operator, first + timedelta(days=9, hours=12))
    maya, customer = register("maya")

    heading("Pulse: no credits")
    show_grants(maya)
    for path, body in [
        ("/charges", {"meter": "profile_lookup"}),
        ("/billing/tier", {"tier": "edge"}),
    ]:
        try:
            maya.post(path, **body)
        except Refused as refused:
            say(f"{path}: {refused.status} {refused.code}")

    heading("Edge: 200 at once, and a pack")
    operator.post("/billing/tier", customer=customer, tier="edge")
    show_grants(maya)
    operator.post("/grants", customer=customer, amount=500, category="purchase", reason="Starter pack, $5")
    show_grants(maya)
    charge = maya.post("/charges", meter="bulk_score", quantity=30)
    say("30 leads scored", costs=charge["amount"], drawn=drawn(charge))
    show_grants(maya)

    heading("The 1st: the rest of the old month is gone, the pack is not")
    first = month_after(first)
    go_to(operator, first)
    show_grants(maya)
    charge = maya.post("/charges", meter="bulk_lookup", quantity=250)
    say("250 look-ups: the month first, then the pack", costs=charge["amount"], drawn=drawn(charge))

    heading("Three months nobody came")
    for _ in range(3):
        first = month_after(first)
    go_to(operator, first)
    show_grants(maya)

    heading("Not enough")
    try:
        maya.post("/charges", meter="bulk_score", quantity=200)
    except Refused as refused:
        problem = refused.problem
        figures = {name: problem[name] for name in ("required", "available", "shortfall")}
        say(f"{refused.status} {refused.code}", **figures)
        say("", next_credits=problem["reset_at"])

    heading("The statement")
    statement(maya)

    heading("Too often: the hourly limit is apart from the balance")
    for count in range(1, 30):
        try:
            maya.post("/charges", meter="bulk_lookup", quantity=1)
        except Refused as refused:
            say(f"call {count}: {refused.status} {refused.code}", limit=refused.problem["limit"])
            break


if __name__ == "__main__":
    main()
