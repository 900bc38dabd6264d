"""The account at Stripe: its objects, its log of events, and the ways to look at them.

Objects are kept as Stripe shows them. What Stripe knows and does not show (how a card behaves, what a session was asked
to make) stands beside them.
"""

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.cards import TestCard
from tests.stripe_double.clock import Clock
from tests.stripe_double.contract import Contract, Json

PAGE = 10
UNASKED: Json = {"id": None, "idempotency_key": None}
LARGEST_PAGE = 100
RANGES: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda found, bound: found > bound,
    "gte": lambda found, bound: found >= bound,
    "lt": lambda found, bound: found < bound,
    "lte": lambda found, bound: found <= bound,
}


class Account:
    """Everything that one double knows. Whoever reads or writes it holds ``lock``."""

    def __init__(self, *, clock: Clock, contract: Contract, notify: Callable[[Json], None]) -> None:
        self.clock = clock
        self.contract = contract
        self.lock = threading.RLock()
        self.violations: list[str] = []
        self.objects: dict[str, Json] = {}  # by id, in the order in which they were made
        self.deleted: dict[str, Json] = {}  # what Stripe still shows of customers
        self._kinds: dict[str, list[Json]] = {}
        self.cards: dict[str, TestCard] = {}  # by payment method
        self.line_items: dict[str, list[Json]] = {}  # by session
        self.wishes: dict[str, Json] = {}  # by session: the parameters that it was made with
        self.pending_lines: dict[str, list[Json]] = {}  # by subscription: what its next invoice adds
        self.caught_up = clock.now()  # until when everything that was due has happened
        self.request: Json = dict(UNASKED)  # which is being executed, as its events name it
        self._notify = notify
        self._made = 0

    def now(self) -> int:
        """Return the present second."""
        return self.clock.now()

    def new_id(self, prefix: str) -> str:
        """Return an id that was never given before."""
        self._made += 1
        return f"{prefix}_{self._made:014d}"

    def new(self, kind: str, prefix: str, **fields: Any) -> Json:
        """Make an object of a kind, with null wherever it may stand and nothing is given, and keep it."""
        made = {"id": self.new_id(prefix), "object": kind} | self.contract.blank(kind)
        common = {"created": self.now(), "livemode": False}
        known = self.contract.schema(kind)["properties"]
        made |= {key: value for key, value in common.items() if key in known} | fields
        for key in INCLUDABLE.get(kind, ()):
            made.pop(key, None)
        self.objects[made["id"]] = made
        self._kinds.setdefault(kind, []).append(made)
        return made

    def remove(self, found: Json) -> Json:
        """Forget an object, and return what Stripe shows of a deleted one."""
        del self.objects[found["id"]]
        self._kinds[found["object"]].remove(found)
        return {"id": found["id"], "object": found["object"], "deleted": True}

    def find(self, kind: str, name: str, *, param: str = "id") -> Json:
        """Return an object, or refuse as Stripe does where there is none."""
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            raise errors.missing(kind, name, param=param)
        return found

    def all(self, kind: str, **wanted: Any) -> list[Json]:
        """Return the objects of a kind whose fields have given values, the newest first; None wants nothing."""
        asked = {key: value for key, value in wanted.items() if value is not None}
        return [
            each
            for each in reversed(self._kinds.get(kind, ()))
            if all(each.get(key) == value for key, value in asked.items())
        ]

    def change(self, found: Json, event: str | None = None, /, **changes: Any) -> Json:
        """Set fields of an object; the event, if one is named, tells what they were before."""
        before = {
            key: copy.deepcopy(found.get(key)) for key, value in changes.items() if found.get(key) != value
        }
        found |= changes
        if event is not None and before:
            self.emit(event, found, previous=before)
        return found

    def emit(self, kind: str, found: Json, *, previous: Json | None = None) -> Json:
        """Log an event about an object as it now is, and hand it to whoever delivers events."""
        shown = copy.deepcopy(found)
        data: Json = {"object": shown} | ({"previous_attributes": previous} if previous else {})
        event = self.new(
            "event",
            "evt",
            type=kind,
            api_version=self.contract.version,
            data=data,
            request=self.request,
            pending_webhooks=1,
        )
        self.violations += [f"event {kind}: {each}" for each in self.contract.object_errors(event)]
        self._notify(event)
        return event


INCLUDABLE: dict[str, tuple[str, ...]] = {
    "checkout.session": ("line_items",),
    "customer": ("sources", "subscriptions", "tax_ids", "cash_balance", "invoice_credit_balance"),
    "charge": ("refunds",),
    "invoice": ("payments",),
    "price": ("currency_options", "tiers"),
}
"""Fields that an answer has only if they are asked for by ``expand``."""


def page(rows: Iterable[Json], parameters: Json, *, url: str) -> Json:
    """Return one page of a list: ``limit``, ``starting_after``, ``ending_before`` and a range of ``created``."""
    limit = parameters.get("limit", PAGE)
    if not 1 <= limit <= LARGEST_PAGE:
        raise errors.invalid("This value must be between 1 and 100.", param="limit")
    found = [each for each in rows if _within(each, parameters.get("created"))]
    after, before = parameters.get("starting_after"), parameters.get("ending_before")
    if after is not None:
        found = found[_place(found, after, param="starting_after") + 1 :]
    if before is not None:
        found = found[: _place(found, before, param="ending_before")]
        return _list(found[-limit:], url=url, more=len(found) > limit)
    return _list(found[:limit], url=url, more=len(found) > limit)


def _list(rows: list[Json], *, url: str, more: bool = False) -> Json:
    return {"object": "list", "data": rows, "has_more": more, "url": url}


def whole_list(rows: list[Json], *, url: str) -> Json:
    """Return a list that stands inside an object."""
    return _list(rows, url=url)


def _place(rows: list[Json], name: str, *, param: str) -> int:
    for place, each in enumerate(rows):
        if each["id"] == name:
            return place
    raise errors.missing("object", name, param=param)


def _within(found: Json, asked: Json | int | None) -> bool:
    if asked is None:
        return True
    if isinstance(asked, int):
        return bool(found["created"] == asked)
    return all(RANGES[name](found["created"], bound) for name, bound in asked.items())
