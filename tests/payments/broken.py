"""A process that ends in the middle of something."""


class Crash(Exception):  # noqa: N818 - nothing catches it
    """The process ends here."""


class Broken:
    """A provider during whose call of one method the process ends: before it is made, or after it has answered."""

    def __init__(self, provider: object, method: str, *, after: bool = False) -> None:
        self.provider, self.method, self.after = provider, method, after
        self.answers: dict[str, object] = {}

    def __getattr__(self, name: str) -> object:
        found = getattr(self.provider, name)
        if name in self.answers:
            return lambda *_: self.answers[name]
        if name != self.method:
            return found

        def broken(*arguments: object, **named: object) -> object:
            if self.after:
                found(*arguments, **named)
            raise Crash

        return broken
