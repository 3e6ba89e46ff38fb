"""The documents of an export, made from the code, and the folder that holds those which were committed.

contracts.json                                  what is declared, and who publishes and listens
asyncapi.json, openapi.json                     the topics, and the edge
schemas/<domain>/<side>/<message>.v<n>.json     a record's whole value, of every version that there was
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api import openapi
from api.views import Signature
from caravan import __version__
from caravan.contracts import asyncapi, examples, schemas
from caravan.contracts.catalogue import FORMAT, catalogue, path_of
from caravan.contracts.flow import Domain
from caravan.errors import Problem

CONTRACTS, ASYNCAPI, OPENAPI = "contracts.json", "asyncapi.json", "openapi.json"
Documents = Mapping[str, Any]
"""Documents by their paths below the folder."""


class Unreadable(Problem):
    """What was exported before cannot be read."""


def documents(domains: Sequence[Domain], before: Documents | None = None) -> dict[str, Any]:
    """All documents for these domains; of `before`, an earlier export, the schemas of older versions are kept."""
    domains = sorted(domains, key=lambda domain: domain.topic.domain)
    found = {path: schema for domain in domains for path, schema in _schemas(domain)}
    told = catalogue(domains, before or ())
    found |= {path: (before or {})[path] for path in sorted(_named(told) - set(found))}
    return {
        CONTRACTS: told,
        ASYNCAPI: asyncapi.document(told, found, __version__),
        OPENAPI: _openapi(domains),
        **dict(sorted(found.items())),
    }


def _schemas(domain: Domain) -> list[tuple[str, dict[str, Any]]]:
    topic = domain.topic
    values = examples.pool(topic.commands.values())
    found = []
    for side, kinds in (("commands", topic.commands), ("events", topic.events)):
        for name, kind in kinds.items():
            shown = examples.record(kind, values)
            found.append((path_of(topic.domain, side, name, kind.version), _shown(schemas.record(kind), shown)))
    for name in schemas.CORE:
        shown = examples.core_record(topic, name, values)
        found.append((path_of(topic.domain, "events", name, 1), _shown(schemas.core_record(topic, name), shown)))
    return found


def _shown(schema: dict[str, Any], example: bytes | None) -> dict[str, Any]:
    return {**schema, "examples": [json.loads(example)]} if example else schema


def _openapi(domains: Sequence[Domain]) -> dict[str, Any]:
    told = openapi.document(
        openapi.Catalogue(
            {d.topic.domain: [c for c in d.topic.commands.values() if c.roles] for d in domains},
            {d.topic.domain: [s for n, f in d.views.items() if (s := Signature(n, f)).readers.roles] for d in domains},
        )
    )
    return {**told, "info": {**told["info"], "version": __version__}}


def text(document: Any) -> str:
    """A document as it is written: always the same for the same contracts."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read(folder: Path) -> dict[str, Any]:
    """The documents in a folder, none where there are none; raises Unreadable for what is damaged or of another format."""
    found = {}
    for file in sorted(folder.rglob("*.json")):
        try:
            found[file.relative_to(folder).as_posix()] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Unreadable(f"{file} cannot be read ({error}); {_MEND}") from error
    if CONTRACTS in found:
        _demand_whole(folder, found)
    return found


_MEND = "take the committed one back, or delete the folder and export again"


def _demand_whole(folder: Path, found: Documents) -> None:
    told = found[CONTRACTS]
    if told.get("format") != FORMAT:
        raise Unreadable(
            f"{folder / CONTRACTS} is of format {told.get('format')} and this code reads {FORMAT}; {_MEND}"
        )
    wanted = {ASYNCAPI, OPENAPI, *_named(told)}
    if missing := sorted(wanted - found.keys()):
        raise Unreadable(f"{folder / missing[0]} is missing; {_MEND}")


def _named(told: Mapping[str, Any]) -> set[str]:
    """The schemas that a catalogue names."""
    return {
        path
        for domain in told["domains"].values()
        for side in ("commands", "events")
        for kind in domain[side].values()
        for path in kind["schemas"].values()
    }


def write(folder: Path, found: Documents) -> list[str]:
    """Make the folder hold these documents and no other; the paths that changed."""
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.json")}
    changed = []
    for path, document in found.items():
        file, told = folder / path, text(document)
        if path not in there or file.read_text("utf-8") != told:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(told, "utf-8")
            changed.append(path)
    for path in sorted(set(there) - set(found)):
        there[path].unlink()
        changed.append(path)
        for parent in there[path].parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
    return changed
