"""Whether a request, an answer or an event is one that the contract allows.

Schemas are derived when they are first needed and kept in a folder of temporary files, by the version of the SDK and of
the code that derives them: a run of tests pays for each of them once, and the next run for none.
"""

import ast
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from tests.stripe_double.contract import forms
from tests.stripe_double.contract.schemas import NULL, Json, Scope, Writer
from tests.stripe_double.contract.sources import Module, Sources

UNJUDGED = frozenset({"metadata", "previous_attributes"})  # free or partial by nature


@dataclass(frozen=True)
class Operation:
    """One call of the API: the schema of its parameters (None if it takes none) and of its answer."""

    method: str
    path: str
    parameters: Json | None
    answer: Json


class Contract:
    """What Stripe accepts and answers, at the version of the installed SDK."""

    def __init__(self, folder: Path) -> None:
        self._sources = Sources()
        self._folder = folder / f"{self._sources.version}-{_digest_of_code()}"
        self._folder.mkdir(parents=True, exist_ok=True)
        index = self._kept("index", self._index)
        self.version: str = index["version"]
        self._objects: dict[str, str] = index["objects"]
        self._routes: dict[str, list[str]] = index["routes"]
        self._operations: dict[tuple[str, str], Operation | None] = {}
        self._schemas: dict[str, Json] = {}
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def operation(self, method: str, path: str) -> Operation | None:
        """Return the operation at an address with ``{…}`` for each id, or None if the SDK calls no such thing."""
        key = (method, re.sub(r"\{\w+\}", "{}", path))
        if key not in self._operations:
            kept = self._kept(f"{method} {key[1]}", lambda: self._derived(*key))
            self._operations[key] = Operation(*key, **kept) if kept else None
        return self._operations[key]

    def knows(self, method: str, address: str) -> bool:
        """Tell whether the SDK would call a real address, with ids in it."""
        for route in self._routes:
            if re.fullmatch(route.replace("{}", "[^/]+"), address) and self.operation(method, route):
                return True
        return False

    def parameters(self, operation: Operation, raw: str) -> tuple[Json, list[str]]:
        """Return what a form says, and where it breaks the contract."""
        schema = operation.parameters
        if schema is None:
            return {}, [f"no parameters are taken: {raw}"] if raw else []
        try:
            fields = forms.decoded(raw)
        except TypeError as error:
            return {}, [str(error)]
        found = forms.typed(fields, schema, schema["$defs"])
        name = f"parameters of {operation.method} {operation.path}"
        return found, self._errors(name, schema, found)

    def answer_errors(self, operation: Operation, answer: Json) -> list[str]:
        """Say where an answer is not what the operation answers."""
        name = f"answer of {operation.method} {operation.path}"
        return self._errors(name, operation.answer, answer) + self.object_errors(answer)

    def object_errors(self, value: Any) -> list[str]:
        """Say where an object, or one inside it, is not what Stripe's are."""
        errors = []
        for each in _objects_in(value):
            name = each["object"]
            if name == "list":
                continue
            if name not in self._objects:
                errors.append(f"there is no object {name!r}")
            elif each.get("deleted") is True:
                extra = set(each) - {"id", "object", "deleted"}
                errors += [f"{name}: a deleted one has no {key}" for key in sorted(extra)]
            else:
                errors += self._errors(name, self.schema(name), each)
        return errors

    def schema(self, name: str) -> Json:
        """Return the schema of a kind of object, by its name in ``object``."""
        if name not in self._schemas:
            self._schemas[name] = self._kept(f"object {name}", lambda: self._object(name))
        return self._schemas[name]

    def blank(self, name: str, *path: str) -> Json:
        """Return an object of a kind, or the group at a path in it, with null wherever that may stand."""
        schema = whole = self.schema(name)
        for key in path:
            schema = _group(schema["properties"][key], whole["$defs"])
        properties = schema["properties"]
        return {key: None for key, each in properties.items() if NULL in each.get("anyOf", ())}

    def _errors(self, name: str, schema: Json, value: Any) -> list[str]:
        if name not in self._validators:
            self._validators[name] = jsonschema_rs.Draft202012Validator(schema)
        return [
            f"{name}: {'.'.join(map(str, error.instance_path)) or 'the whole'}: {error.message[:300]}"
            for error in self._validators[name].iter_errors(value)
        ]

    def _index(self) -> Json:
        found = self._sources
        return {
            "version": found.api_version,
            "objects": dict(found.objects),
            "routes": {route: list(modules) for route, modules in found.routes.items()},
        }

    def _object(self, name: str) -> Json:
        module = self._sources.module(self._objects[name])
        assert module is not None
        return Writer(self._sources, answers=True).object(module, name)

    def _derived(self, method: str, path: str) -> Json:
        for name in self._routes.get(path, ()):
            module = self._sources.module(name)
            assert module is not None
            for function in _functions(module):
                if _called(function) == (method.lower(), path):
                    return self._signature(module, function)
        return {}

    def _signature(self, module: Module, function: ast.FunctionDef) -> Json:
        assert function.returns is not None
        scope = Scope(module)
        parameters = None
        for argument in function.args.args:
            if argument.arg == "params" and argument.annotation is not None:
                writer = Writer(self._sources, answers=False)
                parameters = writer.whole(_not_optional(argument.annotation), scope)
        return {
            "parameters": parameters,
            "answer": Writer(self._sources, answers=True).whole(function.returns, scope),
        }

    def _kept(self, name: str, derive: Any) -> Any:
        """Return what is in a file, or derive it and write the file."""
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            found = derive()
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(found))
            draft.replace(path)
            return found


@cache
def shared_contract() -> Contract:
    """The contract of this process."""
    return Contract(Path(tempfile.gettempdir()) / f"stripe-contract-{os.getuid()}")


def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _group(schema: Json, definitions: Mapping[str, Json]) -> Json:
    """Return the group that a schema refers to, past what else it allows."""
    for each in schema.get("anyOf", [schema]):
        if "$ref" in each:
            return definitions[each["$ref"].removeprefix("#/$defs/")]
        if "items" in each:
            return _group(each["items"], definitions)
    raise KeyError("not a group")


def _objects_in(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        for each in value:
            yield from _objects_in(each)
    elif isinstance(value, dict):
        if isinstance(value.get("object"), str):
            yield value
        for key, each in value.items():
            if key not in UNJUDGED and isinstance(each, (dict, list)):
                yield from _objects_in(each)


def _functions(module: Module) -> Iterator[ast.FunctionDef]:
    for found in module.classes.values():
        for node in found.body:
            if isinstance(node, ast.FunctionDef):
                yield node


def _called(function: ast.FunctionDef) -> tuple[str, str] | None:
    """Return the method and the address (``{}`` for each id) that a service's function calls."""
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="_request"), args=[ast.Constant(value=str(method)), path, *_]
            ):
                text = (
                    path.func.value
                    if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute)
                    else path
                )
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    return method, re.sub(r"\{\w+\}", "{}", text.value)
            case _:
                pass
    return None


def _not_optional(annotation: ast.expr) -> ast.expr:
    match annotation:
        case ast.Constant(value=str(text)):
            return _not_optional(ast.parse(text.strip(), mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return inner
        case _:
            return annotation
