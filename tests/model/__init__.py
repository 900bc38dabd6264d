"""The model of the ledger that the ledger is held to."""

from tests.model.holdings import Mismatch, Refused
from tests.model.ledger import Model

__all__ = ["Mismatch", "Model", "Refused"]
