"""How much is measured: the full run, and a short one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Sizes and durations. ``folder`` is where databases are made."""

    folder: str
    seconds: float = 5.0
    rounds: int = 3
    clients: int = 64
    wallets: int = 1000
    many_wallets: int = 10_000
    many_charges: int = 1_000_000
    tasks: int = 3000
    balances: int = 2000
    events: int = 1000
    history: int = 100_000
    looks: int = 21
    sandbox_lives: int = 50
    sandboxes_in_a_row: int = 1000
    with_peers: bool = True

    @classmethod
    def quick(cls, *, folder: str, with_peers: bool) -> Self:
        """A few seconds in all: no figure of it means anything."""
        return cls(
            folder=folder,
            seconds=0.3,
            rounds=1,
            clients=8,
            wallets=20,
            many_wallets=50,
            many_charges=1000,
            tasks=100,
            balances=20,
            events=20,
            history=200,
            looks=3,
            sandbox_lives=5,
            sandboxes_in_a_row=20,
            with_peers=with_peers,
        )
