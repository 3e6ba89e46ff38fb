"""The contracts on the edge: a page for people, AsyncAPI and the schemas of records for programs.

What is shown is made elsewhere and handed in as documents by their paths (`caravan.contracts`), since who publishes and who listens is the agents' business, which
the edge does not know.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Problem

Documents = Mapping[str, Any]
CONTRACTS, ASYNCAPI, SCHEMAS = "contracts.json", "asyncapi.json", "schemas/"
_PUBLIC = {"Cache-Control": "no-cache"}


def add_to(app: FastAPI, documents: Documents) -> None:
    """Serve the page as /contracts, AsyncAPI and each schema under its own path; all made once."""
    served = {
        path: orjson.dumps(one) for path, one in documents.items() if path == ASYNCAPI or path.startswith(SCHEMAS)
    }
    shown = page(documents)

    async def contracts(_request: Request) -> Response:
        return Response(shown, headers=_PUBLIC | {"Content-Security-Policy": POLICY}, media_type="text/html")

    async def document(request: Request) -> Response:
        if (found := served.get(request.url.path.lstrip("/"))) is None:
            raise Problem("not_found")
        return Response(found, headers=_PUBLIC, media_type="application/json")

    app.add_route("/contracts", contracts)
    app.add_route(f"/{ASYNCAPI}", document)
    app.add_route(f"/{SCHEMAS}{{path:path}}", document)


def page(documents: Documents) -> bytes:
    """A page that needs nothing from elsewhere, and shows everything without its script too."""
    domains = documents[CONTRACTS]["domains"]
    links = "".join(f'<a href="#{_attribute(name)}">{escape(name)}</a>' for name in domains)
    body = "".join(_domain(name, domain, documents) for name, domain in domains.items())
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Contracts · Caravan</title><style>{_STYLE}</style>
<header><h1>Contracts</h1><nav>{links}</nav><input type="search" id="filter" placeholder="Filter: a message, a field, a policy …" aria-label="Filter">
<p class="more"><a href="/{ASYNCAPI}">AsyncAPI</a> <a href="/openapi.json">OpenAPI</a> <a href="/docs">The edge</a></p></header>
<main>{body}<p id="none" hidden>Nothing has these words.</p></main><script>{_SCRIPT}</script></html>""".encode()


def _domain(name: str, domain: Mapping[str, Any], documents: Documents) -> str:
    marks = _badge("retired", "warn") if domain["retired"] else ""
    flows = "".join(_flow(name, domain, side) for side in ("commands", "events"))
    parts = "".join(_messages(name, side, domain[side], documents) for side in ("commands", "events"))
    return f'<section class="domain" id="{_attribute(name)}"><h2>{escape(name)} {marks}</h2>{flows}{parts}{_views(domain["views"])}</section>'


def _flow(name: str, domain: Mapping[str, Any], side: str) -> str:
    """Who publishes, the topic, who listens; in the words of AsyncAPI."""
    topic, kinds = f"{name}.{side}", domain[side].values()
    ends = [sorted({_party(p) for kind in kinds for p in kind[end]}) for end in ("publishers", "listeners")]
    kept = "for ever" if domain["topics"][topic].get("retention.ms") == "-1" else "as configured"
    about = f"{domain['partitions']} partitions, kept {kept}, key <code>{escape(domain['key'])}</code>"
    return (
        f'<div class="flow">{_list(ends[0], "nobody yet")}<div class="topic"><code>{escape(topic)}</code><small>{about}</small></div>'
        f"{_list(ends[1], 'nobody yet')}</div>"
    )


def _list(items: Iterable[str], none: str) -> str:
    return "<ul>" + ("".join(f"<li>{escape(item)}" for item in items) or f"<li>{none}") + "</ul>"


def _party(party: Mapping[str, Any]) -> str:
    """Somebody at an end of a topic, in words."""
    if party["kind"] == "edge":
        return "the edge"
    words = {
        "rebuild": "rebuilds of {domain}",
        "timer": "timers of {domain}",
        "decider": "decider of {domain}",
        "changelog": "changelog of {domain}",
    }
    return words.get(party["kind"], "{kind} {name} of {domain}").format(**party)


def _messages(domain: str, side: str, kinds: Mapping[str, Any], documents: Documents) -> str:
    ordered = sorted(kinds.items(), key=lambda one: one[1]["key"] is None)  # what the platform itself tells comes last
    found = "".join(_message(f"{domain}.{side}.{name}", name, kind, documents) for name, kind in ordered)
    return f"<h3>{side.capitalize()}</h3>{found}" if found else ""


