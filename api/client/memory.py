"""What a client has written, so that it reads it."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

from streams.contract import Topic

MAX_KEYS = 1024  # in one domain; the key that was not written to for longest is forgotten first
MAX_TOKENS = 32  # that the edge takes in one request


class _Kept(NamedTuple):
    at: int
    token: str


class Memory:
    """Tokens of the client's own commands by domain and key: the newest, and those of commands that were under way beside it.

    A command that began after another of its key was answered stands behind it in the topic, so its token covers both.
    """

    def __init__(self) -> None:
        """Nothing was written."""
        self._time = count(1)
        self._domains: dict[str, tuple[str, OrderedDict[str, list[_Kept]]]] = {}

    def begin(self) -> int:
        """A command is about to be sent; the moment goes to `keep`."""
        return next(self._time)

    def keep(self, topic: Topic, key: str, token: str, began: int) -> None:
        """A command was taken."""
        _, keys = self._domains.setdefault(topic.domain, (topic.key, OrderedDict()))
        beside = [kept for kept in keys.get(key, ()) if kept.at > began]
        keys[key] = [*beside, _Kept(next(self._time), token)]
        keys.move_to_end(key)
        while len(keys) > MAX_KEYS:
            keys.popitem(last=False)

    def of(self, domain: str, about: Mapping[str, Any]) -> tuple[str, ...]:
        """What a view with these arguments must cover: the key that it is about, or else the keys written to last."""
        if domain not in self._domains:
            return ()
        name, keys = self._domains[domain]
        there = keys.values() if about.get(name) is None else [keys.get(str(about[name]), [])]
        return tuple(kept.token for many in there for kept in many)[-MAX_TOKENS:]
