"""Rewards: credits for facts, within the economy's ranges, each once."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.client.exact import Number, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, post
from tallystick.client.resources.grants import NewGrant


@dataclass(frozen=True, kw_only=True)
class Referral(Model):
    """What both sides of a referral got; None for a side that gets nothing."""

    referrer: NewGrant | None
    referred: NewGrant | None


class Rewards(Resource[Mode]):
    """Reward customers. For services and admins."""

    @operation
    def create(
        self,
        *,
        customer: str,
        source: str,
        fact: str | None = None,
        amount: Number | None = None,
        difficulty: str | None = None,
        reason: str | None = None,
    ) -> Request[NewGrant]:
        """Reward a fact, once; a source with a streak takes neither a fact nor an amount."""
        body = {
            "customer": customer,
            "source": source,
            "fact": fact,
            "amount": number(amount),
            "difficulty": difficulty,
            "reason": reason,
        }
        return post("/rewards", NewGrant, body, repeat=Repeat.SAME)

    @operation
    def refer(self, *, referrer: str, referred: str) -> Request[Referral]:
        """Reward that one customer brought another, once for each who came."""
        body = {"referrer": referrer, "referred": referred}
        return post("/referrals", Referral, body, repeat=Repeat.SAME)
