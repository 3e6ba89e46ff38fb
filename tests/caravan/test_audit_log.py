"""`caravan audit-log` on a platform that has worked: what somebody does to its rows is found, and what is told in them can be searched."""

import asyncio
import json
from typing import Any

import pytest

from agents.governance.view.log import audit_log
from caravan.replay.run import Replay, Wishes
from streams.envelope import Actor
from tests.acceptance.children import environment
from tests.caravan.audited import Platform
from tests.caravan.conftest import caravan

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.req("SR099"),
    pytest.mark.req("SR143"),
    pytest.mark.req("SR057"),
]
AT = "WHERE domain = 'points' AND partition = $1 AND number = $2"


async def run(rested: Platform, *arguments: str) -> tuple[int, str, str]:
    """The command's status, output and complaint."""
    done = await asyncio.to_thread(caravan, "audit-log", *arguments, **environment(rested.settings))
    return done.returncode, done.stdout, done.stderr


async def found(rested: Platform, *arguments: str) -> set[tuple[Any, ...]]:
    """The findings by kind, partition and number; each says what to do about it."""
    status, said, _ = await run(rested, "verify", "--domain", "points", "--json", *arguments)
    told = json.loads(said)
    assert status == (0 if told["whole"] else 1)
    assert all(one["mend"] and one["words"] for one in told["findings"])
    return {(one["kind"], one["partition"], one["number"]) for one in told["findings"]}


async def changed(rested: Platform, statement: str, *args: Any) -> None:
    await rested.execute(statement, *args, domain="governance")


async def some(rested: Platform) -> tuple[int, list[int]]:
    """A partition with many entries of one event each, and their numbers."""
    found: str = await rested.value(
        "SELECT json_agg(json_build_array(partition, number) ORDER BY partition, number)::text FROM audit_log"
        " WHERE domain = 'points' AND events = 1 AND anchor IS NULL",
        domain="governance",
    )
    places = json.loads(found)
    partition = places[0][0]
    return partition, [number for at, number in places if at == partition]


RESULTS = """json_agg(json_build_array(partition, "offset", command_id))"""


async def test_a_platform_that_nobody_touched_has_a_whole_log_that_is_what_the_topics_tell(rested: Platform) -> None:
    status, said, complaint = await run(rested, "verify", "--topics")

    assert (status, complaint) == (0, "")
    assert "the log is whole: " in said
    assert "and are what the topics tell" in said
    for name in ("points", "identity"):
        entries = "SELECT json_agg(command_id) FROM audit_log WHERE domain = $1"
        logged = json.loads(await rested.value(entries, name, domain="governance"))
        results = json.loads(await rested.value(f"SELECT {RESULTS} FROM results", domain=name))
        reached = {
            partition: max(o for p, o, c in results if p == partition and c in logged) for partition, *_ in results
        }
        assert len(logged) == len(set(logged))
        assert {*logged} == {c for p, offset, c in results if offset <= reached[p]}, (
            "others have acted where no log ran"
        )


async def test_whatever_is_done_to_the_rows_is_found_and_told_with_its_place(rested: Platform) -> None:
    partition, numbers = await some(rested)
    one, other, third = numbers[1], numbers[3], numbers[5]
    first = await rested.value(
        "SELECT min(number) FROM audit_log WHERE domain = 'points' AND partition = $1", partition, domain="governance"
    )
    async with rested.kept("audit_log", domain="governance"):
        await changed(rested, f"UPDATE audit_log SET actor = 'eve' {AT}", partition, one)
        await changed(rested, f"DELETE FROM audit_log {AT}", partition, third)
        assert await found(rested) == {("altered", partition, one), ("missing", partition, third)}
        assert await found(rested, "--topics") == {("altered", partition, one), ("missing", partition, third)}
        status, said, complaint = await run(rested, "verify")
        assert (status, complaint) == (
            1,
            f"caravan: the audit log is not whole: altered at points/{partition} number {one} (and 1 more)\n",
        )
        assert "mend: caravan audit-log verify --topics" in said
    async with rested.kept("audit_log", domain="governance"):
        exchange = (
            "UPDATE audit_log a SET number = -b.number FROM audit_log b WHERE a.domain = 'points' AND b.domain = 'points'"
            " AND a.partition = $1 AND b.partition = $1 AND a.number = ANY($2) AND b.number = ANY($2) AND a.number <> b.number"
        )
        await changed(rested, exchange, partition, [one, other])
        await changed(rested, "UPDATE audit_log SET number = -number WHERE number < 0")
        assert await found(rested) == {("swapped", partition, one)}
    async with rested.kept("audit_log", domain="governance"):
        await changed(
            rested,
            "INSERT INTO audit_log SELECT domain, partition, 1000000, events, at, action, actor_type, actor, role, target, outcome, code,"
            " command_id, correlation_id, settles, hash, anchor FROM audit_log"
            " WHERE domain = 'points' AND partition = $1 AND number = $2",
            partition,
            one,
        )
        assert {kind for kind, _, _ in await found(rested)} >= {"appended"}
        assert ("appended", partition, 1000000) in await found(rested, "--topics")
    async with rested.kept("audit_log", domain="governance"):
        await changed(rested, f"UPDATE audit_log SET anchor = 'k1:forged' {AT}", partition, first)
        assert await found(rested) == {("anchor_forged", partition, first)}
    async with rested.kept("audit_log", domain="governance"):
        await changed(rested, "DELETE FROM audit_log WHERE domain = 'points' AND partition = $1", partition)
        assert await found(rested) == {("missing", partition, 1)}
    assert await found(rested) == set()


