"""A store restored from an older copy takes over what its event topic tells: as if it had never been away."""

import asyncio
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agent import Agent, Decider, agents_of
from streams.contract import Command
from streams.deciding import Deciding
from streams.envelope import EventEnvelope
from streams.handler import Handler, identity
from streams.holds import parked
from streams.ids import uuid7
from streams.memory import broker
from streams.store import Lost, Slot, Unavailable
from streams.testing import Kit
from tests.faults.load import orders
from tests.streams import alarms
from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import ECHO, A, Add, B, account, decider

HOUR = timedelta(hours=1)
ACCOUNTS = [account(partition, n) for partition in range(2) for n in range(3)]


class Backed(Kit):
    """A kit whose store is kept, and put back later under processes that begin anew."""

    def __init__(self, *agents: Agent, **more: Any) -> None:
        super().__init__(*agents, **more)

    def _handler(self, agent: Agent, slot: Slot) -> Handler:
        """As ever, but of a partition of which the copy knows nothing yet all is taken over too."""
        handler = super()._handler(agent, slot)
        if isinstance(handler, Deciding):
            handler._from_nothing = True
        return handler

    async def _settle(self) -> None:
        async with asyncio.timeout(150):
            await super()._settle()

    def backup(self) -> Any:
        return deepcopy(self.store.schemas)

    def restore(self, kept: Any) -> None:
        """Everything stops, the store is replaced by an older copy, and everything starts again."""
        self._runner.run(self._stop())
        self._tasks.clear()
        self.store.schemas = kept
        self._runner.run(self._start(self.agents))

    def stored(self) -> dict[str, Any]:
        """What stands in the store, by domain, in no order of writing."""
        return {
            domain: {
                "states": {key: state._replace(replaces=0) for key, state in schema.states.items()},
                "rows": {name: rows if isinstance(rows, dict) else Counter(rows) for name, rows in schema.rows.items()},
                "results": dict(schema.results),
                "timers": dict(schema.timers),
                "parked": {place: (parked.cause, parked.key) for place, parked in schema.parked.items()},
                "calls": dict(schema.calls),
                "numbers": {slot: place.number for slot, place in schema.places.items() if slot.agent == domain},
                "stopped": {slot: place.stopped for slot, place in schema.places.items() if place.stopped},
            }
            for domain, schema in self.store.schemas.items()
        }

    def told(self) -> dict[tuple[str, int, int], EventEnvelope]:
        """The events as readers take them, who drop what comes again."""
        found: dict[tuple[str, int, int], EventEnvelope] = {}
        last: Counter[tuple[str, int]] = Counter()
        for event in self.envelopes():
            place = event.domain, event.source.partition
            if event.number > last[place]:
                assert event.number == last[place] + 1
                last[place] = event.number
                found[*place, event.number] = event
        return found

    def ids(self) -> set[tuple[str, Any]]:
        """What was ever published: commands by their ids."""
        return {
            (topic.commands_topic, record.value)
            for topic in self._topics.values()
            for record in self.broker.records(topic.commands_topic)
        }

    def uncounted(self) -> list[str]:
        """Deciders' partitions whose records do not each count as a result, as parked or as a repeat."""
        wrong = []
        for domain, schema in self.store.schemas.items():
            for slot, place in schema.places.items():
                if slot.agent != domain:
                    continue
                results = sum(r.partition == slot.partition and r.offset >= 0 for r in schema.results.values())
                parked = sum(at == slot and parked.offset >= 0 for (at, _), parked in schema.parked.items())
                if place.next != results + parked + place.duplicates:
                    wrong.append(f"{slot}: {place.next} read, {results=} {parked=} {place.duplicates=}")
        return wrong


def commands(hows: str) -> st.SearchStrategy[list[Command]]:
    """Commands on a few accounts, some of which the rules refuse, cannot work or answer late."""
    return st.lists(
        st.builds(
            Add,
            account=st.sampled_from(ACCOUNTS),
            amount=st.integers(1, 5),
            how=st.sampled_from(hows.split()),
        ),
        max_size=30,
    )


USUAL = commands("well well well many deny silent raise nul pend")


