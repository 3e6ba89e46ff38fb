"""Where agents stand: within their topics, on the record that they say, with the number that is there, and never going back. And the outbox."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from caravan.audit.domain import Domain, Last
from caravan.audit.finding import Findings
from sinks.postgres.audit import Position
from streams.envelope import body_hash
from streams.handler import identity
from streams.reading import Place, Reader
from streams.store import Outgoing


@dataclass(frozen=True)
class Positions:
    """Checks where the agents of a domain stand. `sources` are the domains by their event topics, `from_now` the agents that began late."""

    domain: Domain
    sources: Mapping[str, Domain]
    bounds: Mapping[Place, tuple[int, int]]
    reader: Reader
    from_now: Collection[str]

    async def check(self, positions: Sequence[Position], findings: Findings) -> None:
        """Each is within its topic, and the record before it is the one that was worked, with the number that is told."""
        for at in positions:
            if (place := Place(at.topic, at.partition)) not in self.bounds:
                continue  # an agent of other code
            for check, words in await self._wrong(at, place):
                findings.add(check, self.domain.name, f"offsets {at.agent} {at.topic} {at.partition}", words)

    async def _wrong(self, at: Position, place: Place) -> list[tuple[str, str]]:
        start, end = self.bounds[place]
        if at.next > end:
            return [("position_beyond_log", f"next is {at.next} and the topic ends at {end}")]
        if at.next < start:
            return [("position_before_log", f"next is {at.next} and the topic begins at {start}")]
        wrong = []
        source = self.sources.get(at.topic)
        last = source.last_before(at.partition, at.next) if source else None
        if at.last_id and at.next > start and not await self._is_last(at, place, last):
            wrong.append(
                ("position_of_other_record", f"the record at {at.next - 1} is not the one that was worked last")
            )
        late = at.agent in self.from_now and at.number == 0
        number = last.number if last else 0
        if source and source.reached[at.partition].whole and not late and at.number != number:
            words = f"number is {at.number} and the events before offset {at.next} go up to {number}"
            wrong.append(("position_number", words))
        return wrong

    async def _is_last(self, at: Position, place: Place, last: Last | None) -> bool:
        """Whether the record before the position is the one that it tells; one that is not there any more cannot be asked."""
        if last is not None:
            known = last.identity if last.offset == at.next - 1 else None
        else:
            known = self.domain.command_at(at.partition, at.next - 1)
        if known is None and (record := await self.reader.read(place, at.next - 1)) is not None:
            known = identity(record)
        return known in {None, at.last_id}


def check_outbox(domain: Domain, at: Position, rows: Sequence[Outgoing], findings: Findings) -> None:
    """Every number that was given is on the topic or in the outbox, and what Kafka is said to have is there."""
    reached, topic = domain.reached[at.partition], domain.topic.events_topic
    where = f"outbox partition {at.partition}"
    if (unsaid := at.relayed - reached.on_topic) > 0:
        words = f"numbers {reached.on_topic + 1} to {at.relayed} are said to be on the topic, and are not"
        findings.add("event_missing", domain.name, f"{topic} {at.partition}", words, count=unsaid)
    sent = max(at.relayed, reached.on_topic)
    waiting = {row.number for row in rows if sent < row.number <= at.number}
    if (lost := at.number - sent - len(waiting)) > 0:
        first = next(n for n in range(sent + 1, at.number + 1) if n not in waiting)
        words = f"number {first} is neither on the topic nor in the outbox"
        words += f", and {lost - 1} more up to {at.number} are not" if lost > 1 else ""
        findings.add("event_missing", domain.name, f"{topic} {at.partition}", words, count=lost)
    for row in rows:
        place, told = f"{where} number {row.number}", domain.known(at.partition, row.number)
        if row.number > at.number:
            findings.add("outbox_differs", domain.name, place, f"the last number given is {at.number}")
        elif told is not None and told[0] != body_hash(row.value):
            seen = f"the topic says something else at offset {told[1]}" if told[1] >= 0 else "it was something else"
            findings.add("outbox_differs", domain.name, place, seen)


class Before:
    """Positions as of the last look, and since when events wait; they go forward."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: dict[tuple[str, ...], Position] = {}
        self._waiting: dict[tuple[str, int], tuple[int, float]] = {}

    def check(self, domain: str, positions: Sequence[Position], findings: Findings) -> None:
        """Nothing goes back between two looks."""
        for at in positions:
            key = (domain, at.agent, at.topic, str(at.partition))
            before = self._seen.get(key, at)
            back = [
                f"{name} went from {getattr(before, name)} to {getattr(at, name)}"
                for name in ("next", "number", "relayed", "epoch")
                if getattr(at, name) < getattr(before, name)
            ]
            if back:
                where = f"offsets {at.agent} {at.topic} {at.partition}"
                findings.add("position_went_back", domain, where, ", ".join(back))
            self._seen[key] = at

    def age(self, domain: str, at: Position, oldest: int | None, now: float) -> float:
        """For how many seconds at least the oldest unsent event has been waiting: since the position last moved, or since it was first seen here."""
        if oldest is None:
            self._waiting.pop((domain, at.partition), None)
            return 0.0
        number, since = self._waiting.get((domain, at.partition), (oldest, now))
        if number != oldest:
            since = now
        self._waiting[domain, at.partition] = oldest, since
        return max(at.idle, now - since)
