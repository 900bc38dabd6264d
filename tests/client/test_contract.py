"""The SDK and the OpenAPI document say the same: neither has an operation, a parameter or a field that the other has not."""

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from tallystick.api.app import create_app
from tallystick.api.openapi import document_of
from tallystick.bootstrap import Tally
from tallystick.client import Also, KeyBudget, NewCharge, TallyClient
from tallystick.client.downloads import FileOperation
from tallystick.client.events import EVENTS
from tallystick.client.models import Model
from tallystick.client.operations import Operation, Resource
from tallystick.client.requests import Request
from tallystick.client.resources import Resources

# What has no method of its own, and why.
LEFT_OUT = {
    ("post", "/api/dashboard/billing/checkout"): "a second address of billing/checkout, for one program"
}
SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 1,
    bool: True,
    bytes: b"{}",
    object: "anything",
    Also: Also(meter="m"),
    KeyBudget: KeyBudget(amount=1, per="day", unit="credits"),
    NewCharge: NewCharge(
        meter="m",
        also=(Also(meter="m"),),
        customer="c",
        agent="a",
        description="d",
        metadata={"a": 1},
    ),
}


def resources() -> Iterator[tuple[str, Resource[Any]]]:
    """The resources of a client."""
    with TallyClient(base_url="http://127.0.0.1:1") as client:
        for name, value in vars(Resources).items():
            if isinstance(value, cached_property):
                yield name, getattr(client, name)


def operations() -> Iterator[tuple[str, Resource[Any], Operation[Any, Any] | FileOperation[Any]]]:
    """Every operation of the SDK."""
    for noun, resource in resources():
        for name, value in vars(type(resource)).items():
            if isinstance(value, Operation | FileOperation):
                yield f"{noun}.{name}", resource, value


def sample(hint: Any) -> Any:
    """A value for a parameter of this type."""
    if get_origin(hint) in {Union, types.UnionType}:
        return sample(next(each for each in get_args(hint) if each is not types.NoneType))
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if get_origin(hint) is Iterable:
        return [sample(get_args(hint)[0])]
    if get_origin(hint) is Callable:
        return print
    if get_origin(hint) is Mapping:
        return {"name": "value"}
    return datetime(2027, 1, 1, tzinfo=UTC) if hint is datetime else SAMPLES[hint]


