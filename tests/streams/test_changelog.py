"""Changelogs: the last state of every document on a topic, written by one reader of the events, at least once, versions rising."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from streams.agent import Changelog, Decider
from streams.changelog import Keeping
from streams.contract import Topic
from streams.errors import ContractError
from streams.kafka import declared
from streams.store import BadData, Slot, Unavailable
from streams.testing import SIGNER, Kit
from tests.streams.rig import EVENTS, Owner, Rig, until
from tests.streams.tally import TALLY, A, Add, B, account, decider

CHANGES = TALLY.changelog_topic


@pytest.fixture(autouse=True)
def opted() -> Iterator[None]:
    """The domain has a changelog."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TALLY, "changelog", True)
        yield


def told(broker: Any) -> dict[str, list[Any]]:
    """What stands on the topic: (version, data) by document."""
    found = defaultdict(list)
    for record in broker.records(CHANGES):
        value = json.loads(record.value or b"")
        assert set(value) == {"version", "at", "data"}
        found[(record.key or b"").decode()].append((value["version"], value["data"]))
    return found


def last(broker: Any) -> dict[str, Any]:
    """What a reader keeps: the highest version of each document."""
    return {key: max(values, key=lambda value: int(value[0])) for key, values in told(broker).items()}


def stored(store: Any) -> dict[str, Any]:
    return {key: (row.version, json.loads(row.data)) for key, row in store.schemas["tally"].states.items()}


def owner(rig: Rig) -> Owner:
    """A process takes the changelog's partition."""
    rig.broker._topics.setdefault(CHANGES, [[] for _ in range(TALLY.partitions)])
    agent = Changelog(decider())
    slot = Slot("tally", agent.name, EVENTS, 0)
    return rig.open(slot, Keeping(agent, slot, store=rig.store, log=rig.broker, signer=SIGNER))


def test_every_document_has_its_last_state_on_the_partition_of_its_aggregate() -> None:
    rules = decider()
    with Kit(rules, Changelog(rules)) as kit:
        for name, amount in ((A, 1), (B, 2), (account(1), 3), (A, 4)):
            kit.send(Add(account=name, amount=amount))
        assert last(kit.broker) == stored(kit.store)
        assert last(kit.broker)[A] == (2, {"total": 5, "entries": 2})
        records = kit.broker.records(CHANGES)
        assert {record.partition for record in records if (record.key or b"").startswith(account(1).encode())} == {1}
        assert all(SIGNER.checker(CHANGES)(record) for record in records)


async def test_changes_of_a_batch_are_folded_to_the_last_one(rig: Rig) -> None:
    rig.decider()
    for n in range(20):
        rig.send(Add(account=A, amount=n))
    await rig.quiet()
    owner(rig)
    await rig.quiet()
    assert [version for version, _ in told(rig.broker)[A]] == [20]
    assert last(rig.broker) == stored(rig.memory)


async def test_versions_of_a_document_rise(rig: Rig) -> None:
    rig.decider()
    owner(rig)
    for n in range(200):
        rig.send(Add(account=(A, B)[n % 2], amount=n))
        if n % 7 == 0:
            await rig.quiet()
    await rig.quiet()
    for values in told(rig.broker).values():
        versions = [version for version, _ in values]
        assert versions == sorted(set(versions)), "and what did not change is not written again"
    assert last(rig.broker) == stored(rig.memory)


async def test_a_re_run_repeats_states_and_never_brings_older_ones(rig: Rig) -> None:
    rig.decider()
    first = owner(rig)
    rig.send(Add(account=A, amount=1))
    await until(lambda: told(rig.broker))
    rig.store.before["commit"].append(Unavailable("away"))
    for n in range(5):
        rig.send(Add(account=A, amount=n))
    await rig.quiet()
    await first.die()
    place = rig.schema.places[first.partition.slot]
    place.next = place.number = 0
    place.last_id = None
    owner(rig)
    await rig.quiet()
    versions = [version for version, _ in told(rig.broker)[A]]
    assert versions == sorted(versions)
    assert len(versions) > len(set(versions))
    assert last(rig.broker) == stored(rig.memory)


class Slow:
    """A log through which one process's records come late."""

    def __init__(self, log: Any) -> None:
        self._inner = log
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, *args: Any) -> None:
        self.reached.set()
        await self.open.wait()
        await self._inner.append(*args)


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_record_that_comes_behind_newer_ones_is_put_right(rig: Rig, leaves: bool) -> None:
    """Else compaction would keep the older state."""
    rig.decider()
    late = owner(rig)
    slow = Slow(rig.broker)
    late.handler._log = slow  # type: ignore[attr-defined]
    rig.send(Add(account=A, amount=1))
    await slow.reached.wait()
    rig.send(Add(account=A, amount=2))
    await until(lambda: rig.totals() == {A: 3})
    newer = owner(rig)
    await until(lambda: [version for version, _ in told(rig.broker)[A]] == [2])
    await newer.leave()
    if leaves:
        late.partition.leave()
    slow.open.set()
    await until(lambda: len(told(rig.broker)[A]) > 2)  # it may be put right more than once
    if leaves:
        await late.task
    await rig.quiet()
    versions = [version for version, _ in told(rig.broker)[A]]
    assert (versions[:2], set(versions[2:])) == ([2, 1], {2})


async def test_kafka_away_delays_a_changelog_and_loses_nothing(rig: Rig) -> None:
    rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    rig.broker.before["append"].extend([OSError("away"), OSError("away")])
    rig.broker.after["append"].append(OSError("no answer"))
    owner(rig)
    await rig.quiet()
    assert last(rig.broker) == stored(rig.memory)


async def test_what_does_not_speak_or_changes_nothing_is_passed(rig: Rig) -> None:
    rig.decider()
    reader = owner(rig)
    rig.broker.add(EVENTS, 0, b"k", b"garbage", [])
    rig.send(Add(account=A, amount=1, how="silent"))
    await rig.quiet()
    await until(lambda: rig.schema.places[reader.partition.slot].next == 2)
    assert told(rig.broker) == {}
    assert rig.causes(EVENTS) == [(0, "unsigned")]


async def test_what_the_store_refuses_is_parked(rig: Rig) -> None:
    rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    rig.store.before["commit"].extend([BadData("22000: no"), BadData("22000: no")])
    owner(rig)
    await until(lambda: rig.causes(EVENTS) == [(0, "refused_by_store")])


def test_topics_are_declared_for_those_who_opt_in() -> None:
    with_one, without = Topic("one", key="id", partitions=3, changelog=True), Topic("two", key="id")
    wanted = declared([with_one, without])
    assert sorted(wanted) == ["one.changelog", "one.commands", "one.events", "two.commands", "two.events"]
    count, config = wanted["one.changelog"]
    assert (count, config["cleanup.policy"]) == (3, "compact")


def test_a_changelog_without_a_topic_is_refused() -> None:
    rules = decider()
    with pytest.raises(ContractError, match="changelog=True"):
        Changelog(Decider(Topic("plain", key="id"), rules.table, rules.decide, rules.evolve))
