"""What must hold of signatures, parked records and documents, looked up in Postgres and on the topics only; for the rest see `tests.checker`."""

import hmac
import json
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, Outside

Keys = Mapping[str, bytes]
"""The platform's signing keys by id."""

Place = tuple[int, int]
"""Partition and offset on the command topic."""


class Seen(NamedTuple):
    """The end of a run."""

    commands: dict[Place, Any]
    """Every record of the command topic."""
    results: dict[str, Any]
    parked: dict[Place, Any]
    """Parked commands."""
    offsets: dict[int, Any]
    events: dict[int, list[Any]]
    """Partition -> records of the event topic."""
    balances: dict[str, tuple[int, int]]
    """User -> available and held."""
    documents: dict[str, Any]


async def broken(outside: Outside, keys: Keys, acknowledged: Collection[str]) -> list[str]:
    """Everything that is wrong, in words; empty when the run was right. Asked once all is settled."""
    seen = await _look(outside)
    ids = {place: name for place, record in seen.commands.items() if (name := _command_id(record, keys))}
    return [
        *_lost(seen, ids, acknowledged),
        *_misplaced(seen, ids),
        *_told(seen, keys),
        *_documents(seen),
    ]


async def _look(outside: Outside) -> Seen:
    await outside.read_on()
    commands = {(n, record.offset): record for n in PARTITIONS for record in outside.records(COMMANDS, n)}
    parked = await outside.rows("SELECT * FROM parked WHERE topic = $1", COMMANDS)
    results = {str(row["command_id"]): row for row in await outside.rows("SELECT * FROM results")}
    balances = await outside.rows("SELECT user_id, available, held FROM balance")
    documents = {row["key"]: row for row in await outside.rows("SELECT * FROM state")}
    return Seen(
        commands,
        results,
        {(row["partition"], row["offset"]): row for row in parked},
        await outside.offsets(COMMANDS),
        {n: outside.records(EVENTS, n) for n in PARTITIONS},
        {user: (available, held) for user, available, held in balances},
        documents,
    )


def _command_id(record: Any, keys: Keys) -> str | None:
    """The id of a record that the platform signed."""
    if not _is_signed(COMMANDS, record, keys):
        return None
    try:
        return str(json.loads(record.value)["command_id"])
    except ValueError:
        return None


def _is_signed(topic: str, record: Any, keys: Keys) -> bool:
    key_id, _, mac = dict(record.headers).get("caravan-sig", b"").decode().partition(":")
    key, value = record.key or b"", record.value or b""
    text = b"%b\0%d\0%b%b" % (topic.encode(), len(key), key, value)
    return key_id in keys and b64decode(mac) == hmac.digest(keys[key_id], text, "sha256")


def _lost(seen: Seen, ids: dict[Place, str], acknowledged: Collection[str]) -> Iterator[str]:
    """Each record ended in exactly one of result and parked; what was acknowledged is there."""
    kept = {ids[place] for place in seen.parked if place in ids}
    for name in sorted(set(acknowledged) - set(ids.values())):
        yield f"{name} was acknowledged and is not on the topic"
    for place, name in ids.items():
        if (name in seen.results) == (name in kept):
            yield f"{name} at {place} has {'a result and is parked' if name in kept else 'neither a result nor is parked'}"
    for name in sorted(seen.results.keys() - set(ids.values())):
        yield f"{name} has a result and was never a command"
    for place in seen.commands.keys() - ids.keys() - seen.parked.keys():
        yield f"the record at {place} says nothing valid and is not parked"
    for place, row in seen.parked.items():
        record = seen.commands.get(place)
        headers = [[name, value.hex()] for name, value in record.headers] if record else []
        if record is None or (row["key"], row["value"]) != (record.key, record.value):
            yield f"what is parked of {place} is not the record"
        elif json.loads(row["headers"]) != headers:
            yield f"the headers of {place} are not those of the record"


