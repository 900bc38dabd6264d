"""A payment provider that moves no money: the default, so that the whole product can be tried without a network.

It keeps its own books in the database, has pages, test cards, declines, late payments, monthly plans, refunds, disputes and
events, and follows the product's clock. Live mode refuses it.
"""

from tallystick.providers.simulated.cards import CARDS, TestCard, card_of
from tallystick.providers.simulated.pages import PageView
from tallystick.providers.simulated.portal import PortalView
from tallystick.providers.simulated.provider import SimulatedPayments
from tallystick.providers.simulated.receipts import Receipt

__all__ = [
    "CARDS",
    "PageView",
    "PortalView",
    "Receipt",
    "SimulatedPayments",
    "TestCard",
    "card_of",
]
