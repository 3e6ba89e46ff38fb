"""What an audit finds: a stable name, where, in words, and the mend."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

NAMED = 100  # findings of one name and domain that are told one by one; the others are counted

_EVENTS_STAND = "The events are the truth: caravan replay builds the domain's views anew beside the live ones, compares, and puts them in place."
_BOTH = "Restore Kafka and Postgres from the same moment."
MENDS = {
    "offset_jumped": "Somebody moved the position: stop the workers, set `next` of this row of `offsets` back to the first of these offsets; "
    "what was decided already is dropped by its id.",
    "record_lost": "Stop the workers and set `next` of this row of `offsets` back to this offset; the worker then parks the record.",
    "result_missing": "The events are the truth: put the row back from a backup; without it a repeat of the command would be decided again.",
    "result_changed": "The events are the truth: put the row back from a backup.",
    "result_without_command": "Find out who wrote it: the platform makes no result without a record that it signed.",
    "result_without_events": "Restore the event topic or Postgres, both from the same moment; the others never heard of this command.",
    "parked_and_decided": "Look at it with caravan parked show; skip the parked record, since the command has its result.",
    "event_missing": "Stop the domain's workers. Its consumers never saw these events: restore the outbox rows from a backup, or restore both "
    "Kafka and Postgres from the same moment.",
    "event_rewritten": "Find out who can write to the topic with the platform's key. Readers took the first one.",
    "event_disordered": "Readers dropped it, as they drop what they have seen: restore the topic.",
    "event_unknown": "Postgres is older than the topic: restore the newer Postgres, or let the worker take the topic's events over first.",
    "outbox_old": "Is a worker of this domain running, and does Kafka answer? Its log says why it does not send; caravan status shows it.",
    "outbox_differs": "Find out who changed it. Readers took what is on the topic.",
    "fold_failed": "The rules of this code cannot fold what their domain once told: give the event or the document an upcast.",
    "row_changed": _EVENTS_STAND,
    "row_missing": _EVENTS_STAND,
    "row_extra": _EVENTS_STAND,
    "document_changed": _EVENTS_STAND,
    "document_missing": _EVENTS_STAND,
    "document_extra": _EVENTS_STAND,
    "timer_changed": "Set `due` in `timers` to the time that is told, or let the next change of the document do it.",
    "timer_missing": "Insert the row into `timers`: it is what makes the rules' command come.",
    "timer_extra": "Nothing: the owner takes it off its list when it is due.",
    "position_beyond_log": "The topic was wiped or cut off. " + _BOTH,
    "position_before_log": "Unread records were deleted: restore the topic, or accept the loss by moving the position.",
    "position_of_other_record": "This is another topic under the same name, or the position was moved. " + _BOTH,
    "position_number": "The position was changed by hand. " + _BOTH,
    "position_went_back": "Postgres was restored, or the position was moved: the worker drops what was decided by its id.",
    "policy_jumped": "Stop the workers and set the policy's `next` and `number` back to before this event: what it published already is dropped by its id.",
    "check_failed": "Mend the check in the domain's audit.py, or migrate.",
    "event_repeated": "Nothing: readers drop it.",
    "event_foreign": "Nothing: readers park it. Find out who may write to the topic.",
    "views_not_compared": "Nothing: the first events are not kept on the topic, so nothing can be folded from it.",
}
HARMLESS = frozenset({"event_repeated", "event_foreign", "views_not_compared"})
"""What is told and counted, and breaks no promise."""


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found. `check` is stable, `place` is topic, partition and offset, or table and key."""

    check: str
    domain: str
    place: str
    words: str
    mend: str
    harmless: bool = False

    def __str__(self) -> str:
        """In a line."""
        return f"{self.domain} {self.check} {self.place}: {self.words}"


class Findings:
    """Collects what one look finds; keeps the first of each name and counts them all."""

    def __init__(self) -> None:
        """Nothing is found yet."""
        self.counts: Counter[tuple[str, str]] = Counter()
        self.kept: dict[tuple[str, str], list[Finding]] = {}

    def add(self, check: str, domain: str, place: str, words: str, mend: str | None = None, *, count: int = 1) -> None:
        """Take one; `count` of them stand behind these words."""
        self.counts[domain, check] += count
        named = self.kept.setdefault((domain, check), [])
        if len(named) < NAMED:
            named.append(Finding(check, domain, place, words, mend or MENDS[check], check in HARMLESS))

    def count(self, check: str, domain: str, more: int) -> None:
        """So many more of a name, of which no words are made."""
        self.counts[domain, check] += more

    def take(self, others: "Findings") -> None:
        """Take all that others found."""
        for (domain, check), named in others.kept.items():
            for one in named:
                self.add(check, domain, one.place, one.words, one.mend, count=0)
            self.counts[domain, check] += others.counts[domain, check]

    def __iter__(self) -> Iterator[Finding]:
        """Those that are told one by one, what breaks a promise first."""
        return iter(
            sorted((one for named in self.kept.values() for one in named), key=lambda one: (one.harmless, one.domain))
        )

    @property
    def broken(self) -> bool:
        """Whether any of them breaks a promise."""
        return any(self.breaks(check) for _, check in self.counts)

    @staticmethod
    def breaks(check: str) -> bool:
        """Whether what goes by this name breaks a promise."""
        return check not in HARMLESS
