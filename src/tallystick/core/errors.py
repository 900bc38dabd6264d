"""Every refusal that Tallystick gives: one class each, with a stable lower-case ``code``.

The docstring of a class says what the caller should do. A refusal changed nothing. Each door has one table
from these classes to its own form (a status for REST, a code for MCP and the command line), and looks a class
up along its bases.

``detail`` is a sentence for people. ``fields`` are facts for programs: those named in ``amount_fields`` are
whole micro-units, those in ``time_fields`` microseconds since the epoch (or None); everything else is shown
as it is.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from tallystick.core.decimals import format_amount, format_units


class Refusal(Exception):  # noqa: N818 - a refusal is an answer and no error of the program
    """Read ``code`` and ``detail``: the request was understood, and nothing was changed."""

    code: ClassVar[str] = "refused"
    amount_fields: ClassVar[frozenset[str]] = frozenset()
    time_fields: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, detail: str, **fields: object) -> None:
        """Keep a sentence for people, and facts for programs."""
        super().__init__(detail)
        self.detail = detail
        self.fields: dict[str, object] = fields


# --- what was sent ------------------------------------------------------------------------------------------


class MalformedRequest(Refusal):
    """Send a request of the documented form: this one could not be read."""

    code = "malformed_request"


class ValidationFailed(Refusal):
    """Correct the named fields and send the request again."""

    code = "validation_failed"

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        """Take pairs of a field's name and what is wrong with it."""
        pairs = list(errors)
        super().__init__(
            "; ".join(f"{field}: {message}" for field, message in pairs),
            errors=[{"field": field, "message": message} for field, message in pairs],
        )


class InvalidAmount(ValidationFailed):
    """Send an amount as a plain decimal number above zero, with at most six decimals."""

    code = "invalid_amount"

    def __init__(self, expected: str, *, field: str = "amount") -> None:
        """Name the field and what was expected of it."""
        super().__init__([(field, f"expected {expected}")])


class InvalidQuantity(ValidationFailed):
    """Send a quantity as a plain decimal number above zero, with at most six decimals."""

    code = "invalid_quantity"

    def __init__(self, expected: str, *, field: str = "quantity") -> None:
        """Name the field and what was expected of it."""
        super().__init__([(field, f"expected {expected}")])


class AmountTooLarge(Refusal):
    """Split the operation: it would move or hold more than ``maximum`` units, or more than can be counted."""

    code = "amount_too_large"
    amount_fields = frozenset({"maximum"})

    def __init__(self, maximum: int | None = None) -> None:
        """Take the largest amount allowed in micro-units; without it, the limit is what can be counted."""
        if maximum is None:
            super().__init__("the amount is more than can be counted")
        else:
            super().__init__(f"one operation moves at most {format_amount(maximum)} units", maximum=maximum)


class BodyTooLarge(Refusal):
    """Send a smaller body, for instance fewer charges in one batch."""

    code = "body_too_large"

    def __init__(self, maximum_bytes: int) -> None:
        """Take the largest body allowed."""
        super().__init__(
            f"a request body may have at most {maximum_bytes} bytes", maximum_bytes=maximum_bytes
        )


class InvalidCursor(Refusal):
    """Start again from the first page: a cursor is only what an earlier page of the same list gave."""

    code = "invalid_cursor"

    def __init__(self, detail: str = "the cursor is not one that this list gave") -> None:
        """Take a sentence for people, if there is more to say."""
        super().__init__(detail)


# --- who asks -----------------------------------------------------------------------------------------------


class NotAuthenticated(Refusal):
    """Send a valid session token or API key as ``Authorization: Bearer …``."""

    code = "not_authenticated"

    def __init__(self, detail: str = "a valid session token or API key is needed") -> None:
        """Take a sentence for people, if there is more to say."""
        super().__init__(detail)