def _message(identifier: str, name: str, kind: Mapping[str, Any], documents: Documents) -> str:
    schema = documents[kind["schemas"][str(kind["version"])]]
    description = _prose(kind["description"])
    marks = [_badge(f"v{kind['version']}", "")] if kind["version"] > 1 else []
    marks += [_badge("personal", "personal")] if kind["personal"] else []
    marks += [_badge("retired", "warn")] if kind.get("retired") else []
    return (
        f'<details class="message"><summary><code>{escape(name)}</code> {" ".join(marks)} <span class="gist">{description}</span></summary>'
        f'<div id="{_attribute(identifier)}"><p>{description}</p>{_facts(kind)}{_fields(kind, schema)}{_example(schema)}</div></details>'
    )


def _facts(kind: Mapping[str, Any]) -> str:
    """Key, who may, who does, who listens, versions."""
    edge = [party for party in kind["publishers"] if party["kind"] == "edge"]
    others = [_party(party) for party in kind["publishers"] if party["kind"] != "edge"]
    who = [
        f"{', '.join(p['roles'])}{', ' + p['owner'] + ' being the caller' if p['owner'] else ''}, by the edge"
        for p in edge
    ] + others
    versions = " ".join(
        f'<a href="/{_attribute(path)}">version {escape(n)}</a>{"" if int(n) == kind["version"] else " (read, and brought up to date)"}'
        for n, path in kind["schemas"].items()
    )
    unshown = [str(n) for n in range(1, kind["version"]) if str(n) not in kind["schemas"]]
    rows = {
        "publishes": escape("; ".join(who) or "nobody yet"),
        "listens": escape("; ".join(_party(party) for party in kind["listeners"]) or "nobody yet"),
        "key": f"<code>{escape(kind['key'])}</code>" if kind["key"] else "the aggregate's id",
        "schema": versions + (f" and {escape(', '.join(unshown))}, which are read too" if unshown else ""),
    }
    return "<dl>" + "".join(f"<dt>{term}<dd>{words}" for term, words in rows.items()) + "</dl>"