@given(first=USUAL, then=USUAL, size=st.integers(1, 7), lost=st.integers(0, 6))
@settings(max_examples=30)
@pytest.mark.req("SR030")
def test_what_is_restored_and_taken_over_is_what_there_was(
    first: list[Command], then: list[Command], size: int, lost: int
) -> None:
    """`lost` events at the end never reached Kafka: their commands are decided again, and tell the same."""
    with pytest.MonkeyPatch.context() as patch, Backed(decider(), ECHO) as kit:
        patch.setattr(broker, "DELIVERY", size)
        for command in first:
            kit.send(command)
        kept, ends = kit.backup(), kit.ends()
        pending = {result.command_id for result in kept["tally"].results.values() if result.status == "pending"}
        for command in then:
            kit.send(command)
        for settled in sorted(pending)[:2]:
            kit.send(Add(account=A, amount=1, how="settle", pending=str(settled)))
        stored, told, known = kit.stored(), kit.told(), kit.ids()
        cut(kit, ends, lost)
        kit.restore(kept)

        assert kit.stored() == stored
        assert kit.told() == told
        assert kit.ids() == known
        assert kit.uncounted() == []


def test_the_late_result_of_a_pending_command_is_taken_over() -> None:
    with Backed(decider()) as kit:
        pending = uuid7(int(kit.clock.now().timestamp() * 1000))
        kit.send(Add(account=A, amount=1, how="pend"), command_id=pending)
        kept = kit.backup()
        kit.send(Add(account=A, amount=1, how="settle", pending=str(pending)))
        kit.restore(kept)

        result = kit.result(pending)
        assert result is not None
        assert result.status == "accepted"


def cut(kit: Kit, ends: Any, lost: int) -> None:
    """The last events since the copy are not there, whole commands at a time."""
    for (topic, partition), start in ends.items():
        values = [e for e in kit.envelopes(ends) if e.source.partition == partition]
        gone = {e.command_id for e in values[len(values) - lost :]} if lost else set()
        kept = [n for n, e in enumerate(values) if e.command_id not in gone]
        kit.broker.drop(topic, partition, range(start + len(kept), start + len(values)))


ALARMS = st.lists(
    st.one_of(
        st.builds(
            alarms.SetAlarm,
            account=st.sampled_from(ACCOUNTS),
            name=st.sampled_from(["x", "y"]),
            at=st.none(),
            every=st.just(3600),
            more=st.integers(0, 3),
        ),
        st.integers(1, 5),
    ),
    max_size=20,
)


