"""One look at the audit log as Postgres holds it at one moment, and if asked for at the topics that it was written from."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.governance.audit.log import chains, heads
from agents.governance.rules.log import Entry, entry_of
from caravan.audit_log.chain import Chain, Finding, Row
from caravan.errors import BadInput
from sinks.postgres.audit import Snapshot
from streams import discover
from streams.envelope import Signer
from streams.reading import Place, Reader
from streams.records import LineReader, Unfit
from streams.settings import Settings

DOMAIN, TABLE = "governance", "audit_log"
FETCH_MS = 50  # a fetch that goes to the next partition waits for the one under way


class End(NamedTuple):
    """How far a partition was told: the last number and its hash as the log knows them, and the number that it has passed."""

    head: tuple[int, str] = (0, "")
    passed: int = 0


@dataclass
class Look:
    """What was found; with `compared` the topics were asked too."""

    compared: bool
    chains: list[Chain] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """How many entries were looked at."""
        return sum(chain.entries for chain in self.chains)

    @property
    def beyond(self) -> int:
        """How many numbers come after the last good anchor of their partition: nothing but the topics says whether these are true."""
        return sum(chain.last - chain.anchored for chain in self.chains)


async def look(ours: Settings, domains: Collection[str], *, topics: bool) -> Look:
    """Follow the chains of these domains, of all if none is named; with `topics` compare each entry with what the topic tells. Raises CaravanError."""
    found, signer = Look(topics), Signer(ours.signing_keys)
    async with Snapshot(ours.postgres, ours.namespace) as snapshot:
        if await snapshot.shape(DOMAIN, TABLE) is None:
            raise BadInput("there is no audit log yet; run: caravan migrate")
        ends = await _ends(snapshot)
        for domain, partition in _places(domains, ends):
            chain = Chain(domain, partition, signer.witnessed)
            async for row in _rows(snapshot, domain, partition):
                chain.take(row)
            chain.end(*ends.get((domain, partition), End()))
            found.chains.append(chain)
            found.findings += chain.findings
        if not domains:
            found.findings += await _strange(snapshot, found.chains)
        if topics:
            await _compare(ours, snapshot, found, ends)
    return found


def _places(domains: Collection[str], ends: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
    """The partitions of these domains; of all if none is named, also of one that is there no longer."""
    topics = [discover.topic(domain) for domain in domains or discover.domains()]
    there = {(topic.domain, partition) for topic in topics for partition in range(topic.partitions)}
    return sorted(there if domains else there.union(ends))


async def _ends(snapshot: Snapshot) -> dict[tuple[str, int], End]:
    known = {
        (row["domain"], row["partition"]): (row["last"], row["hash"]) for row in await snapshot.view(DOMAIN, heads)
    }
    ends = {place: End(head) for place, head in known.items()}
    for at in await snapshot.positions(DOMAIN):
        name, _, domain = at.agent.partition(".")
        if name == TABLE and domain:
            place = (domain, at.partition)
            ends[place] = End(known.get(place, (0, "")), at.number)
    return ends


async def _rows(snapshot: Snapshot, domain: str, partition: int) -> AsyncIterator[Row]:
    columns = (*Entry._fields, "hash", "anchor")
    where = {"domain": domain, "partition": partition}
    async for rows in snapshot.rows(DOMAIN, TABLE, columns, where, ("number",)):
        for *told, digest, anchor in rows:
            entry = Entry(*told)
            command_id, correlation_id = str(entry.command_id), str(entry.correlation_id)
            settles = str(entry.settles) if entry.settles else None
            entry = entry._replace(command_id=command_id, correlation_id=correlation_id, settles=settles)
            yield Row(entry, digest, anchor)


async def _strange(snapshot: Snapshot, there: Collection[Chain]) -> list[Finding]:
    """Entries of domains or partitions that there never were."""
    known = {(chain.domain, chain.partition) for chain in there}
    return [
        Finding(
            "appended",
            domain,
            partition,
            number,
            "there is no such domain, or it has no such partition, and the log was never there",
        )
        for domain, partition, number in map(tuple, await snapshot.view(DOMAIN, chains))
        if (domain, partition) not in known
    ]


async def _compare(ours: Settings, snapshot: Snapshot, found: Look, ends: dict[tuple[str, int], End]) -> None:
    """Put what the topics say to what was found; of a domain that is there no longer they say nothing."""
    signer, there = Signer(ours.signing_keys), set(discover.domains())
    async with Reader(ours, FETCH_MS) as reader:
        for chain in (chain for chain in found.chains if chain.domain in there):
            domain, partition = chain.domain, chain.partition
            passed = ends.get((domain, partition), End()).passed
            told = _told(reader, LineReader(discover.topic(domain), partition, signer), domain, partition, passed)
            beside = [one async for one in _beside(_rows(snapshot, domain, partition), told)]
            said = {(one.kind, one.number) for one in beside}
            found.findings = [
                one
                for one in found.findings
                if (one.domain, one.partition) != (domain, partition) or (one.kind, one.number) not in said
            ] + beside


async def _told(reader: Reader, lines: LineReader, domain: str, partition: int, passed: int) -> AsyncIterator[Entry]:
    """The entries that follow from a topic, up to a number."""
    place, number = Place(discover.topic(domain).events_topic, partition), 0
    start, end = (await reader.bounds([place]))[place]
    async for records in reader.batches(place, start, end):
        for record in records:
            try:
                envelope = lines.read(record).envelope
            except Unfit:
                continue
            if number < envelope.number <= passed:
                number = envelope.number
                if (entry := entry_of(envelope)) is not None:
                    yield entry


async def _beside(rows: AsyncIterator[Row], told: AsyncIterator[Entry]) -> AsyncIterator[Finding]:
    """What differs between entries as they stand and as the topic tells them, both in the order of their numbers; of what is no longer on the topic nothing is said."""
    row, should = await anext(rows, None), await anext(told, None)
    first = should.number if should else None
    while row is not None or should is not None:
        if should is None or (row is not None and row.entry.number < should.number):
            assert row is not None
            if first is not None and row.entry.number > first:
                yield _finding("appended", row.entry, "no command left this entry on the topic")
            row = await anext(rows, None)
        elif row is None or should.number < row.entry.number:
            yield _finding("missing", should, f"{should.action} of {should.actor} on {should.target} is not there")
            should = await anext(told, None)
        else:
            if row.entry != should:
                yield _finding("altered", should, _difference(row.entry, should))
            row, should = await anext(rows, None), await anext(told, None)


def _difference(entry: Entry, should: Entry) -> str:
    pairs = zip(Entry._fields, entry, should, strict=True)
    return "; ".join(f"{name} is {is_!s}, and the topic tells {told!s}" for name, is_, told in pairs if is_ != told)


def _finding(kind: str, entry: Entry, words: str) -> Finding:
    return Finding(kind, entry.domain, entry.partition, entry.number, words)
