"""What a rule answers, as plain data. Rules import this module of `streams`, `streams.condition`, and no other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from streams.envelope import Actor

PLATFORM = Actor("service", "")  # who acts where nobody does

ROOT = ""
"""The sub-key under which a rule finds the state of the record's own key."""


class State(msgspec.Struct, frozen=True):
    """Base of the documents that a table keeps, one per key or sub-key.

    Subclass it (`class Account(State, frozen=True)`) with typed fields that all have defaults: the state of an unseen key is `Subclass()`. Change it with
    `msgspec.structs.replace`. With `omit_defaults=True` a text that equals its default is left out only if it is the very same object: where a field may come to
    its default again, set the constant, not what an event says, else a replay stores the same in other words.
    """


class Case(NamedTuple):
    """What a rule may know beside state and command: the time, which never goes back for a key, the command's id, what its decider `consults`, and who acts.

    `consulted` has documents of other keys by their names, as they were committed a moment before: for reading only. A step of a saga and a timer
    are acts of the service that the domain is.
    """

    now: datetime
    command_id: str
    consulted: Mapping[str, Any] = MappingProxyType({})
    actor: Actor = PLATFORM


@dataclass(frozen=True, slots=True)
class Refuse:
    """The command is refused; nothing changes.

    `code` is stable and part of the contract; `status` is the HTTP status for a client that waits (403, 404, 409,
    422 or 429); `details` is JSON for the caller; `events` are facts worth telling others (`points_spend_rejected`), without
    them the core tells `command_rejected`.
    """

    code: str
    status: int = 409
    details: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """The command has begun and a later command of its saga settles it; `events` happen now."""

    events: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Settle:
    """A later step of a saga: `events` happen now and the pending command `command_id` (of the same key) gets its result.

    Without `refuse` the pending command is accepted, with it rejected.
    """

    command_id: str
    events: Sequence[Any]
    refuse: Refuse | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """When a document's own time comes, and the command that the platform then issues in its name.

    `command` is one of the same key whose contract lists its own domain in `services`. The rule that is run by it must move the document's
    timer to a later time or end it, else it would be due for ever.
    """

    at: datetime
    command: Any


@dataclass(frozen=True, slots=True)
class Intent:
    """What an effect wants of the outside world, as plain data: `act` names it (`send_mail`), `data` is JSON."""

    act: str
    data: Mapping[str, Any] = field(default_factory=dict)


Decision = Sequence[Any] | Refuse | Pending | Settle
"""What `decide` returns: events (accepted; may be empty), or one of the above."""
