"""JSON schemas, written from the SDK's annotations.

Each kind of object has a schema of its own. Where one holds another (an expanded field, the rows of a list), its schema
says only which kind must stand there; whoever judges an answer looks at each object in it by that object's schema.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.stripe_double.contract.sources import Module, Sources

Json: TypeAlias = dict[str, Any]

PLAIN: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Any": {},
    "object": {},
    "Decimal": {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"},
    "StripeObject": {"type": "object"},
    "UntypedStripeObject": {"type": "object"},
    "None": {"type": "null"},
}
NULL: Json = {"type": "null"}
TRANSPARENT = frozenset({"NotRequired", "Required", "ClassVar"})
UNIONS: dict[str, list[Json]] = {"Union": [], "Optional": [NULL], "ExpandableField": [PLAIN["str"]]}
LISTS = frozenset({"List", "list", "Sequence"})
GROUPS = frozenset({"Dict", "Mapping", "UntypedStripeObject"})


@dataclass(frozen=True)
class Scope:
    """Where an annotation stands: its module, and the classes around it from the outermost inwards."""

    module: Module
    chain: tuple[ast.ClassDef, ...] = ()


class Writer:
    """Writes one type, with all that it is made of, as one schema."""

    def __init__(self, sources: Sources, *, answers: bool) -> None:
        self._sources = sources
        self._answers = answers
        self._definitions: dict[str, Json] = {}

    def whole(self, annotation: ast.expr, scope: Scope) -> Json:
        """Return the schema of a type, complete in itself."""
        return {**self._written(annotation, scope), "$defs": self._definitions}

    def object(self, module: Module, name: str) -> Json:
        """Return the schema of a kind of object, complete in itself."""
        found = next(each for each in module.classes.values() if _object_name(each) == name)
        return {**self._class(Scope(module, (found,))), "$defs": self._definitions}

    def _written(self, node: ast.expr, scope: Scope) -> Json:
        match node:
            case ast.Constant(value=None):
                return NULL
            case ast.Constant(value=str(text)):
                return self._written(ast.parse(text.strip(), mode="eval").body, scope)
            case ast.BinOp():
                return _union([self._written(node.left, scope), self._written(node.right, scope)])
            case ast.Subscript():
                return self._generic(_name(node.value)[-1], node.slice, scope)
            case ast.Name() | ast.Attribute():
                return self._named(_name(node), scope)
            case _:
                raise NotImplementedError(ast.dump(node))

    def _generic(self, head: str, inner: ast.expr, scope: Scope) -> Json:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if head == "Literal":
            return _literal([each.value for each in parts if isinstance(each, ast.Constant)])
        written = [self._written(each, scope) for each in parts]
        if head in TRANSPARENT:
            return written[0]
        if head in UNIONS:
            return _union([*UNIONS[head], *written])
        if head in LISTS:
            return {"type": "array", "items": written[0]}
        if head in GROUPS:
            return {"type": "object", "additionalProperties": written[-1]}
        if head == "ListObject":
            return _list_of(written[0])
        raise NotImplementedError(head)

    def _named(self, path: Sequence[str], scope: Scope) -> Json:
        if len(path) == 1 and path[0] in PLAIN:
            return PLAIN[path[0]]
        found = self._resolve(path, scope)
        if found is None:
            return {"type": ["string", "object"]}
        name = _object_name(found.chain[-1]) if self._answers and len(found.chain) == 1 else None
        if name is not None:
            return {"type": "object", "required": ["object"], "properties": {"object": {"const": name}}}
        key = ".".join([found.module.name, *(each.name for each in found.chain)])
        if key not in self._definitions:
            self._definitions[key] = {}  # a type may hold itself
            self._definitions[key] = self._class(found)
        return {"$ref": f"#/$defs/{key}"}

    def _resolve(self, path: Sequence[str], scope: Scope) -> Scope | None:
        """Find a class by its name: inside the classes around it, in its module, or where that has it from."""
        first, *rest = path
        for depth in range(len(scope.chain), 0, -1):
            inner = _nested(scope.chain[depth - 1], first)
            if inner is not None:
                return _descend(Scope(scope.module, (*scope.chain[:depth], inner)), rest)
        if first in scope.module.classes:
            return _descend(Scope(scope.module, (scope.module.classes[first],)), rest)
        origin, name = scope.module.imports.get(first, ("", ""))
        module = self._sources.module(origin) if origin else None
        if module is None or name not in module.classes:
            return None
        return _descend(Scope(module, (module.classes[name],)), rest)

    def _class(self, scope: Scope) -> Json:
        properties: dict[str, Json] = {}
        required: list[str] = []
        for name, annotation in self._fields(scope):
            head = _name(annotation.value)[-1] if isinstance(annotation, ast.Subscript) else ""
            properties[name] = self._written(annotation, scope)
            optional = ("Optional",) if self._answers else ("NotRequired",)
            if head not in optional and name != "deleted":
                required.append(name)
        schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
        return schema | ({"required": required} if required else {})

    def _fields(self, scope: Scope) -> Iterable[tuple[str, ast.expr]]:
        """Yield the fields of a class, with quotes around an annotation taken off."""
        found = scope.chain[-1]
        for base in found.bases:
            record = scope.module.records.get(base.id) if isinstance(base, ast.Name) else None
            for key, value in zip(record.keys, record.values, strict=True) if record else ():
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, _unquoted(value)
        for node in found.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                if name != "OBJECT_NAME" and not name.startswith("_"):
                    yield (name[:-1] if name in {"from_", "in_"} else name), _unquoted(node.annotation)


def _unquoted(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.parse(node.value.strip(), mode="eval").body
    return node


def _name(node: ast.expr) -> tuple[str, ...]:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=value, attr=attr):
            return (*_name(value), attr)
        case _:
            raise NotImplementedError(ast.dump(node))


def _nested(outer: ast.ClassDef, name: str) -> ast.ClassDef | None:
    return next((node for node in outer.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _descend(scope: Scope, rest: Sequence[str]) -> Scope | None:
    for name in rest:
        inner = _nested(scope.chain[-1], name)
        if inner is None:
            return None
        scope = Scope(scope.module, (*scope.chain, inner))
    return scope


def _object_name(found: ast.ClassDef) -> str | None:
    for node in found.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="OBJECT_NAME"), value=ast.Constant(value=str(name))):
                return name
            case _:
                pass
    return None


def _literal(values: list[Any]) -> Json:
    if all(isinstance(each, bool) for each in values):
        return {"type": "boolean", "enum": values}
    return {"type": "string", "enum": values}


def _list_of(items: Json) -> Json:
    return {
        "type": "object",
        "required": ["object", "data", "has_more", "url"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": items},
            "has_more": {"type": "boolean"},
            "url": {"type": "string"},
        },
        "additionalProperties": False,
    }


def _union(parts: list[Json]) -> Json:
    """Join alternatives. An open enumeration (its values, or any text) is closed: Stripe names all values there are."""
    flat: list[Json] = []
    for part in parts:
        for each in part["anyOf"] if set(part) == {"anyOf"} else [part]:
            if each not in flat:
                flat.append(each)
    if any(each.get("type") == "string" and any(each.get("enum", ())) for each in flat):
        flat = [each for each in flat if each != PLAIN["str"]]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}
