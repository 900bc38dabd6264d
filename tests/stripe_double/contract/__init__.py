"""Stripe's contract, taken from the installed SDK, and a judge of requests and answers."""

from tests.stripe_double.contract.judge import Contract, Operation, shared_contract
from tests.stripe_double.contract.schemas import Json

__all__ = ["Contract", "Json", "Operation", "shared_contract"]
