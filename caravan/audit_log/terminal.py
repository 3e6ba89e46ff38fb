"""`caravan audit-log verify` and `search` on a terminal, and for programs."""

import asyncio
import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from agents.governance.view.log import AuditEntry, audit_log
from caravan.audit_log.look import DOMAIN, Look, look
from caravan.commands import known, settings
from caravan.decoded import moment, printable
from caravan.errors import BadInput, Problem
from caravan.tail import start_of
from sinks.postgres.audit import Snapshot
from streams.errors import CaravanError
from streams.settings import Settings
from streams.view import MAX_LIMIT, Paging

NAMED = 100  # findings that are told one by one


class NotWhole(Problem):
    """The log is not as the platform wrote it."""


class NotLooked(Problem):
    """It could not look."""

    status = 2


def verify(folder: Path, domains: Collection[str], *, topics: bool, as_json: bool) -> None:
    """Follow the chains, and print what is wrong. Raises NotWhole, and NotLooked when it could not look."""
    known(list(domains))
    try:
        found = asyncio.run(look(settings(folder), domains, topics=topics))
    except (Problem, CaravanError) as error:
        raise NotLooked(f"could not look: {error}") from error
    print(_json(found) if as_json else "\n".join(_report(found)), flush=True)
    if found.findings:
        first, more = found.findings[0], len(found.findings) - 1
        place = printable(f"{first.domain}/{first.partition} number {first.number}")
        raise NotWhole(f"the audit log is not whole: {first.kind} at {place}{f' (and {more} more)' if more else ''}")


def _report(found: Look) -> Iterator[str]:
    shown = sorted(found.findings[:NAMED], key=lambda one: (one.kind, *one[1:4]))
    for kind, group in groupby(shown, key=lambda one: one.kind):
        same = list(group)
        yield kind
        yield from (printable(f"  {one.domain}/{one.partition} number {one.number}: {one.words}") for one in same)
        yield f"  mend: {same[0].mend}"
    if len(found.findings) > NAMED:
        yield f"and {len(found.findings) - NAMED} more; --json tells all"
    verdict = f"{len(found.findings)} findings" if found.findings else "the log is whole"
    chains = sum(chain.entries > 0 for chain in found.chains)
    beside = ", and are what the topics tell" if found.compared and not found.findings else ""
    yield f"{verdict}: {found.entries} entries in {chains} chains{beside}"
    if not found.compared and found.beyond:
        yield f"the last {found.beyond} numbers stand behind no anchor yet: --topics compares them with what the topics tell"


def _json(found: Look) -> str:
    chains = [
        {
            "domain": chain.domain,
            "partition": chain.partition,
            "entries": chain.entries,
            "first": chain.first,
            "last": chain.last,
            "anchored": chain.anchored,
            "hash": chain.hash.hex(),
        }
        for chain in found.chains
    ]
    findings = [{**one._asdict(), "mend": one.mend} for one in found.findings]
    told = {"whole": not findings, "compared": found.compared, "chains": chains, "findings": findings}
    return json.dumps(told, ensure_ascii=False)


class Wanted(NamedTuple):
    """Which entries are looked for; None where it does not matter. An action may be named with its domain."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: str | None = None
    until: str | None = None

    def asked(self) -> dict[str, Any]:
        """As the view is asked; raises BadInput."""
        domain, dot, action = (self.action or "").rpartition(".")
        if dot:
            known([domain])
        if self.outcome not in (None, "accepted", "rejected", "pending"):
            raise BadInput(f"there is no outcome '{self.outcome}'; it is accepted, rejected or pending")
        what = {"action": action or None, "domain": domain or None}
        return {**self._asdict(), **what, "since": _time(self.since), "until": _time(self.until)}


def search(folder: Path, wanted: Wanted, *, limit: int, as_json: bool) -> None:
    """Print the entries, newest first, at most so many."""
    asked = wanted.asked()
    count = 0
    for entry in asyncio.run(_search(settings(folder), asked, limit)):
        count += 1
        print(entry.model_dump_json() if as_json else _line(entry), flush=True)
    if count == limit and not as_json:
        print(f"these are the newest {limit}; --limit shows more, --until those before a time")


async def _search(ours: Settings, asked: dict[str, Any], limit: int) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    paging = Paging(limit=min(limit, MAX_LIMIT))
    async with Snapshot(ours.postgres, ours.namespace) as snapshot:
        while True:
            page = await snapshot.view(DOMAIN, audit_log, paging=paging, **asked)
            found += page.items
            if page.next is None or len(found) >= limit:
                return found[:limit]
            paging = Paging.read(page.next, paging.limit)


def _line(entry: AuditEntry) -> str:
    who = f"{entry.actor_type}:{entry.actor}" + (f" ({entry.role})" if entry.role else "")
    what = f"{entry.outcome} {entry.code}" if entry.code else entry.outcome
    settled = f" settles {entry.settles}" if entry.settles else ""
    place = f"{entry.domain}.{entry.action}"
    return printable(f"{moment(entry.at)}  {place:<36} {entry.target}  {who}  {what}{settled}  {entry.command_id}")


def _time(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromtimestamp(start_of(told) / 1000, UTC)
