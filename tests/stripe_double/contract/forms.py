"""Stripe's request bodies: forms with bracketed names, and the values that their texts stand for."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from tests.stripe_double.contract.schemas import Json

PART = re.compile(r"\[([^\[\]]*)\]")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def decoded(raw: str) -> Json:
    """Return the fields of a form as nested dictionaries of texts; a list is still one, by the places in it."""
    root: Json = {}
    for name, text in parse_qsl(raw, keep_blank_values=True):
        head, bracket, _ = name.partition("[")
        keys = [head, *PART.findall(name[len(head) :])] if bracket else [head]
        holder = root
        for key in keys[:-1]:
            inner = holder.setdefault(key or str(len(holder)), {})
            if not isinstance(inner, dict):
                raise TypeError(f"{name} is a value and a group at once")
            holder = inner
        holder[keys[-1] or str(len(holder))] = text
    return root


def typed(value: Any, schema: Json, definitions: Mapping[str, Json]) -> Any:
    """Return what a text, or a group of texts, means where the schema stands; what fits nothing stays as it is."""
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    alternatives = schema.get("anyOf")
    if alternatives is not None:
        return _one_of(value, alternatives, definitions)
    if isinstance(value, str):
        return _scalar(value, schema)
    if schema.get("type") == "array" and all(key.isdigit() for key in value):
        return [typed(value[key], schema["items"], definitions) for key in sorted(value, key=int)]
    if schema.get("type") == "object":
        others = schema.get("additionalProperties")
        rest = others if isinstance(others, dict) else {}
        known = schema.get("properties", {})
        return {key: typed(each, known.get(key, rest), definitions) for key, each in value.items()}
    return value


def _one_of(value: Any, alternatives: list[Json], definitions: Mapping[str, Json]) -> Any:
    for each in alternatives:
        found = typed(value, each, definitions)
        if found is not value and found != value:
            return found
    return value


def _scalar(text: str, schema: Json) -> Any:
    kind = schema.get("type")
    if kind == "boolean" and text in {"true", "false"}:
        return text == "true"
    if kind in {"integer", "number"} and NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
