"""Four ways in which the credits of sandboxes seem to disappear, and the statement that says where they went.

A sandbox that was forgotten, five at a time, credit that expired, and a wallet that is locked. Run it with a server of
that economy in test mode, on a machine that can isolate:  tally serve --economy flow-nexus
"""

import os
import uuid
from collections import Counter
from datetime import timedelta
from decimal import Decimal

from examples.api import say
from tallystick.client import TallyClient

LONG_ENOUGH = "PT9H"
TEN_MINUTES = timedelta(minutes=10)


def main() -> None:
    """Play the four."""
    with TallyClient(api_key=os.environ.get("TALLY_ADMIN_KEY")) as client:
        for scene in (forgotten, in_parallel, expired, locked):
            customer = f"{scene.__name__}-{uuid.uuid4().hex[:8]}"
            client.customers.create(external_id=customer)
            client.billing.change_tier(tier="pro", customer=customer)  # sessions of a day
            print(f"# {scene.__name__.replace('_', ' ')}")
            scene(client, customer)


def forgotten(client: TallyClient, customer: str) -> None:
    """Nobody closed it: it ran for eight hours, to its timeout."""
    sandbox = client.sandboxes.create(template="bash", timeout=8 * 3600, customer=customer)
    for _ in range(9):
        client.testing.move_clock(advance="PT1H")
    ended = client.sandboxes.get(sandbox.id)
    say("it ended by itself", reason=ended.reason, hours=ended.seconds / 3600, cost=ended.cost)
    statement(client, customer)
    told = Counter(each.type for each in client.webhooks.list_notifications(customer=customer, limit=100))
    say("it was told of", idle=told["sandbox.idle"], ending=told["sandbox.ending"])


def in_parallel(client: TallyClient, customer: str) -> None:
    """Five for an hour are five hours."""
    for _ in range(5):
        client.sandboxes.create(template="bash", timeout=3600, customer=customer)
    usage = client.sandboxes.usage(customer=customer)
    say("five run", sandboxes=len(usage.running), per_hour=usage.forecast[0].per_hour)
    client.testing.move_clock(advance=LONG_ENOUGH)
    say("they ran", hours=Decimal(client.sandboxes.usage(customer=customer).running_ms) / 3_600_000)
    statement(client, customer)


def expired(client: TallyClient, customer: str) -> None:
    """A dollar was good for ten minutes: what was not used by then expired."""
    spend_all(client, customer)
    now = client.testing.move_clock(advance="PT1S").now
    client.grants.create(
        customer=customer, amount=1, unit="USD", category="promotional_grant", expires_at=now + TEN_MINUTES
    )
    sandbox = client.sandboxes.create(template="bash", timeout=3600, customer=customer)
    client.testing.move_clock(advance=LONG_ENOUGH)
    say("nothing paid for more", reason=client.sandboxes.get(sandbox.id).reason)
    statement(client, customer)


def locked(client: TallyClient, customer: str) -> None:
    """What was leased is lived, and everything else is there again after the thaw."""
    sandbox = client.sandboxes.create(template="bash", timeout=3600, customer=customer)
    client.customers.freeze(customer, unit="USD", reason="the address is not confirmed")
    client.testing.move_clock(advance=LONG_ENOUGH)
    say("it ended", reason=client.sandboxes.get(sandbox.id).reason)
    client.customers.thaw(customer, unit="USD", reason="it is now")
    statement(client, customer)


def spend_all(client: TallyClient, customer: str) -> None:
    """The dollars that everybody gets at sign-up."""
    hold = client.holds.create(amount=100, unit="USD", customer=customer)
    hold.capture()


def statement(client: TallyClient, customer: str) -> None:
    """What the statement says of the dollars, by type and meter; it adds up to the balance."""
    sums: Counter[str] = Counter()
    for line in client.billing.get_transactions(customer=customer, unit="USD", limit=100):
        sums[f"{line.type} {line.meter or line.category or ''}".strip()] += line.amount
    for name, amount in sums.items():
        print(f"  {name:<40}{amount:>14}")
    balance = client.billing.get_balance(customer=customer, unit="USD").balance
    say("  the balance", dollars=balance, adds_up=balance == sum(sums.values()))


if __name__ == "__main__":
    main()
