"""Lists in pages. A page has its own items, and iterating over it goes on to the pages behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

from tallystick.client.errors import UnexpectedAnswer
from tallystick.client.models import OURS, Model, from_json
from tallystick.client.operations import Awaiting, Blocking, Mode, Performer
from tallystick.client.requests import Request, get

E = TypeVar("E")
P = TypeVar("P", bound="Page[Any, Any]")


@dataclass(frozen=True, kw_only=True)
class Page(Model, Generic[E, Mode]):
    """Some of a list, newest first. ``for`` (``async for``) gives every item from here on, of all pages."""

    noun: ClassVar[str]

    has_more: bool
    next_cursor: str | None
    more: Callable[[str], Any] = field(repr=False, compare=False, metadata=OURS)

    @property
    def items(self) -> tuple[E, ...]:
        """The items of this page."""
        found: tuple[E, ...] = getattr(self, self.noun)
        return found

    def __iter__(self: Page[E, Blocking]) -> Iterator[E]:
        page, seen = self, set[str]()
        yield from page.items
        while (cursor := page._cursor(seen)) is not None:
            page = page.more(cursor)
            yield from page.items

    async def __aiter__(self: Page[E, Awaiting]) -> AsyncIterator[E]:
        page, seen = self, set[str]()
        for each in page.items:
            yield each
        while (cursor := page._cursor(seen)) is not None:
            page = await page.more(cursor)
            for each in page.items:
                yield each

    def _cursor(self, seen: set[str]) -> str | None:
        """Where the next page begins, if there is one. Raises ``UnexpectedAnswer`` for where one began before."""
        cursor = self.next_cursor if self.has_more else None
        if cursor is not None and cursor in seen:
            detail = f"the list of {self.noun} goes round in a circle: its next_cursor came before"
            raise UnexpectedAnswer("UNEXPECTED_ANSWER", detail)
        if cursor is not None:
            seen.add(cursor)
        return cursor


def page(
    client: Performer,
    path: str,
    model: type[P],
    query: Mapping[str, object],
    *,
    names: Mapping[str, str] | None = None,
) -> Request[P]:
    """A call for a page, which asks ``client`` for the pages behind it."""
    request = get(path, model, query, names=names)

    def more(cursor: str) -> Any:  # noqa: ANN401 - a page, or a call for it
        return client.perform(page(client, path, model, {**query, "cursor": cursor}, names=names))

    return replace(request, read=lambda data: from_json(model, data, more=more))
