"""A page per domain for people, made from its contracts and docstrings: `docs/domains/<domain>.md`.

What stands there is said once, in the code: the module's words say what the domain is, a class's what a message means, a view's what it answers, a check's
what must always hold. Each message has an example that its contract takes.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caravan.contracts.documents import CONTRACTS, Documents
from caravan.contracts.flow import Domain, named
from caravan.contracts.schemas import CORE
from streams import discover

HEAD = "<!-- Made by `caravan contracts docs` from the contract and the code of {0}; change those. -->"
Told = Mapping[str, Any]


def pages(domains: Sequence[Domain], documents: Documents) -> dict[str, str]:
    """The pages by their names, with one that lists them; `documents` are those that an export of these domains has."""
    told = documents[CONTRACTS]["domains"]
    found = {f"{d.topic.domain}.md": _page(d, told[d.topic.domain], documents) for d in domains}
    return {"README.md": _contents(domains, told), **found}


def write(folder: Path, found: Mapping[str, str]) -> list[str]:
    """Make the folder hold these pages and no other; the names that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = stale(folder, found)
    for name in changed:
        if name in found:
            (folder / name).write_text(found[name], "utf-8")
        else:
            (folder / name).unlink()
    return changed


def stale(folder: Path, found: Mapping[str, str]) -> list[str]:
    """The names of pages that the folder has otherwise, or not, or that nothing makes any more."""
    there = {file.name: file.read_text("utf-8") for file in folder.glob("*.md")}
    return [name for name in sorted({*there, *found}) if there.get(name) != found.get(name)]


# -- what they hold


def _contents(domains: Sequence[Domain], told: Told) -> str:
    rows = [
        f"| [{(name := d.topic.domain)}]({name}.md) | {_first(_module(d))} | {len(d.topic.commands)} | {len(d.topic.events)} |"
        f" {len(told[name]['views'])} |"
        for d in domains
    ]
    head = HEAD.format("all domains")
    return "\n".join(
        [head, "", "# Domains", "", "| | | commands | events | views |", "|---|---|---|---|---|", *rows, ""]
    )


def _page(domain: Domain, told: Told, documents: Documents) -> str:
    name = domain.topic.domain
    parts = [HEAD.format(name), f"# {name.capitalize()}", _module(domain)]
    if domain.agents:
        parts.append(f"```\n{_flow(name)}\n```")
    topics = " and ".join(f"`{topic}`" for topic in told["topics"])
    parts.append(f"Topics {topics}, {told['partitions']} partitions, by `{told['key']}`.")
    parts += _section("Commands", _commands(name, told, documents))
    parts += _section("Events", _events(told, documents))
    parts += _section("Views", _views(domain, told["views"]))
    parts += _section("What always holds", _checks(name))
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterator[str]) -> list[str]:
    found = list(lines)
    return [f"## {title}", *found] if found else []


def _commands(domain: str, told: Told, documents: Documents) -> Iterator[str]:
    for name, command in told["commands"].items():
        yield f"### {name}"
        yield _tidy(command["description"])
        route = f"`POST /v1/{domain}/{name}`"
        who = [re.sub("^edge:", f"{route} by", named(party)) for party in command["publishers"]]
        by = "" if command["key"] == told["key"] else f" Keyed by `{command['key']}`."
        yield f"From {'; '.join(who) or 'nobody yet'}.{by}{' Retired.' if command['retired'] else ''}"
        yield _example(command, documents)


def _events(told: Told, documents: Documents) -> Iterator[str]:
    for name, event in told["events"].items():
        if name in CORE:
            continue
        yield f"### {name}"
        if event["description"]:
            yield _tidy(event["description"])
        if who := [named(party) for party in event["listeners"] if party["kind"] != "rebuild"]:
            yield f"Heard by {'; '.join(who)}."
        yield _example(event, documents)


def _example(message: Told, documents: Documents) -> str:
    """The payload of its example; around it stands the envelope that the schema shows."""
    path = message["schemas"][str(message["version"])]
    shown = documents[path].get("examples", [{}])[0].get("payload", {})
    filled = {field: value for field, value in shown.items() if value is not None}
    return f"```json\n{json.dumps(filled, ensure_ascii=False)}\n```"


def _views(domain: Domain, told: Told) -> Iterator[str]:
    rows = []
    for name, view in told.items():
        if not view["roles"]:
            continue
        who = ", ".join(view["roles"]) + (f", `{view['owner']}` being the caller" if view["owner"] else "")
        rows.append(f"| `GET {view['path']}` | {_first(_words(domain.views[name]))} | {who} |")
    if rows:
        yield "\n".join(["| | | for |", "|---|---|---|", *rows])


def _checks(name: str) -> Iterator[str]:
    """What the auditor looks at in the domain's tables, beside what it proves of every domain."""
    if rows := [f"* `{check}`: {_first(_words(function))}" for check, function in discover.checks(name).items()]:
        yield "\n".join(rows)


def _module(domain: Domain) -> str:
    return _tidy(inspect.getdoc(sys.modules[f"topics.{domain.topic.domain}"]) or "")


def _flow(name: str) -> str:
    """The lines of the package's docstring after the first paragraph."""
    return (inspect.getdoc(sys.modules[f"agents.{name}"]) or "").partition("\n\n")[2]


def _words(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""


def _first(text: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def _tidy(text: str) -> str:
    """Paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
