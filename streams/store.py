"""What the core needs of a store: the port that Postgres and the in-memory store fill.

One `commit` is one transaction; it moves the position or it changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from streams.errors import CaravanError
from streams.sink import Rows

HELD = "held"  # the cause of a record that was parked for no other reason than that its key waits
QUEUE_BYTES = 8 << 20  # of parked records that are taken up at once


class Lost(CaravanError):
    """Another owner moved on, or nobody knows: what is in memory is worth nothing; claim again."""


class Duplicate(CaravanError):
    """An id of the batch is in the inbox already; nothing was committed. Look ids up first."""


class BadData(CaravanError):
    """The store refuses the data of some record (SQLSTATE 22, 23, 54, or it cannot be encoded); nothing was committed."""


class Unavailable(CaravanError):
    """The store is away, or could not do it just now; it will pass."""


class Slot(NamedTuple):
    """The place of one agent on one partition; its rows are in the schema of `domain`."""

    domain: str
    agent: str
    topic: str
    partition: int


class Claim(NamedTuple):
    """A position as it was taken over. `last_id` is the id of the record at `next` - 1; `holds` whether any key waits; `asked` whether a request does.

    `relayed` is the last number that Kafka surely has; of a reader of events the last one on which it may have acted without a word of it here (`Store.doubt`).
    """

    next: int
    epoch: int
    number: int
    relayed: int
    last_id: str | None
    partitions: int | None
    holds: bool
    asked: bool = False


class Result(NamedTuple):
    """What became of a command; `details` and `events` are JSON."""

    command_id: UUID
    status: str
    code: str | None
    details: str | None
    events: str
    hash: str
    actor: str
    partition: int
    offset: int


class Settled(NamedTuple):
    """The late result of a pending command."""

    command_id: UUID
    status: str
    code: str | None
    details: str | None


class Outgoing(NamedTuple):
    """An event that Kafka shall have; with `more` the next number is of the same command."""

    partition: int
    number: int
    key: str
    value: bytes
    more: bool
    traceparent: str | None


class Parked(NamedTuple):
    """A record that could not be processed, as it was. `timestamp` is the broker's; a timer, which stands on no topic, stood `before` the record of an offset."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    cause: str
    error: str
    command_id: UUID | None
    actor: str | None
    holds: bool
    timestamp: int = 0
    before: int | None = None
    attempts: int = 1

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands among the records of its key: ids carry their time."""
        at = 2 * self.offset if self.before is None else 2 * self.before - 1
        return at, self.command_id.int if self.command_id else 1 << 128, self.offset


class Queue(NamedTuple):
    """The first records that hold a key, in the order in which they run; whether there are `more`."""

    records: list[Parked]
    more: bool


Action = Literal["redrive", "skip", "edit"]


class Request(NamedTuple):
    """What an operator asked for a parked record. `begun`: the owner has acted on it, and so far `ran` records of `key` were run."""

    id: UUID
    offset: int
    action: Action
    value: bytes | None = None
    by: str = ""
    reason: str | None = None
    begun: bool = False
    ran: int = 0
    key: bytes | None = None


class Acted(NamedTuple):
    """What became of a request: the whole status; `record` is what was parked, given when it is begun."""

    id: UUID
    status: Literal["waiting", "done", "refused"]
    outcome: str
    ran: int = 0
    record: Parked | None = None


class Stored(NamedTuple):
    """A document: `replaces` is the version that was read, `at` the key's last `now` (Unix microseconds)."""

    key: str
    version: int
    replaces: int
    rules: int
    at: int
    data: str


class Call(NamedTuple):
    """A call to the outside that an effect owes because of the event at `number`; calls of a key are made one after the other.

    `status`: `waiting` until `due` (Unix microseconds); `claimed` by the owner under `epoch`, so perhaps done, whose word is waited for until `due`;
    `answered` with `outcome` (JSON), of which nothing followed yet; `parked`; `done`, which the store forgets. `unknown`: an earlier attempt may have been done.
    """

    number: int
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    intent: str
    due: int
    status: Literal["waiting", "claimed", "answered", "parked", "done"] = "waiting"
    unknown: bool = False
    attempts: int = 0
    epoch: int = 0
    outcome: str | None = None
    error: str | None = None