class InvalidCredentials(Refusal):
    """Check the email and the password; which of them is wrong is not said."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        """Say nothing about which of the two was wrong."""
        super().__init__("the email or the password is wrong")


class NotAllowed(Refusal):
    """Use a key whose role may do this, or ask someone who has one."""

    code = "not_allowed"


class EmailTaken(Refusal):
    """Log in instead, or register with another email."""

    code = "email_taken"

    def __init__(self) -> None:
        """Do not repeat the address: the caller knows it."""
        super().__init__("this email is registered already")


# --- what it is about ---------------------------------------------------------------------------------------


class NotFound(Refusal):
    """Check the id: there is no such object, or it is not yours to see."""

    code = "not_found"

    def __init__(self, noun: str, identifier: str | int | None, *, suggestion: str | None = None) -> None:
        """Take what was looked for, its name or id, and a close name if there is one."""
        name = str(identifier)[:100]
        hint = f"; did you mean {suggestion}?" if suggestion else ""
        super().__init__(f"there is no {noun} {name}{hint}", noun=noun, id=name)


class UnknownMeter(NotFound):
    """Use a meter of the rate card (``GET /prices``)."""

    code = "unknown_meter"

    def __init__(self, meter: str, *, suggestion: str | None = None) -> None:
        """Take the name that no meter has, and a close name if there is one."""
        super().__init__("meter", meter, suggestion=suggestion)


class UnknownUnit(NotFound):
    """Use a unit of the economy (``GET /economy``)."""

    code = "unknown_unit"

    def __init__(self, unit: str, *, suggestion: str | None = None) -> None:
        """Take the name that no unit has, and a close name if there is one."""
        super().__init__("unit", unit, suggestion=suggestion)


class UnknownPlan(NotFound):
    """Use a plan of the economy (``GET /economy``)."""

    code = "unknown_plan"

    def __init__(self, plan: str, *, suggestion: str | None = None) -> None:
        """Take the name that no plan has, and a close name if there is one."""
        super().__init__("plan", plan, suggestion=suggestion)


class UnknownPack(NotFound):
    """Use a pack of the economy (``GET /economy``)."""

    code = "unknown_pack"

    def __init__(self, pack: str, *, suggestion: str | None = None) -> None:
        """Take the name that no pack has, and a close name if there is one."""
        super().__init__("pack", pack, suggestion=suggestion)


class UnknownCustomer(NotFound):
    """Create the customer first (``POST /customers``), or check its id or external_id."""

    code = "unknown_customer"

    def __init__(self, customer: str) -> None:
        """Take the id or external_id that no customer has."""
        super().__init__("customer", customer)


class Conflict(Refusal):
    """Read the object again: its state does not allow this, or someone else changed it."""

    code = "conflict"


class HoldNotOpen(Conflict):
    """Do nothing more with this hold: it was captured or released, or it expired, and that is final."""

    code = "hold_not_open"

    def __init__(self, status: str) -> None:
        """Take what became of the hold: captured, released or expired."""
        super().__init__(f"the hold is {status} and no longer open", status=status)


class TaskNotReady(Conflict):
    """Read the task again (``GET /tasks/{id}``): its ``status`` does not allow this; another may have been first."""

    code = "task_not_ready"

    def __init__(self, status: str, expected: Sequence[str]) -> None:
        """Take the task's status, and those in which the step is possible."""
        super().__init__(
            f"the task is {status}: expected one that is {' or '.join(expected)}", task_status=status
        )


class DisputeWindowClosed(Conflict):
    """Ask the operator: the time in which this task could be disputed is over."""

    code = "dispute_window_closed"
    time_fields = frozenset({"closed_at"})

    def __init__(self, closed_at: int) -> None:
        """Take when the window closed, in microseconds since the epoch."""
        super().__init__("the time in which this task could be disputed is over", closed_at=closed_at)


class AgentPaused(Conflict):
    """Hire another agent, or wait: the owner of this one takes no new tasks for it."""

    code = "agent_paused"

    def __init__(self, agent: str) -> None:
        """Take the agent's name."""
        super().__init__(f"the agent {agent} takes no new tasks")


class SandboxNotRunning(Conflict):
    """Make another sandbox: this one has stopped, ``reason`` says why, and nothing was charged."""

    code = "sandbox_not_running"

    def __init__(self, status: str, reason: str | None = None) -> None:
        """Take the status that it has, and why it stopped."""
        because = f" ({reason})" if reason else ""
        super().__init__(f"the sandbox is {status}{because}", sandbox_status=status, reason=reason)


class SandboxElsewhere(Conflict):
    """Send the request to a server on the machine that runs the sandbox: no other can reach into it."""

    code = "sandbox_elsewhere"

    def __init__(self) -> None:
        """Say where it is."""
        super().__init__("the sandbox runs on another machine")


class PriceAboveMaximum(Conflict):
    """Look at the agent's price again, and send a higher ``max_price`` if that is worth it: nothing was held."""

    code = "price_above_maximum"
    amount_fields = frozenset({"price", "max_price"})

    def __init__(self, *, unit: str, price: int, max_price: int) -> None:
        """Take both amounts in micro-units."""
        super().__init__(
            f"a task costs {format_units(price, unit)}, more than the {format_amount(max_price)} allowed",
            unit=unit,
            price=price,
            max_price=max_price,
        )


