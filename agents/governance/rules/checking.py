"""What is looked at without a person: words and links of lists, an author's rate, copies; and when that is enough."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from unicodedata import category, normalize

import msgspec
from msgspec.structs import replace

from agents.governance.rules.case import Moderation, about, found
from agents.governance.rules.concern import Documents
from streams.decision import Case, Decision, Refuse, State
from topics.governance import (
    MOST_KINDS,
    MOST_LISTS,
    MOST_PER_HOUR,
    PROGRAM,
    REMEMBERED,
    ConcludeCheck,
    ContentApproved,
    ContentAutoFlagged,
    ContentChecked,
    CountSubmission,
    ListOf,
    ModerationKindSet,
    ModerationListSet,
    SetModerationKind,
    SetModerationList,
    SubmissionCounted,
)

SUBMISSIONS, LISTS, KINDS = "submissions", "moderation_lists", "moderation_kinds"
KINDS_OF_ALL = f"{PROGRAM}/{KINDS}"
HOUR = timedelta(hours=1)

_WORD = re.compile(r"\w+")
_HOST = re.compile(r"(?<![\w-])(?:[\w-]++\.)+[\w-]++")  # in linear time


class Submissions(State, frozen=True, omit_defaults=True):
    """What an author submitted: by kind when within the hour before the last one, and the fingerprints of the last texts with what they were of."""

    times: dict[str, tuple[datetime, ...]] = msgspec.field(default_factory=dict)
    texts: dict[str, str] = msgspec.field(default_factory=dict)


class Lists(State, frozen=True, omit_defaults=True):
    """Which lists there are; what is on them is asked for where texts are open."""

    names: tuple[str, ...] = ()


class Kind(msgspec.Struct, frozen=True, omit_defaults=True):
    """How content of a kind is dealt with, as its contract has it."""

    automatic: bool = False
    most_per_hour: int = 20


class Kinds(State, frozen=True, omit_defaults=True):
    """How content is dealt with, by kind."""

    of: dict[str, Kind] = msgspec.field(default_factory=dict)

    def kind(self, name: str | None) -> Kind:
        """How content of this kind is dealt with; of no kind that was told of, by a person."""
        return self.of.get(name or "", Kind())


class WordList(msgspec.Struct, frozen=True):
    """What a list has."""

    list_id: str
    of: ListOf
    entries: tuple[str, ...]


def flags(text: str, lists: Iterable[WordList]) -> list[str]:
    """The lists of which something is in the text, as flags."""
    words, hosts = f" {plain(text)} ", [host.strip(".") for host in _HOST.findall(_same(text))]
    return [
        f"list:{one.list_id}"
        for one in lists
        if (_has_host(hosts, one) if one.of == "links" else _has_word(words, one))
    ]


def plain(text: str) -> str:
    """The words of a text, one blank between them, however they are written."""
    return " ".join(_WORD.findall(_same(text)))


def _same(text: str) -> str:
    """Without regard to case, width, and characters that nobody sees; Russian is read with and without its dots."""
    seen = "".join(sign for sign in normalize("NFKC", text) if category(sign) != "Cf")
    return seen.casefold().replace("\N{CYRILLIC SMALL LETTER IO}", "\N{CYRILLIC SMALL LETTER IE}")


def _has_word(words: str, one: WordList) -> bool:
    return any(f" {plain(entry)}{'' if entry.endswith('*') else ' '}" in words for entry in one.entries)


def _has_host(hosts: Iterable[str], one: WordList) -> bool:
    listed = [_same(entry) for entry in one.entries]
    return any(host == entry or host.endswith(f".{entry}") for host in hosts for entry in listed)


def of_kinds(command: CountSubmission | ConcludeCheck) -> Iterable[str]:  # noqa: ARG001 - all need the same
    """How kinds of content are dealt with."""
    return (KINDS_OF_ALL,)


def count(state: Documents, command: CountSubmission, case: Case) -> Decision:
    """What an author submits too often, or had submitted before elsewhere, is flagged."""
    before: Submissions = state[SUBMISSIONS]
    kind: Kind = case.consulted[KINDS_OF_ALL].kind(command.kind)
    within = [at for at in before.times.get(command.kind, ()) if at > case.now - HOUR]
    told = ["rate"] if len(within) >= kind.most_per_hour else []
    if before.texts.get(command.fingerprint or "", command.subject) != command.subject:
        told.append("duplicate")
    return [SubmissionCounted.model_validate({**dict(command), "at": case.now, "flags": told}, extra="allow")]


def counted(state: Documents, event: SubmissionCounted) -> Mapping[str, State]:
    """The author's submissions after one more."""
    before: Submissions = state[SUBMISSIONS]
    recent = {kind: tuple(at for at in times if at > event.at - HOUR) for kind, times in before.times.items()}
    times = {
        **{kind: at for kind, at in recent.items() if at},
        event.kind: (*recent.get(event.kind, ()), event.at)[-MOST_PER_HOUR:],
    }
    if event.fingerprint is None:
        return {SUBMISSIONS: replace(before, times=times)}
    texts = {event.fingerprint: event.subject, **before.texts}
    return {SUBMISSIONS: Submissions(times, dict(list(texts.items())[:REMEMBERED]))}


