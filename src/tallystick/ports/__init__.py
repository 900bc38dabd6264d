"""What the product asks of others: who moves money, and who runs sandboxes. Here are the two answers that all may give."""

from __future__ import annotations


class ProviderRefused(Exception):  # noqa: N818 - an answer, and no error of the program
    """The provider understood the request and said no, for good: nothing was made. ``code`` is its own word for why."""

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class OutcomeUnknown(Exception):  # noqa: N818 - a state of its own
    """No answer came, or one that says nothing (a lost connection, a 5xx, too many requests): it may have been done.

    Ask again with the same key, or look the thing up by its reference. Never begin anew.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