class ExceedsRefundable(Refusal):
    """Refund at most ``refundable``: what was drawn, less what was refunded already."""

    code = "exceeds_refundable"
    amount_fields = frozenset({"requested", "refundable"})

    def __init__(self, *, unit: str, requested: int, refundable: int) -> None:
        """Take both amounts in micro-units."""
        super().__init__(
            f"{format_units(requested, unit)} is more than the {format_amount(refundable)} left to refund"
            if refundable
            else "nothing is left to refund",
            unit=unit,
            requested=requested,
            refundable=refundable,
        )


# --- credits, budgets and limits ----------------------------------------------------------------------------


class NotCovered(Refusal):
    """Do not simply repeat this: something has less left than the operation needs.

    Fields: ``unit``, ``required``, ``available`` and ``shortfall`` (micro-units: the very figures that
    decided), ``limit_source`` (which wallet or budget refused), ``retryable`` and ``reset_at`` (when waiting
    helps), ``topup_url``.
    """

    code = "not_covered"
    amount_fields = frozenset({"required", "available", "shortfall"})
    time_fields = frozenset({"reset_at"})

    def __init__(
        self,
        *,
        unit: str,
        required: int,
        available: int,
        limit_source: str,
        shortfall: int | None = None,
        reset_at: int | None = None,
        topup_url: str | None = None,
    ) -> None:
        """Take amounts in micro-units; the shortfall is worked out unless it is given."""
        missing = required - available if shortfall is None else shortfall
        super().__init__(
            f"{format_units(required, unit)} needed, {format_units(available, unit)} available "
            f"in {limit_source}: {format_units(missing, unit)} short",
            unit=unit,
            required=required,
            available=available,
            shortfall=missing,
            limit_source=limit_source,
            retryable=reset_at is not None,
            reset_at=reset_at,
            topup_url=topup_url,
        )


class InsufficientCredits(NotCovered):
    """Add credits (``topup_url``), or wait for the grant due at ``reset_at``: a repeat alone cannot work."""

    code = "insufficient_credits"


class BudgetExceeded(NotCovered):
    """Wait until ``reset_at``, or have the budget named by ``limit_source`` raised: credits do not help."""

    code = "budget_exceeded"


class RateLimited(Refusal):
    """Wait ``retry_after_seconds`` and send the same request again; the balance has nothing to do with it."""

    code = "rate_limited"
    time_fields = frozenset({"reset_at"})

    def __init__(
        self,
        *,
        limit: int,
        remaining: int,
        reset_at: int,
        window_seconds: int,
        retry_after_seconds: int,
        limit_source: str,
    ) -> None:
        """Take the limit per window, what is left of it, and when the next window begins."""
        super().__init__(
            f"at most {limit} in {window_seconds} s for {limit_source}: wait {retry_after_seconds} s",
            limit=limit,
            remaining=remaining,
            reset_at=reset_at,
            window_seconds=window_seconds,
            retry_after_seconds=retry_after_seconds,
            limit_source=limit_source,
            retryable=True,
        )


class WalletFrozen(Refusal):
    """Ask the operator to unfreeze the wallet: nothing is drawn from it meanwhile, and nothing is lost."""

    code = "wallet_frozen"

    def __init__(self, unit: str, reason: str | None = None) -> None:
        """Take the wallet's unit, and why it is frozen if that was noted."""
        because = f": {reason}" if reason else ""
        super().__init__(f"the {unit} wallet is frozen{because}", unit=unit, reason=reason)


class PlanRequired(Refusal):
    """Change to a plan that has this right."""

    code = "plan_required"

    def __init__(self, *, right: str, plan: str, plans: Sequence[str] = ()) -> None:
        """Take the right that is missing, the plan that lacks it, and the plans that have it."""
        instead = f"; these do: {', '.join(plans)}" if plans else ""
        super().__init__(
            f"the plan {plan} does not include {right}{instead}", right=right, plan=plan, plans=list(plans)
        )


class PlanLimitReached(Refusal):
    """Ask for less, end what runs, or change to a plan with a higher limit."""

    code = "plan_limit_reached"

    def __init__(self, *, right: str, limit: int, asked: int, plan: str) -> None:
        """Take what is limited, the most that the plan allows, what was asked for, and the plan."""
        super().__init__(
            f"the plan {plan} allows {limit} {right}, and this would be {asked}",
            right=right,
            limit=limit,
            asked=asked,
            plan=plan,
        )