def conclude(state: Documents, command: ConcludeCheck, case: Case) -> Decision:
    """What was found is told to who has to look; what nobody has to look at is approved with the last check."""
    moderation = found(state, command)
    if command.case != moderation.number or command.check not in moderation.waiting:
        return Refuse("already_checked")
    whose = {"kind": moderation.kind, "author_id": moderation.author_id}
    events: list[Any] = [
        ContentChecked(**about(command), **whose, check=command.check, fingerprint=command.fingerprint)
    ]
    if moderation.is_undecided and command.flags:
        events.append(ContentAutoFlagged(**about(command), check=command.check, flags=command.flags))
    elif _needs_nobody(moderation, case):
        events.append(ContentApproved(**about(command), **whose, by="checks", at=case.now))
    return events


def _needs_nobody(moderation: Moderation, case: Case) -> bool:
    untouched = moderation.status == "open" and not moderation.flags and not moderation.reports
    automatic: bool = case.consulted[KINDS_OF_ALL].kind(moderation.kind).automatic
    return untouched and automatic and len(moderation.waiting) == 1


def set_list(state: Documents, command: SetModerationList, case: Case) -> Decision:  # noqa: ARG001 - as all are asked
    """A list as it is from now on."""
    names = state[LISTS].names
    if command.entries and command.list_id not in names and len(names) >= MOST_LISTS:
        return Refuse("too_many_lists", details={"most": MOST_LISTS})
    if empty := [entry for entry in command.entries if not plain(entry)]:
        return Refuse("bad_entry", 422, {"entry": empty[0]})
    return [ModerationListSet.model_validate(dict(command), extra="allow")]


def list_set(state: Documents, event: ModerationListSet) -> Mapping[str, State]:
    """The lists after one is set."""
    others = (name for name in state[LISTS].names if name != event.list_id)
    return {LISTS: Lists((*others, event.list_id) if event.entries else tuple(others))}


def set_kind(state: Documents, command: SetModerationKind, case: Case) -> Decision:  # noqa: ARG001 - as all are asked
    """How content of a kind is dealt with from now on."""
    kinds: Kinds = state[KINDS]
    if command.kind not in kinds.of and len(kinds.of) >= MOST_KINDS:
        return Refuse("too_many_kinds", details={"most": MOST_KINDS})
    return [ModerationKindSet.model_validate(dict(command), extra="allow")]


def kind_set(state: Documents, event: ModerationKindSet) -> Mapping[str, State]:
    """The kinds after one is set."""
    return {KINDS: Kinds({**state[KINDS].of, event.kind: Kind(event.automatic, event.most_per_hour)})}
