"""What does not hold of a history, in words. A finding begins with its name: `lost: ...`, `doubled: ...`."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from tests.checker.history import Observation

Place = tuple[str, int, int]
"""Topic, partition and offset."""

Model = Callable[[Sequence[Observation]], Iterable[str]]
"""Tells how results and rows differ from those of the committed log worked one command after the other."""


def check(history: Sequence[Observation], model: Model) -> list[str]:
    """Everything that is wrong; empty when the run was right. An unknown answer of a client may have had its effect or none."""
    seen = Seen(history)
    return [
        *_two_values(seen),
        *_lost(seen),
        *_ghosts(seen),
        *_doubled(seen),
        *_half_applied(seen),
        *_numbers(seen),
        *_order(seen),
        *_sequences(seen),
        *_positions(seen),
        *_reads(seen),
        *model(history),
    ]


class Seen:
    """A history, looked at from several sides."""

    def __init__(self, history: Sequence[Observation]) -> None:
        """Sort it out."""
        self.by: defaultdict[str, list[Observation]] = defaultdict(list)
        for one in history:
            self.by[one["kind"]].append(one)
        self.records: dict[Place, Observation] = {}
        self.places: defaultdict[str, list[Place]] = defaultdict(list)
        """Command id -> where it stands, in the order of each partition."""
        for one in sorted(self.by["record"], key=lambda one: (one["topic"], one["partition"], one["offset"])):
            place = place_of(one)
            if place not in self.records:
                self.records[place] = one
                if one["cmd_id"]:
                    self.places[one["cmd_id"]].append(place)
        self.results: defaultdict[str, list[Observation]] = defaultdict(list)
        for one in self.by["result"]:
            self.results[one["cmd_id"]].append(one)
        self.parked = {place_of(one) for one in self.by["parked"] if _of_decider(one)}
        self.skipped = {place_of(one) for one in self.by["skipped"] if _of_decider(one)}
        self.put_aside = self.parked | self.skipped
        self.numbered = _numbered(self.by["event"])
        self.groups: defaultdict[str, list[Observation]] = defaultdict(list)
        """Command id -> its events, each once, in the order of their numbers."""
        for events in self.numbered.values():
            for number in sorted(events):
                self.groups[events[number]["cmd_id"]].append(events[number])

    def result_place(self, result: Observation) -> Place:
        """The record that a result is of."""
        return f"{result['domain']}.commands", result["partition"], result["offset"]

    def is_finished(self, place: Place) -> bool:
        """Whether a record of a command topic has come to its end; a repeat has with the record that it repeats."""
        name = self.records[place]["cmd_id"]
        first = self.places[name][0] if name else place
        return place in self.put_aside or first in self.put_aside or name in self.results


def place_of(one: Observation) -> Place:
    """Where it stands."""
    return one["topic"], one["partition"], one["offset"]


def _of_decider(one: Observation) -> bool:
    return bool(one["topic"] == f"{one['domain']}.commands")


def _numbered(events: Iterable[Observation]) -> dict[tuple[str, int], dict[int, Observation]]:
    """Topic and partition -> number -> the event as it appeared first."""
    found: dict[tuple[str, int], dict[int, Observation]] = {}
    for one in sorted(events, key=lambda one: one["offset"]):
        found.setdefault((one["topic"], one["partition"]), {}).setdefault(one["number"], one)
    return found


def _two_values(seen: Seen) -> Iterator[str]:
    """An offset has one value, whoever reads it; an acknowledged command stands where it was said to stand."""
    values: dict[Place, str] = {}
    for one in (*seen.by["record"], *seen.by["event"]):
        if values.setdefault(place_of(one), one["value"]) != one["value"]:
            yield f"two values: {place_of(one)} was read as {values[place_of(one)]} and as {one['value']}"
    for one in seen.by["acked"]:
        record = seen.records.get(place_of(one))
        if record is not None and record["cmd_id"] != one["cmd_id"]:
            yield f"two values: {place_of(one)} was told to hold {one['cmd_id']} and holds {record['cmd_id']}"


def _lost(seen: Seen) -> Iterator[str]:
    """What was acknowledged is on the topic, and every record there has come to an end."""
    for one in seen.by["acked"]:
        if place_of(one) not in seen.records:
            yield f"lost: {one['cmd_id']} was acknowledged at {place_of(one)} and is not there"
    for place, record in seen.records.items():
        if not seen.is_finished(place):
            yield f"lost: {record['cmd_id'] or 'the record'} at {place} has no result, is not parked and was not skipped"


def _ghosts(seen: Seen) -> Iterator[str]:
    """What was refused before it was published has no effect, and nothing has an effect that nobody published."""
    for one in seen.by["refused"]:
        if one["cmd_id"] in seen.places or one["cmd_id"] in seen.results or one["cmd_id"] in seen.groups:
            yield f"ghost: {one['cmd_id']} was refused, and yet it was published or applied"
    for cmd_id, results in seen.results.items():
        if results[0]["offset"] >= 0 and cmd_id not in seen.places:
            yield f"ghost: {cmd_id} has a result and was never a command"
    yield from (f"ghost: {place} is put aside and was never there" for place in seen.put_aside - seen.records.keys())


def _doubled(seen: Seen) -> Iterator[str]:
    """A command has one result, that of its first record, its events come once and in one piece, and its rows once."""
    for cmd_id, results in seen.results.items():
        places = {seen.result_place(one) for one in results}
        if len(places) > 1:
            yield f"doubled: {cmd_id} has results at {sorted(places)}"
        elif (there := seen.places.get(cmd_id)) and not _is_first(seen, places.pop(), there):
            yield f"doubled: the result of {cmd_id} is of a later record than the first, {there[0]}"
    for cmd_id, events in seen.groups.items():
        begin = events[0]
        for n, one in enumerate(events):
            where = one["topic"], one["partition"], one["number"] - n
            if where != (begin["topic"], begin["partition"], begin["number"]):
                yield f"doubled: {cmd_id} was told at number {begin['number']} and again at {one['number']}"
                break
    ids = Counter(one["envelope"]["event_id"] for events in seen.groups.values() for one in events)
    yield from (f"doubled: event {name} has {times} numbers" for name, times in ids.items() if times > 1)
    rows = Counter((one["domain"], one["table"], *sequence) for one in seen.by["row"] if (sequence := _sequence(one)))
    yield from (f"doubled: {times} rows of {row}" for row, times in rows.items() if times > 1)


def _is_first(seen: Seen, place: Place, there: Sequence[Place]) -> bool:
    """A parked record may be overtaken by its repeat, and an operator may skip the repeat; else the first one counts."""
    return (
        place in seen.skipped
        or next((one for one in there if one == place or one not in seen.put_aside), place) == place
    )


def _half_applied(seen: Seen) -> Iterator[str]:
    """A result and its events and its rows are there together or not at all."""
    for cmd_id, (result, *_) in seen.results.items():
        told = [one["envelope"]["event_id"] for one in seen.groups.get(cmd_id, ()) if not _of_core(one)]
        listed = [event_id for event_id, _ in result["events"]]
        if cmd_id not in seen.groups:
            yield f"half-applied: {cmd_id} has a result and no event"
        elif told != listed:
            yield f"half-applied: {cmd_id} has the events {told} and its result names {listed}"
        if (place := seen.result_place(result)) in seen.parked:
            yield f"half-applied: {cmd_id} has a result, and its record at {place} is parked"
    for cmd_id in seen.groups.keys() - seen.results.keys():
        yield f"half-applied: {cmd_id} has events and no result"
    known = {(one["domain"], one["key"], one["envelope"]["aggregate_seq"]) for g in seen.groups.values() for one in g}
    for one in seen.by["row"]:
        if (sequence := _sequence(one)) and (one["domain"], *sequence) not in known:
            yield f"half-applied: {one['domain']}.{one['table']} has {sequence}, of which no event tells"


def _sequence(row: Observation) -> tuple[str, int] | None:
    """Key and sequence of a row that is of one event."""
    if "seq" not in row["row"]:
        return None
    return str(next(iter(row["row"].values()))), row["row"]["seq"]


def _of_core(event: Observation) -> bool:
    return bool(event["envelope"]["type"].startswith("command_"))


def _numbers(seen: Seen) -> Iterator[str]:
    """Numbers appear in order and without gaps; a repeat is the very same record; Postgres and the topic end at the same one."""
    told: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for one in sorted(seen.by["event"], key=lambda one: one["offset"]):
        values = told[one["topic"], one["partition"]]
        number = one["number"]
        if number not in values and number != len(values) + 1:
            yield f"numbers: {one['topic']}/{one['partition']} goes from {len(values)} to {number}"
        if values.setdefault(number, one["value"]) != one["value"]:
            yield f"numbers: {number} of {one['topic']}/{one['partition']} is told in two ways"
    last = {(one["domain"], one["partition"]): one for one in seen.by["position"] if _of_decider(one)}
    for (domain, partition), one in last.items():
        if one["number"] != (there := len(told.get((f"{domain}.events", partition), ()))):
            yield f"numbers: {domain}.events/{partition} ends at {there} and Postgres at {one['number']}"


def _order(seen: Seen) -> Iterator[str]:
    """The commands of a key took effect in the order of the log; only what held nobody back may be redriven later, and skipped at any time."""
    free = {place_of(one) for one in seen.by["redriven"] if not one["holds"]}
    free |= {place_of(one) for one in seen.by["skipped"]}
    held: dict[tuple[str, str], int] = {}
    for one in seen.by["parked"]:
        if one["holds"] and _of_decider(one) and one["offset"] >= 0:
            key = one["topic"], one["key"]
            held[key] = min(one["offset"], held.get(key, one["offset"]))
    last: dict[tuple[str, str], int] = {}
    for (topic, partition), events in seen.numbered.items():
        for number in sorted(events):
            one = events[number]
            offset, key = one["envelope"]["source"]["offset"], (topic.replace(".events", ".commands"), one["key"])
            if offset < 0 or (key[0], partition, offset) in free:
                continue  # a timer's, or what an operator had done out of turn
            if offset > held.get(key, offset):
                yield f"reordered: {one['cmd_id']} of {key} took effect, and its key waits behind offset {held[key]}"
            if offset < last.get(key, -1):
                yield f"reordered: {one['cmd_id']} of {key} at offset {offset} came after the one at {last[key]}"
            last[key] = offset


def _sequences(seen: Seen) -> Iterator[str]:
    """A key's sequence goes up by one with each event of its domain and never otherwise; its time never goes back."""
    last: Counter[tuple[str, str]] = Counter()
    times: dict[tuple[str, str], datetime] = {}
    for (topic, _), events in seen.numbered.items():
        for number in sorted(events):
            one, envelope = events[number], events[number]["envelope"]
            key = topic, one["key"]
            last[key] += not _of_core(one)
            if envelope["aggregate_seq"] != last[key]:
                yield f"sequence: {key} goes to {envelope['aggregate_seq']}, not to {last[key]}, with {one['cmd_id']}"
            at = datetime.fromisoformat(envelope["occurred_at"])
            if at < times.get(key, at):
                yield f"time: {key} goes back from {times[key]} to {at} with {one['cmd_id']}"
            if not _of_core(one):
                times[key] = at


