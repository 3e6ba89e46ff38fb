"""The rules of governance: each concern has its own commands, events and documents; here they are looked up."""

from collections.abc import Iterable, Mapping
from typing import Any

from agents.governance.rules.admins import ADMIN_LIST
from agents.governance.rules.cases import CASES
from agents.governance.rules.concern import Change, Documents, Rule
from agents.governance.rules.kyc import KYC
from agents.governance.rules.privacy import PRIVACY
from agents.governance.rules.sanctions import SANCTIONS
from streams.decision import Case, Decision, State, Timer

__all__ = ["CONCERNS", "consults", "decide", "evolve", "reads", "timer"]

CONCERNS = (CASES, SANCTIONS, ADMIN_LIST, PRIVACY, KYC)

_RULES: Mapping[type[Any], Rule] = {command: rule for concern in CONCERNS for command, rule in concern.rules.items()}
_CHANGES: Mapping[type[Any], Change] = {
    event: change for concern in CONCERNS for event, change in concern.changes.items()
}
_TIMERS = {document: timer for concern in CONCERNS for document, timer in concern.timers.items()}


def reads(message: Any) -> Iterable[str]:
    """The documents of its own key that a command or event is about."""
    asked = _RULES.get(type(message)) or _CHANGES.get(type(message))
    return asked.reads(message) if asked else ()


def consults(command: Any) -> Iterable[str]:
    """The documents of other keys that a command is judged by."""
    return _RULES[type(command)].consults(command)


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    return _RULES[type(command)].decide(state, command, case)


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    change = _CHANGES.get(type(event))
    return change.evolve(state, event) if change else {}


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """When a document's own time comes."""
    due = _TIMERS.get(type(document))
    return due(key, sub_key, document) if due else None
