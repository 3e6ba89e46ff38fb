"""What a decider's rules look up: documents of other keys of its domain, as they are committed when a batch is run."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from streams.agent import Decider, no_reads
from streams.decision import State
from streams.envelope import Signer
from streams.log import Log
from streams.recalling import demand_known
from streams.records import CommandRecord
from streams.shard import UnreadableDocument
from streams.store import Slot, Store, Stored

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Read(NamedTuple):
    """A stored document and what it says: a state, or why it cannot be read."""

    stored: Stored | None
    state: State | Exception


class Consulting:
    """The documents that one batch of commands consults; none are kept for the next but those that have not changed."""

    def __init__(self, decider: Decider, slot: Slot, *, store: Store) -> None:
        """Nothing is read before `load`."""
        self._decider, self._slot, self._store = decider, slot, store
        self._ever = decider.consults is not no_reads
        self._read: dict[str, _Read] = {}

    async def begin(self, log: Log, signer: Signer) -> None:
        """Raise Stop while another partition has events that the store does not know: what is consulted may be among them."""
        topic = self._decider.topic
        for n in range(topic.partitions if self._ever else 0):
            if n != self._slot.partition:
                await demand_known(topic, n, store=self._store, log=log, signer=signer)

    def asked(self, commands: Iterable[CommandRecord]) -> bool:
        """Whether these commands consult anything."""
        return self._ever and bool(self._names(commands))

    async def load(self, commands: Iterable[CommandRecord]) -> None:
        """Read what these commands consult."""
        if self._ever:
            names = self._names(commands)
            stored = await self._store.load(self._slot, names) if names else {}
            self._read = {name: self._opened(name, stored.get(name)) for name in names}

    def of(self, message: Any) -> Mapping[str, State]:
        """What a command of the batch consults, by name; raises UnreadableDocument, and what `consults` raises."""
        if not self._ever:
            return _NOTHING
        found: dict[str, State] = {}
        for name in self._decider.consults(message):
            state = self._read[name].state
            if isinstance(state, Exception):
                raise UnreadableDocument(f"{self._decider.table.name} {name}: {state!r}") from state
            found[name] = state
        return found

    def _names(self, commands: Iterable[CommandRecord]) -> set[str]:
        names: set[str] = set()
        for command in commands:
            with suppress(Exception):  # told where the command is run
                names.update(self._decider.consults(command.message))
        return names

    def _opened(self, name: str, stored: Stored | None) -> _Read:
        before = self._read.get(name)
        if before is not None and before.stored is not None and before.stored == stored:
            return before  # a large catalogue is decoded once, not in every batch
        table, sub_key = self._decider.table, name.partition("/")[2]
        try:
            state = table.initial(sub_key) if stored is None else table.decode(sub_key, stored.data, stored.rules)
        except Exception as error:  # noqa: BLE001 - the document is not what the rules take it for
            return _Read(stored, error)
        return _Read(stored, state)