def _positions(seen: Seen) -> Iterator[str]:
    """No position, number or epoch ever goes back, and no position has passed what is not finished."""
    last: dict[tuple[Any, ...], Observation] = {}
    for one in seen.by["position"]:
        slot = one["domain"], one["agent"], one["topic"], one["partition"]
        before = last.setdefault(slot, one)
        for name in ("next", "number", "epoch"):
            if one[name] < before[name]:
                yield f"position: {name} of {slot} went back from {before[name]} to {one[name]}"
        last[slot] = one
    ends = {(one["topic"], one["partition"]): one["next"] for one in last.values() if _of_decider(one)}
    for place in seen.records:
        if place[2] < ends.get(place[:2], 0) and not seen.is_finished(place):
            yield f"position: {place[:2]} stands at {ends[place[:2]]} and {place} is not finished"


def _reads(seen: Seen) -> Iterator[str]:
    """Who reads never sees an older state than before, or than the token that they gave."""
    shown = {(one["domain"], *sequence) for one in seen.by["row"] if (sequence := _sequence(one))}
    last: dict[tuple[str, str, str], int] = {}
    for one in seen.by["read"]:
        place = one["domain"], one["key"]
        if one["seq"] < last.get((one["actor"], *place), 0):
            yield f"read: {one['actor']} saw {place} at {last[one['actor'], *place]} and then at {one['seq']}"
        last[one["actor"], *place] = one["seq"]
        for event in seen.groups.get(one["token"] or "", ()):
            sequence = event["envelope"]["aggregate_seq"]
            if event["key"] == one["key"] and (*place, sequence) in shown and one["seq"] < sequence:
                yield f"read: {one['actor']} saw {place} at {one['seq']} with a token for {sequence}"
