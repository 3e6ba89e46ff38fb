"""The sequential models of the domains, played on what a history shows."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.acceptance.chains import wrongs
from tests.acceptance.checker import faults
from tests.acceptance.left import Left, fresh_of, steps_of
from tests.checker.history import Observation, of

TIMES = frozenset({"at", "expires_at", "started_at", "valid_from", "valid_to", "redeemed_at"})
"""Columns of views that are points in time."""

SKIPPED = "skipped"  # the code of a command that an operator had skipped; no rule was asked


def platform(history: Sequence[Observation]) -> list[str]:
    """Points, promotions and identity, and what goes from one to the other."""
    return [f"model: {words}" for words in wrongs(left(history, ("points", "promotions", "identity")))]


def points(history: Sequence[Observation]) -> list[str]:
    """Points alone."""
    found = left(history, ("points",))
    return [f"model: {words}" for words in (*found.wrong, *faults(found.points()))]


def left(history: Sequence[Observation], domains: Sequence[str]) -> Left:
    """What the run left, in the shape that the models take; the commands are those that took effect, in the order of the log."""
    at = max((one["at"] for one in of(history, "clock")), default=None)
    rows = _rows(history)
    found = Left(
        _results(history, domains), rows, datetime.fromisoformat(at) if at else datetime.min.replace(tzinfo=UTC)
    )
    commands: dict[str, Any] = {}
    for one in of(history, "record"):
        if one["cmd_id"]:
            commands.setdefault(one["cmd_id"], one["envelope"])
    skipped = {one["cmd_id"] for one in of(history, "result") if one["code"] == SKIPPED}
    for domain, envelopes in _envelopes(history):
        if domain in domains:
            fresh = fresh_of(envelopes)
            found.events += fresh
            for step in steps_of(fresh, commands):
                if step.type == "unknown":
                    found.wrong.append(f"{step.id} of {domain} is of no command")
                elif step.id not in skipped:
                    found.steps.setdefault(domain, []).append(step)
    for domain in domains:
        found.steps.setdefault(domain, [])
    return found


def _results(history: Sequence[Observation], domains: Sequence[str]) -> dict[str, dict[str, tuple[str, str | None]]]:
    results: dict[str, dict[str, tuple[str, str | None]]] = {domain: {} for domain in domains}
    for one in of(history, "result"):
        if one["domain"] in domains and one["code"] != SKIPPED:
            results[one["domain"]][one["cmd_id"]] = one["status"], one["code"]
    return results


def _envelopes(history: Sequence[Observation]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Domain and what stands on a partition of its event topic, in order."""
    places: defaultdict[tuple[str, str, int], dict[int, dict[str, Any]]] = defaultdict(dict)
    for one in of(history, "event"):
        places[one["domain"], one["topic"], one["partition"]][one["offset"]] = one["envelope"]
    for (domain, _, _), found in sorted(places.items()):
        yield domain, [found[offset] for offset in sorted(found)]


def _rows(history: Sequence[Observation]) -> dict[str, list[dict[str, Any]]]:
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in of(history, "row"):
        row = {
            name: datetime.fromisoformat(value) if name in TIMES and value else value
            for name, value in one["row"].items()
        }
        rows[f"{one['domain']}.{one['table']}"].append(row)
    return rows
