"""What a run of the platform left, of all its domains, in the shape in which the checkers look at it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from tests.acceptance.checker import LedgerRow, Observed
from tests.acceptance.model import Step

Envelopes = Mapping[tuple[str, int], list[dict[str, Any]]]
"""Topic and partition -> the envelopes of its records, in order."""

Rows = Mapping[str, list[dict[str, Any]]]
"""`<domain>.<table>` -> its rows."""

TIMED: dict[str, tuple[str, tuple[str, ...]]] = {  # event that a timer's command leaves -> the command and its fields
    "points_expired": ("expire_points", ("user_id",)),
    "campaign_ended": ("end_campaign", ("campaign_id", "partner_id")),
    "voucher_expired": ("expire_voucher", ("campaign_id", "voucher_id")),
    "voucher_purchase_failed": ("fail_purchase", ("campaign_id", "voucher_id", "user_id", "reason")),
}


@dataclass
class Left:
    """The end of a run."""

    results: dict[str, dict[str, tuple[str, str | None]]]
    """Domain -> command id -> status and code."""
    rows: Rows
    at: datetime
    """When it was looked at, by the platform's clock."""
    steps: dict[str, list[Step]] = field(default_factory=dict)
    """Domain -> commands in the order in which they were decided, as their events tell it; timers' among them."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Envelopes of all domains, each once."""
    wrong: list[str] = field(default_factory=list)
    """What topics themselves tell that must not be."""

    def points(self) -> Observed:
        """Points alone."""
        ledger: defaultdict[str, list[LedgerRow]] = defaultdict(list)
        for row in sorted(self.rows["points.ledger"], key=lambda row: (row["user_id"], row["seq"])):
            user, *rest = row.values()
            ledger[user].append(tuple(rest))
        balances = {row["user_id"]: (row["available"], row["held"]) for row in self.rows["points.balance"]}
        return Observed(self.steps["points"], self.results["points"], balances, dict(ledger))

    def of(self, name: str) -> Iterator[dict[str, Any]]:
        """The events of this type."""
        return (event for event in self.events if event["type"] == name)


def look(
    domains: Iterable[str],
    envelopes: Envelopes,
    results: Mapping[str, Any],
    rows: Rows,
    *,
    moved: datetime,
    at: datetime,
) -> Left:
    """Put together what topics and tables hold; `moved` is when the platform's clock was moved first."""
    left = Left(dict(results), rows, at)
    for domain in domains:
        commands = {
            str(envelope["command_id"]): envelope
            for (topic, _), found in envelopes.items()
            if topic == f"{domain}.commands"
            for envelope in found
        }
        left.steps[domain] = []
        left.wrong += [f"{row['cause']} parked in {domain}: {row['error']}" for row in rows[f"{domain}.parked"]]
        for (topic, partition), found in sorted(envelopes.items()):
            if topic == f"{domain}.events":
                fresh = fresh_of(found)
                left.events += fresh
                left.wrong += [f"{topic}/{partition}: {words}" for words in _disorder(fresh)]
                left.wrong += _untimely(fresh, commands, moved)
                left.steps[domain] += steps_of(fresh, commands)
        told = Counter(step.id for step in left.steps[domain])
        left.wrong += [f"{name} of {domain} is told more than once" for name, times in told.items() if times > 1]
        left.wrong += [f"{name} of {domain} is not told" for name in left.results[domain].keys() - told.keys()]
        left.wrong += [
            f"{name} of {domain} is told without a result" for name in told.keys() - left.results[domain].keys()
        ]
        left.wrong += [f"{name} of {domain} has no result" for name in commands.keys() - left.results[domain].keys()]
    return left


def fresh_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without those of which the number was there before."""
    fresh: list[dict[str, Any]] = []
    for event in found:
        if not fresh or event["number"] > fresh[-1]["number"]:
            fresh.append(event)
    return fresh


def _disorder(fresh: list[dict[str, Any]]) -> Iterator[str]:
    numbers = [event["number"] for event in fresh]
    if numbers != list(range(1, len(fresh) + 1)):
        yield "the numbers have gaps"
    offsets = [event["source"]["offset"] for event in fresh if event["source"]["offset"] >= 0]
    if offsets != sorted(offsets):
        yield "commands were not decided in their order"
    last: defaultdict[str, int] = defaultdict(int)
    for event in fresh:
        last[event["aggregate_id"]] += not event["type"].startswith("command_")
        if event["aggregate_seq"] != last[event["aggregate_id"]]:
            yield f"{event['event_id']} has sequence {event['aggregate_seq']}"


def _untimely(fresh: list[dict[str, Any]], commands: Mapping[str, Any], moved: datetime) -> Iterator[str]:
    """An event has the time of its command or of its key's last event, whichever is later; once a clock was moved, no earlier one."""
    last: dict[str, datetime] = {}
    for event in fresh:
        at, key = datetime.fromisoformat(event["occurred_at"]), event["aggregate_id"]
        before = last.get(key, datetime.min.replace(tzinfo=UTC))
        if at < before:
            yield f"{event['event_id']} is earlier than what was before it"
        if at < moved and (command := commands.get(str(event["command_id"]))):
            expected = max(datetime.fromisoformat(command["issued_at"]), before)
            if at != expected:
                yield f"{event['event_id']} is at {at}, not at {expected}"
        if not event["type"].startswith("command_"):
            last[key] = at


def steps_of(fresh: list[dict[str, Any]], commands: Mapping[str, Any]) -> Iterator[Step]:
    """The commands of a partition in the order in which they were decided; timers' among them."""
    for name, group in groupby(fresh, key=lambda event: str(event["command_id"])):
        event = next(group)
        at = datetime.fromisoformat(event["occurred_at"])
        if command := commands.get(name):
            yield Step(name, command["type"], at, command["payload"], command["causation_id"])
        else:
            kind, fields = TIMED.get(event["type"], ("unknown", ()))
            yield Step(name, kind, at, {one: event["payload"][one] for one in fields})
