"""The operations, one file for each noun: models of its answers, then what each call is.

A new operation is a method of its noun's class; a new noun is a file and a property of ``Resources``. A noun is imported
when it is first used: making its models takes time, and few programs use them all.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Generic

from tallystick.client.operations import Mode, Performer

if TYPE_CHECKING:
    from tallystick.client.resources.agents import Agents, Payouts, Tasks
    from tallystick.client.resources.auth import Auth
    from tallystick.client.resources.billing import Billing
    from tallystick.client.resources.budgets import Budgets
    from tallystick.client.resources.charges import Charges, Quotes
    from tallystick.client.resources.customers import Customers
    from tallystick.client.resources.economy import Economy
    from tallystick.client.resources.grants import Grants
    from tallystick.client.resources.holds import Holds
    from tallystick.client.resources.keys import Keys
    from tallystick.client.resources.payments import Payments
    from tallystick.client.resources.prices import Prices
    from tallystick.client.resources.rewards import Rewards
    from tallystick.client.resources.sandboxes import Sandboxes
    from tallystick.client.resources.server import Server
    from tallystick.client.resources.settlements import Settlements
    from tallystick.client.resources.testing import Testing
    from tallystick.client.resources.webhooks import Notifications, Webhooks


class Resources(Generic[Mode]):
    """Every operation there is, by its noun."""

    def __init__(self, client: Performer) -> None:
        self._client = client

    @cached_property
    def agents(self) -> Agents[Mode]:
        """Agents that can be hired."""
        from tallystick.client.resources.agents import Agents

        return Agents(self._client)

    @cached_property
    def sandboxes(self) -> Sandboxes[Mode]:
        """Where code runs, metered by the second."""
        from tallystick.client.resources.sandboxes import Sandboxes

        return Sandboxes(self._client)

    @cached_property
    def tasks(self) -> Tasks[Mode]:
        """What agents are hired for."""
        from tallystick.client.resources.agents import Tasks

        return Tasks(self._client)

    @cached_property
    def payouts(self) -> Payouts[Mode]:
        """What was earned with agents."""
        from tallystick.client.resources.agents import Payouts

        return Payouts(self._client)

    @cached_property
    def auth(self) -> Auth[Mode]:
        """Users and their sessions."""
        from tallystick.client.resources.auth import Auth

        return Auth(self._client)

    @cached_property
    def billing(self) -> Billing[Mode]:
        """What a customer has, spends and buys."""
        from tallystick.client.resources.billing import Billing

        return Billing(self._client)

    @cached_property
    def budgets(self) -> Budgets[Mode]:
        """Spending limits."""
        from tallystick.client.resources.budgets import Budgets

        return Budgets(self._client)

    @cached_property
    def charges(self) -> Charges[Mode]:
        """Draw credits for what was used."""
        from tallystick.client.resources.charges import Charges

        return Charges(self._client)

    @cached_property
    def customers(self) -> Customers[Mode]:
        """Customers by ids of your own."""
        from tallystick.client.resources.customers import Customers

        return Customers(self._client)

    @cached_property
    def economy(self) -> Economy[Mode]:
        """What is counted, given and sold."""
        from tallystick.client.resources.economy import Economy

        return Economy(self._client)

    @cached_property
    def grants(self) -> Grants[Mode]:
        """Credits with terms of their own."""
        from tallystick.client.resources.grants import Grants

        return Grants(self._client)

    @cached_property
    def holds(self) -> Holds[Mode]:
        """Reserve before the work, pay after it."""
        from tallystick.client.resources.holds import Holds

        return Holds(self._client)

    @cached_property
    def keys(self) -> Keys[Mode]:
        """API keys."""
        from tallystick.client.resources.keys import Keys

        return Keys(self._client)

    @cached_property
    def notifications(self) -> Notifications[Mode]:
        """What a customer is told by e-mail."""
        from tallystick.client.resources.webhooks import Notifications

        return Notifications(self._client)

    @cached_property
    def payments(self) -> Payments[Mode]:
        """What was paid, and what became of it."""
        from tallystick.client.resources.payments import Payments

        return Payments(self._client)

    @cached_property
    def prices(self) -> Prices[Mode]:
        """What usage costs."""
        from tallystick.client.resources.prices import Prices

        return Prices(self._client)

    @cached_property
    def quotes(self) -> Quotes[Mode]:
        """Ask before spending."""
        from tallystick.client.resources.charges import Quotes

        return Quotes(self._client)

    @cached_property
    def rewards(self) -> Rewards[Mode]:
        """Credits for facts."""
        from tallystick.client.resources.rewards import Rewards

        return Rewards(self._client)

    @cached_property
    def server(self) -> Server[Mode]:
        """How the server itself is."""
        from tallystick.client.resources.server import Server

        return Server(self._client)

    @cached_property
    def settlements(self) -> Settlements[Mode]:
        """Pay one customer's credits to another."""
        from tallystick.client.resources.settlements import Settlements

        return Settlements(self._client)

    @cached_property
    def testing(self) -> Testing[Mode]:
        """Move the test clock, and simulate a bank."""
        from tallystick.client.resources.testing import Testing

        return Testing(self._client)

    @cached_property
    def webhooks(self) -> Webhooks[Mode]:
        """Endpoints, notifications and deliveries."""
        from tallystick.client.resources.webhooks import Webhooks

        return Webhooks(self._client)
