"""A partition that has work and does none gets a new task; nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
from faust.types.tuples import TP

from streams import app as apps
from streams import watching
from streams.app import App
from streams.deciding import Deciding
from streams.handler import Handler, Position
from streams.loop import Partition
from streams.pulse import breathe
from streams.settings import Settings
from streams.store import Lost, Slot, Unavailable
from streams.testing import SIGNER
from streams.watching import GROUP_LOOKS, LOOKS, TRIES, Stuck, Watch
from tests.streams.rig import COMMANDS, Reader, Rig, RigFeed, until
from tests.streams.tally import A, Add, decider

SLOT = Slot("tally", "tally", COMMANDS, 0)
SETTINGS = Settings(kafka="kafka://127.0.0.1:1", postgres="postgresql://nowhere", signing_keys=())


class Ends:
    """The rig's broker, as the watch asks it."""

    def __init__(self, rig: Rig) -> None:
        self.broker, self.answers = rig.broker, True
        self.read = rig.broker.read

    async def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {place: (await self.broker.bounds(*place))[1] for place in places}

    async def alive(self) -> bool:
        return self.answers


class Crew:
    """One partition in a real app that has no consumer: its feed is the rig's. `hang` has the batches of its next handlers wait for ever."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.hang, self.stubborn = rig, 0, False
        self.opened: list[Partition] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.feed = RigFeed(rig.broker)
        self.log = Ends(rig)
        self.app = App("tally", SETTINGS)
        self.app.read(COMMANDS, "tally", self.open)
        self.app.assigned_once.set()
        self.app._open(TP(COMMANDS, 0), "tally")
        self.watch = Watch([self.app], store=rig.store, log=self.log)

    def open(self, slot: Slot) -> Partition:
        rig = self.rig
        handler = Deciding(decider(), slot, store=rig.store, log=rig.broker, signer=SIGNER, clock=rig.clock)
        if self.hang:
            self.hang -= 1
            self.hangs(handler)
        partition = Partition(
            slot, handler, store=rig.store, log=rig.broker, feed=self.feed, owner=f"{len(self.opened)}"
        )
        self.feed.readers[slot] = Reader(partition)
        self.opened.append(partition)
        return partition

    def hangs(self, handler: Handler) -> None:
        async def prepare(records: Any, at: Position, careful: bool) -> Any:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise

        handler.prepare = prepare  # type: ignore[method-assign]

    @property
    def partition(self) -> Partition:
        """The one that works now."""
        return self.app._working[TP(COMMANDS, 0), "tally"][0]

    async def look(self, times: int = LOOKS + 1) -> None:
        for _ in range(times):
            await self.watch.look()
            for _ in range(20):
                await asyncio.sleep(0)

    async def done(self, number: int) -> None:
        await until(lambda: self.rig.place().next == number)

    async def close(self) -> None:
        self.stubborn = False
        for task in asyncio.all_tasks():
            if task.get_name() == f"tally/{COMMANDS}/0":
                task.cancel()
                await asyncio.wait([task])


@pytest.fixture
async def crew(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crew]:
    """It has claimed, and one command is done."""
    monkeypatch.setattr(watching, "PROBE_S", 0.05)
    monkeypatch.setattr(apps, "RESTART_S", 0.05)
    crew = Crew(rig)
    await until(crew.partition.claimed.is_set)
    rig.send(Add(account=A, amount=1))
    await crew.done(1)
    yield crew
    rig.store.gates.clear()
    await crew.close()


async def test_a_handler_that_hangs_is_replaced_and_the_log_says_why(
    crew: Crew, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    crew.hangs(crew.partition.handler)
    gate = rig.store.close("commit")
    rig.send(Add(account=A, amount=2))
    await until(lambda: crew.partition._queue or crew.partition._uncommitted)
    await crew.look()
    assert len(crew.opened) == 2
    assert "1 records waiting from offset 1 on; the last delivery went up to offset 1" in caplog.text
    assert "_pipeline\n  test_watching.py" in caplog.text, "where its task stood"
    await until(lambda: rig.place().stopped)
    assert "It was restarted 1 times" in rig.place().stopped
    gate.set()
    await crew.done(2)
    await until(lambda: rig.place().stopped is None)
    assert rig.amounts(A) == [1, 2]


async def test_a_feed_that_stays_paused_is_sought_and_resumed(crew: Crew, rig: Rig) -> None:
    crew.feed.readers[SLOT].flowing = False
    rig.send(Add(account=A, amount=2))
    await crew.look()
    await crew.done(2)
    assert len(crew.opened) == 2


async def test_a_commit_that_never_ends_is_left_behind_and_takes_no_effect_later(crew: Crew, rig: Rig) -> None:
    gate = rig.store.close("commit")
    calls = rig.store.calls["commit"]
    rig.send(Add(account=A, amount=2))
    await until(lambda: rig.store.calls["commit"] == calls + 1)
    del rig.store.gates["commit"]
    await crew.look()
    await crew.done(2)
    gate.set()
    rig.send(Add(account=A, amount=3))
    await crew.done(3)
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.place().epoch == 2


async def test_one_that_does_not_even_end_is_left_behind(
    crew: Crew, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    crew.stubborn = True
    crew.hangs(crew.partition.handler)
    rig.send(Add(account=A, amount=2))
    await until(lambda: crew.partition._uncommitted)
    await crew.look()
    assert "does not end; it is left behind" in caplog.text
    await crew.done(2)
    crew.stubborn = False
    rig.send(Add(account=A, amount=3))
    await crew.done(3)
    assert rig.amounts(A) == [1, 2, 3]


async def test_a_claim_that_never_ends_is_made_by_a_new_task(crew: Crew, rig: Rig) -> None:
    gate = rig.store.close("claim")
    crew.partition.reassign()
    crew.partition.claimed.clear()
    await until(lambda: rig.store.calls["claim"] == 2)
    del rig.store.gates["claim"]
    await crew.look()
    gate.set()
    rig.send(Add(account=A, amount=2))
    await crew.done(2)


async def test_when_new_tasks_do_not_help_the_process_is_to_end(crew: Crew, rig: Rig) -> None:
    crew.hangs(crew.partition.handler)
    crew.hang = TRIES
    rig.send(Add(account=A, amount=2))
    await until(lambda: crew.partition._uncommitted)
    with pytest.raises(Stuck, match=rf"1 records waiting.*{TRIES} restarts did not help. The worker ends"):
        await crew.look((TRIES + 2) * (LOOKS + 1))
    assert len(crew.opened) == 1 + TRIES


async def test_restarts_that_helped_are_not_held_against_it(crew: Crew, rig: Rig) -> None:
    for n in range(2, TRIES + 4):
        crew.feed.readers[SLOT].flowing = False
        rig.send(Add(account=A, amount=n))
        await crew.look()
        await crew.done(n)
    assert len(crew.opened) == TRIES + 3


async def test_a_member_that_its_group_tells_nothing_ends_the_process(crew: Crew) -> None:
    crew.app.assigned_once.clear()
    crew.log.answers = False
    await crew.look(GROUP_LOOKS + 1)
    crew.log.answers = True
    with pytest.raises(Stuck, match="tally: its group has assigned nothing for 120 s"):
        await crew.look(GROUP_LOOKS + 1)


# -- no false alarm


async def test_an_idle_partition_is_left_alone(crew: Crew) -> None:
    await crew.look(5 * LOOKS)
    assert len(crew.opened) == 1


async def test_a_record_that_has_only_just_come_is_no_alarm(crew: Crew, rig: Rig) -> None:
    await crew.look(5 * LOOKS)
    crew.feed.readers[SLOT].flowing = False
    rig.send(Add(account=A, amount=2))
    await crew.look(LOOKS - 1)
    assert len(crew.opened) == 1


async def test_a_batch_that_takes_long_is_left_alone(crew: Crew, rig: Rig) -> None:
    prepare, going = crew.partition.handler.prepare, asyncio.Event()

    async def slow(records: Any, at: Position, careful: bool) -> Any:
        while not going.is_set():
            await breathe()
        return await prepare(records, at, careful)

    crew.partition.handler.prepare = slow  # type: ignore[method-assign]
    rig.send(Add(account=A, amount=2))
    await until(lambda: crew.partition._uncommitted)
    await crew.look(5 * LOOKS)
    assert len(crew.opened) == 1
    going.set()
    await crew.done(2)


@pytest.mark.parametrize("method", ["commit", "load", "claim"])
async def test_a_store_that_refuses_for_long_is_no_alarm(crew: Crew, rig: Rig, method: str) -> None:
    rig.store.always[method] = Unavailable("away")
    crew.partition.reassign()
    rig.send(Add(account="b", amount=2))
    for _ in range(5 * LOOKS):
        tries = rig.store.calls[method]
        await until(lambda: rig.store.calls[method] > tries + 1)  # noqa: B023 - waited for at once
        await crew.watch.look()
    assert len(crew.opened) == 1
    rig.store.always.clear()
    await crew.done(2)


async def test_a_store_that_answers_nothing_at_all_is_no_alarm(crew: Crew, rig: Rig) -> None:
    gates = [rig.store.close(method) for method in ("commit", "known")]
    rig.send(Add(account=A, amount=2))
    await crew.look(3 * LOOKS)
    assert len(crew.opened) == 1
    for gate in gates:
        gate.set()
    await crew.done(2)


async def test_a_log_that_is_away_is_no_alarm(crew: Crew, rig: Rig) -> None:
    crew.feed.readers[SLOT].flowing = False
    rig.send(Add(account=A, amount=2))
    rig.broker.always["bounds"] = OSError("away")
    await crew.look(5 * LOOKS)
    rig.broker.always.clear()
    await crew.look(LOOKS - 1)
    assert len(crew.opened) == 1


async def test_control_records_at_the_end_of_a_topic_are_no_work(crew: Crew, rig: Rig) -> None:
    crew.feed.readers[SLOT].flowing = False
    rig.send(Add(account=A, amount=2))
    rig.broker.always["read"] = OSError("nothing comes")
    await crew.look(5 * LOOKS)
    assert len(crew.opened) == 1


async def test_a_partition_that_is_stopped_with_a_reason_is_left_alone(crew: Crew, rig: Rig) -> None:
    rig.broker._topics[COMMANDS].append([])
    crew.partition.reassign()
    await until(lambda: rig.place().stopped)
    rig.send(Add(account=A, amount=2))
    for _ in range(5 * LOOKS):
        beats = crew.partition.pulse.beats
        await until(lambda: crew.partition.pulse.beats > beats)  # noqa: B023 - waited for at once
        await crew.watch.look()
    assert len(crew.opened) == 1


async def test_a_backlog_that_kafka_does_not_take_is_no_alarm(
    crew: Crew, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log answers questions and takes nothing, as one with too few replicas does."""
    monkeypatch.setattr("streams.relay.BACKLOG", 0)
    rig.broker.always["append"] = OSError("not enough replicas")
    for n in range(2, 6):
        rig.send(Add(account=A, amount=n))
        await asyncio.sleep(0)
    await until(lambda: rig.place().next > 1)
    rig.send(Add(account=A, amount=6))
    await until(lambda: crew.partition._uncommitted)
    for _ in range(3 * LOOKS):
        beats = crew.partition.pulse.beats
        await until(lambda: crew.partition.pulse.beats > beats)  # noqa: B023 - waited for at once
        await crew.watch.look()
    assert len(crew.opened) == 1
    rig.broker.always.clear()
    await crew.done(6)


