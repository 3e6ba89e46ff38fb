"""What a record costs on its way from a fetch to rows and documents: objects, and copies of its bytes, counted and not timed.

A limit may be lowered whenever the code allows. Whoever raises one writes here why it is worth it.
"""

import gc
import sys
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from msgspec.structs import replace

from agents.points.agent import POINTS_DECIDER
from benchmarks.events import Generator, Load, now
from streams.agent import Decider
from streams.envelope import decode_event, encode
from streams.fetching import Fetched
from streams.folding import fold, load, shard_of
from streams.memory import MemoryStore
from streams.records import EventReader, EventRecord
from streams.shard import Shard
from streams.store import Slot, Work
from streams.testing import SIGNER
from tests.streams import tally
from topics.points import POINTS

COUNT = 2000  # records of which objects are counted
LARGE = 1 << 20  # bytes of the record of which copies are counted

OBJECTS = {  # memory blocks that a record of points adds, all of it kept
    "unpack": 11.5,  # the record, its key, value, time, offset and one header
    "read": 31.5,  # the envelope with its ids, actor and source, the message, and what they are made of
    "fold": 6.0,  # a ledger's row, a balance's, the account
}
COPIES = {  # of a record's bytes, those that were fetched apart
    "unpack": 1.0,  # the value
    "read": 1.0,  # its text in the message
    "fold": 0.0,  # rows and documents share it
}


class Path:
    """The steps of one decider's events, as the loop takes them, from packed bytes on; nothing is given back between them."""

    def __init__(self, agent: Decider, records: Iterable[tuple[bytes, bytes]]) -> None:
        topic = agent.topic.events_topic
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 30)
        for offset, (key, value) in enumerate(records):
            builder.append(offset, 1_700_000_000_000 + offset, key, value, [SIGNER.sign(topic, key, value)])
        self._data = bytes(builder.build())
        self._agent = agent
        self._slot = Slot(agent.name, agent.name, topic, 0)
        self._reader = EventReader(agent.topic, 0, SIGNER)
        self._shard: Shard | None = shard_of(agent, 0)
        self._records: Sequence[Any] = ()
        self._events: list[EventRecord] = []
        self.work = Work(0, 0, 0, None)

    def unpack(self) -> None:
        self._records = Fetched(self._data, 0, check=True).records()

    def read(self) -> None:
        self._events = [self._reader.read(record) for record in self._records]

    async def load(self) -> None:
        """What is needed once a key is not a record's cost."""
        await load(self._agent, self._shard, MemoryStore(), self._slot, self._events)

    def fold(self) -> None:
        for event in self._events:
            fold(self._agent, self._shard, event, self.work)

    async def steps(self) -> "list[tuple[str, Any]]":
        """Their names, and what does them; everything has been done once, so that what is remembered is."""
        self.unpack()
        self.read()
        await self.load()
        self.fold()
        self.work = Work(0, 0, 0, None)
        self._records, self._events = (), []
        return [("unpack", self.unpack), ("read", self.read), ("fold", self.fold)]


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing but what is counted gives memory back."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def awards() -> Iterator[tuple[bytes, bytes]]:
    made = Generator(Load(COUNT * POINTS.partitions, 50, 1, now()), SIGNER).records()
    return ((record.key, record.value) for record in made if record.partition == 0)


def large() -> tuple[bytes, bytes]:
    """A record of tally that is almost nothing but one text."""
    key = tally.account(0)
    known = decode_event(next(awards())[1])
    payload = tally.Added(account=key, amount=1, note="x" * LARGE).to_json()
    made = replace(known, domain="tally", type="added", aggregate_id=key, payload=msgspec.Raw(payload))
    return key.encode(), encode(made)


async def test_a_record_makes_no_more_objects_than_are_written_here() -> None:
    steps = await Path(POINTS_DECIDER, awards()).steps()
    told = {}
    with uncollected():
        for name, step in steps:
            before = sys.getallocatedblocks()
            step()
            told[name] = round((sys.getallocatedblocks() - before) / COUNT, 1)
    assert {name: count for name, count in told.items() if count > OBJECTS[name]} == {}


async def test_a_records_bytes_are_copied_no_more_often_than_is_written_here() -> None:
    steps = await Path(tally.decider(), [large()]).steps()
    told = {}
    tracemalloc.start()
    try:
        for name, step in steps:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            step()
            told[name] = round((tracemalloc.get_traced_memory()[1] - before) / LARGE, 1)
    finally:
        tracemalloc.stop()
    assert {name: count for name, count in told.items() if count > COPIES[name]} == {}
