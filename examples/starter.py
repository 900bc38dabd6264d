"""The starter economy: every shape of price, a hold, a refund, and running out of credits.

Run it with a server of that economy:  tally serve --economy starter
"""

from examples.api import Refused, admin, heading, register, say, statement


def main() -> None:
    """Play the scene."""
    operator = admin()
    ada, customer = register("ada")
    balance = ada.get("/billing/balance")
    say("Ada signs up", balance=balance["balance"], plan=balance["tier"])

    heading("What things cost")
    usage = {"ping": 1, "lookup": 1, "search": 1, "gpt": 1200, "render": 10, "enrich": 150, "export": 2000}
    for meter, quantity in usage.items():
        charge = ada.post("/charges", meter=meter, quantity=quantity)
        say(f"{quantity} × {meter}", costs=charge["amount"], left=charge["available"])

    heading("Reserve first, pay for what was used")
    hold = ada.post("/holds", meter="gpt", quantity=10000)
    say("a hold for 10,000 tokens", held=hold["amount"], available=hold["available"])
    captured = ada.post(f"/holds/{hold['id']}/capture", quantity=7300)
    say("7,300 were used", paid=captured["captured"], back=captured["released"])

    heading("The operator gives a charge back")
    refund = operator.post(f"/charges/{captured['charge']}/refund", reason="the answer was wrong")
    say("refunded", amount=refund["refunded"], balance=refund["balance"])

    heading("Running out")
    quote = ada.post("/quotes", meter="render", quantity=4000)
    say("an hour of video would cost", amount=quote["amount"], affordable=quote["affordable"])
    try:
        ada.post("/charges", meter="render", quantity=4000)
    except Refused as refused:
        problem = refused.problem
        say(f"{refused.status} {refused.code}", required=problem["required"], available=problem["available"])
        say("", short=problem["shortfall"], next_credits=problem["reset_at"])

    heading("The statement")
    statement(ada)
    say(f"\nbalance of {customer}", now=ada.get("/billing/balance")["balance"])


if __name__ == "__main__":
    main()
