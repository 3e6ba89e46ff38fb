"""The auditor: one look at a running platform proves its promises from topics and Postgres alone, and what it read is kept for the next."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from caravan.audit.commands import check_commands, check_policies, load_aside
from caravan.audit.compare import compare
from caravan.audit.domain import Domain
from caravan.audit.finding import Finding, Findings
from caravan.audit.positions import Before, Positions, check_outbox
from caravan.audit.projected import Projected
from caravan.audit.written import Written
from caravan.decoded import fields
from sinks.postgres.audit import Position, Snapshot, numbers
from streams import discover
from streams.agent import Agent, Decider, Policy, Projection, agents_of
from streams.effect import Effect
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.folding import foldable
from streams.personal import masked
from streams.reading import Place, Reader
from streams.settings import Settings
from streams.shard import space_of
from streams.sink import Rows
from streams.store import Outgoing

FETCH_MS = 20  # how long the broker may wait for more
PATIENCE_S = 60.0  # how long an event may wait in the outbox
SHOWN = 20  # rows of a domain's own check that are told one by one
Progress = Callable[[str, int, int], None]
"""Told what is being read, and how much of how much is done."""


@dataclass
class Look:
    """What one look found. Lags are in records, the ages of what waits in the outbox in seconds."""

    findings: Findings = field(default_factory=Findings)
    lags: dict[tuple[str, str], int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0


class Auditor:
    """Use it with `async with`. It only reads; every method raises CaravanError while Kafka or Postgres is away."""

    def __init__(
        self,
        settings: Settings,
        domains: Collection[str] | None = None,
        *,
        since: int = 0,
        patience: float = PATIENCE_S,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Nothing is read yet. `since` (Unix milliseconds) is from when on commands are looked at; the events are always folded from the first."""
        self._settings, self._since, self._patience, self._progress = settings, since, patience, progress
        self._wanted = list(domains or discover.domains())
        self._agents: dict[str, list[Agent]] = {name: agents_of(name) for name in self._wanted}
        self._before = Before()
        self._reader = Reader(settings, FETCH_MS)
        self._asker = Reader(settings)  # its questions do not wait behind a fetch
        self._open_ends = AsyncExitStack()
        self._signer = Signer(settings.signing_keys)
        self.domains: dict[str, Domain] = {}
        self.read_commands = self.read_events = 0

    async def __aenter__(self) -> Self:
        """Connect."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._reader)
            await stack.enter_async_context(self._asker)
            stack.callback(self._forget)
            self._open_ends = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Delete what was read."""
        await self._open_ends.aclose()

    def _forget(self) -> None:
        for domain in self.domains.values():
            domain.close()
        self.domains = {}

    async def look(self) -> Look:
        """Look once. What came to the topics before is not read again."""
        began, look = time.monotonic(), Look()
        for name in self._needed():
            if name not in self.domains:
                await self._open(name)
        self._listen()
        known = {name: await numbers(self._settings.postgres, self._settings.namespace, name) for name in self.domains}
        await self._catch_up(known)
        try:
            async with Snapshot(self._settings.postgres, self._settings.namespace) as snapshot:
                await self._look_at(snapshot, look)
        except Receded:  # the positions that went back are told
            self._forget()
        for domain in self.domains.values():
            await self._check_beyond(domain, look.findings)
        look.seconds = time.monotonic() - began
        return look

    # -- what is looked at

    def _needed(self) -> list[str]:
        """The domains that are asked for, and those whose events their policies and effects read."""
        sources = {
            agent.source.domain
            for agents in self._agents.values()
            for agent in agents
            if isinstance(agent, Policy | Effect | Projection)
        }
        return [*self._wanted, *sorted(sources - set(self._wanted))]

    async def _open(self, name: str) -> None:
        """Begin with a domain, if it decides or shows anything, and has its tables; one that only others listen to may be without topics."""
        folds = foldable(agents_of(name))
        if not folds:
            return
        topic = discover.topic(name)
        try:
            places = await self._asker.places([topic.commands_topic, topic.events_topic])
        except CaravanError:
            if name in self._wanted:
                raise
            return
        async with Snapshot(self._settings.postgres, self._settings.namespace) as snapshot:
            if not await snapshot.migrated(name):
                return
            tables = await self._tables(name, snapshot)
        decider = next((agent for agent in folds if isinstance(agent, Decider)), None)
        late = [agent.name for agent in folds if isinstance(agent, Projection) and agent.start == "now"]
        domain = self.domains[name] = Domain(topic, decider, self._signer, {} if late else tables)
        domain.unseen = tuple(map(space_of, late))
        domain.projections = [
            Projected(agent, domain, self._signer)
            for agent in folds
            if isinstance(agent, Projection) and agent.name not in late
        ]
        await self._begin(domain, places)

    async def _tables(self, name: str, snapshot: Snapshot) -> dict[Rows, Written]:
        """The tables of the views, with what identifies their rows."""
        tables: dict[Rows, Written] = {}
        for kind in discover.rows(name):
            if (shape := await snapshot.shape(name, kind.name)) is not None:
                columns = {column: shape.columns[column] for column in kind.columns if column in shape.columns}
                key = kind.key or (shape.key if set(shape.key) <= set(columns) else ())
                tables[kind] = Written(columns, key)
        return tables

    async def _begin(self, domain: Domain, places: Sequence[Place]) -> None:
        """Where reading begins."""
        since = await self._asker.since(places, self._since) if self._since else {}
        for place, (start, _) in (await self._asker.bounds(places)).items():
            at = domain.reached[place.partition]
            if place.topic == domain.topic.commands_topic:
                at.commands = at.first_command = max(start, since.get(place, start))
            else:
                at.events, at.whole = start, start == 0
        if not all(at.whole for at in domain.reached.values()):
            words = "the first events are not on the topic any more, so rows and documents cannot be folded"
            domain.lasting.add("views_not_compared", domain.name, domain.topic.events_topic, words)

    def _listen(self) -> None:
        """Have events tell what the policies of the domains make of them."""
        if any(domain.listeners for domain in self.domains.values()):
            return
        for name in self._wanted:
            for agent in self._agents[name]:
                if isinstance(agent, Policy) and name in self.domains and agent.source.domain in self.domains:
                    self.domains[agent.source.domain].listeners.append((agent, self.domains[name]))

    # -- reading

    async def _catch_up(self, known: Mapping[str, Mapping[int, int]]) -> None:
        """Read the topics on to where they end now, events up to the numbers that Postgres knows."""
        places = [Place(d.topic.events_topic, n) for d in self.domains.values() for n in d.reached]
        event_ends = {place: end for place, (_, end) in (await self._asker.bounds(places)).items()} if places else {}
        # Ends of commands are asked for later, so that the command of every event is among those that are read.
        places = [Place(d.topic.commands_topic, n) for d in self.domains.values() for n in d.reached]
        command_ends = {place: end for place, (_, end) in (await self._asker.bounds(places)).items()} if places else {}
        for domain in self.domains.values():
            for partition in domain.reached:
                await self._read_commands(domain, partition, command_ends)
            for partition in domain.reached:
                await self._read_events(domain, partition, event_ends, known[domain.name].get(partition, 0))

    async def _read_commands(self, domain: Domain, partition: int, ends: Mapping[Place, int]) -> None:
        at, place = domain.reached[partition], Place(domain.topic.commands_topic, partition)
        begin = at.commands
        async for records in self._reader.batches(place, at.commands, ends[place]):
            domain.take_commands(partition, records)
            self.read_commands += len(records)
            self._progress(f"{place.topic} {partition}", at.commands - begin, ends[place] - begin)
            await asyncio.sleep(0)

    async def _read_events(self, domain: Domain, partition: int, ends: Mapping[Place, int], limit: int) -> None:
        at, place = domain.reached[partition], Place(domain.topic.events_topic, partition)
        begin = at.events
        domain.begin(partition)
        try:
            async for records in self._reader.batches(place, at.events, ends[place]):
                self.read_events += len(records)
                if not domain.take_events(partition, records, limit):
                    break
                self._progress(f"{place.topic} {partition}", at.events - begin, ends[place] - begin)
                await asyncio.sleep(0)
        finally:
            domain.end(partition)

    # -- the checks

    async def _look_at(self, snapshot: Snapshot, look: Look) -> None:
        positions = {name: await snapshot.positions(name) for name in self.domains}
        decides = {name: [at for at in found if at.agent == name] for name, found in positions.items()}
        for name, found in positions.items():
            self._before.check(name, found, look.findings)
        known = {name: {at.partition: at.number for at in found} for name, found in decides.items()}
        if any(at.folded > known[d.name].get(n, 0) for d in self.domains.values() for n, at in d.reached.items()):
            raise Receded(Receded.__doc__)
        await self._catch_up(known)
        bounds = await self._bounds()
        for name in self._wanted:
            if (domain := self.domains.get(name)) is not None:
                await self._look_at_domain(domain, snapshot, positions[name], decides[name], bounds, look)

    async def _look_at_domain(
        self,
        domain: Domain,
        snapshot: Snapshot,
        positions: Sequence[Position],
        decides: Sequence[Position],
        bounds: Mapping[Place, tuple[int, int]],
        look: Look,
    ) -> None:
        await self._look_at_outbox(domain, snapshot, decides, look)
        await load_aside(domain, snapshot)
        findings = look.findings
        check_commands(domain, decides, findings)
        check_policies(domain, self._agents[domain.name], positions, self._since, findings)
        sources = {source.topic.events_topic: source for source in self.domains.values()}
        late = {agent.name for agent in self._agents[domain.name] if getattr(agent, "start", "earliest") == "now"}
        await Positions(domain, sources, bounds, self._reader, late).check(positions, findings)
        for at in positions:
            if (end := bounds.get(Place(at.topic, at.partition))) is not None:
                key = (domain.name, at.agent)
                look.lags[key] = look.lags.get(key, 0) + max(0, end[1] - at.next)
        for projected in domain.projections:
            self.read_events += await projected.follow(positions, self._reader)
        if all(at.whole for at in domain.reached.values()):
            look.rows += await compare(domain, snapshot, findings)
        await self._run_checks(domain, snapshot, findings)
        findings.take(domain.lasting)

    async def _look_at_outbox(
        self, domain: Domain, snapshot: Snapshot, decides: Sequence[Position], look: Look
    ) -> None:
        rows: defaultdict[int, list[Outgoing]] = defaultdict(list)
        columns = ("partition", "number", "key", "value", "more", "traceparent")
        async for found in snapshot.rows(domain.name, "outbox", columns):
            for row in found:
                rows[row["partition"]].append(Outgoing(*row))
        look.waiting[domain.name], look.ages[domain.name] = 0, 0.0
        for at in decides:
            here = sorted(rows[at.partition], key=lambda row: row.number)
            check_outbox(domain, at, here, look.findings)
            ahead = [row for row in here if domain.reached[at.partition].on_topic < row.number <= at.number]
            age = self._before.age(domain.name, at, ahead[0].number if ahead else None, time.monotonic())
            look.waiting[domain.name] += len(ahead)
            look.ages[domain.name] = max(look.ages[domain.name], age)
            if age > self._patience:
                where = f"outbox partition {at.partition} number {ahead[0].number}"
                words = f"{len(ahead)} events wait to be sent, for {age:.0f} s at least"
                look.findings.add("outbox_old", domain.name, where, words, count=len(ahead))
            domain.begin(at.partition)
            domain.take_outbox(at.partition, ahead)
            domain.end(at.partition)

    async def _run_checks(self, domain: Domain, snapshot: Snapshot, findings: Findings) -> None:
        """What the domain itself says must add up."""
        for name, check in discover.checks(domain.name).items():
            found = await snapshot.check(domain.name, check)
            place = f"agents/{domain.name}/audit.py {name}"
            if found.error is not None:
                findings.add("check_failed", domain.name, place, found.error)
            rule = (check.__doc__ or "").partition("\n")[0]
            for row in found.rows[:SHOWN]:
                findings.add(name, domain.name, place, f"{rule} Not so: {fields(masked(row))}", check.__mend__)  # type: ignore[attr-defined]
            if (more := len(found.rows) - SHOWN) > 0:
                findings.count(name, domain.name, more)

    async def _check_beyond(self, domain: Domain, findings: Findings) -> None:
        """What stands on the topic above the last number of the snapshot was given since then."""
        if not any(at.beyond for at in domain.reached.values()):
            return
        known = await numbers(self._settings.postgres, self._settings.namespace, domain.name)
        for partition, at in domain.reached.items():
            if at.beyond and at.beyond[0] > known.get(partition, 0):
                place = f"{domain.topic.events_topic} {partition}:{at.beyond[1]}"
                words = f"number {at.beyond[0]} is on the topic and Postgres knows {known.get(partition, 0)}"
                findings.add("event_unknown", domain.name, place, words)

    async def _bounds(self) -> Mapping[Place, tuple[int, int]]:
        topics = {d.topic.commands_topic for d in self.domains.values()} | {
            d.topic.events_topic for d in self.domains.values()
        }
        return await self._asker.bounds(await self._asker.places(sorted(topics))) if topics else {}


class Receded(CaravanError):
    """Postgres knows less than it did: what was folded goes beyond it, and the next look begins with the first event."""


async def audit(
    settings: Settings, domains: Collection[str] | None = None, *, since: int = 0, patience: float = PATIENCE_S
) -> list[Finding]:
    """Look once at these domains, all unless told; what breaks a promise comes first. Raises CaravanError when it could not look."""
    async with Auditor(settings, domains, since=since, patience=patience) as auditor:
        return list((await auditor.look()).findings)
