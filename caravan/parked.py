"""`caravan parked`: records that could not be processed, to be looked at, redriven, mended or skipped.

Nothing is changed from here: a request is written, and the owner of the record's partition acts on it between two batches.
"""

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import typer

from api.parked_json import line_json, record_json, request_json
from caravan import parked_words as words
from caravan.commands import known, settings
from caravan.errors import BadInput, Problem
from caravan.tail import start_of
from sinks.postgres import parked
from sinks.postgres.parked import FOLLOWER, Count, Desk, Line, Place, Record, Request, Wanted
from streams import discover
from streams.inspection import Malformed, checked, difference, with_payload
from streams.settings import Settings

OFFERED = 100  # places that the shell offers
LOOK_S = 3.0  # without an answer, until it is asked whether any worker runs
PATIENCE_S = 30.0  # without any of the answers that are waited for
T = TypeVar("T")


class NotParked(Problem):
    """There is no such parked record, or not any more."""


class NotDone(Problem):
    """What was asked for was refused, has failed again, or waits for an owner."""


@dataclass(frozen=True)
class Chosen:
    """Which records are meant, as the options say it."""

    domain: str | None = None
    agent: str | None = None
    key: str | None = None
    cause: str | None = None
    type: str | None = None
    since: str | None = None

    def domains(self) -> list[str]:
        """Where to look; raises BadInput."""
        if self.domain is None:
            return discover.domains()
        known([self.domain])
        return [self.domain]

    def wanted(self, *, followers: bool) -> Wanted:
        """As the store is asked; raises BadInput for times that are none."""
        since = None if self.since is None else datetime.fromtimestamp(start_of(self.since) / 1000, UTC)
        key = None if self.key is None else self.key.encode()
        return Wanted(self.agent, None, key, self.cause, self.type, since, followers=followers)


@dataclass(frozen=True)
class Spot:
    """The one record that is meant, as the user wrote it."""

    place: str
    domain: str | None = None
    agent: str | None = None

    def options(self) -> str:
        """What beside the place was needed to mean it."""
        given = {"domain": self.domain, "agent": self.agent}
        return "".join(f" --{name} {value}" for name, value in given.items() if value is not None)

    def parse(self) -> tuple[str, int, int]:
        """Topic, partition and offset; raises BadInput."""
        topic, _, rest = self.place.partition("/")
        partition, _, offset = rest.partition("/")
        if not topic or not partition.isdecimal() or not offset.removeprefix("-").isdecimal() or len(rest) > 30:
            raise BadInput(f"'{self.place}' is no place of a record; write TOPIC/PARTITION/OFFSET, as list prints it")
        return topic, int(partition), int(offset)


class Asking(NamedTuple):
    """How a request is made: on which instance, and whether to wait for its end."""

    folder: Path
    wait: bool


class New(NamedTuple):
    """What an edit gives: some fields of the payload, or a file with the whole value."""

    payload: str | None
    value: str | None


class Found(NamedTuple):
    """A record that is parked, and in which domain."""

    domain: str
    record: Record


# -- looking


def places(folder: Path) -> list[str]:
    """Some places of parked records."""

    async def some(desk: Desk) -> list[str]:
        found: list[Line] = []
        for domain in desk.domains:
            found += await parked.listed(await desk.of(domain), Wanted(followers=False), None, OFFERED)
        return [str(line.place) for line in found]

    return _at_desk(settings(folder), discover.domains(), some)


def show_list(folder: Path, chosen: Chosen, *, limit: int, as_json: bool) -> None:
    """Print the records and how many there are."""
    followers = chosen.key is not None or chosen.cause == FOLLOWER
    wanted = chosen.wanted(followers=followers)

    async def look(desk: Desk) -> tuple[list[tuple[str, Line]], list[tuple[str, Count]]]:
        lines, counts = list[tuple[str, Line]](), list[tuple[str, Count]]()
        for domain in desk.domains:
            db = await desk.of(domain)
            lines += [(domain, line) for line in await parked.listed(db, wanted, None, limit - len(lines))]
            counts += [(domain, count) for count in await parked.counted(db, replace(wanted, followers=True))]
        return lines, counts

    lines, counts = _at_desk(settings(folder), chosen.domains(), look)
    if as_json:
        told = [{"domain": domain, **count._asdict()} for domain, count in counts]
        print(json.dumps({"records": [line_json(*one) for one in lines], "counts": told}, default=str))
    else:
        print(words.listing(lines, counts, followers=followers))


