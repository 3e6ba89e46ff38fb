"""Makes legal histories of a domain in which every event adds one to its key's sum. What happens is drawn; that it is right is by construction."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.checker.history import Observation, of

Kind = Literal[
    "accept", "reject", "refuse", "repeat", "unknown", "never", "poison", "skip", "garbage", "redrive", "relay again"
]
KINDS: tuple[Kind, ...] = (
    "accept", "accept", "accept", "reject", "refuse", "repeat", "unknown", "never", "poison", "skip", "garbage", "redrive", "relay again",
)  # fmt: skip
COMMANDS, EVENTS = "sum.commands", "sum.events"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Legal:
    """One partition of the domain `sum`."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.seen: list[Observation] = []
        self.sums: Counter[str] = Counter()
        self._records: list[Observation] = []
        self._events: list[Observation] = []
        self._held: dict[str, list[Observation]] = {}
        self._skipped: dict[str, list[Observation]] = {}
        self._number = self._names = 0

    def step(self, kind: Kind, key: str, events: int) -> None:
        """Something happens, to a key."""
        getattr(self, f"_{kind.replace(' ', '_')}")(key, events)
        self._note(
            "position", topic=COMMANDS, partition=0, next=len(self._records), number=self._number, epoch=1, agent="sum"
        )
        self._note("read", key=key, seq=self.sums[key], token=None)

    def end(self, *readers: str) -> list[Observation]:
        """What is there at the end, told by these readers of the topics."""
        for reader in readers:
            self.seen += [{**one, "actor": reader} for one in (*self._records, *self._events)]
        for records in self._held.values():
            for n, record in enumerate(records):
                self._park(record, "parked", "rule_failed" if n == 0 else "held")
        for key, total in self.sums.items():
            for seq in range(1, total + 1):
                self._note("row", table="entries", row={"key": key, "seq": seq})
        return self.seen

    # -- what may happen

    def _accept(self, key: str, events: int) -> None:
        self._decide(self._publish(key), events)

    def _reject(self, key: str, _: int) -> None:
        self._decide(self._publish(key), 0)

    def _refuse(self, key: str, _: int) -> None:
        self._note("refused", key=key, cmd_id=self._name())

    def _repeat(self, key: str, events: int) -> None:
        record = self._publish(key)
        self._decide(record, events)
        self._again(record)

    def _unknown(self, key: str, events: int) -> None:
        self._decide(self._publish(key, answer="unknown"), events)

    def _never(self, key: str, _: int) -> None:
        self._note("unknown", key=key, cmd_id=self._name())

    def _poison(self, key: str, _: int) -> None:
        self._held.setdefault(key, []).append(self._publish(key))

    def _skip(self, key: str, events: int) -> None:
        """An operator skips the first of those that wait, and has the others done."""
        if waiting := self._held.pop(key, None):
            self._park(waiting[0], "skipped", "rule_failed")
            for record in waiting[1:]:
                self._decide(record, events)

    def _redrive(self, key: str, events: int) -> None:
        for record in self._held.pop(key, []):
            self._decide(record, events)
            self._park(record, "redriven", "rule_failed")

    def _garbage(self, key: str, _: int) -> None:
        self._park(self._add(key, None), "parked", "unsigned", holds=False)

    def _relay_again(self, _: str, events: int) -> None:
        for event in self._events[-events:] if events else []:
            self._events.append({**event, "offset": len(self._events)})

    # -- parts

    def _publish(self, key: str, answer: str = "acked") -> Observation:
        record = self._add(key, self._name())
        self._answer(record, answer)
        return record

    def _again(self, record: Observation) -> None:
        self._answer(self._add(record["key"], record["cmd_id"], record["value"]), "acked")

    def _answer(self, record: Observation, answer: str) -> None:
        self._note("sent", key=record["key"], cmd_id=record["cmd_id"])
        self._note(answer, **{name: record[name] for name in ("key", "cmd_id", "topic", "partition", "offset")})

    def _add(self, key: str, name: str | None, value: str | None = None) -> Observation:
        place = {"topic": COMMANDS, "partition": 0, "offset": len(self._records)}
        self._records.append(
            {"kind": "record", "domain": "sum", "key": key, "cmd_id": name, "value": value or self._name(), **place}
        )
        return self._records[-1]

    def _decide(self, record: Observation, events: int) -> None:
        """It takes effect, unless its key waits."""
        key, name = record["key"], record["cmd_id"]
        if key in self._held:
            self._held[key].append(record)
            return
        listed = [[f"{name} {n}", "added"] for n in range(events)]
        for event_id, kind in listed or [[f"{name} -", "command_accepted"]]:
            self.sums[key] += bool(listed)
            self._tell(record, event_id, kind)
        place = {"partition": 0, "offset": record["offset"]}
        self._note("result", cmd_id=name, status="accepted", code=None, events=listed, **place)

    def _tell(self, record: Observation, event_id: str, kind: str) -> None:
        self._number += 1
        envelope: dict[str, Any] = {"event_id": event_id, "type": kind, "aggregate_seq": self.sums[record["key"]]}
        envelope |= {
            "source": {"offset": record["offset"]},
            "occurred_at": str(START + timedelta(seconds=self._number)),
        }
        told = {"number": self._number, "value": f"{event_id}", "envelope": envelope}
        place = {"topic": EVENTS, "partition": 0, "offset": len(self._events)}
        known = {name: record[name] for name in ("domain", "key", "cmd_id")}
        self._events.append({"kind": "event", **known, **told, **place})

    def _park(self, record: Observation, kind: str, cause: str, *, holds: bool = True) -> None:
        known = {name: record[name] for name in ("key", "cmd_id", "topic", "partition", "offset")}
        self._note(kind, agent="sum", cause=cause, holds=holds, **known)

    def _note(self, kind: str, **fields: Any) -> None:
        self.seen.append({"t": len(self.seen), "actor": "someone", "kind": kind, "domain": "sum", **fields})

    def _name(self) -> str:
        self._names += 1
        return f"name {self._names}"


def sums(history: Sequence[Observation]) -> Iterator[str]:
    """The model: there is a row for each event that was decided."""
    ids = {one["envelope"]["event_id"] for one in of(history, "event") if one["envelope"]["type"] == "added"}
    if (rows := len(of(history, "row"))) != len(ids):
        yield f"model: {rows} rows of {len(ids)} events"
