"""`caravan tail`: the records of a topic as they come, decoded."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from caravan.commands import seconds, settings
from caravan.decoded import Decoder, Shown, fields, moment
from caravan.errors import BadInput
from streams import discover
from streams.envelope import Signer
from streams.partitioner import partition_of
from streams.reading import Place, Reader
from streams.settings import Settings

EARLIEST = "earliest"
WIDE = 29  # characters for the name of a message
STYLES = {"accepted": "green", "rejected": "red", "pending": "yellow"}


def tail(folder: Path, topic: str, *, since: str | None, key: str | None, follow: bool, as_json: bool) -> None:
    """Print records until Ctrl-C, or with `follow` False until those that are there now."""
    topics = topics_of(topic)
    ours = settings(folder)
    begin = None if since is None else start_of(since)
    if begin is None and follow and sys.stderr.isatty():
        waiting = f"waiting for new records of {' and '.join(topics)}; --since 10m shows earlier ones, Ctrl-C ends"
        print(waiting, file=sys.stderr)
    asyncio.run(_tail(ours, topics, begin, key, follow, (lambda one: one.json()) if as_json else _line))


def topics_of(name: str) -> list[str]:
    """`points` means its two topics; raises BadInput for a name that is none."""
    domain, dot, kind = name.partition(".")
    if domain not in discover.domains() or (dot and kind not in {"commands", "events"}):
        known = ", ".join(discover.domains())
        raise BadInput(f"there is no topic '{name}'; name a domain ({known}), or its DOMAIN.commands or DOMAIN.events")
    contract = discover.topic(domain)
    return [name] if dot else [contract.commands_topic, contract.events_topic]


def start_of(since: str) -> int:
    """The Unix time in milliseconds from which on to show: `earliest`, `10m` ago, or a timestamp (UTC unless it says)."""
    if since == EARLIEST:
        return 0
    if since[:4].isdigit() and "-" in since:
        try:
            told = datetime.fromisoformat(since)
        except ValueError:
            raise BadInput(f"'{since}' is no time; write it as 2026-01-31T13:30 (UTC), 10m or earliest") from None
        return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() * 1000)
    return int((time.time() - seconds(since)) * 1000)


async def _tail(
    settings: Settings,
    topics: list[str],
    begin: int | None,
    key: str | None,
    follow: bool,
    line: Callable[[Shown], str],
) -> None:
    decode = Decoder(Signer(settings.signing_keys), topics)
    wanted = None if key is None else key.encode()
    async with Reader(settings) as reader:
        places = await reader.places(topics)
        if wanted is not None:
            places = _of_key(places, wanted)
        starts = (
            {place: end for place, (_, end) in (await reader.bounds(places)).items()}
            if begin is None
            else await reader.since(places, begin)
        )
        async for found in reader.follow(starts, live=follow):
            if wanted is None or found.record.key == wanted:
                print(line(decode(found)), flush=True)


def _of_key(places: list[Place], key: bytes) -> list[Place]:
    """A key stands on one partition of each topic."""
    counts = {topic: sum(place.topic == topic for place in places) for topic, _ in places}
    return [place for place in places if place.partition == partition_of(key, counts[place.topic])]


def _line(one: Shown) -> str:
    """The record in a line, with colours on a terminal."""
    text = Text()
    text.append(f"{moment(one.at)}  ", "dim")
    text.append(f"{one.topic:<18} ", "cyan" if one.topic.endswith(".events") else "magenta")
    text.append(f"{one.partition}:{one.offset:<6} ", "dim")
    text.append(f"{one.type:<{WIDE}} ", "bold")
    text.append(f"{one.key}  ")
    text.append(fields(one.payload, one.key))
    if one.actor:
        text.append(f"  by {one.actor}", "dim")
    if one.outcome:
        text.append(f"  [{one.outcome}]", STYLES.get(one.outcome.split()[0], "yellow"))
    if one.mark:
        text.append(f"  <{one.mark}>", "bold red")
    if not sys.stdout.isatty():
        return text.plain.rstrip()
    console = Console()
    with console.capture() as shown:
        console.print(text, soft_wrap=True, highlight=False, end="")
    return shown.get()