@given(first=ALARMS, then=ALARMS, size=st.integers(1, 7))
@settings(max_examples=20)
def test_timers_that_rang_do_not_ring_again_and_the_others_do(first: list[Any], then: list[Any], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Backed(alarms.decider()) as kit:
        patch.setattr(broker, "DELIVERY", size)
        ring(kit, first)
        kept = kit.backup()
        ring(kit, then)
        stored, told = kit.stored(), kit.told()
        kit.restore(kept)

        assert kit.stored() == stored
        assert kit.told() == told
        assert bool(kit.advance(10 * HOUR)) == bool(stored["tally"]["timers"])
        assert kit.uncounted() == []


def ring(kit: Kit, steps: list[Any]) -> None:
    """Alarms that are set for the next hour, and hours that pass."""
    for step in steps:
        if isinstance(step, int):
            kit.advance(step * HOUR / 2)
        else:
            kit.send(step.model_copy(update={"at": kit.clock.now() + HOUR}))


@given(seed=st.integers(0, 10**6), at=st.integers(0, 60))
@settings(max_examples=6)
def test_a_domain_with_sagas_timers_and_policies_is_as_it_was(seed: int, at: int) -> None:
    with Backed(*agents_of("points")) as kit:
        kept = kit.backup()
        for n, (command, actor) in enumerate(orders(seed, 60)):
            if n == at:
                kept = kit.backup()
            kit.send(command, actor=actor)
            if n % 20 == 19:
                kit.advance(9 * HOUR)
        stored, told, known = kit.stored(), kit.told(), kit.ids()
        kit.restore(kept)

        assert kit.stored() == stored
        assert kit.told() == told
        assert kit.ids() == known
        assert kit.uncounted() == []


# -- when it is broken off, and when it cannot be


@pytest.fixture
async def behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Ten commands were worked, and the store is as it was after the second; nobody owns the partition."""
    monkeypatch.setattr(broker, "DELIVERY", 3)
    owner = rig.decider()
    for n in range(2):
        rig.send(Add(account=A, amount=n))
    await rig.quiet()
    kept = deepcopy(rig.memory.schemas)
    for n in range(2, 10):
        rig.send(Add(account=B if n % 2 else A, amount=2, how="many"))
    await rig.quiet()
    await owner.leave()
    rig.memory.schemas = kept
    return rig


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("fault", [Unavailable("away"), Lost("no answer")], ids=["before", "after"])
async def test_it_goes_on_where_it_was_broken_off(behind: Rig, nth: int, fault: Exception) -> None:
    faults = behind.store.after if isinstance(fault, Lost) else behind.store.before
    faults["commit"].extend([None] * nth + [fault])
    behind.decider()
    await until(lambda: behind.place().next == 10)
    await behind.quiet()
    await until(lambda: behind.place().relayed == 18)

    assert not faults["commit"], "the fault was injected"
    assert (behind.place().number, behind.place().duplicates) == (18, 0)
    assert len(behind.schema.results) == 10
    assert sorted(row[:2] for row in behind.entries()) == sorted(
        [(A, n) for n in range(1, 11)] + [(B, n) for n in range(1, 9)]
    )
    assert behind.totals() == {A: 9, B: 8}


async def test_the_next_command_goes_on_from_there(behind: Rig) -> None:
    behind.decider()
    behind.send(Add(account=A, amount=5))
    await until(lambda: behind.place().relayed == 19)

    assert behind.numbers() == list(range(1, 20))
    assert behind.totals()[A] == 14


@pytest.mark.parametrize("missing", [2, 9, 16], ids=lambda offset: f"offset {offset}")
async def test_a_hole_in_the_events_stops_it(behind: Rig, missing: int) -> None:
    behind.broker.drop(EVENTS, 0, {missing})
    assert f"has no event number {missing + 1} any more" in await stopped(behind)


async def test_an_event_that_the_code_cannot_fold_stops_it(behind: Rig) -> None:
    def evolve(state: Any, event: Any) -> Any:
        raise RuntimeError("other rules")

    reason = await stopped(behind, replace(decider(), evolve=evolve))
    assert "event number 3 of tally.events" in reason
    assert "other rules" in reason


async def test_an_empty_store_is_not_filled_unasked(behind: Rig) -> None:
    behind.memory.schemas.clear()
    assert "Postgres was wiped, or CARAVAN_POSTGRES names another one" in await stopped(behind)
    assert behind.schema.results == {}


async def test_what_strangers_and_the_relay_put_between_is_stepped_over(behind: Rig) -> None:
    records = behind.broker._topics[EVENTS][0]
    told = [(record.key, record.value, record.headers) for record in records]
    records.clear()
    for key, value, headers in told[:5] + told[1:5] + [(b"x", b"noise", ())] + told[3:]:
        behind.broker.add(EVENTS, 0, key, value, headers)
    behind.decider()
    await until(lambda: behind.place().next == 10)

    assert behind.totals() == {A: 9, B: 8}


async def test_what_was_parked_in_the_copy_and_was_run_since_is_parked_no_more(rig: Rig) -> None:
    owner = rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    kept = deepcopy(rig.memory.schemas)
    ids = [rig.send(Add(account=key, amount=1)) for key in (B, A)]
    await rig.quiet()
    await owner.leave()
    record = rig.broker.records(COMMANDS)[1]
    (place,) = kept["tally"].places.values()
    place.next, place.last_id = 2, identity(record)
    kept["tally"].parked[owner.partition.slot, 1] = parked(record, "rule_failed", "…", holds=True, command_id=ids[0])
    rig.memory.schemas = kept
    rig.decider()
    rig.send(Add(account=B, amount=1))
    await until(lambda: rig.place().next == 4)

    assert rig.parked() == []
    assert rig.totals() == {A: 2, B: 2}
    assert rig.place().duplicates == 0


async def stopped(rig: Rig, agent: Decider | None = None) -> str:
    """The reason in the store, once there is one."""
    rig.decider(agent=agent)
    await until(lambda: rig.place().stopped)
    return str(rig.place().stopped)


def test_commands_sent_before_it_come_before_timers_that_are_due_since() -> None:
    with Backed(alarms.decider()) as kit:
        kit.send(alarms.SetAlarm(account=A, name="x", at=kit.clock.now() + HOUR))
        kept = kit.backup()
        kit.send(alarms.SetAlarm(account=B, name="y", at=None))
        ends = kit.ends()
        kit.send(alarms.SetAlarm(account=A, name="x", at=None))
        cut(kit, ends, 1)  # its events never reached Kafka
        kit.clock.advance(2 * HOUR)
        kit.restore(kept)

        assert [type(event).__name__ for event in kit.events()] == ["AlarmSet"] * 3
        assert kit.store.schemas["tally"].timers == {}
