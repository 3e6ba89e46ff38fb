"""The page of documentation: what OpenAPI says, for people, with a curl line for every example."""

from collections.abc import Mapping
from html import escape
from typing import Any

import orjson

from api.errors import PROBLEMS
from api.sse import MEDIA_TYPE


def page(spec: Mapping[str, Any]) -> bytes:
    """A page of documentation that needs nothing from elsewhere."""
    rows = [_section(path, method, op) for path, item in spec["paths"].items() for method, op in item.items()]
    problems = "".join(
        f'<tr id="{code}"><td><code>{code}</code><td>{status}<td>{escape(title)}'
        for code, (status, title) in PROBLEMS.items()
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Caravan</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
pre{{background:#f4f4f4;padding:.6em;overflow-x:auto}}td{{padding-right:1em;vertical-align:top}}h2{{font-size:1.05em}}
</style><h1>Caravan</h1><p>{escape(spec["info"]["description"])}</p><p><a href="/openapi.json">openapi.json</a></p>
{"".join(rows)}<h1>Errors</h1><table>{problems}</table></html>""".encode()


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    values = [example["value"] for example in content.get("examples", {}).values()] or ([{}] if content else [])
    curls = [_curl(path, method, operation, value) for value in values or [None]]
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', operation['summary']))}</p>"
        f"<pre>{escape(chr(10).join(curls))}</pre>"
    )


def _curl(path: str, method: str, operation: Mapping[str, Any], value: Any) -> str:
    stream = "-N " if MEDIA_TYPE in operation["responses"].get("200", {}).get("content", {}) else ""
    line = f"curl {stream}-X {method.upper()} $CARAVAN{path}"
    if {"bearer": []} in operation.get("security", []):
        line += ' -H "Authorization: Bearer $TOKEN"'
    if value is not None:
        line += f" -H 'Content-Type: application/json' -d '{orjson.dumps(value).decode()}'"
    return line
