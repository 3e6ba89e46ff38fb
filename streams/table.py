"""Tables: the keyed state of a domain, with Faust's mapping API, true in Postgres and hot in memory.

A table has one writing agent. What it holds in memory belongs to the partitions this process owns, each under the epoch
in which it was read; a change of owner drops it.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from streams.decision import ROOT, State
from streams.errors import CaravanError, ContractError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the `now` of a key to which nothing has happened


Upcast = Callable[[str, Any], Any]
"""Of the first word of a sub-key and a document's JSON, the JSON that the next version of the rules would have stored."""


class OtherRules(CaravanError):
    """A stored document is of rules that this code cannot read."""


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

    `types` maps the first word of a sub-key (`hold` of `hold/h1`; `ROOT` for the key itself) to its State class; `version` is that of the rules, and stands with each
    stored document. `upcasts` lead older ones to it, a version at a time: `upcasts[1](word, document)` makes of the JSON that rules 1 stored what rules 2 would have stored.
    A document that nothing leads on is not guessed at: what asks for it is parked.
    """

    name: str
    types: Mapping[str, type[State]]
    version: int = 1
    upcasts: Mapping[int, Upcast] = field(default_factory=dict)
    shards: MutableMapping[int, MutableMapping[str, Document]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that a new key has a state; raises ContractError."""
        if ROOT not in self.types:
            raise ContractError(f"Table {self.name}: give the State class of ROOT.")
        if strange := [n for n in self.upcasts if not 0 < n < self.version]:
            raise ContractError(
                f"Table {self.name}: an upcast leads from a version below {self.version} on, not from {strange[0]}."
            )

    def initial(self, sub_key: str) -> State:
        """The state of an unseen key or sub-key."""
        return self._type(sub_key)()

    def decode(self, sub_key: str, data: str | bytes, rules: int | None = None) -> State:
        """Read a stored document, which rules of version `rules` wrote. Raises OtherRules, and ValueError for one that is not what its State class says."""
        if rules is None or rules == self.version:
            return msgspec.json.decode(data, type=self._type(sub_key))
        document = msgspec.json.decode(data)
        for version in range(rules, max(self.version, rules + 1)):
            if rules > self.version or version not in self.upcasts:
                raise self._strange(sub_key, rules)
            document = self.upcasts[version](sub_key.partition("/")[0], document)
        return msgspec.json.decode(msgspec.json.encode(document), type=self._type(sub_key))

    def _strange(self, sub_key: str, rules: int) -> "OtherRules":
        what = f"the document{f' {sub_key}' if sub_key else ''} is of rules {rules}, and these are {self.version}"
        if rules > self.version:
            return OtherRules(
                f"Table {self.name}: {what}: newer code wrote it. Run that, or build the domain anew with `caravan replay DOMAIN`."
            )
        missing = next(n for n in range(rules, self.version) if n not in self.upcasts)
        return OtherRules(
            f"Table {self.name}: {what}. Give Table(..., upcasts={{{missing}: ...}}), or build the domain anew with `caravan replay DOMAIN`; then redrive."
        )

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
