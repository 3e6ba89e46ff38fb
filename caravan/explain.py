"""`caravan explain`: a command and everything that followed from it, as a tree."""

import asyncio
import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from caravan.chain import Chain, CommandNode, EventNode
from caravan.commands import settings
from caravan.decoded import fields, moment, printable
from caravan.errors import BadInput
from sinks.postgres.explain import Evidence
from streams.reading import Reader
from streams.settings import Settings

STYLES = {"accepted": "green", "rejected": "red", "parked": "bold red", "pending": "yellow", "waiting": "yellow"}
PIPE = 240  # characters of a line where there is no terminal
HASTE_MS = 10  # a chain is read record by record, each from a partition of its own


def explain(folder: Path, command_id: str, *, as_json: bool) -> None:
    """Print the chain. Raises BadInput for what is no id, and Unknown."""
    try:
        wanted = UUID(command_id)
    except ValueError:
        raise BadInput(f"'{command_id}' is no id of a command; it is a UUID, as the edge answers it") from None
    root = asyncio.run(_chain(settings(folder), wanted))
    if as_json:
        print(json.dumps(dataclasses.asdict(root), default=str, ensure_ascii=False))
        return
    console = Console(width=None if sys.stdout.isatty() else PIPE, highlight=False)
    console.print(tree(root))


async def _chain(settings: Settings, command_id: UUID) -> CommandNode:
    async with Reader(settings, HASTE_MS) as reader, Evidence(settings.postgres, settings.namespace) as evidence:
        return await Chain(reader, evidence).of(command_id)


def tree(root: CommandNode) -> Tree:
    """The chain as a tree; Kafka's times are counted from its beginning."""
    began = root.stored_at
    grown = Tree(_command(root, None, began))
    if root.correlation_id not in {None, root.id}:
        grown.add(Text(f"part of the chain that began with {root.correlation_id}", "dim"))
    _grow(grown, root, began)
    return grown


def _grow(branch: Tree, command: CommandNode, began: datetime | None) -> None:
    for event in command.events:
        under = branch.add(_event(event, command.key, began))
        for row in event.rows:
            shown = fields(row.now) if row.now is not None else "is not there (any more)"
            under.add(Text.assemble(("row ", "dim"), (row.table, "blue"), "  ", printable(shown)))
        for link in event.commands:
            _grow(under.add(_command(link.command, link.by, began)), link.command, began)
        for outside in event.effects:
            call = under.add(
                Text.assemble(
                    ("effect ", "dim"),
                    (outside.effect, "blue"),
                    f"  {printable(outside.wants)}  {printable(outside.status)}",
                )
            )
            for link in outside.commands:
                _grow(call.add(_command(link.command, None, began)), link.command, began)


def _command(node: CommandNode, by: str | None, began: datetime | None) -> Text:
    told = Text()
    if by:
        told.append(f"{by} → ", "dim")
    told.append(printable(node.type), "bold magenta")
    told.append(f" {printable(node.key)}  ")
    told.append(f"{node.status} {node.code}" if node.code else node.status, STYLES.get(node.status, ""))
    if node.details:
        told.append(f" ({fields(node.details)})")
    told.append(f"  {printable(fields(node.payload, node.key))}".rstrip())
    if node.note:
        told.append(f"  — {printable(node.note)}", "yellow")
    known = (_when(node, began), node.actor and f"by {node.actor}", node.place, node.id)
    told.append("\n" + "  ".join(printable(word) for word in known if word), "dim")
    return told


def _event(node: EventNode, key: str | None, began: datetime | None) -> Text:
    told = Text.assemble((printable(node.type), "cyan"), f"  {printable(fields(node.payload, key))}".rstrip())
    if node.outcome:
        told.append(f"  [{node.outcome}]", "yellow")
    if node.note:
        told.append(f"  — {printable(node.note)}", "yellow")
    if when := _when(node, began):
        told.append(f"  {when}", "dim")
    return told


def _when(node: CommandNode | EventNode, began: datetime | None) -> str:
    """The platform's time of the beginning; of the rest, how much later Kafka had it."""
    if node.stored_at is None or began is None:
        return ""
    after = (node.stored_at - began).total_seconds()
    if isinstance(node, CommandNode) and after == 0 and node.at is not None:
        return moment(node.at)
    return f"+{after * 1000:.0f} ms" if abs(after) < 10 else f"+{after:.0f} s"
