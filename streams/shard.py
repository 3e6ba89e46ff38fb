"""What one partition's agent holds of its table in memory, and the pure step from a message to changed documents."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from streams.agent import Evolve, Reads, TimerOf, no_timer
from streams.decision import ROOT, State
from streams.errors import CaravanError
from streams.store import BadData, Stored
from streams.table import EPOCH, Document, Table

LIMIT = 128 << 20  # bytes of documents a partition keeps hot, about
_DOCUMENT = 400  # bytes that a document takes besides its data, about
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode
_new: Callable[..., Any] = tuple.__new__  # a NamedTuple made so costs a third of a call of its class


class UnreadDocument(CaravanError):
    """A rule changed a document that `reads` had not named for this message."""


class UnreadableDocument(CaravanError):
    """A stored document is not what the table's State class says, or there is no such class."""


def document_key(key: str, sub_key: str) -> str:
    """Where a sub-key of an aggregate is stored; a key holds no `/`, so this is unambiguous."""
    return f"{key}/{sub_key}" if sub_key else key


def microseconds(moment: datetime) -> int:
    """Unix time in microseconds."""
    return (moment - EPOCH) // _MICROSECOND


def moment(unix_us: int) -> datetime:
    """The UTC time of Unix microseconds."""
    return EPOCH + timedelta(microseconds=unix_us)


def space_of(projection: str) -> str:
    """What stands before the keys of a projection's documents; no key of an aggregate begins so, since none holds a `/`."""
    return f"/{projection}/"


class TimerStands(CaravanError):
    """A rule left the timer that ran it where it was; it would run for ever."""


Timers = Mapping[str, int | None]
"""Documents to the times at which they are due (Unix microseconds), None where that has ended."""