def described(resource: Resource[Any], operation: Any) -> Request[Any]:
    """The request of a call with every parameter."""
    hints = get_type_hints(operation.describe)
    parameters = list(inspect.signature(operation.describe).parameters.values())[1:]
    given = {each.name: sample(hints[each.name]) for each in parameters}
    positional = [given.pop(each.name) for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    request: Request[Any] = operation.describe(resource, *positional, **given)
    return request


def minimal(resource: Resource[Any], operation: Any) -> Request[Any]:
    """The request of a call with what it cannot do without."""
    hints = get_type_hints(operation.describe)
    parameters = list(inspect.signature(operation.describe).parameters.values())[1:]
    needed = {each.name: sample(hints[each.name]) for each in parameters if each.default is each.empty}
    positional = [
        needed.pop(each.name)
        for each in parameters
        if each.name in needed and each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    request: Request[Any] = operation.describe(resource, *positional, **needed)
    return request


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The OpenAPI document."""
    with Tally.open(f"sqlite:///{tmp_path_factory.mktemp('contract') / 'tally.db'}") as tally:
        return document_of(create_app(tally))


ALL = [pytest.param(resource, operation, id=name) for name, resource, operation in operations()]
each_operation = pytest.mark.parametrize(("resource", "operation"), ALL)


def operation_of(document: dict[str, Any], request: Request[Any]) -> dict[str, Any]:
    """What the document says about a request."""
    found: dict[str, Any] = document["paths"][request.path][request.method.lower()]
    return found


def forms(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What something may be, without references; null is a form of its own."""
    if "$ref" in schema:
        return forms(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return [found for each in schema["anyOf"] for found in forms(document, each)]
    return [schema]


def body_of(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request's body, or one of nothing."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {"type": "null"})
    return next((each for each in forms(document, schema) if each.get("type") == "object"), {})


def in_path_and_query(operation: dict[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """The schemas of the parameters in one place."""
    return {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == where}


def test_every_operation_has_a_method_and_every_method_an_operation(document: dict[str, Any]) -> None:
    """Each once."""
    requests = [described(resource, operation) for _, resource, operation in operations()]
    covered = [(each.method.lower(), each.path) for each in requests]
    documented = [(method, path) for path, found in document["paths"].items() for method in found]
    assert sorted(documented) == sorted([*covered, *LEFT_OUT])


@each_operation
def test_a_call_sends_what_is_documented(
    document: dict[str, Any], resource: Resource[Any], operation: Any
) -> None:
    """Every parameter and every field, under the names and in the places that the document gives; no other."""
    request = described(resource, operation)
    found = operation_of(document, request)
    assert set(in_path_and_query(found, "path")) == set(request.names)
    assert set(in_path_and_query(found, "query")) == set(request.query)
    assert set(body_of(document, found).get("properties", {})) == set(request.body or {})
    assert ("Idempotency-Key" in in_path_and_query(found, "header")) == bool(request.idempotency_key)
    assert (request.method == "GET") <= (not request.writes)


@each_operation
def test_a_call_demands_what_is_required(
    document: dict[str, Any], resource: Resource[Any], operation: Any
) -> None:
    """What the document requires cannot be left out."""
    request = minimal(resource, operation)
    found = operation_of(document, request)
    required = {each["name"] for each in found.get("parameters", ()) if each.get("required")}
    assert required == set(request.names) | (set(request.query) & required)
    assert set(body_of(document, found).get("required", ())) <= set(request.body or {})
    assert ("requestBody" in found and found["requestBody"].get("required", False)) <= (
        request.body is not None or request.content is not None
    )


@each_operation
def test_choices_are_those_of_the_document(
    document: dict[str, Any], resource: Resource[Any], operation: Any
) -> None:
    """Where the document lists the values of a parameter or a field, the signature does too."""
    found = operation_of(document, described(resource, operation))
    schemas = in_path_and_query(found, "path") | in_path_and_query(found, "query")
    schemas |= body_of(document, found).get("properties", {})
    expected = {
        name: set(form["enum"])
        for name, schema in schemas.items()
        for form in forms(document, schema)
        if "enum" in form
    }
    assert expected == {
        name: set(choices)
        for name, hint in get_type_hints(operation.describe).items()
        if (choices := choices_of(hint))
    }


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values of a ``Literal``, also of one that may be None."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    alternatives = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else ()
    return next(filter(None, map(choices_of, alternatives)), ())


@each_operation
def test_an_answer_is_read_whole(document: dict[str, Any], resource: Resource[Any], operation: Any) -> None:
    """Each field of the documented answer has a field of the right type, down to the innermost; and no other is expected."""
    request = described(resource, operation)
    responses = operation_of(document, request)["responses"]
    content = next(each for status, each in responses.items() if status[0] == "2").get("content", {})
    streamed = [EVENTS] if request.on_output is not None else []
    assert [request.media_type] * bool(request.media_type) + streamed == list(content)
    if request.model is not None:
        compare(document, request.model, content["application/json"]["schema"])


def compare(document: dict[str, Any], model: Any, schema: dict[str, Any]) -> None:
    """A model has the fields of a schema, or of all the schemas that it may be."""
    kind = get_origin(model) or model
    found = forms(document, schema)
    documented: dict[str, list[Any]] = {}
    for form in found:
        for name, each in form["properties"].items():
            documented.setdefault(name, []).append(each)
    hints = get_type_hints(kind)
    ours = {
        each.metadata.get("name", each.name): hints[each.name]
        for each in fields(kind)
        if "ours" not in each.metadata
    }
    assert set(documented) == set(ours), kind
    for name, hint in ours.items():
        always = all(name in form.get("required", ()) for form in found)
        compare_value(document, hint, documented[name][0], always=always, where=f"{kind.__name__}.{name}")


def compare_value(
    document: dict[str, Any], hint: Any, schema: dict[str, Any], *, always: bool, where: str
) -> None:
    """A field's type is that of its schema; None where there may be nothing."""
    optional = get_origin(hint) is types.UnionType
    documented = [each for each in forms(document, schema) if each.get("type") != "null"]
    nullable = len(documented) < len(forms(document, schema))
    assert (nullable or not always) == optional or where in ALWAYS_THERE, where
    inner = next(each for each in get_args(hint) if each is not types.NoneType) if optional else hint
    form = documented[0]
    if inner is Any:
        assert set(form) <= {"title"}, where
    elif get_origin(inner) is tuple:
        assert "array" == form["type"], where
        items = get_args(inner)[0]
        if where not in LOOSE:
            compare_value(document, items, form["items"], always=True, where=f"{where}[]")
    elif get_origin(inner) is not None:
        assert "object" == form["type"], where
        values = form.get("additionalProperties")
        if isinstance(values, dict):
            compare_value(document, get_args(inner)[1], values, always=True, where=f"{where}{{}}")
    elif issubclass(inner, Model):
        compare(document, inner, schema if not nullable else form)
    else:
        kind = "date-time" if form.get("format") == "date-time" else form["type"]
        assert KINDS[inner] == kind, where


KINDS = {Decimal: "number", int: "integer", str: "string", bool: "boolean", datetime: "date-time"}
# Of the members of a problem, one may be missing where it is read from a batch.
ALWAYS_THERE = {"Problem.request_id"}
LOOSE = {"Problem.errors"}  # other codes have other members in them
