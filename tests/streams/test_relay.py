"""The relay: every committed event reaches the topic, first appearances are in order, and what comes twice is dropped by its number."""

import asyncio
from typing import Any

import pytest

from streams import relay
from streams.log import Entry
from streams.memory import MemoryStore
from streams.store import Slot, Unavailable
from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import A, Add, B, decider


def first_appearances(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


class Appends:
    """Remembers what is appended at once."""

    def __init__(self, rig: Rig, patch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[list[Entry]]] = []
        self._append = rig.broker.append
        patch.setattr(rig.broker, "append", self)

    async def __call__(self, topic: str, partition: int, groups: Any) -> None:
        await self._append(topic, partition, groups)
        if topic == EVENTS:
            self.groups.append(groups)


async def test_events_stand_on_the_topic_signed_numbered_and_in_order(rig: Rig) -> None:
    rig.decider(size=3)
    for n in range(50):
        rig.send(Add(account=(A, B)[n % 2], amount=n))
    await rig.quiet()
    assert rig.numbers() == list(range(1, 51))
    assert [event.source.offset for event in rig.events()] == list(range(50))
    assert [event.aggregate_seq for event in rig.events() if event.aggregate_id == A] == list(range(1, 26))


async def test_a_busy_partition_sends_what_it_commits_together(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "GATHER_S", 0.2)
    monkeypatch.setattr(relay, "BUSY_S", 60.0)
    appends = Appends(rig, monkeypatch)
    rig.decider()
    for n in range(8):
        rig.send(Add(account=A, amount=n))
        await until(lambda: rig.place().next == n + 1)  # noqa: B023 - it is waited for
    await rig.quiet()
    assert rig.numbers() == list(range(1, 9))
    assert len(appends.groups) <= 4, "the first at once"


async def test_the_events_of_a_command_stay_together(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHUNK", 4)
    appends = Appends(rig, monkeypatch)
    for amount in (3, 1, 5, 2, 4):
        rig.send(Add(account=A, amount=amount, how="many"))
    rig.decider()
    await rig.quiet()
    assert [len(group) for groups in appends.groups for group in groups] == [3, 1, 5, 2, 4]
    assert rig.numbers() == list(range(1, 16))


async def test_leftovers_too_are_whole_commands(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHUNK", 4)
    rig.broker.always["append"] = OSError("away")
    for amount in (3, 1, 5, 2, 4):
        rig.send(Add(account=A, amount=amount, how="many"))
    owner = rig.decider()
    await until(lambda: rig.place().next == 5)
    await owner.die()
    del rig.broker.always["append"]
    appends = Appends(rig, monkeypatch)
    rig.decider()
    await rig.quiet()
    await until(lambda: len(rig.numbers()) == 15)
    assert [len(group) for groups in appends.groups for group in groups] == [3, 1, 5, 2, 4]


async def test_a_chunk_that_failed_begins_again_at_its_first_event(rig: Rig) -> None:
    rig.decider(size=2)
    rig.broker.before["append"].extend([OSError("away"), OSError("away")])
    rig.broker.after["append"].extend([OSError("no answer"), None, OSError("no answer")])  # appended, but who knows
    for n in range(20):
        rig.send(Add(account=A, amount=n))
    await rig.quiet()
    assert first_appearances(rig.numbers()) == list(range(1, 21))
    assert len(rig.numbers()) > 20


async def test_what_an_earlier_owner_left_goes_first(rig: Rig) -> None:
    first = rig.decider()
    rig.broker.always["append"] = OSError("away")
    for n in range(5):
        rig.send(Add(account=A, amount=n))
    await until(lambda: rig.place().next == 5)
    await first.die()
    rig.decider()
    for n in range(5, 8):
        rig.send(Add(account=A, amount=n))
    await until(lambda: rig.place().next == 8)
    del rig.broker.always["append"]
    await rig.quiet()
    await until(lambda: len(rig.numbers()) == 8)
    assert rig.numbers() == list(range(1, 9))


async def test_events_of_an_ambiguous_commit_are_sent_once_and_in_their_place(rig: Rig) -> None:
    rig.decider(size=2)
    rig.store.after["commit"].extend([None, OSError("no answer")])
    for n in range(8):
        rig.send(Add(account=A, amount=n))
    await rig.quiet()
    await until(lambda: len(set(rig.numbers())) == 8)
    assert first_appearances(rig.numbers()) == list(range(1, 9))


async def test_the_store_learns_how_far_kafka_is_and_lets_the_events_go(rig: Rig) -> None:
    rig.decider()
    rig.store.before["sent"].extend([Unavailable("away")] * 2)
    for n in range(5):
        rig.send(Add(account=A, amount=n))
    await until(lambda: rig.place().relayed == 5)
    await until(lambda: not rig.schema.outbox)


async def test_a_relay_far_behind_holds_up_the_decider(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BACKLOG", 10)
    gate = rig.broker.close("append")
    owner = rig.decider(size=4)
    for n in range(100):
        rig.send(Add(account=A, amount=n))
    await until(lambda: not owner.handler.relay._room.is_set())  # type: ignore[attr-defined]
    assert len(rig.schema.outbox) <= 10 + 2 * 4
    gate.set()
    await rig.quiet()
    assert first_appearances(rig.numbers()) == list(range(1, 101))


async def test_a_relay_that_meets_an_error_of_ours_says_so_and_tries_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.decider()
    rig.broker.before["append"].append(ZeroDivisionError("a bug"))
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.numbers() == [1, 2]
    assert "ZeroDivisionError: a bug" in caplog.text
    assert "Traceback" in caplog.text


# -- readers of events


async def zombie_repeats(rig: Rig, *offsets: int) -> None:
    """What a worker that was frozen between commit and relay does when it wakes: it appends old events once more."""
    records = rig.broker._topics[EVENTS][0]
    for offset in offsets:
        old = records[offset]
        rig.broker.add(EVENTS, 0, old.key, old.value, old.headers)
    await rig.quiet()


async def test_a_zombies_late_events_change_nothing_for_a_policy(rig: Rig) -> None:
    rig.decider()
    policy = rig.policy()
    rig.send(Add(account=A, amount=1))
    rig.send(Add(account=B, amount=2, how="echo"), hops=14)
    await rig.quiet()
    commands = rig.broker.end(COMMANDS, 0)
    await zombie_repeats(rig, 0, 1, 2)
    assert rig.broker.end(COMMANDS, 0) == commands, "they are dropped by their number, not by the inbox"
    place = rig.schema.places[policy.partition.slot]
    assert place.duplicates == 3


async def test_a_projection_builds_what_the_decider_built(rig: Rig) -> None:
    rig.decider(size=4)
    for n in range(30):
        rig.send(Add(account=(A, B)[n % 2], amount=n % 5, how="deny" if n % 7 == 0 else "many"))
    await rig.quiet()
    built = MemoryStore()
    rig.projection(built)
    await rig.quiet()
    await zombie_repeats(rig, 3, 4, 0)
    live, folded = rig.schema, built.schemas["tally"]
    assert folded.rows == live.rows
    states = [{k: (s.version, s.at, s.data) for k, s in schema.states.items()} for schema in (folded, live)]
    assert states[0] == states[1]


async def test_a_projection_parks_what_its_rules_or_the_store_refuse(rig: Rig) -> None:
    rig.decider()
    rig.policy()
    rig.send(Add(account=A, amount=1))
    rig.send(Add(account=B, amount=2))
    await rig.quiet()
    rig.broker.add(EVENTS, 0, A.encode(), b"garbage")
    good = rig.broker._topics[EVENTS][0][0]
    rig.broker.add(EVENTS, 0, B.encode(), good.value, good.headers)
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    built = MemoryStore()
    owner = rig.projection(built)
    owner.handler.decider = decider()  # type: ignore[attr-defined]
    await rig.quiet()
    slot = Slot("tally", "tally.rebuild", EVENTS, 0)
    parked = [(offset, p.cause, p.holds) for (at, offset), p in built.schemas["tally"].parked.items() if at == slot]
    assert parked == [(2, "unsigned", False), (3, "unsigned", False)]
    assert built.schemas["tally"].rows["totals"] == rig.schema.rows["totals"]


async def test_who_leaves_tells_how_far_the_topic_is(rig: Rig) -> None:
    """So that the next owner sends nothing again."""
    owner = rig.decider()
    for n in range(5):
        rig.send(Add(account=A, amount=n))
    await until(lambda: len(rig.numbers()) == 5)
    await owner.leave()
    assert rig.place().relayed == 5
    rig.decider()
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    assert rig.numbers() == list(range(1, 7))


async def test_who_leaves_sends_first_what_was_left_to_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when it is told to leave while that is under way."""
    first = rig.decider()
    rig.broker.always["append"] = OSError("away")
    rig.send(Add(account=A, amount=0))
    await until(lambda: rig.place().next == 1)
    await first.die()
    del rig.broker.always["append"]
    begun, go_on, append = asyncio.Event(), asyncio.Event(), rig.broker.append

    async def slow(topic: str, partition: int, groups: Any) -> None:
        begun.set()
        await go_on.wait()
        await append(topic, partition, groups)

    monkeypatch.setattr(rig.broker, "append", slow)
    second = rig.decider()
    await begun.wait()
    leaving = asyncio.create_task(second.leave())
    await until(lambda: not second.partition.claimed.is_set())
    go_on.set()
    await leaving
    assert (rig.numbers(), rig.place().relayed) == ([1], 1)
