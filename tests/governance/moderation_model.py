"""Moderation as it is meant, in plain words: what becomes of a command, by what happened before. It shares nothing with the rules."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

AUTHORS = {"notes:n1": "ann", "notes:n2": "ann", "notes:m1": "mod"}
KINDS = {"note": (True, 1), "essay": (False, 20)}  # whether nobody has to look, and how many in an hour


@dataclass
class Look:
    """One case."""

    origin: str
    status: str = "open"
    holder: str = ""
    decider: str = ""
    left: set[str] = field(default_factory=set)
    flags: list[str] = field(default_factory=list)
    reports: set[str] = field(default_factory=set)
    appeal: str = "none"

    @property
    def waits(self) -> bool:
        """Whether nobody has decided."""
        return self.status not in ("approved", "rejected")


class Model:
    """`do` says what becomes of a command: the code of a refusal, or nothing."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.looks: dict[tuple[str, int], list[Look]] = {}
        self.kind: dict[tuple[str, int], str] = {}
        self.reporters: dict[tuple[str, int], set[str]] = {}
        self.sent: list[tuple[str, str, datetime]] = []
        self.texts: dict[tuple[str, str], str] = {}

    def do(self, word: str, by: str, at: datetime, command: Any) -> str | None:
        """What becomes of it."""
        if getattr(command, "reason", "x").strip() == "":
            return "reason_missing"
        answer: str | None = getattr(self, f"_{word}")((command.subject, command.revision), by, at, command)
        return answer

    def _submit(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks = self.looks.setdefault(place, [])
        if looks and looks[-1].waits:
            return "case_open"
        if any(look.origin == "submission" for look in looks):
            return "already_submitted"
        self.kind[place] = command.kind
        looks.append(Look("submission", left={"text", "author", "classifier"}))
        return None

    def _check(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks = self.looks.get(place, [])
        if command.case != len(looks) or command.check not in looks[-1].left:
            return "already_checked"
        self._found(place, command.check, [*command.flags])
        if command.check == "text":
            self._count(place, at, command.fingerprint)
        return None

    def _count(self, place: tuple[str, int], at: datetime, mark: str | None) -> None:
        author, kind = AUTHORS[place[0]], self.kind[place]
        recent = [one for one in self.sent if one[:2] == (author, kind) and one[2] > at - timedelta(hours=1)]
        flags = ["rate"] if len(recent) >= KINDS[kind][1] else []
        if mark and self.texts.setdefault((author, mark), place[0]) != place[0]:
            flags.append("duplicate")
        self.sent.append((author, kind, at))
        self._found(place, "author", flags)

    def _found(self, place: tuple[str, int], check: str, flags: list[str]) -> None:
        look = self.looks[place][-1]
        look.left.discard(check)
        if look.waits:
            look.flags += flags
        automatic = KINDS[self.kind[place]][0] and look.status == "open"
        if automatic and not (look.left or look.flags or look.reports):
            look.status = "approved"

    def _may_decide(self, place: tuple[str, int], by: str, case: int, *, taking: bool = False) -> str | None:
        looks = self.looks.get(place, [])
        if case > len(looks):
            return "case_not_found"
        if case < len(looks) or not looks[-1].waits:
            return "case_decided"
        if self._owns(place, by):
            return "own_content"
        return "claimed_by_other" if looks[-1].holder not in ("", by) and not taking else None

    def _owns(self, place: tuple[str, int], by: str) -> bool:
        submitted = any(look.origin == "submission" for look in self.looks.get(place, []))
        return (submitted and by == AUTHORS[place[0]]) or place[0].endswith(f":{by}")

    def _claim(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        if refusal := self._may_decide(place, by, command.case, taking=command.take_over):
            return refusal
        look = self.looks[place][-1]
        look.status, look.holder = "claimed", by
        return None

    def _approve(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        refusal = self._may_decide(place, by, command.case)
        if refusal is None:
            self._end(place, by, "approved")
        return refusal

    def _reject(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        refusal = self._may_decide(place, by, command.case)
        if refusal is None:
            self._end(place, by, "rejected")
        return refusal

    def _end(self, place: tuple[str, int], by: str, status: str) -> None:
        look = self.looks[place][-1]
        look.status, look.decider, look.holder = status, by, ""

    def _escalate(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        if refusal := self._may_decide(place, by, command.case):
            return refusal
        look = self.looks[place][-1]
        if look.status == "escalated":
            return "already_escalated"
        look.status, look.holder = "escalated", ""
        return None

    def _report(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks, reporters = self.looks.setdefault(place, []), self.reporters.setdefault(place, set())
        if command.reporter_id in reporters:
            return "already_reported"
        if looks and looks[-1].status == "rejected":
            return "already_rejected"
        if not looks or not looks[-1].waits:
            looks.append(Look("reports"))
        looks[-1].reports.add(command.reporter_id)
        reporters.add(command.reporter_id)
        return None

    def _dismiss(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks = self.looks.get(place, [])
        if command.reporter_id not in self.reporters.get(place, set()):
            return "report_not_found"
        if not looks[-1].waits or command.reporter_id not in looks[-1].reports:
            return "report_closed"
        if refusal := self._may_decide(place, by, len(looks)):
            return refusal
        looks[-1].reports.remove(command.reporter_id)
        if looks[-1].origin == "reports" and not looks[-1].reports:
            self._end(place, by, "approved")
        return None

    def _appeal(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks = self.looks.get(place, [])
        submitted = any(look.origin == "submission" for look in looks)
        if command.case > len(looks) or not submitted or not by == command.author_id == AUTHORS[place[0]]:
            return "case_not_found"
        look = looks[command.case - 1]
        if command.case < len(looks):
            return "not_rejected"
        if look.appeal != "none":
            return "already_appealed"
        if look.status != "rejected":
            return "not_rejected"
        look.appeal = "filed"
        return None

    def _judge(self, place: tuple[str, int], by: str, at: datetime, command: Any) -> str | None:
        looks = self.looks.get(place, [])
        if command.case > len(looks):
            return "case_not_found"
        look = looks[-1]
        if command.case < len(looks) or look.appeal in ("upheld", "overturned"):
            return "already_decided"
        if look.appeal == "none":
            return "not_appealed"
        if self._owns(place, by):
            return "own_content"
        if by == look.decider:
            return "own_decision"
        look.appeal = command.outcome
        if command.outcome == "overturned":
            self._end(place, by, "approved")
        return None
