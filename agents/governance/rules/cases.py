"""The rules of moderation: one open case per revision of a subject, one decision per case."""

from collections.abc import Mapping
from typing import Any, Literal

from agents.governance.rules.concern import Change, Concern, Documents, Rule
from streams.decision import Case, Decision, Refuse, State
from topics.governance import ModerationRequested, SubmitForModeration

CASE = "case"


class Moderation(State, frozen=True, omit_defaults=True):
    """The case of one revision of a subject."""

    status: Literal["none", "open"] = "none"
    author_id: str = ""


def case_of(message: Any) -> tuple[str, ...]:
    """The document of the case that a message is about."""
    return (f"{CASE}/{message.revision}",)


def submit(state: Documents, command: SubmitForModeration, case: Case) -> Decision:  # noqa: ARG001
    """A case begins."""
    (name,) = case_of(command)
    if state[name].status != "none":
        return Refuse("case_exists")
    return [ModerationRequested.model_validate(dict(command), extra="allow")]


def evolve(state: Documents, event: Any) -> Mapping[str, State]:  # noqa: ARG001
    """The case after an event."""
    (name,) = case_of(event)
    return {name: Moderation("open", event.author_id)}


CASES = Concern(
    documents={CASE: Moderation},
    rules={SubmitForModeration: Rule(submit, case_of)},
    changes={ModerationRequested: Change(evolve, case_of)},
)
