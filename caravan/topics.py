"""`caravan topics`: what contracts declare beside what the broker has."""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from caravan.commands import settings
from caravan.errors import Problem
from streams import discover
from streams.catalogue import Actual, Catalogue
from streams.kafka import declared
from streams.settings import Settings

OURS = re.compile(r"[a-z][a-z0-9_]*\.(commands|events|changelog)")
STYLES = {"ok": "green", "missing": "yellow", "differs": "bold red", "undeclared": "dim"}
UNLIMITED = "-1"


class TopicsDiffer(Problem):
    """Topics are not as their contracts declare them."""


@dataclass(frozen=True)
class Stand:
    """A topic as it is declared and as it is; `way` says what to do about a difference."""

    topic: str
    state: str
    partitions: int | None
    declared: int | None
    retention: str | None
    records: int | None
    way: str | None = None


def topics(folder: Path, *, create: bool, as_json: bool) -> None:
    """Show all, with `create` make what is missing first. Raises TopicsDiffer where something is missing or would lose data."""
    ours = settings(folder)
    made, found = asyncio.run(_stands(ours, create=create))
    if as_json:
        print(json.dumps([asdict(stand) for stand in found]))
    else:
        for name in made:
            print(f"created {name}")
        _show(found)
    differ = [stand for stand in found if stand.state == "differs"]
    missing = [stand for stand in found if stand.state == "missing"]
    if differ:
        more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
        raise TopicsDiffer(f"{differ[0].topic}{more}: {differ[0].way}")
    if missing:
        count = f"{len(missing)} topics are" if len(missing) > 1 else f"{missing[0].topic} is"
        raise TopicsDiffer(f"{count} missing; make them with: caravan topics --create")


async def _stands(settings: Settings, *, create: bool) -> tuple[list[str], list[Stand]]:
    contracts = [discover.topic(domain) for domain in discover.domains()]
    async with Catalogue(settings) as catalogue:
        there = await catalogue.names()
        made = []
        if create:  # those that differ are told below, and do not keep the others from being made
            whole = [
                topic
                for topic in contracts
                if all(there.get(name, topic.partitions) == topic.partitions for name in declared([topic]))
            ]
            made = await catalogue.create(whole)
        actual = await catalogue.actual()
    return made, stands(declared(contracts), actual, settings.namespace)


def stands(
    wanted: Mapping[str, tuple[int, Mapping[str, str]]], actual: Mapping[str, Actual], namespace: str = ""
) -> list[Stand]:
    """Every topic that is declared, and those of ours that are not, by name."""
    found = []
    for name, (partitions, config) in sorted(wanted.items()):
        if (is_ := actual.get(name)) is None:
            found.append(Stand(namespace + name, "missing", None, partitions, None, None, "caravan topics --create"))
            continue
        way = difference(namespace + name, partitions, config, is_)
        state = "ok" if way is None else "differs"
        found.append(
            Stand(namespace + name, state, is_.partitions, partitions, retention(is_.config), is_.records, way)
        )
    for name in sorted(set(actual) - set(wanted)):
        if OURS.fullmatch(name):
            is_, way = actual[name], "no contract declares it; it is left alone"
            found.append(
                Stand(namespace + name, "undeclared", is_.partitions, None, retention(is_.config), is_.records, way)
            )
    return found


def difference(name: str, partitions: int, config: Mapping[str, str], actual: Actual) -> str | None:
    """What is not as declared and the way out; None when all is. What would lose data comes first."""
    if actual.partitions != partitions:
        return (
            f"it has {actual.partitions} partitions and its contract says {partitions}; the count is fixed for the life of a "
            "topic, since keys would change places: put the old count back into the contract"
        )
    wrong = {key: actual.config[key] for key, value in config.items() if actual.config.get(key, value) != value}
    if "compact" in actual.config.get("cleanup.policy", "") and "cleanup.policy" not in config:
        wrong["cleanup.policy"] = actual.config["cleanup.policy"]
    if not wrong:
        return None
    loses = {"retention.ms", "retention.bytes", "cleanup.policy"} & set(wrong)
    told = ", ".join(f"{key}={value}" for key, value in wrong.items())
    right = ",".join(f"{key}={config.get(key, 'delete')}" for key in wrong)
    return (
        f"its configuration {told} {'makes Kafka delete records' if loses else 'is not as declared'}; put it right with: "
        f"kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name {name} --add-config {right}"
    )


def retention(config: Mapping[str, str]) -> str:
    """How long records stay, in words."""
    parts = []
    if "compact" in config.get("cleanup.policy", ""):
        parts.append("compacted")
    if (ms := config.get("retention.ms", UNLIMITED)) != UNLIMITED:
        parts.append(f"{int(ms) / 3_600_000:g} h")
    if (size := config.get("retention.bytes", UNLIMITED)) != UNLIMITED:
        parts.append(f"{int(size) >> 20} MB a partition")
    return ", ".join(parts) or "for ever"


def _show(found: list[Stand]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("topic", "partitions", "records", "kept", "state"):
        table.add_column(column, justify="right" if column in {"partitions", "records"} else "left", no_wrap=True)
    for one in found:
        count = "" if one.partitions is None else str(one.partitions)
        if one.declared not in {None, one.partitions}:
            count = f"{count or 0} of {one.declared}"
        records = "" if one.records is None else str(one.records)
        table.add_row(one.topic, count, records, one.retention or "", f"[{STYLES[one.state]}]{one.state}[/]")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
