"""The tools. Each parses, calls one service and renders; what a caller may do is the services' to say."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final, Literal, cast

import anyio.to_thread
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_context
from pydantic import Field

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.decimals import format_units
from tallystick.core.times import format_rfc3339
from tallystick.mcp import answers
from tallystick.mcp.callers import Callers, caller_of
from tallystick.mcp.registration import HERE, READS, SETS, put
from tallystick.payment_offers import name_of_offer, offer_to_pay
from tallystick.plain_json import number
from tallystick.services.checkouts import CheckoutView
from tallystick.services.context import Caller
from tallystick.tool_results import key_of

FOR_SERVICES: Final = "for-services"  # the tag of tools that users neither see nor may call

UserId = Annotated[
    str | None,
    Field(description="A user (usr_…), a customer (cust_…) or the operator's own id; yourself if absent"),
]
Limit = Annotated[int, Field(ge=1, le=100, description="How many, newest first")]


class Tools:
    """The functions behind the tools."""

    def __init__(self, tally: Tally, callers: Callers) -> None:
        self._tally = tally
        self._callers = callers

    def _caller(self) -> Caller:
        return caller_of(self._tally, self._callers)

    def _user(self) -> Caller:
        """The caller, who has credits of its own. Raises ``NotAllowed`` for a service's key."""
        caller = self._caller()
        if caller.customer_id is None:
            raise errors.NotAllowed(
                "this key has no credits of its own: log in as a user, or use a tool that takes user_id"
            )
        return caller

    # --- balances --------------------------------------------------------------------------------------------------

    def check_balance(self) -> answers.CheckedBalance:
        """Look at your own credits before work that costs some: what there is, whether it refills itself, and the plan."""
        tally = self._tally
        found = tally.billing.balance(self._user())
        below = tally.context.economy().low_balance.warning_below(found.unit)
        return answers.checked_balance(found, warning_below=below)

    def ruv_balance(self, user_id: UserId = None) -> answers.DetailedBalance:
        """A user's credits in detail: the balance, what is held for unfinished work, and what was earned and spent."""
        return answers.detailed_balance(self._tally.billing.balance(self._caller(), customer=user_id))

    def user_stats(self, user_id: UserId = None) -> answers.Stats:
        """What a user earned and spent over its life, from challenges and from apps."""
        found = self._tally.rewards.stats(self._caller(), customer=user_id)
        return answers.Stats(
            credits_earned=number(found.earned),
            credits_spent=number(found.spent),
            apps_published=0,  # nothing can be published here
            challenges_completed=found.challenges,
            app_revenue=number(found.app_revenue),
        )

    def ruv_history(self, user_id: UserId = None, limit: Limit = 20) -> answers.History:
        """Where a user's credits came from and went: one line per movement, with its amount, type and description."""
        found = self._tally.billing.transactions(self._caller(), customer=user_id, limit=limit)
        return answers.History(transactions=[answers.history_line(each) for each in found.items])

    # --- money -----------------------------------------------------------------------------------------------------

    async def create_payment_link(
        self,
        amount: Annotated[
            float,
            Field(
                description="US dollars",
                json_schema_extra={"minimum": 10, "maximum": 10_000},
            ),
        ],
    ) -> answers.PaymentLink:
        """Make a page on which the user buys credits. Show the address to the user: only a person can pay on it."""
        context = get_context()
        # The call that comes back after the page was shown is the same call, and gets the same page.
        key = key_of(context) or name_of_offer(context) or secrets.token_urlsafe()

        def create() -> CheckoutView:
            answer = self._tally.checkouts.create(self._user(), amount=_decimal(amount), idempotency_key=key)
            return answer.value

        made = await anyio.to_thread.run_sync(create)
        message = f"Pay {amount:.2f} USD for {format_units(made.credits, 'credits')}."
        asked = await offer_to_pay(context, made.url, message=message, name=key)
        return answers.payment_link(made) if asked is None else cast("answers.PaymentLink", asked)

    def configure_auto_refill(
        self,
        enabled: Annotated[bool, Field(description="On or off; on also ends a pause")],
        threshold: Annotated[
            float | None, Field(description="Refill when fewer credits than this are available")
        ] = None,
        amount: Annotated[float | None, Field(description="US dollars of one refill")] = None,
    ) -> answers.RefillSetting:
        """Have credits bought with the saved card whenever they fall below a threshold, or end that."""
        view = self._tally.refills.configure(
            self._user(),
            enabled=enabled,
            threshold=None if threshold is None else _decimal(threshold),
            amount=None if amount is None else _decimal(amount),
        )
        return answers.refill_setting(view)

    def get_payment_history(self, limit: Limit = 10) -> answers.Payments:
        """What the user paid in US dollars, what became of it, and where the invoice is."""
        found = self._tally.checkouts.list(self._user(), limit=limit)
        return answers.Payments(payments=[answers.payment_line(each) for each in found.items])

    def user_upgrade(
        self,
        tier: Annotated[str, Field(description="The plan, such as pro or enterprise")],
        user_id: UserId = None,
    ) -> answers.Upgraded:
        """Put a user on another plan. Where it must be paid first, the refusal names the page on which that is done."""
        tally = self._tally
        view = tally.subscriptions.change(
            self._caller(), tier=tier, customer=user_id, idempotency_key=key_of(get_context())
        ).value
        if view.checkout_url is not None:
            detail = f"the plan {view.tier} is paid first: open checkout_url"
            raise errors.TierUpgradeFailed(detail, checkout_url=view.checkout_url)
        monthly = tally.context.economy().monthly_micros(view.tier)
        return answers.Upgraded(
            new_tier=view.tier,
            monthly_credits=None if monthly is None else number(monthly),
            effective_date=format_rfc3339(view.effective_at),
        )

    def app_store_earn_ruv(
        self,
        user_id: Annotated[str, Field(description="Who earned it: usr_…, cust_… or the operator's own id")],
        amount: Annotated[float, Field(description="Credits", json_schema_extra={"exclusiveMinimum": 0})],
        reason: Annotated[str, Field(description="What it was earned for; the user reads it in the history")],
        source: Annotated[
            Literal["challenge", "app_usage", "referral"], Field(description="What kind of earning it is")
        ],
    ) -> answers.Earned:
        """Award credits to a user. For services and admins. An idempotency key in _meta names a fact, awarded once."""
        made = self._tally.rewards.earn(
            self._caller(),
            customer=user_id,
            amount=_decimal(amount),
            reason=reason,
            source=source,
            idempotency_key=key_of(get_context()) or secrets.token_urlsafe(),
        ).value
        return answers.earned(made.transaction_id, made.balance)


def register(server: FastMCP[Any], tools: Tools) -> None:
    """Put the tools on a server, but for those with which somebody becomes known."""
    put(
        server,
        (tools.check_balance, "Check the balance", READS),
        (tools.ruv_balance, "Balance in detail", READS),
        (tools.create_payment_link, "Buy credits", HERE.model_copy(update={"open_world_hint": True})),
        (tools.configure_auto_refill, "Set automatic refills", SETS),
        (tools.ruv_history, "History of credits", READS),
        (tools.get_payment_history, "History of payments", READS),
        (tools.user_upgrade, "Change the plan", SETS),
        (tools.user_stats, "Statistics", READS),
    )
    put(server, (tools.app_store_earn_ruv, "Award credits", HERE), tags={FOR_SERVICES})


def _decimal(value: float) -> str:
    """A JSON number as it was written, for what is counted exactly. NaN and infinity are no amounts, and are told so."""
    return repr(value).removesuffix(".0")
