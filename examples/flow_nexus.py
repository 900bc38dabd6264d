"""Flow-Nexus: rUv credits, and US dollars of infrastructure charged beside them in the same transaction.

Run it with a server of that economy:  tally serve --economy flow-nexus
"""

from examples.api import Api, Refused, heading, register, say, statement

VCPU = 2
GIB = 0.5


def infrastructure(seconds: int, *, sandboxes: int = 1) -> list[dict[str, object]]:
    """The two meters that a running sandbox adds to a charge."""
    return [
        {"meter": "vcpu_seconds", "quantity": sandboxes * seconds * VCPU},
        {"meter": "gib_seconds", "quantity": sandboxes * seconds * GIB},
    ]


def show_balances(user: Api, words: str) -> None:
    """Both wallets."""
    ruv, usd = (user.get("/billing/balance", unit=unit)["balance"] for unit in ("rUv", "USD"))
    say(words, rUv=ruv, USD=usd)


def main() -> None:
    """Play the scene."""
    user, _ = register("rio")
    show_balances(user, "Rio signs up")

    heading("One sandbox for ten minutes")
    charge = user.post(
        "/charges",
        meter="sandbox_create",
        also=[
            {"meter": "sandbox_execute"},
            {"meter": "sandbox_execute"},
            {"meter": "sandbox_delete"},
            *infrastructure(600),
        ],
        description="create, execute, execute, delete",
    )
    say("create + execute + execute + delete", **charge["amounts"])

    heading("A swarm of five sandboxes for ten minutes")
    charge = user.post("/charges", meter="swarm_init", also=infrastructure(600, sandboxes=5))
    say("swarm init", **charge["amounts"])

    heading("All of it or nothing")
    try:
        user.post("/charges", meter="swarm_init", also=infrastructure(1_000_000, sandboxes=5))
    except Refused as refused:
        problem = refused.problem
        say(f"{refused.status} {refused.code}", required=problem["required"], unit=problem["unit"])
    show_balances(user, "no rUv were drawn either")

    heading("The statement in rUv")
    statement(user, unit="rUv")
    heading("The statement in USD")
    statement(user, unit="USD")

    heading("The charge, explained")
    for part in user.get(f"/charges/{charge['id']}")["explain"]["prices"]:
        say(f"{part['meter']}", amount=part["amount"], unit=part["unit"])


if __name__ == "__main__":
    main()