@dataclass
class Work:
    """One transaction's worth. `expected` is where the position stands, `next` where it will, `number` likewise.

    `timers` maps documents to the time (Unix microseconds) at which they are due, None where that has ended; `calls` are those of an effect that are new
    or changed. A record that is parked already takes on what `parked` says, unless that is only that it is held; `unparked` are offsets of those that are no longer.
    """

    expected: int
    next: int
    number: int
    last_id: str | None
    relayed: int = 0
    duplicates: int = 0
    partitions: int | None = None
    results: list[Result] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    outbox: list[Outgoing] = field(default_factory=list)
    rows: defaultdict[Rows, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    states: list[Stored] = field(default_factory=list)
    timers: dict[str, int | None] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[int] = field(default_factory=list)
    acted: list[Acted] = field(default_factory=list)
    published: int = 0

    @property
    def effect(self) -> bool:
        """Whether anything but the position would change, or went out already (`published` commands of a policy)."""
        return bool(
            self.results
            or self.outbox
            or self.rows
            or self.states
            or self.timers
            or self.calls
            or self.parked
            or self.acted
            or self.duplicates
            or self.published
        )


def fitting(sizes: Sequence[int], limit: int) -> int:
    """How many of the first records of these sizes make one `Queue`."""
    count = total = 0
    for size in sizes[:limit]:
        total += size
        if count and total > QUEUE_BYTES:
            break
        count += 1
    return count


class Store(Protocol):
    """Positions, documents, results, outbox and parked records. Every method may raise Unavailable."""

    async def claim(self, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        """Become the owner: a new epoch, unless the row still shows the epoch `held`. Makes the row, at `begin`, when there is none."""
        ...

    async def standing(self, slot: Slot) -> tuple[int, int]:
        """Where an agent stands, whoever owns it: next offset and last number; 0 and 0 where nobody was yet."""
        ...

    async def doubt(self, slots: Collection[Slot], number: int) -> None:
        """What these effects of one domain asked for because of events up to `number` is not known here. Their rows, made where there are none, say so as `relayed`,
        one without a number begins anew, and their owners are fenced. What they owe on any partition may have been done.
        """
        ...

    async def load(self, slot: Slot, keys: Collection[str]) -> Mapping[str, Stored]:
        """The documents of these keys, those that there are."""
        ...

    async def known(self, slot: Slot, ids: Collection[UUID]) -> set[UUID]:
        """Which of these ids the inbox has."""
        ...

    async def held(self, slot: Slot, keys: Collection[bytes]) -> set[bytes]:
        """Which of these keys wait behind a parked record."""
        ...

    async def asked(self, slot: Slot, limit: int) -> list[Request]:
        """The requests that wait, first asked first."""
        ...

    async def parked(self, slot: Slot, offset: int) -> Parked | None:
        """The record of this offset, if it is parked."""
        ...

    async def queue(self, slot: Slot, key: bytes, limit: int) -> Queue:
        """The first records that hold this key, at most so many and, beside the first, `QUEUE_BYTES`."""
        ...

    async def timers(self, slot: Slot, limit: int) -> list[tuple[str, int]]:
        """The first documents of this partition to be due, with their times (Unix microseconds), earliest first."""
        ...

    async def owed(self, slot: Slot, limit: int) -> list[Call]:
        """The first call of each key, those that are due first before the others; a parked one keeps its key waiting."""
        ...

    async def calls_of(self, slot: Slot, numbers: Collection[int]) -> list[Call]:
        """The calls of these events, those that are still owed."""
        ...

    async def answer(self, slot: Slot, call: Call) -> bool:
        """Write down what came of a claimed call, whoever owns the partition now; False when somebody has acted on it since."""
        ...

    async def unsent(self, slot: Slot, after: int, limit: int) -> list[Outgoing]:
        """The next events above number `after` that Kafka may not have, in order."""
        ...

    async def commit(self, slot: Slot, epoch: int, work: Work) -> None:
        """Do the work under the fence. Raises Lost, Duplicate, BadData or Unavailable; each means that nothing was done,
        save Lost, after which it is unknown.
        """
        ...

    async def sent(self, slot: Slot, epoch: int, number: int) -> None:
        """Kafka has all events up to `number`; a lost epoch makes this a no-op."""
        ...

    async def stopped(self, slot: Slot, why: str | None) -> None:
        """Write down why the owner stopped this partition (None: it runs)."""
        ...
