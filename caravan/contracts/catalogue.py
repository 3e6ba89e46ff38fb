"""The catalogue: what all domains declare, as plain data. `contracts.json` of an export is its JSON, and `check` compares two of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.views import Signature
from caravan.contracts import flow
from caravan.contracts.flow import Domain
from caravan.contracts.schemas import CORE, words
from streams import discover
from streams.agent import agents_of
from streams.contract import Command, Event, Message, Topic
from streams.kafka import declared
from streams.personal import blind_fields, personal_fields

FORMAT = 1


def discovered() -> list[Domain]:
    """Every domain that there is, with its agents and views; raises ContractError."""
    names = discover.domains()
    topics = {
        name: discover.topic(name) for name in names
    }  # first, so that what is wrong with a contract is told as that
    return [Domain(topics[name], agents_of(name), discover.views(name)) for name in names]


def catalogue(domains: Sequence[Domain], kept: Iterable[str] = ()) -> dict[str, Any]:
    """Plain data of these domains. `kept` are the paths of schemas of earlier exports, where those of older versions are found."""
    paths = set(kept)
    ordered = sorted(domains, key=lambda domain: domain.topic.domain)
    return {"format": FORMAT, "domains": {d.topic.domain: _domain(d, ordered, paths) for d in ordered}}


def path_of(domain: str, side: str, name: str, version: int) -> str:
    """Where an export has the schema of a record; `side` is commands or events."""
    return f"schemas/{domain}/{side}/{name}.v{version}.json"


def _domain(domain: Domain, all_: Sequence[Domain], kept: set[str]) -> dict[str, Any]:
    topic = domain.topic
    events = {name: _event(kind, all_, kept) for name, kind in topic.events.items()}
    events |= {name: _core(topic, name, all_) for name in CORE}
    return {
        "key": topic.key,
        "partitions": topic.partitions,
        "changelog": topic.changelog,
        "retired": topic.retired,
        "topics": {name: dict(sorted(config.items())) for name, (_, config) in sorted(declared([topic]).items())},
        "commands": {name: _command(kind, all_, kept) for name, kind in sorted(topic.commands.items())},
        "events": dict(sorted(events.items())),
        "views": {name: _view(topic, Signature(name, view)) for name, view in sorted(domain.views.items())},
    }


def _message(kind: type[Message], side: str, kept: set[str]) -> dict[str, Any]:
    domain = kind.topic.domain
    paths = {n: path_of(domain, side, kind.wire_name, n) for n in range(1, kind.version + 1)}
    personal, blind = personal_fields(kind), blind_fields(kind)
    return {
        "version": kind.version,
        "schemas": {str(n): path for n, path in paths.items() if n == kind.version or path in kept},
        "key": kind.key_field,
        "privacy": privacy(personal, blind),
        "personal": sorted(personal),
        "blind": {name: {"source": b.source, "kind": b.kind} for name, b in sorted(blind.items())},
        "description": words(kind),
    }


def privacy(personal: Iterable[str], blind: Iterable[str]) -> str:
    """The class of a message: `personal` has sealed fields, `blind` keyed hashes of such, `none` neither."""
    return "personal" if [*personal] else "blind" if [*blind] else "none"


def _command(kind: type[Command], domains: Sequence[Domain], kept: set[str]) -> dict[str, Any]:
    return {
        **_message(kind, "commands", kept),
        "retired": kind.retired,
        "roles": list(kind.roles),
        "owner": kind.owner,
        "services": sorted(kind.services),
        "publishers": flow.publishers(kind, domains),
        "listeners": flow.deciders(kind.topic, domains),
    }


def _event(kind: type[Event], domains: Sequence[Domain], kept: set[str]) -> dict[str, Any]:
    return {
        **_message(kind, "events", kept),
        "publishers": flow.deciders(kind.topic, domains),
        "listeners": flow.listeners(kind.topic, kind, domains),
    }


def _core(topic: Topic, name: str, domains: Sequence[Domain]) -> dict[str, Any]:
    return {
        "version": 1,
        "schemas": {"1": path_of(topic.domain, "events", name, 1)},
        "key": None,
        "privacy": "none",
        "personal": [],
        "blind": {},
        "description": CORE[name],
        "publishers": flow.deciders(topic, domains),
        "listeners": flow.listeners(topic, None, domains),
    }


def _view(topic: Topic, signature: Signature) -> Mapping[str, Any]:
    readers = signature.readers
    return {
        "path": "/".join((f"/v1/{topic.domain}/{signature.name}", *(f"{{{name}}}" for name in signature.segments))),
        "query": sorted(signature.query),
        "paging": signature.paging is not None,
        "roles": list(readers.roles),
        "owner": readers.owner,
        "services": sorted(readers.services),
    }
