"""The rules for fields: what a difference of two schemas means in a command, in an event, and in the answer of a view."""

from collections.abc import Iterable, Iterator, Sequence

from caravan.contracts.differences import Difference, Kind
from caravan.contracts.judged import BROKEN, CARE, FINE, Judged, Level

Rule = tuple[Level, str, str]
_NEXT = "a new version with an upcaster from the one before"
_BESIDE = "a new optional field beside it"

COMMAND: dict[Kind, Rule] = {
    "added": (FINE, "", ""),
    "added_required": (BROKEN, "who does not send it is refused (422)", "make it optional: give it a default"),
    "removed": (
        BROKEN, "who sends it is refused (422)",
        "keep it as optional and read it no longer; or a new command, and retire this one",
    ),
    "retyped": (BROKEN, "who sends the former type is refused (422)", f"{_BESIDE}; or a new command, and retire this one"),
    "narrower": (
        BROKEN, "what was accepted is refused now (422)",
        "accept it as before and let the rules refuse it with a code; or a new command, and retire this one",
    ),
    "wider": (FINE, "", ""),
    "default": (CARE, "who leaves it out says something else now", "tell the clients"),
}  # fmt: skip
"""A command that clients send: they were built before, and know nothing of versions."""

STEP: dict[Kind, Rule] = {
    **COMMAND,
    "added_required": (
        BROKEN,
        "records that wait on the topic, or are parked, lack it",
        f"give it a default; or {_NEXT}",
    ),
    "removed": (BROKEN, "records that wait on the topic, or are parked, say it and are not heard", _NEXT),
    "retyped": (
        BROKEN,
        "records that wait on the topic, or are parked, have the former type",
        f"{_BESIDE}; or {_NEXT}",
    ),
    "narrower": (BROKEN, "records that wait on the topic, or are parked, may hold what is no longer taken", _NEXT),
}
"""A command that policies and timers alone give: its producers are replaced with its reader, its records are not."""

EVENT: dict[Kind, Rule] = {
    "added": (FINE, "", ""),
    "added_required": (BROKEN, "the records on the topic lack it, and are read for ever", f"give it a default; or {_NEXT}"),
    "removed": (
        BROKEN, "who listens finds it no longer",
        f"keep it until nobody reads it; or {_NEXT}; or a new event beside this one",
    ),
    "retyped": (BROKEN, "the records on the topic, and who listens, have the former type", f"{_BESIDE}; or {_NEXT}"),
    "narrower": (
        BROKEN, "records on the topic may hold what is no longer taken, and are read for ever",
        f"read what was taken, and let the rules write less; or {_NEXT}",
    ),
    "wider": (CARE, "who listens knows the former values only", "bring those who listen up to date before the first such record"),
    "default": (CARE, "old records that lack it mean something else now", "rebuild the views that show it"),
}  # fmt: skip
"""An event: its records stay for ever, and nobody knows all who read them."""

ANSWER: dict[Kind, Rule] = {
    "added": (FINE, "", ""),
    "added_required": (FINE, "", ""),
    "removed": (BROKEN, "clients miss it", "keep it; or another view, and say in this one's words that it goes"),
    "retyped": (BROKEN, "clients read the former type", "a new field beside it; or another view"),
    "narrower": (FINE, "", ""),
    "wider": (CARE, "clients know the former values only", "tell the clients first"),
    "default": (FINE, "", ""),
}
"""What a view answers."""


def judged(rules: dict[Kind, Rule], where: str, found: Iterable[Difference], who: Sequence[str]) -> Iterator[Judged]:
    """Each difference by these rules; `who` is told of those that matter to anybody."""
    for one in found:
        level, breaks, way = rules[one.kind]
        named = f"field {one.path}: {one.words}" if one.path else one.words
        yield Judged(level, where, named, breaks, tuple(who) if breaks else (), way)
