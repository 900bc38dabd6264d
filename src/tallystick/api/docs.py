"""The OpenAPI document as one page to read: made here once, without any script, font or style from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from tallystick.problem_details import STATUSES

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1d2733;background:#fff}
main{max-width:62rem;margin:0 auto;padding:1.5rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;border-bottom:1px solid #d5dce4;padding-bottom:1rem}
h2{margin-top:2.5rem;text-transform:capitalize}
code,pre{font:14px/1.45 ui-monospace,monospace}
details{border:1px solid #d5dce4;border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}
.method{display:inline-block;min-width:4.2rem;font-weight:700}
.get{color:#12639b}.post{color:#1f7a3d}.put,.patch{color:#8a5a00}.delete{color:#b3261e}
.quiet{color:#566372}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{border-bottom:1px solid #e6ebf0;padding:.25rem .5rem;text-align:left;vertical-align:top}
@media (prefers-color-scheme:dark){body{background:#12181f;color:#dde5ee}.quiet{color:#9fb0c3}
details,nav,td,th{border-color:#2c3947}.get{color:#7cc0f5}.post{color:#7fd49b}.put,.patch{color:#e5b969}.delete{color:#f2938c}}
"""


def page_of(document: Mapping[str, Any]) -> str:
    """The page."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            block = "".join(_operation(path, method, operation))
            by_tag.setdefault(operation["tags"][0], []).append(block)
    info = document["info"]
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in (*by_tag, "schemas", "errors"))
    sections = "".join(
        f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(found)}' for tag, found in by_tag.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f'{_paragraphs(info["description"])}<p><a href="/openapi.json">openapi.json</a></p><nav>{links}</nav>'
        f"{sections}{''.join(_schemas(schemas))}{''.join(_errors())}</main></body></html>"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.strip().split("\n\n"))


def _inline(text: str) -> str:
    """Text with ``code`` between back-ticks."""
    parts = text.replace("``", "`").split("`")
    return "".join(
        f"<code>{escape(part)}</code>" if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    lock = "" if "security" in operation else ' <span class="quiet">(no key needed)</span>'
    yield f'<details id="{escape(operation["operationId"])}"><summary>'
    yield f'<code><span class="method {method}">{method.upper()}</span> {escape(path)}</code>{lock}<br>'
    yield f"{_inline(operation.get('description', ''))}</summary>"
    parameters = operation.get("parameters", ())
    if parameters:
        yield "<h4>Parameters</h4><table>"
        for each in parameters:
            needed = "required" if each.get("required") else ""
            yield _row(
                each["name"], f"{each['in']}, {_type(each['schema'])}", needed, each.get("description", "")
            )
        yield "</table>"
    if "requestBody" in operation:
        yield f"<h4>Body</h4><p>{_type(_schema_of(operation['requestBody']))}</p>"
    yield "<h4>Answers</h4><table>"
    for status, response in operation["responses"].items():
        yield _row(status, _type(_schema_of(response)), "", response["description"])
    yield "</table></details>"


def _schema_of(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    for media in holder.get("content", {}).values():
        found: Mapping[str, Any] = media["schema"]
        return found
    return {}


def _row(name: str, kind: str, needed: str, text: str) -> str:
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td>"
        f'<td class="quiet">{needed}</td><td>{_inline(text)}</td></tr>'
    )


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in values)
    kind = str(schema.get("type", "anything" if not schema else "value"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(f"{kind} ({schema['format']})" if "format" in schema else kind)


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    yield '<h2 id="schemas">schemas</h2>'
    for name, schema in sorted(schemas.items()):
        yield f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code> '
        yield f"{_inline(schema.get('description', ''))}</summary><table>"
        required = schema.get("required", ())
        for field, each in schema.get("properties", {}).items():
            needed = "required" if field in required else ""
            yield _row(field, _type(each), needed, each.get("description", ""))
        yield "</table></details>"


def _errors() -> Iterator[str]:
    """Every code with its status and what the caller should do."""
    yield '<h2 id="errors">errors</h2><table>'
    for kind, (status, title) in STATUSES.items():
        advice = (kind.__doc__ or "").split("\n\n")[0]
        yield f'<tr id="{escape(kind.code)}"><td><code>{escape(kind.code.upper())}</code></td><td>{status}</td>'
        yield f"<td>{escape(title)}</td><td>{_inline(advice)}</td></tr>"
    yield "</table>"
