"""Tables: the keyed state of a domain, with Faust's mapping API, true in Postgres and hot in memory.

A table has one writing agent. What it holds in memory belongs to the partitions this process owns, each under the epoch
in which it was read; a change of owner drops it.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from streams.decision import ROOT, State
from streams.errors import ContractError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the `now` of a key to which nothing has happened


class Document(msgspec.Struct):
    """A state in memory: `version` counts its changes, `stored` is the version Postgres has, `at` its last `now`.

    `due` is when its timer runs out, in Unix microseconds.
    """

    state: State
    version: int = 0
    stored: int = 0
    at: datetime = EPOCH
    due: int | None = None


@dataclass(eq=False)
class Table(Mapping[str, State]):
    """Declaration of a domain's state and the view of what this process holds of it.

    `types` maps the first word of a sub-key (`hold` of `hold/h1`; `ROOT` for the key itself) to its State class;
    `version` is the rules' version: a stored document of another one is read by `upcast`.
    """

    name: str
    types: Mapping[str, type[State]]
    version: int = 1
    shards: MutableMapping[int, MutableMapping[str, Document]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that a new key has a state; raises ContractError."""
        if ROOT not in self.types:
            raise ContractError(f"Table {self.name}: give the State class of ROOT.")

    def initial(self, sub_key: str) -> State:
        """The state of an unseen key or sub-key."""
        return self._type(sub_key)()

    def decode(self, sub_key: str, data: str | bytes) -> State:
        """Read a stored document."""
        return msgspec.json.decode(data, type=self._type(sub_key))

    def _type(self, sub_key: str) -> type[State]:
        word = sub_key.partition("/")[0]
        try:
            return self.types[word]
        except KeyError:
            raise ContractError(f"Table {self.name} has no state {word!r}; it has {sorted(self.types)}.") from None

    def __getitem__(self, key: str) -> State:
        """The state of a key whose partition this process owns and holds in memory."""
        for shard in self.shards.values():
            if key in shard:
                return shard[key].state
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        """The keys in memory."""
        for shard in self.shards.values():
            yield from shard

    def __len__(self) -> int:
        """How many keys are in memory."""
        return sum(map(len, self.shards.values()))