def _fields(kind: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    payload, parts = schema["properties"]["payload"], schema.get("$defs", {})
    rows = "".join(_row(path, told, needed, kind) for path, told, needed in _walk(payload, parts, ""))
    if not rows:
        return "<p>Its payload is empty.</p>"
    return f'<div class="wide"><table><thead><tr><th>field<th>type<th>what it may be<tbody>{rows}</table></div>'


def _walk(
    schema: Mapping[str, Any], parts: Mapping[str, Any], above: str
) -> Iterable[tuple[str, Mapping[str, Any], bool]]:
    """(path, schema, must be given) of every field, those of models within it behind it."""
    needed = set(schema.get("required", ()))
    for name, told in schema.get("properties", {}).items():
        path = f"{above}{name}"
        yield path, told, name in needed
        inner, brackets = _inner(told, parts)
        if inner is not None and path.count(".") < _DEEP:
            yield from _walk(inner, parts, f"{path}{brackets}.")


_DEEP = 4  # models within models that are shown


def _inner(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The model that a field holds, or a list of, wherever it stands in it."""
    for one in (schema, *schema.get("anyOf", ())):
        if "$ref" in one:
            return parts.get(one["$ref"].rpartition("/")[2]), ""
        if isinstance(items := one.get("items"), Mapping) and "$ref" in items:
            return parts.get(items["$ref"].rpartition("/")[2]), "[]"
    return None, ""


def _row(path: str, schema: Mapping[str, Any], needed: bool, kind: Mapping[str, Any]) -> str:
    marks = "" if needed else ' <span class="badge">optional</span>'
    marks += _badge("personal", "personal") if path in kind["personal"] else ""
    if path in kind["blind"]:
        marks += _badge(f"hash of {kind['blind'][path]['source']}", "personal")
    types, rules = _said(schema)
    default = schema.get("default")
    more = [*rules, *([f"{json.dumps(default, ensure_ascii=False)} unless given"] if default not in (None, []) else [])]
    return f"<tr><td><code>{escape(path)}</code>{marks}<td>{escape(types)}<td>{'<br>'.join(map(escape, more))}"


def _said(schema: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The type in words, and the rules for the value."""
    if "anyOf" in schema:
        told = [_said(one) for one in schema["anyOf"]]
        return " or ".join(types for types, _ in told), [rule for _, rules in told for rule in rules]
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2], []
    if schema.get("type") == "array":
        types, rules = _said(schema.get("items", {}))
        return f"list of {types}", rules
    types = schema.get("format", schema.get("type", "anything")) if "const" not in schema else "always"
    return str(types), [*_ranges(schema), *_rules(schema)]


def _ranges(schema: Mapping[str, Any]) -> list[str]:
    found = []
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        first, last = schema.get(low), schema.get(high)
        if first is not None and last is not None:
            found.append(f"{first} to {last}{unit}")
        elif first is not None:
            found.append(f"{first} or more{unit}")
        elif last is not None:
            found.append(f"up to {last}{unit}")
    return found


def _rules(schema: Mapping[str, Any]) -> list[str]:
    found = []
    if "enum" in schema or "const" in schema:
        found.append(", ".join(str(value) for value in schema.get("enum", [schema.get("const")])))
    if str(schema.get("pattern", "")).startswith("^enc1"):
        found.append("sealed: enc1.…")
    elif "pattern" in schema:
        found.append(f"matches {schema['pattern']}")
    return found


def _example(schema: Mapping[str, Any]) -> str:
    if not schema.get("examples"):
        return ""
    told = json.dumps(schema["examples"][0], indent=2, ensure_ascii=False)
    return f"<details><summary>Example of a record's value</summary><pre>{escape(told)}</pre></details>"


def _views(views: Mapping[str, Any]) -> str:
    if not views:
        return ""
    rows = "".join(
        f'<li><code>{escape(view["path"])}</code> <span class="gist">{escape(", ".join(view["roles"]) or "services")}</span>'
        for view in views.values()
    )
    return f'<h3>Views</h3><ul class="views">{rows}</ul>'


def _prose(text: str) -> str:
    """Words in which `names` are marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _badge(words: str, kind: str) -> str:
    return f' <span class="badge {kind}">{escape(words)}</span>'


def _attribute(text: str) -> str:
    return escape(text, quote=True)


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--warm:#b45309;--cool:#0369a1}
@media(prefers-color-scheme:dark){:root{--warm:#fbbf24;--cool:#7dd3fc}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:0 1rem 4rem}
header{position:sticky;top:0;z-index:1;background:Canvas;border-bottom:1px solid var(--line);padding:.6rem 0;display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center}
h1{font-size:1.2rem;margin:0}h2{font-size:1.4rem;margin:2.2rem 0 .6rem;scroll-margin-top:7rem}h3{font-size:1rem;margin:1.4rem 0 .4rem}
nav,.more{display:flex;flex-wrap:wrap;gap:.8rem;margin:0}a{color:var(--cool)}
input{font:inherit;flex:1 1 14rem;min-width:0;padding:.3rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:Field;color:FieldText}
code,pre{font:.9em ui-monospace,monospace}code{overflow-wrap:anywhere}
.flow{display:grid;grid-template-columns:1fr auto 1fr;gap:.4rem 1.6rem;align-items:center;border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem;margin:.5rem 0}
.flow ul{list-style:none;margin:0;padding:0;font-size:.9rem}.flow ul:first-child{text-align:right}
.topic{text-align:center;background:var(--soft);border-radius:.4rem;padding:.3rem .8rem;position:relative}
.topic::before,.topic::after{content:"→";position:absolute;top:50%;transform:translateY(-50%)}.topic::before{left:-1.3rem}.topic::after{right:-1.3rem}
small{display:block;font-size:.8rem}
.message{border-bottom:1px solid var(--line);scroll-margin-top:7rem}summary{cursor:pointer;padding:.35rem 0}
.message>summary>code{font-weight:600}.gist{font-size:.9rem;opacity:.75}.message[open]>summary .gist{display:none}
.message>div{padding:0 0 1rem 1.1rem;scroll-margin-top:9.5rem}
.badge{font-size:.75rem;border:1px solid var(--line);border-radius:1rem;padding:.05rem .5rem;white-space:nowrap}
.badge.personal{color:var(--warm);border-color:currentColor}.badge.warn{background:var(--warm);color:Canvas;border-color:transparent}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .9rem;margin:.4rem 0 .8rem;font-size:.92rem}dt{opacity:.7}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-top:1px solid var(--line)}th{font-weight:500;opacity:.7;border:0}
td:last-child{overflow-wrap:anywhere;min-width:9rem}
pre{background:var(--soft);border-radius:.4rem;padding:.7rem;overflow-x:auto;margin:.3rem 0}
.views{padding-left:1.2rem;margin:0}[hidden]{display:none!important}
@media(max-width:40rem){header{position:static}.flow{grid-template-columns:1fr;gap:1.7rem;text-align:left}.flow ul:first-child{text-align:left}
.topic::before,.topic::after{content:"↓";left:50%;right:auto;transform:translateX(-50%)}.topic::before{top:-1.6rem}.topic::after{top:auto;bottom:-1.6rem}
.message>div{padding-left:0}}
"""
_SCRIPT = """
const filter = document.getElementById("filter"), messages = [...document.querySelectorAll(".message")];
const texts = messages.map((one) => (one.closest(".domain").id + " " + one.textContent).toLowerCase());
function apply() {
  const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let any = false;
  messages.forEach((one, n) => { one.hidden = !words.every((word) => texts[n].includes(word)); any ||= !one.hidden; });
  for (const domain of document.querySelectorAll(".domain"))
    domain.hidden = words.length > 0 && !domain.querySelector(".message:not([hidden])");
  document.getElementById("none").hidden = any;
}
function reveal() {
  const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const message = at && at.closest(".message");
  if (message) { message.open = true; message.scrollIntoView(); }
}
filter.addEventListener("input", apply);
addEventListener("hashchange", reveal);
reveal();
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Only the page's own style and script run; whatever words a contract brings in do nothing."""