def _misplaced(seen: Seen, ids: dict[Place, str]) -> Iterator[str]:
    """A result is that of the first record with its id; the others were counted as duplicates."""
    first: dict[str, Place] = {}
    for place in sorted(ids):
        first.setdefault(ids[place], place)
    for name, row in seen.results.items():
        if (place := (row["partition"], row["offset"])) != first.get(name):
            yield f"the result of {name} is of the record at {place}, not {first.get(name)}"
    repeats = Counter(place[0] for place, name in ids.items() if place != first[name] and place not in seen.parked)
    for partition, row in seen.offsets.items():
        if row["duplicates"] != repeats[partition]:
            yield f"partition {partition} counts {row['duplicates']} duplicates and has {repeats[partition]}"


def _told(seen: Seen, keys: Keys) -> Iterator[str]:
    """The events, repeats dropped: without gaps, signed, those of a key in the order of their commands, each command's in one piece."""
    told = []
    for partition, records in seen.events.items():
        if not all(_is_signed(EVENTS, record, keys) for record in records):
            yield f"an event of partition {partition} is not signed"
        values: dict[int, bytes] = {}
        for record in records:
            event = json.loads(record.value)
            number = event["number"]
            if number > len(values) + 1:
                yield f"partition {partition} goes from number {len(values)} to {number}"
            if values.setdefault(number, record.value) != record.value:
                yield f"number {number} of partition {partition} is told in two ways"
        if seen.offsets[partition]["number"] != len(values) if partition in seen.offsets else values:
            yield f"partition {partition} has events up to {len(values)}, and Postgres knows of another number"
        fresh = [json.loads(value) for _, value in sorted(values.items())]
        yield from _ordered(partition, fresh)
        told += [str(name) for name, _ in groupby(fresh, key=lambda event: event["command_id"])]
        yield from _counted(fresh)
    if wrong := Counter(told) - Counter(seen.results.keys()):
        yield f"told more than once or without a result: {list(wrong)}"
    if wrong := Counter(seen.results.keys()) - Counter(told):
        yield f"not told: {list(wrong)}"


def _ordered(partition: int, events: list[dict[str, Any]]) -> Iterator[str]:
    """Those of a key are: one that waited is redriven behind the others."""
    offsets: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        offsets[event["aggregate_id"]].append(event["source"]["offset"])
    for key, there in offsets.items():
        if there != sorted(there):
            yield f"the events of {key} on partition {partition} are not in the order of their commands"


def _counted(events: list[dict[str, Any]]) -> Iterator[str]:
    """An aggregate's sequence goes up by one with every event of its domain, and never otherwise."""
    last: Counter[str] = Counter()
    for event in events:
        key, of_the_core = event["aggregate_id"], event["type"].startswith("command_")
        last[key] += 0 if of_the_core else 1
        if event["aggregate_seq"] != last[key]:
            yield f"{event['event_id']} has sequence {event['aggregate_seq']}, not {last[key]}"


def _documents(seen: Seen) -> Iterator[str]:
    """The table holds what the rows show."""
    for user, (available, held) in seen.balances.items():
        account = json.loads(seen.documents[user]["data"]) if user in seen.documents else {}
        if (account.get("available", 0), account.get("held", 0)) != (available, held):
            yield f"the table has {account} for {user}, the balance is {available}, {held}"
    told = Counter(
        json.loads(v.value)["aggregate_id"] for records in seen.events.values() for v in _domain_events(records)
    )
    for user, number in told.items():
        if seen.documents[user]["version"] != number:
            yield f"the document of {user} has version {seen.documents[user]['version']} after {number} events"


def _domain_events(records: list[Any]) -> Iterator[Any]:
    seen: set[int] = set()
    for record in records:
        event = json.loads(record.value)
        if event["number"] not in seen and not event["type"].startswith("command_"):
            seen.add(event["number"])
            yield record