# -- after a loss


async def test_one_that_lost_its_claim_asks_the_group_before_it_claims(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.loop.GROUP_S", 3600.0)
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.word = False
    rig.store.before["commit"].append(Lost("Another owner holds this partition."))
    rig.send(Add(account=A, amount=1))
    await until(lambda: owner.feed.asked)
    for _ in range(50):
        await asyncio.sleep(0)
    assert rig.store.calls["claim"] == 1
    owner.partition.reassign()  # the group has told again, and it is ours still
    await until(lambda: rig.place().next == 1)
    assert rig.store.calls["claim"] == 2
    assert owner.feed.asked == 1


async def test_one_that_has_lost_the_partition_leaves_without_another_claim(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.loop.GROUP_S", 3600.0)
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.word = False
    rig.store.before["commit"].append(Lost("Another owner holds this partition."))
    rig.send(Add(account=A, amount=1))
    await until(lambda: owner.feed.asked)
    await owner.leave()
    assert rig.store.calls["claim"] == 1


async def test_without_a_word_of_the_group_it_claims_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.loop.GROUP_S", 0.001)
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.word = None
    rig.store.before["commit"].append(Lost("Another owner holds this partition."))
    rig.send(Add(account=A, amount=1))
    await until(lambda: rig.place().next == 1)
    assert owner.feed.asked == 3


async def test_what_the_group_denies_is_not_claimed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.loop.GROUP_S", 0.001)
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.word = False
    rig.store.before["commit"].append(Lost("Another owner holds this partition."))
    rig.send(Add(account=A, amount=1))
    await until(lambda: owner.feed.asked > 10)
    assert rig.store.calls["claim"] == 1
    owner.feed.word = True
    await until(lambda: rig.place().next == 1)