def show(folder: Path, spot: Spot, *, raw: bool, as_json: bool) -> None:
    """Print one record; or, of one that is gone, what was done about it."""

    async def look(desk: Desk) -> tuple[str, Record | None, list[Request]]:
        domain, place = await _locate(desk, spot)
        db = await desk.of(domain)
        return domain, await parked.record(db, place), await parked.history(db, place)

    domain, record, history = _at_desk(settings(folder), _domains_of(spot), look)
    value = record.value if record else history[-1].value
    if raw:
        sys.stdout.buffer.write(value or b"")
        sys.stdout.buffer.flush()
    elif as_json:
        told = (
            record_json(domain, record, history) if record else {"history": [request_json(domain, h) for h in history]}
        )
        print(json.dumps(told, ensure_ascii=False))
    elif record:
        print(words.shown(domain, record, history, spot.options()))
    else:
        print(words.gone(domain, history))


# -- asking


def redrive(asking: Asking, spot: Spot) -> None:
    """Have one record processed again."""

    async def ask(desk: Desk) -> None:
        found = await _found(desk, spot)
        await _asked(asking, desk, found, "redrive", None, None)

    _at_desk(settings(asking.folder), _domains_of(spot), ask)


def skip(asking: Asking, spot: Spot, reason: str) -> None:
    """Give one record up."""
    _demand(reason)

    async def ask(desk: Desk) -> None:
        found = await _found(desk, spot)
        await _asked(asking, desk, found, "skip", reason, None)

    _at_desk(settings(asking.folder), _domains_of(spot), ask)


def edit(asking: Asking, spot: Spot, new: New, reason: str, *, yes: bool) -> None:
    """Change one record and have it processed."""
    _demand(reason)
    changes, value = _given(new)

    async def ask(desk: Desk) -> None:
        found = await _found(desk, spot)
        record = found.record
        topic = record.line.place.topic
        try:
            edited = (
                with_payload(topic, record.value, changes)
                if changes is not None
                else checked(topic, value or b"", record.value)
            )
        except Malformed as error:
            raise BadInput(f"{error}; nothing was changed") from None
        if edited == record.value:
            raise BadInput("this changes nothing; to have it processed as it is: caravan parked redrive")
        print(words.changes(difference(topic, record.value, edited)))
        if not yes and sys.stdin.isatty() and new.value != "-":
            typer.confirm(f"Edit {record.line.place} so?", abort=True)
        await _asked(asking, desk, found, "edit", reason, edited)

    _at_desk(settings(asking.folder), _domains_of(spot), ask)


def redrive_all(asking: Asking, chosen: Chosen, *, everything: bool, yes: bool) -> None:
    """Have all of these processed again, and what waits behind them."""
    if not everything and chosen.key is chosen.cause is chosen.agent is None:
        raise BadInput("say what to redrive: a PLACE, --key with --domain, --cause, --agent, or --all")
    if chosen.key is not None and chosen.domain is None:
        raise BadInput(
            f"keys are of a domain: say which, as in: caravan parked redrive --key {chosen.key} --domain points"
        )
    wanted = chosen.wanted(followers=False)

    async def ask(desk: Desk) -> None:
        counts, behind = await _counted(desk, wanted)
        if not counts:
            raise NotParked("nothing is parked that this means; see: caravan parked list")
        _sure(words.many(counts, behind), yes=yes)
        asked: dict[str, list[UUID]] = {}
        for domain in desk.domains:
            asked[domain] = await parked.redrive_all(await desk.of(domain), wanted, by=_by())
        await _awaited(asking, desk, asked)

    _at_desk(settings(asking.folder), chosen.domains(), ask)


async def _counted(desk: Desk, wanted: Wanted) -> tuple[list[tuple[str, Count]], int]:
    """How many are meant, and how many wait behind them."""
    counts, behind = list[tuple[str, Count]](), 0
    for domain in desk.domains:
        db = await desk.of(domain)
        counts += [(domain, count) for count in await parked.counted(db, wanted)]
        behind += await parked.behind(db, wanted)
    return counts, behind


async def _asked(
    asking: Asking, desk: Desk, found: Found, action: parked.Action, reason: str | None, value: bytes | None
) -> None:
    """Write the request and tell what becomes of it."""
    db = await desk.of(found.domain)
    place = found.record.line.place
    request_id = await parked.ask(db, place, action, by=_by(), reason=reason, value=value)
    if request_id is None:
        raise NotParked(words.gone_since(found.domain, await parked.history(db, place)))
    await _awaited(asking, desk, {found.domain: [request_id]})


async def _awaited(asking: Asking, desk: Desk, asked: dict[str, list[UUID]]) -> None:
    """Tell what becomes of requests; raises NotDone unless all were done, or nobody wanted to wait."""
    count = sum(map(len, asked.values()))
    if not asking.wait:
        print(f"asked for; {count} request{'s wait' if count > 1 else ' waits'} for the partitions' owners")
        return
    ours = settings(asking.folder)
    ended = await _waited(ours, desk, asked)
    waiting = [one for one in ended if one[1].status == "waiting"]
    if told := [one for one in ended if one[1].status != "waiting"]:
        print(words.outcomes(told))
    if waiting:
        raise NotDone(await _why(ours, waiting))
    if any(request.status == "refused" for _, request in ended):
        raise NotDone("the owner refused it; see above")
    if left := [request for _, request in ended if request.still_parked]:
        if len(ended) == 1:
            raise NotDone(f"a record is parked again; look with: caravan parked show {left[0].place}")
        raise NotDone(f"of {len(left)} requests a record is parked again; look with: caravan parked list")