class SandboxesUnavailable(Refusal):
    """Ask the operator: the message says what this server lacks. Nothing was charged, and a repeat is safe."""

    code = "sandboxes_unavailable"


class SandboxFailed(Refusal):
    """Look what became of it before you send the request again: nothing was charged, but code may have run."""

    code = "sandbox_failed"


# --- repeats ------------------------------------------------------------------------------------------------


class IdempotencyKeyRequired(Refusal):
    """Send an ``Idempotency-Key`` of your own making, and the same one again when you repeat the request."""

    code = "idempotency_key_required"

    def __init__(self) -> None:
        """There is nothing more to say."""
        super().__init__("a request that moves credits or money needs an Idempotency-Key")


class IdempotencyKeyReused(Refusal):
    """Make a new key: this one belongs to a different request, which was done."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        """Show nothing of the other request."""
        super().__init__("this Idempotency-Key was used for another request")


class IdempotencyInFlight(Conflict):
    """Wait a moment and send the same request with the same key: the first one has not ended yet."""

    code = "idempotency_in_flight"

    def __init__(self) -> None:
        """There is nothing more to say."""
        super().__init__("the first request with this Idempotency-Key is still running")
        self.fields["retryable"] = True


# --- payments -----------------------------------------------------------------------------------------------


class PaymentFailed(Refusal):
    """Update the payment method, or pay in another way: the provider did not take this payment."""

    code = "payment_failed"


class AutoRefillFailed(Refusal):
    """Update the payment method (``update_url``), then enable automatic refills again."""

    code = "auto_refill_failed"

    def __init__(self, detail: str, *, update_url: str | None = None) -> None:
        """Say why, and where a card can be saved."""
        super().__init__(detail, update_url=update_url)


class TierUpgradeFailed(Refusal):
    """Complete the payment first (``checkout_url``), or ask the operator for a plan that is not sold by itself."""

    code = "tier_upgrade_failed"

    def __init__(self, detail: str, *, checkout_url: str | None = None) -> None:
        """Say why, and where it can be paid."""
        super().__init__(detail, checkout_url=checkout_url)


class InvalidSignature(MalformedRequest):
    """Send the event as the payment provider signed it, with the signing secret of this endpoint, and at once."""

    code = "invalid_signature"

    def __init__(self) -> None:
        """Say nothing about what was expected."""
        super().__init__("this event is not signed by the payment provider, or it is too old")


class PaymentsUnavailable(Refusal):
    """Repeat the request with the same Idempotency-Key: nobody can pay twice by that."""

    code = "payments_unavailable"

    def __init__(self, detail: str = "the payment provider does not answer") -> None:
        """Say what is away."""
        super().__init__(
            f"{detail}; repeat the request with the same Idempotency-Key",
            retry_after_seconds=5,
            retryable=True,
        )


# --- the installation ---------------------------------------------------------------------------------------


class EconomyProblem(NamedTuple):
    """One thing wrong with an economy file: where, what was expected there and what stands there."""

    key: str
    line: int | None
    expected: str
    found: str

    def __str__(self) -> str:
        """Put it as one line of text."""
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: expected {self.expected}, found {self.found}"


class EconomyInvalid(Refusal):
    """Correct the named keys of the economy file; ``tally economy check`` lists them all."""

    code = "economy_invalid"

    def __init__(self, name: str, problems: Iterable[EconomyProblem]) -> None:
        """Take the economy's name and everything that is wrong with its file."""
        self.problems = tuple(problems)
        count = len(self.problems)
        things = "problem" if count == 1 else "problems"
        super().__init__(
            f"economy {name} has {count} {things}: " + "; ".join(str(problem) for problem in self.problems),
            economy=name,
            errors=[problem._asdict() for problem in self.problems],
        )


class TestClockRefused(Refusal):
    """Use the test clock in test mode only, and move it forwards only."""

    __test__ = False  # The name begins with "Test", and this is not one.
    code = "test_clock_refused"


class NotSimulated(Refusal):
    """Use this in test mode and without a Stripe key only: there, payments are simulated."""

    code = "not_simulated"

    def __init__(self) -> None:
        """There is nothing more to say."""
        super().__init__("payments are not simulated here")


class ServiceUnavailable(Refusal):
    """Send the same request with the same key again later: nothing was charged, or a repeat is safe."""

    code = "service_unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        """Say what is away, and when another try makes sense."""
        super().__init__(detail, retry_after_seconds=retry_after_seconds, retryable=True)


class ConfigurationError(Refusal):
    """Correct the named setting and start again."""

    code = "configuration_error"
