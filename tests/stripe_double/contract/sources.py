"""The installed Stripe SDK's sources, read as syntax trees: nothing of them is imported or run.

The SDK is generated from Stripe's own description of its API, so its types say what a request and an answer look like
at the version of the API that the SDK speaks.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

OBJECT_NAME = re.compile(r'OBJECT_NAME: ClassVar\[Literal\["([^"]+)"\]\]')
ROUTE = re.compile(r'"(/v1/[^"]*)"')


@dataclass(frozen=True)
class Module:
    """One file: its classes, where its other names come from, and the records written as calls."""

    name: str
    classes: Mapping[str, ast.ClassDef]
    imports: Mapping[str, tuple[str, str]]
    records: Mapping[str, ast.Dict]


class Sources:
    """Where to find the types of objects, of operations and of their parameters."""

    def __init__(self) -> None:
        found = find_spec("stripe")
        if found is None or found.origin is None:
            raise RuntimeError("the Stripe SDK is not installed")
        self.root = Path(found.origin).parent
        self.version = version("stripe")
        self._modules: dict[str, Module | None] = {}

    @cached_property
    def api_version(self) -> str:
        """The version of Stripe's API that the SDK speaks."""
        found = re.search(r'CURRENT = "([^"]+)"', (self.root / "_api_version.py").read_text())
        assert found, "the SDK does not say which version of the API it speaks"
        return found[1]

    @cached_property
    def objects(self) -> Mapping[str, str]:
        """The module of each kind of object, by the name that Stripe gives it in ``object``."""
        names: dict[str, str] = {}
        for path in self._files("*.py"):
            if not path.name.endswith("_service.py"):
                for name in OBJECT_NAME.findall(path.read_text(encoding="utf-8")):
                    names.setdefault(name, self._name(path))
        return names

    @cached_property
    def routes(self) -> Mapping[str, tuple[str, ...]]:
        """The modules that call an address, by the address with ``{}`` in place of each id."""
        modules: dict[str, tuple[str, ...]] = {}
        for path in self._files("*_service.py"):
            for address in set(ROUTE.findall(path.read_text(encoding="utf-8"))):
                key = re.sub(r"\{\w+\}", "{}", address)
                modules[key] = (*modules.get(key, ()), self._name(path))
        return modules

    def module(self, name: str) -> Module | None:
        """Return a module of the SDK, or None for a name that is no file of it."""
        if name not in self._modules:
            path = self.root.parent.joinpath(*name.split(".")).with_suffix(".py")
            self._modules[name] = _read(name, path) if path.is_file() else None
        return self._modules[name]

    def _files(self, pattern: str) -> Iterator[Path]:
        for path in sorted(self.root.rglob(pattern)):
            if "v2" not in path.relative_to(self.root).parts:
                yield path

    def _name(self, path: Path) -> str:
        return ".".join(path.relative_to(self.root.parent).with_suffix("").parts)


def _read(name: str, path: Path) -> Module:
    classes: dict[str, ast.ClassDef] = {}
    imports: dict[str, tuple[str, str]] = {}
    records: dict[str, ast.Dict] = {}
    for node in _top(ast.parse(path.read_text(encoding="utf-8")).body):
        match node:
            case ast.ClassDef():
                classes[node.name] = node
            case ast.ImportFrom(module=str(origin)):
                imports |= {alias.asname or alias.name: (origin, alias.name) for alias in node.names}
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(args=[_, ast.Dict() as fields])):
                records[target] = fields
            case _:
                pass
    return Module(name, classes, imports, records)


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, and those that only a type checker sees."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _top(node.body)
        else:
            yield node
