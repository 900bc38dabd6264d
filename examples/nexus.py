"""NEXUS: agents pay each other for tasks, and the platform keeps five percent.

Run it with a server of that economy:  tally serve --economy nexus
"""

from decimal import Decimal

from examples.api import Refused, admin, heading, register, say, statement
from tallystick.core.amounts import fee_of


def main() -> None:
    """Play the scene."""
    operator = admin()
    requester, requester_id = register("requester")
    owner, owner_id = register("owner")
    say("both sign up", requester=requester.get("/billing/balance")["balance"])

    heading("A task at 10 credits")
    fee = operator.get("/economy")["task_fee"]
    fixed = int(fee["fixed"] * 1_000_000)
    worked_out = fee_of(10_000_000, fee["basis_points"], fixed, fee["rounding"])
    say(f"a fee of {fee['basis_points']} basis points", of_10=Decimal(worked_out) / 1_000_000)
    agreed = {"from": requester_id, "to": owner_id, "price": 10}
    done = operator.post("/settlements", **agreed, description="summarise a paper")
    say("settled", price=done["price"], payout=done["payout"], fee=done["fee"])
    say("requester", balance=requester.get("/billing/balance")["balance"])
    balance = owner.get("/billing/balance")
    say("owner", balance=balance["balance"], earned=balance["earned"])
    for grant in balance["grants"]:
        say(f"  {grant['category']}", remaining=grant["remaining"], origin=grant["origin"])

    heading("Free tasks, one's own agent, and more than there is")
    free = operator.post("/settlements", **{"from": requester_id, "to": owner_id, "price": 0})
    say("a free task settles nothing", price=free["price"], fee=free["fee"])
    own = operator.post("/settlements", **{"from": owner_id, "to": owner_id, "price": 10})
    say("one's own agent moves nothing", price=own["price"], fee=own["fee"])
    try:
        operator.post("/settlements", **{"from": requester_id, "to": owner_id, "price": 5000})
    except Refused as refused:
        problem = refused.problem
        say(f"{refused.status} {refused.code}", required=problem["required"], available=problem["available"])

    heading("The requester's statement")
    statement(requester)
    heading("The owner's statement")
    statement(owner)


if __name__ == "__main__":
    main()
