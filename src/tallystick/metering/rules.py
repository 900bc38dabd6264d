"""What a call costs, as data: a rule names a meter or an amount, how much of it to hold and how much was used.

- A quantity is a number, a path into what is known (``arguments.rows``, ``result.usage.total_tokens``), or a function.
- Whatever a path finds is measured alike: a number counts itself, a list or an object its items, a text its characters.
  What is to be held is not told by a text that reads as a number.
- Numbers with more than six decimals are rounded up to the sixth: the seller keeps the remainder, as in rating.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final, Literal

from tallystick.core.amounts import MAX_AMOUNT_MICROS, MICROS
from tallystick.core.errors import ConfigurationError, Refusal, ValidationFailed

META: Final = "tallystick"
MICRO: Final = Decimal("0.000001")
MOST: Final = MAX_AMOUNT_MICROS // MICROS  # what the ledger takes at once
_PATH: Final = re.compile(r"(arguments|result|request|response)(\.[A-Za-z0-9_-]+)*")
_BEFORE: Final = ("arguments", "request")  # what is known when credits are held

Quantity = int | Decimal
Measure = Quantity | str | Callable[..., Any]
WhenAway = Literal["closed", "open"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What is lent while the billing server is away, to be settled when it is back.

    ``quantity`` is the most that is lent to one customer of one meter (of an amount without a meter: in its unit);
    ``seconds`` is how long after the last contact with the server anything is lent.
    """

    quantity: Quantity
    seconds: int = 3600

    def __post_init__(self) -> None:
        """Raise ``ConfigurationError`` for what is no lease."""
        if not (_is_number(self.quantity) and self.quantity and _is_whole(self.seconds) and self.seconds):
            raise ConfigurationError("expected a lease to have a quantity and whole seconds, both above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a call is charged. Raises ``ConfigurationError`` for a rule that cannot be.

    Its price is that of ``meter``, or ``amount`` of ``unit`` (the economy's first, if absent) for each of ``quantity``.
    ``quantity`` is held before the call: a number, a path, or a function of what was asked. ``used``, a path or a
    function of what was asked and of the answer, is charged afterwards, at most what was held; without it, what was held.

    ``charge_on`` says whether an answer that is an error costs too (``always``), or which statuses of an HTTP answer
    cost; what is raised never does. ``when_away`` says what a call may do while the billing server does not answer: it
    is refused (``closed``), runs for nothing (``open``), or is lent and settled later (``Lease``).
    """

    meter: str | None = None
    amount: Quantity | None = None
    unit: str | None = None
    quantity: Measure = 1
    used: str | Callable[..., Any] | None = None
    charge_on: Literal["success", "always"] | Collection[int] = "success"
    when_away: WhenAway | Lease = "closed"

    def __post_init__(self) -> None:
        """Raise ``ConfigurationError`` for what is no rule."""
        if (self.meter is None) == (self.amount is None):
            raise ConfigurationError("expected a rule to have either a meter or an amount")
        if not all(_is_name(name) for name in (self.meter, self.unit) if name is not None):
            raise ConfigurationError("expected meter and unit to be names")
        if self.meter is not None and self.unit is not None:
            raise ConfigurationError("expected a unit only beside an amount")
        if self.amount is not None and not _is_number(self.amount):
            raise ConfigurationError(
                f"expected amount to be a number from 0 to {MOST:,}, found {self.amount!r}"
            )
        if not (_is_number(self.quantity) or callable(self.quantity)):
            _check_path(self.quantity, "quantity", _BEFORE)
        if self.used is not None and not callable(self.used):
            _check_path(self.used, "used", ())
        words = self.charge_on in {"success", "always"} if isinstance(self.charge_on, str) else False
        if not (words or _are_statuses(self.charge_on)):
            raise ConfigurationError("expected charge_on to be success, always, or a list of HTTP statuses")
        if not isinstance(self.when_away, Lease) and self.when_away not in ("closed", "open"):
            raise ConfigurationError("expected when_away to be closed, open, or a lease")

    @property
    def charges_statuses(self) -> bool:
        """Whether ``charge_on`` names HTTP statuses, which tools have none of."""
        return not isinstance(self.charge_on, str)

    def held_for(self, asked: object, **known: object) -> Quantity:
        """The quantity to hold. Raises ``ValidationFailed`` where what was asked does not tell it."""
        return self._measured("quantity", self.quantity, (asked,), known)

    def used_for(self, asked: object, answer: object, **known: object) -> Quantity | None:
        """The quantity that was used; None for what was held, also where the answer does not tell it."""
        if self.used is None:
            return None
        try:
            return self._measured("used", self.used, (asked, answer), known)
        except Refusal as refusal:
            # The call was made: it costs what was held for it, and its operator learns why.
            log.warning("a call is charged as held: %s", refusal.detail)
            return None

    def _measured(
        self, name: str, measure: Measure, given: tuple[object, ...], known: Mapping[str, object]
    ) -> Quantity:
        if isinstance(measure, int | Decimal):
            return measure
        field = measure if isinstance(measure, str) else name
        try:
            found = _find(measure, known) if isinstance(measure, str) else measure(*given)
            if name == "quantity" and isinstance(found, str) and _reads_as_number(found):
                # A lenient reader takes "1000" for a thousand, and it would be paid for as four characters.
                raise ValueError(found)  # noqa: TRY301 - as what raises by itself
            return _measure(found)
        except Refusal:
            raise
        except Exception as error:
            # A function of the operator's may raise anything; what it says stays in the log.
            log.info("%s cannot be told: %r", field, error)
            message = "expected a number, a list, an object or a text that tells the quantity of this call"
            raise ValidationFailed([(field, message)]) from error


def rule_from(found: object, *, where: str) -> Rule:
    """A rule from JSON or TOML, with the fields of ``Rule``. Raises ``ConfigurationError`` that names ``where``."""
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{where}: expected a table, found {found!r}")
    known = [each.name for each in fields(Rule)]
    if unknown := sorted(str(name) for name in found if name not in known):
        raise ConfigurationError(f"{where}: expected of {', '.join(known)} only, found {', '.join(unknown)}")
    try:
        given: dict[str, Any] = {name: _exact(value) for name, value in found.items()}
        away = given.get("when_away")
        if isinstance(away, Mapping):
            lease: dict[str, Any] = {str(name): _exact(value) for name, value in away.items()}
            given["when_away"] = Lease(**lease)
        return Rule(**given)
    except (ConfigurationError, TypeError) as error:
        detail = (
            error.detail
            if isinstance(error, ConfigurationError)
            else "expected a lease of quantity and seconds"
        )
        raise ConfigurationError(f"{where}: {detail}") from error


def rule_in(meta: Mapping[str, Any] | None) -> Rule | None:
    """The rule in a tool's ``meta``, as ``{"tallystick": {"meter": "lookup"}}``. Raises ``ConfigurationError``."""
    found = (meta or {}).get(META)
    return None if found is None else rule_from(found, where=META)


def _exact(value: object) -> object:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _is_number(value: object) -> bool:
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        return False
    return Decimal(value).is_finite() and 0 <= value <= MOST


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _are_statuses(value: object) -> bool:
    return (
        isinstance(value, Collection)
        and not isinstance(value, str | bytes)
        and bool(value)
        and all(isinstance(each, int) and 100 <= each <= 599 for each in value)  # noqa: PLR2004 - HTTP's own
    )


def _check_path(path: object, field: str, roots: tuple[str, ...]) -> None:
    matched = _PATH.fullmatch(path) if isinstance(path, str) else None
    if matched is None or (roots and matched[1] not in roots):
        words = " or ".join(roots or ("arguments", "result", "request", "response"))
        raise ConfigurationError(
            f"expected {field} to be a number, a function, or a path that begins with {words}, found {path!r}"
        )


def _find(path: str, known: Mapping[str, object]) -> object:
    """What a path leads to. Raises ``LookupError`` where it leads nowhere."""
    found: object = known
    for name in path.split("."):
        if isinstance(found, Mapping):
            found = found[name]
        elif isinstance(found, Sequence) and not isinstance(found, str | bytes):
            found = found[int(name)]
        else:
            raise LookupError(path)  # noqa: TRY004 - there is no such place
    return found


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _measure(found: object) -> Quantity:
    if isinstance(found, bool) or found is None:
        raise TypeError(found)
    if isinstance(found, int):
        if abs(found) > MOST:
            raise ValueError(found)
        return found
    if isinstance(found, float | Decimal):
        return up_to_micro(Decimal(repr(found)) if isinstance(found, float) else found)
    if isinstance(found, Mapping | Sequence | Collection):
        return len(found)
    raise TypeError(found)


def up_to_micro(value: Decimal) -> Decimal:
    """A number rounded up to its sixth decimal. Raises ``ValueError`` for what is no number, or a huge one."""
    if not value.is_finite() or abs(value) > MOST**2:
        raise ValueError(value)
    try:
        return value.quantize(MICRO, rounding=ROUND_CEILING)
    except InvalidOperation as error:
        raise ValueError(value) from error