@pytest.mark.full
async def test_a_log_that_was_spoilt_is_built_anew_from_the_topics_and_exchanged(rested: Platform) -> None:
    """As the mend of each finding says."""
    partition, numbers = await some(rested)
    async with rested.kept("audit_log", domain="governance"):
        await changed(rested, f"UPDATE audit_log SET actor = 'eve' {AT}", partition, numbers[0])
        async with Replay(rested.settings, "governance", Wishes(tables=("audit_log",))) as replay:
            comparison = await replay.build()
            assert [(one.table, one.changed, one.differing) for one in comparison.results] == [("audit_log", 1, 1)]
            known = await replay.beside.known()
            assert known is not None
            await replay.swap(known.diff)
            assert await found(rested, "--topics") == set()
            await replay.abort()


async def test_entries_are_found_by_actor_target_action_and_time(rested: Platform) -> None:
    async def searched(*arguments: str) -> list[dict[str, Any]]:
        status, said, complaint = await run(rested, "search", "--json", "--limit", "1000", *arguments)
        assert (status, complaint) == (0, "")
        return [json.loads(line) for line in said.splitlines()]

    root = await searched("--actor", "root")
    assert {entry["actor"] for entry in root} == {"root"}
    defined = await searched("--actor", "root", "--action", "define_tiers", "--outcome", "accepted")
    assert [(entry["domain"], entry["target"], entry["role"]) for entry in defined] == [("points", "main", "Admin")]
    v1 = await searched("--target", "v1")
    assert {entry["action"] for entry in v1} >= {"award_points", "transfer_points"}
    assert {entry["domain"] for entry in await searched("--action", "points.award_points")} == {"points"}
    assert [entry["at"] for entry in v1] == sorted((entry["at"] for entry in v1), reverse=True)
    assert await searched("--until", defined[0]["at"], "--action", "define_tiers") == []
    assert await searched("--since", defined[0]["at"], "--action", "define_tiers") == defined

    status, said, _ = await run(rested, "search", "--limit", "2")
    assert (status, len(said.splitlines())) == (0, 3)
    assert "these are the newest 2" in said


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("search", "--outcome", "undone"), 2, "there is no outcome 'undone'"),
        (("search", "--since", "yesterday"), 2, "is no length of time"),
        (("search", "--action", "nope.do"), 2, "there is no domain 'nope'"),
        (("verify", "--domain", "nope"), 2, "there is no domain 'nope'"),
    ],
)
async def test_what_cannot_be_is_told_with_status_2(
    rested: Platform, arguments: tuple[str, ...], status: int, words: str
) -> None:
    told, _, complaint = await run(rested, *arguments)

    assert (told, words in complaint) == (status, True)


async def test_the_log_is_read_by_admins_alone() -> None:
    readers = audit_log.__readers__  # type: ignore[attr-defined]

    assert readers.admit(Actor("user", "root", "Admin"), {})
    assert not any(readers.admit(Actor("user", "ann", role), {"actor": "ann"}) for role in ("User", "PRO", "Partner"))
    assert not readers.admit(Actor("guest", ""), {})