class Shard:
    """The hot documents of one partition; valid only under the epoch in which they were read."""

    def __init__(
        self, table: Table, partition: int, timer: TimerOf = no_timer, limit: int = LIMIT, space: str = ""
    ) -> None:
        """Empty; it shows itself in `table` once it is used. `space` stands before the keys of its documents in the store."""
        self.table, self.space = table, space
        self.partition = partition
        self._timer = timer
        self._timers: dict[str, int | None] = {}
        self._documents: dict[str, Document] = {}
        self._dirty: dict[str, Document] = {}
        self._unreadable: dict[str, Exception] = {}
        self._pinned: deque[Collection[str]] = deque()
        self._bytes = 0
        self._limit = limit
        table.shards[partition] = self._documents

    def missing(self, keys: set[str]) -> set[str]:
        """Which of these documents have to be loaded."""
        return keys.difference(self._documents)

    def fill(self, keys: Collection[str], stored: Mapping[str, Stored]) -> None:
        """Take loaded documents, by their keys in the store; a key that is not stored gets its initial state.

        One that cannot be read is missed by the messages that ask for it, and by no other.
        """
        self._unreadable.clear()
        for key in keys:
            row = stored.get(self.space + key)
            try:
                self._documents[key] = self._opened(key, row)
            except Exception as error:  # noqa: BLE001 - the document is not what the rules take it for
                self._unreadable[key] = error
            else:
                self._bytes += (len(row.data) if row else 0) + _DOCUMENT

    def _opened(self, name: str, row: Stored | None) -> Document:
        key, _, sub_key = name.partition("/")
        if row is None:
            return Document(self.table.initial(sub_key))
        state = self.table.decode(sub_key, row.data, row.rules)
        return Document(state, row.version, row.version, moment(row.at), self.due(key, sub_key, state))

    def due(self, key: str, sub_key: str, state: State) -> int | None:
        """When a document is due by the rules."""
        if self._timer is no_timer:
            return None
        timer = self._timer(key, sub_key, state)
        return None if timer is None else microseconds(timer.at)

    def dues(self, key: str, changed: Mapping[str, State]) -> Timers:
        """The timers that these changes set, move or end."""
        found: dict[str, int | None] = {}
        if (timer_of := self._timer) is not no_timer:
            for sub_key, state in changed.items():
                name = f"{key}/{sub_key}" if sub_key else key
                timer = timer_of(key, sub_key, state)
                due = None if timer is None else microseconds(timer.at)
                if due != self._documents[name].due:
                    found[name] = due
        return found

    def states(self, key: str, sub_keys: Iterable[str]) -> dict[str, State]:
        """The states that a rule is given; raises UnreadableDocument."""
        documents = self._documents
        try:
            found = {ROOT: documents[key].state}
            for sub_key in sub_keys:
                found[sub_key] = documents[document_key(key, sub_key)].state
        except KeyError as missing:
            raise self._unread(*missing.args) from missing
        return found

    def root(self, key: str) -> Document:
        """The document of the key itself; raises UnreadableDocument."""
        try:
            return self._documents[key]
        except KeyError as missing:
            raise self._unread(key) from missing

    def _unread(self, key: str) -> UnreadableDocument:
        return UnreadableDocument(f"{self.table.name} {key}: {self._unreadable.get(key)!r}")

    def put(self, key: str, changed: Mapping[str, State], sequence: int, at: datetime) -> None:
        """Take over what `evolve` changed; the root counts the events, whether or not it changed."""
        root = self._dirty[key] = self._documents[key]
        for sub_key, state in changed.items():
            if not sub_key:
                root.state = state
                continue
            name = f"{key}/{sub_key}"
            document = self._dirty[name] = self._documents[name]
            document.state = state
            document.version += 1
            document.at = at
        root.version, root.at = sequence, at

    def demand_moved(self, name: str, due: int, states: Mapping[str, State]) -> None:
        """Raise TimerStands unless the document, as in `states`, is due later than `due` or not at all."""
        key, _, sub_key = name.partition("/")
        after = self.due(key, sub_key, states.get(sub_key, self._documents[name].state))
        if after is not None and after <= due:
            raise TimerStands(f"{self.table.name} {name} is still due after its own command: move or end its timer.")

    def set(self, timers: Timers) -> None:
        """Take over what `dues` told, or that a timer is done with."""
        for name, due in timers.items():
            if name in self._documents:
                self._documents[name].due = due
        self._timers.update(timers)

    def take_timers(self) -> dict[str, int | None]:
        """The timers changed since the last take."""
        timers, self._timers = self._timers, {}
        return timers

    def take(self) -> list[Stored]:
        """The documents changed since the last take, sorted by key, as they are to be stored; raises BadData for one that is no JSON."""
        rules, space = self.table.version, self.space
        dirty, self._dirty = self._dirty, {}
        out = []
        for key in sorted(dirty):
            document = dirty[key]
            version, data = document.version, self._encoded(key, document.state)
            out.append(_new(Stored, (space + key, version, document.stored, rules, microseconds(document.at), data)))
            document.stored = version
        self._pinned.append(dirty.keys())
        return out

    def _encoded(self, key: str, state: State) -> str:
        try:
            return _encode(state).decode()
        except Exception as error:  # a rule put something into it that its class does not allow
            raise BadData(f"{self.table.name} {key}: the document cannot be stored: {error}") from error

    def committed(self) -> None:
        """What the oldest take returned is in the store."""
        self._pinned.popleft()

    def trim(self) -> None:
        """Above the byte limit forget all documents but those of takes that are not committed; call it between batches."""
        if self._bytes <= self._limit:
            return
        kept = {key: self._documents[key] for keys in self._pinned for key in keys}
        self._documents.clear()
        self._documents.update(kept)
        self._bytes = len(kept) * 2 * _DOCUMENT

    def close(self) -> None:
        """The partition is no longer here."""
        if self.table.shards.get(self.partition) is self._documents:  # a new owner may be here already
            del self.table.shards[self.partition]
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._documents.clear()
        self._dirty.clear()
        self._timers.clear()
        self._pinned.clear()
        self._bytes = 0


def documents_of(reads: Reads, messages: Iterable[tuple[str, Any]]) -> set[str]:
    """The documents that a batch of (key, message) asks for. A `reads` that raises does so again where its record is run and parked."""
    wanted = set()
    for key, message in messages:
        wanted.add(key)
        try:
            for sub_key in reads(message):
                wanted.add(document_key(key, sub_key))
        except Exception:  # noqa: BLE001, S110 - told where the record is run
            pass
    return wanted


def evolved(evolve: Evolve, states: dict[str, State], event: Any) -> Mapping[str, State]:
    """Fold one event into `states`; returns what changed. Raises UnreadDocument."""
    changed = evolve(states, event)
    read = len(states)
    states.update(changed)
    if len(states) != read:
        unread = [*states][read:]
        raise UnreadDocument(f"{type(event).__name__} changed {sorted(unread)}, which `reads` did not name.")
    return changed