async def _waited(ours: Settings, desk: Desk, asked: Mapping[str, Sequence[UUID]]) -> list[tuple[str, Request]]:
    """The requests when all are done, or none of them was for a while; that is short where no worker runs."""
    ended: list[tuple[str, Request]] = []
    for domain, ids in asked.items():
        db = await desk.of(domain)
        found = await parked.awaited(db, ids, LOOK_S)
        left = sum(one.status == "waiting" for one in found)
        while left and await _busy(ours, domain):
            before, found = left, await parked.awaited(db, ids, PATIENCE_S)
            left = sum(one.status == "waiting" for one in found)
            if left == before:
                break
        ended += [(domain, one) for one in found]
    return ended


async def _why(ours: Settings, waiting: Sequence[tuple[str, Request]]) -> str:
    """Why requests are not done yet."""
    which = f"request for {waiting[0][1].place} waits" if len(waiting) == 1 else f"{len(waiting)} requests wait"
    for domain in sorted({domain for domain, _ in waiting}):
        if not await _busy(ours, domain):
            return f"no worker runs the domain {domain}: the {which} until one does; start it with caravan up or caravan worker"
    return f"not done within {PATIENCE_S:.0f} s: the {which} for the partition's owner; look at caravan status, and at this again with caravan parked show"


async def _busy(ours: Settings, domain: str) -> bool:
    """Whether any worker runs this domain."""
    from streams.catalogue import Catalogue

    async with Catalogue(ours) as catalogue:
        return bool(await catalogue.busy([domain]))


# -- parts


def _at_desk(ours: Settings, domains: Sequence[str], work: Callable[[Desk], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Desk(ours.postgres, ours.namespace, domains).open() as desk:
            return await work(desk)

    return asyncio.run(run())


def _domains_of(spot: Spot) -> list[str]:
    spot.parse()
    return Chosen(spot.domain).domains()


async def _locate(desk: Desk, spot: Spot) -> tuple[str, Place]:
    """Whose record it is; raises NotParked, and BadInput where several agents have parked it."""
    topic, partition, offset = spot.parse()
    found = []
    for domain in desk.domains:
        agents = await parked.agents_at(await desk.of(domain), topic, partition, offset)
        found += [(domain, agent) for agent in agents if spot.agent in {None, agent}]
    if not found:
        raise NotParked(f"{spot.place} is not parked; what is: caravan parked list")
    if len(found) > 1:
        several = ", ".join(f"--domain {domain} --agent {agent}" for domain, agent in found)
        raise BadInput(f"{spot.place} was parked by {len(found)} agents; say which: {several}")
    domain, agent = found[0]
    return domain, Place(agent, topic, partition, offset)


async def _found(desk: Desk, spot: Spot) -> Found:
    """The parked record; raises NotParked for one that is gone, and tells why."""
    domain, place = await _locate(desk, spot)
    db = await desk.of(domain)
    record = await parked.record(db, place)
    if record is None:
        raise NotParked(words.gone_since(domain, await parked.history(db, place)))
    return Found(domain, record)


def _given(new: New) -> tuple[dict[str, Any] | None, bytes | None]:
    """The changes of the payload, or the whole value; raises BadInput."""
    if (new.payload is None) == (new.value is None):
        raise BadInput(
            "say what to change: --payload with some fields, or --value with a file that has the whole value"
        )
    if new.payload is not None:
        try:
            changes = json.loads(new.payload)
        except ValueError as error:
            raise BadInput(f"--payload is not JSON ({error}); write it as '{{\"amount\": 5}}'") from None
        if not isinstance(changes, dict) or not changes:
            raise BadInput("--payload is a JSON object with the fields to change, as '{\"amount\": 5}'")
        return changes, None
    if new.value == "-":
        return None, sys.stdin.buffer.read()
    path = Path(new.value or "")
    if not path.is_file():
        raise BadInput(f"there is no file {new.value}; name one, or - for standard input")
    return None, path.read_bytes()


def _demand(reason: str) -> None:
    if not reason.strip():
        raise BadInput("say why, with --reason: it is kept for who asks later")


def _by() -> str:
    """Who asks."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # no name is known for the user, as in some containers
        return f"cli:{os.getuid()}"


def _sure(what: str, *, yes: bool) -> None:
    print(what)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("nobody can be asked here; to redrive them all the same: --yes")
    typer.confirm("Redrive them?", abort=True)
