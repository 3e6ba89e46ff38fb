"""What a concern of governance adds to its rules: documents of its own, and what its commands and events do to them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.decision import Case, Decision, State, Timer

Documents = Mapping[str, Any]
"""The key's documents by sub-key; the concerns say which class stands under which word."""

Names = Callable[[Any], Iterable[str]]


def none(message: Any) -> Iterable[str]:  # noqa: ARG001 - as the others are asked
    """No document is asked for."""
    return ()


class Rule(NamedTuple):
    """How a command is decided, by which documents of its key, and by which of other keys (`streams.agent.Decider`)."""

    decide: Callable[[Documents, Any, Case], Decision]
    reads: Names = none
    consults: Names = none


class Change(NamedTuple):
    """What an event changes, and which documents that takes."""

    evolve: Callable[[Documents, Any], Mapping[str, State]]
    reads: Names = none


@dataclass(frozen=True)
class Concern:
    """One concern: `documents` by the first word of their sub-keys, `rules` by command, `changes` by event, and by document when its time comes."""

    documents: Mapping[str, type[State]] = field(default_factory=dict)
    rules: Mapping[type[Any], Rule] = field(default_factory=dict)
    changes: Mapping[type[Any], Change] = field(default_factory=dict)
    timers: Mapping[type[State], Callable[[str, str, Any], Timer | None]] = field(default_factory=dict)
