"""Shops with each provider, on each database."""

from tests.payments.fixtures import hands, open_shop, shop

__all__ = ["hands", "open_shop", "shop"]
