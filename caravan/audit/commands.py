"""Commands and what policies made: whether each that a position has passed came to something, and nothing came of none."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, groupby
from typing import Any

from caravan.audit.domain import RESULTS, Domain
from caravan.audit.finding import Findings
from caravan.audit.scratch import range_of
from sinks.postgres.audit import Position, Snapshot
from streams.agent import Agent, Policy

# What was parked, skipped or edited is set aside; ?1 is the agent, ?2 the topic.
_PASSED = """
    SELECT c."offset", c.id FROM command c WHERE c.told = 0 AND c.partition = ?3 AND c."offset" < ?4 AND NOT EXISTS (
        SELECT 1 FROM aside a WHERE a.agent = ?1 AND a.topic = ?2 AND a.partition = c.partition AND a."offset" = c."offset")
    ORDER BY c."offset" """
_TWICE = """
    SELECT c.partition, c."offset", c.id FROM aside a JOIN command c USING (partition, "offset")
    WHERE a.agent = ?1 AND a.topic = ?2 AND a.what = 'parked' AND c.told = 1"""
_ORPHANS = """
    SELECT o.partition, o."offset", o.id, c.id FROM orphan o LEFT JOIN command c USING (partition, "offset") WHERE NOT EXISTS (
        SELECT 1 FROM aside a WHERE a.agent = ?1 AND a.topic = ?2 AND a.partition = o.partition AND a."offset" = o."offset" AND a.what = 'edit')"""
_ISSUED = """
    SELECT rowid, "offset", number, id, type, key, stored FROM derived
    WHERE agent = ?1 AND topic = ?2 AND partition = ?3 AND "offset" < ?4"""
_CAME = """
    SELECT 1 FROM row WHERE name = ?1 AND range = ?2 AND key = ?3 UNION ALL SELECT 1 FROM command WHERE told = 0 AND id = ?3
    UNION ALL SELECT 1 FROM aside WHERE id = ?3 LIMIT 1"""
_ASIDE = 'SELECT 1 FROM aside WHERE agent = ?1 AND topic = ?2 AND partition = ?3 AND "offset" = ?4 LIMIT 1'
_SET = "INSERT INTO aside VALUES (?, ?, ?, ?, ?, ?, ?)"


async def load_aside(domain: Domain, snapshot: Snapshot) -> None:
    """What is parked, and what operators asked for and got."""
    db = domain.scratch.db
    db.execute("DELETE FROM aside")
    place = ("agent", "topic", "partition", "offset")
    async for rows in snapshot.rows(domain.name, "parked", (*place, "command_id", "key")):
        db.executemany(_SET, [("parked", *row[:4], row[4] and str(row[4]), row[5]) for row in map(tuple, rows)])
    if await snapshot.shape(domain.name, "requests") is None:
        return
    async for rows in snapshot.rows(domain.name, "requests", ("action", *place, "record_key", "status")):
        done = [row for row in map(tuple, rows) if row[6] == "done" and row[0] != "redrive"]
        db.executemany(_SET, [(*row[:5], None, row[5]) for row in done])


def check_commands(domain: Domain, decider: Sequence[Position], findings: Findings) -> None:
    """Every record below the position came to something, and every result has its record."""
    name, topic = domain.name, domain.topic.commands_topic
    for at in decider:
        lost = []
        for offset, command_id in domain.scratch.all(_PASSED, name, topic, at.partition, at.next):
            if command_id is None:
                words = "no signed command, and it is neither parked nor skipped"
                findings.add("record_lost", name, f"{topic} {at.partition}:{offset}", words)
            elif domain.scratch.get(RESULTS, command_id) is None:
                lost.append(offset)
        for first, last in _runs(lost):
            many = last - first + 1
            words = (
                f"the position is {at.next}, and the command here has neither result nor event, and is not parked"
                if many == 1
                else f"the position is {at.next}, and the {many} commands up to {last} have neither results nor events, and are not parked"
            )
            findings.add("offset_jumped", name, f"{topic} {at.partition}:{first}", words, count=many)
    for partition, offset, command_id in domain.scratch.all(_TWICE, name, topic):
        words = f"command {command_id} has its result, and its record is parked"
        findings.add("parked_and_decided", name, f"{topic} {partition}:{offset}", words)
    _check_orphans(domain, findings)


def _check_orphans(domain: Domain, findings: Findings) -> None:
    """Results whose record says something else; those of records that were edited, or are not kept, are none."""
    name, topic = domain.name, domain.topic.commands_topic
    for partition, offset, command_id, there in domain.scratch.all(_ORPHANS, name, topic):
        if offset >= domain.reached[partition].first_command:
            what = "another body" if there == command_id else "another command" if there else "no signed command"
            words = f"command {command_id} has a result, and its record has {what}"
            findings.add("result_without_command", name, f"{topic} {partition}:{offset}", words)


def _runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of offsets without a gap."""
    counter = count()
    for _, run in groupby(offsets, key=lambda offset: offset - next(counter)):
        found = list(run)
        yield found[0], found[-1]


def check_policies(
    domain: Domain, agents: Sequence[Agent], positions: Sequence[Position], since: int, findings: Findings
) -> None:
    """Every event that a policy has passed led to its commands, unless it is parked there or was skipped."""
    starts = {agent.name: agent.start for agent in agents if isinstance(agent, Policy)}
    for at in positions:
        if at.agent in starts:
            _check_policy(domain, at, since, findings, from_now=starts[at.agent] == "now")


def _check_policy(domain: Domain, at: Position, since: int, findings: Findings, *, from_now: bool) -> None:
    done: list[tuple[int]] = []
    first: int | None = None
    missing: list[tuple[Any, ...]] = []
    for row, offset, number, command_id, kind, key, stored in domain.scratch.all(
        _ISSUED, at.agent, at.topic, at.partition, at.next
    ):
        if _came(domain, command_id):
            done.append((row,))
            first = offset if first is None else min(first, offset)
        elif stored >= since and not _set_aside(domain, at, offset):
            missing.append((offset, number, command_id, kind, key))
    domain.scratch.db.executemany("DELETE FROM derived WHERE rowid = ?", done)
    if from_now and (begin := domain.begun.setdefault((at.agent, at.partition), first)) is not None:
        missing = [one for one in missing if one[0] > begin]
    elif from_now:
        missing = []
    for offset, number, command_id, kind, key in missing:
        words = f"policy {at.agent} has passed number {number}, and its {kind} {key} ({command_id}) never came"
        findings.add("policy_jumped", domain.name, f"{at.topic} {at.partition}:{offset}", words)


def _came(domain: Domain, command_id: str) -> bool:
    """Whether a command has a result, waits on the topic, or is parked."""
    return bool(domain.scratch.all(_CAME, RESULTS, range_of(command_id), command_id))


def _set_aside(domain: Domain, at: Position, offset: int) -> bool:
    """Whether the policy parked the event, or an operator skipped it."""
    return bool(domain.scratch.all(_ASIDE, at.agent, at.topic, at.partition, offset))
