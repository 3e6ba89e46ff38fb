"""Timers as commands: when a document is due, the owner of its partition runs the command that the rules name for it.

They are not published: what is due is read from the store, decided, and taken off the store's list in one transaction.
"""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from streams.agent import Decider
from streams.clock import Clock
from streams.envelope import Actor, decode_command, encode
from streams.ids import derived
from streams.producer import enveloped
from streams.records import CommandRecord, Unfit
from streams.shard import Shard, microseconds, moment
from streams.store import Slot, Store

log = logging.getLogger(__name__)

AGAIN = 3_600_000_000  # microseconds until a timer that could not be told is looked at again
TIMER = "caravan-timer"  # the header of a timer: when it was due, and whose it is
FIRE = 500  # timers that are run in one batch, at most


class TimerRecord(NamedTuple):
    """A timer in the shape of a record. Its offset is below zero and no other's: it stands on no topic."""

    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Due(NamedTuple):
    """A document's command, whose time has come; `again` when it was parked and is run once more."""

    document: str
    due: int
    command: CommandRecord
    again: bool = False


class Timers:
    """The timers of one decider on one partition; remembers when the next one is due."""

    def __init__(self, decider: Decider, slot: Slot, *, store: Store, clock: Clock) -> None:
        """Nothing is due before `begin`."""
        self._decider, self._slot = decider, slot
        self._store, self._clock = store, clock
        self._next: int | None = None

    async def begin(self) -> None:
        """Learn when the first one is due."""
        first = await self._store.timers(self._slot, 1)
        self._next = first[0][1] if first else None

    def heard(self, dues: Iterable[int | None]) -> None:
        """Timers were committed."""
        self._next = min((due for due in (self._next, *dues) if due is not None), default=None)

    def wait(self) -> float | None:
        """Seconds until the next one is due, at most; None when there is none."""
        return None if self._next is None else (moment(self._next) - self._clock.now()).total_seconds()

    async def take(self, shard: Shard, limit: int = FIRE) -> list[Due]:
        """Those that are due now, at most so many, their documents loaded into `shard`; ask while nothing is uncommitted.

        What the store lists at a time that is not the document's (the rules were changed) is put right in `shard`.
        """
        now = microseconds(self._clock.now())
        listed = await self._store.timers(self._slot, limit + 1)
        names = [name for name, due in listed[:limit] if due <= now]
        self._next = listed[len(names)][1] if len(listed) > len(names) else None
        if missing := shard.missing({*names, *(name.partition("/")[0] for name in names)}):
            shard.fill(missing, await self._store.load(self._slot, missing))
        return [due for name in names if (due := self._due(shard, name, now)) is not None]

    def parked(self, record: Any) -> Due:
        """A timer that was parked, as it was; raises Unfit."""
        try:
            envelope = decode_command(record.value)
            kind = self._decider.topic.commands[envelope.type]
            command = kind.read(envelope.schema_version, bytes(envelope.payload))
            due, document = dict(record.headers)[TIMER].decode().split(" ", 1)
            moment(int(due))
        except Exception as error:
            raise Unfit("undecodable", f"Not a timer: {error!r}") from error
        if command.key.encode() != record.key or envelope.aggregate_id != command.key:
            raise Unfit("wrong_key", f"The timer's key is not that of its payload, {command.key!r}.")
        return Due(document, int(due), CommandRecord(record, envelope, command), True)

    def stands(self, shard: Shard, due: Due) -> bool:
        """Whether the document, as it is in `shard`, is still due just then."""
        key, _, sub_key = due.document.partition("/")
        return shard.due(key, sub_key, shard.root(due.document).state) == due.due

    def _due(self, shard: Shard, name: str, now: int) -> Due | None:
        try:
            found = self._timer(shard, name)
        except Exception:  # rules may raise anything, and a document may be unreadable
            log.exception("%s: the timer of %s cannot be told; looking again in an hour", self._slot.domain, name)
            found = None, now + AGAIN
        if not isinstance(found, Due):
            shard.set({name: found[1]})
            self.heard([found[1]])
            return None
        return found

    def _timer(self, shard: Shard, name: str) -> Due | tuple[None, int | None]:
        """What is due, or when it will be."""
        key, _, sub_key = name.partition("/")
        timer = self._decider.timer(key, sub_key, shard.root(name).state)
        due = None if timer is None else microseconds(timer.at)
        if timer is None or due is None or moment(due) > self._clock.now():
            return None, due
        if timer.command.topic is not self._decider.topic or timer.command.key != key:
            raise ValueError(f"{timer.command!r} is no command of {self._slot.domain} {key}.")
        return Due(name, due, self._command(timer.command, name, due, shard.root(key).version))

    def _command(self, command: Any, name: str, due: int, sequence: int) -> CommandRecord:
        """The command with an id derived from document and time: the same timer has the same id whoever runs it."""
        cause = UUID(int=due // 1000 << 80)
        command_id = derived(cause, "timer", command.wire_name, name, sequence)
        actor = Actor("service", self._slot.domain)
        envelope = enveloped(command, command_id=command_id, issued_at=self._clock.now(), actor=actor)
        milliseconds = int((self._clock.now() - self._clock.offset).timestamp() * 1000)
        record = TimerRecord(
            self._slot.partition,
            -1 - (command_id.int & (1 << 62) - 1),
            milliseconds,
            command.key.encode(),
            encode(envelope),
            ((TIMER, f"{due} {name}".encode()),),
        )
        return CommandRecord(record, envelope, command)
