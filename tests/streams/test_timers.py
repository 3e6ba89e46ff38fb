"""Timers: what is due happens once, by the owner of its key, in one transaction, whatever happens to owners and store."""

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import timing
from streams.store import Lost, Unavailable
from streams.testing import Kit
from tests.streams.alarms import Alarm, AlarmRang, Bell, SetAlarm, decider
from tests.streams.rig import Rig, until
from tests.streams.tally import A, B, account

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(decider()) as kit:
        yield kit


def alarm(kit: Kit, name: str, after: timedelta | None, key: str = A, **more: object) -> SetAlarm:
    at = None if after is None else kit.clock.now() + after
    return SetAlarm(account=key, name=name, at=at, **more)


# -- when it rings


def test_it_rings_once_at_its_time(kit: Kit) -> None:
    set_ = kit.send(alarm(kit, "x", HOUR))
    assert kit.advance(HOUR - MINUTE) == []
    (rang,) = kit.advance(MINUTE)
    assert rang == AlarmRang(account=A, name="x", due=set_.events[0].at)  # type: ignore[attr-defined]
    assert kit.advance(DAY) == []
    assert kit.rows("entries") == [(A, 2, 1, "")]


def test_its_command_leaves_a_result_and_events_as_any_other(kit: Kit) -> None:
    kit.send(alarm(kit, "x", HOUR))
    kit.advance(2 * HOUR)
    envelope = kit.envelopes()[-1]
    assert (envelope.type, envelope.actor.type, envelope.actor.id) == ("alarm_rang", "service", "tally")
    assert (envelope.number, envelope.aggregate_seq, envelope.hops) == (2, 2, 0)
    assert envelope.occurred_at >= kit.clock.now() - MINUTE
    result = next(result for result in kit.store.schemas["tally"].results.values() if result.offset < 0)
    assert (result.status, str(result.command_id)) == ("accepted", envelope.command_id)


def test_a_change_of_the_document_moves_it(kit: Kit) -> None:
    kit.send(alarm(kit, "later", HOUR))
    kit.send(alarm(kit, "sooner", DAY))
    kit.send(alarm(kit, "later", 2 * HOUR))
    kit.send(alarm(kit, "sooner", MINUTE))
    assert [event.name for event in kit.advance(90 * MINUTE)] == ["sooner"]  # type: ignore[attr-defined]
    assert [event.name for event in kit.advance(90 * MINUTE)] == ["later"]  # type: ignore[attr-defined]


def test_a_change_of_the_document_ends_it(kit: Kit) -> None:
    kit.send(alarm(kit, "x", HOUR))
    kit.send(alarm(kit, "x", None))
    assert kit.advance(DAY) == []
    assert kit.store.schemas["tally"].timers == {}


def test_a_time_that_has_passed_rings_at_once(kit: Kit) -> None:
    assert [type(event).__name__ for event in kit.send(alarm(kit, "x", -HOUR)).events] == ["AlarmSet", "AlarmRang"]


def test_one_that_goes_on_rings_each_time_also_after_a_long_sleep(kit: Kit) -> None:
    kit.send(alarm(kit, "x", HOUR, every=3600, more=3))
    assert len(kit.advance(HOUR)) == 1
    assert len(kit.advance(DAY)) == 3
    dues = [event.due for event in kit.events() if isinstance(event, AlarmRang)]
    assert [after - before for before, after in itertools.pairwise(dues)] == [HOUR] * 3


def test_more_than_a_batch_of_them(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "FIRE", 7)
    monkeypatch.setattr("streams.deciding.FIRE", 7)
    for n in range(40):
        kit.send(alarm(kit, f"x{n}", (40 - n) * MINUTE, key=account(0, n % 5)))
    assert len(kit.advance(DAY)) == 40
    assert kit.store.schemas["tally"].timers == {}


def test_nothing_rings_in_a_rebuild_and_what_will_ring_is_rebuilt(kit: Kit) -> None:
    kit.send(alarm(kit, "past", HOUR))
    kit.send(alarm(kit, "coming", DAY))
    kit.advance(2 * HOUR)
    events = len(kit.events())
    rebuilt = kit.rebuilt().schemas["tally"]
    live = kit.store.schemas["tally"]
    assert rebuilt.timers == live.timers != {}
    assert rebuilt.rows == live.rows
    assert len(kit.events()) == events


# -- rules that misbehave


def test_a_rule_that_raises_parks_its_timer_and_holds_the_key(kit: Kit) -> None:
    kit.send(alarm(kit, "bad", HOUR, how="raise"))
    kit.send(alarm(kit, "held", 2 * HOUR))
    kit.send(alarm(kit, "other", HOUR, key=B))
    assert [event.name for event in kit.advance(HOUR)] == ["other"]  # type: ignore[attr-defined]
    assert kit.send(alarm(kit, "later", DAY)).status == "parked"
    kit.advance(HOUR)
    assert sorted(parked.cause for parked in kit.parked()) == ["held", "held", "rule_failed"]
    parked = next(parked for parked in kit.parked() if parked.cause == "rule_failed")
    assert (parked.key, parked.offset < 0, b'"ring"' in (parked.value or b"")) == (A.encode(), True, True)
    assert kit.store.schemas["tally"].timers == {}


@pytest.mark.parametrize("how", ["stand", "foreign"])
def test_a_rule_must_move_the_timer_that_ran_it(kit: Kit, how: str) -> None:
    """`stand` refuses, `foreign` names a command that the domain itself may not issue."""
    kit.send(alarm(kit, "bad", HOUR, how=how))
    assert kit.advance(HOUR) == []
    (parked,) = kit.parked()
    assert "TimerStands" in parked.error


def test_what_the_store_refuses_parks_that_one_alone(kit: Kit) -> None:
    for name, how in (("a", "well"), ("b", "nul"), ("c", "well")):
        kit.send(alarm(kit, name, HOUR, key=account(0, ord(name)), how=how))
    assert [event.name for event in kit.advance(HOUR)] == ["a", "c"]  # type: ignore[attr-defined]
    assert [parked.cause for parked in kit.parked()] == ["refused_by_store"]
    assert kit.send(alarm(kit, "d", HOUR, key=account(0, ord("b")))).status == "parked"


def test_one_that_cannot_be_told_is_kept_and_looked_at_again(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    kit.send(alarm(kit, "x", HOUR, how="untold"))
    assert kit.advance(HOUR) == []
    assert "the timer of" in caplog.text
    assert len(kit.store.schemas["tally"].timers) == 1
    kit.send(alarm(kit, "x", MINUTE))
    assert len(kit.advance(HOUR)) == 1


# -- owners and stores that fail


async def test_a_lost_or_unanswered_commit_rings_once(rig: Rig) -> None:
    rig.decider(agent=decider())
    rig.send(SetAlarm(account=A, name="x", at=rig.clock.now() + HOUR))
    await rig.quiet()
    rig.store.before["commit"].extend([Unavailable("away"), Lost("fenced")])
    rig.store.after["commit"].extend([OSError("no answer")])
    await ring(rig, HOUR)
    assert rig.amounts(A) == [1]
    await told(rig)


async def test_the_next_owner_rings_what_the_last_one_did_not(rig: Rig) -> None:
    first = rig.decider(agent=decider())
    rig.send(SetAlarm(account=A, name="x", at=rig.clock.now() + HOUR))
    rig.send(SetAlarm(account=A, name="y", at=rig.clock.now() + 2 * HOUR))
    await rig.quiet()
    await ring(rig, HOUR)
    await first.die()
    rig.clock.advance(HOUR)
    rig.decider(agent=decider())
    await rig.quiet()
    assert rig.amounts(A) == [1, 2]


async def test_of_two_owners_one_rings(rig: Rig) -> None:
    rig.decider(agent=decider())
    rig.send(SetAlarm(account=A, name="x", at=rig.clock.now() + HOUR))
    await rig.quiet()
    rig.decider(agent=decider())
    await ring(rig, HOUR)
    await until(lambda: len(rig.entries()) == 1)
    await ring(rig, HOUR)
    assert rig.amounts(A) == [1]
    await told(rig)


async def told(rig: Rig) -> None:
    """Wait until both events are on the topic, as often as owners sent them, and no other."""
    both = {1: "alarm_set", 2: "alarm_rang"}
    await until(lambda: {event.number: event.type for event in rig.events()} == both)


async def ring(rig: Rig, after: timedelta) -> None:
    rig.clock.advance(after)
    for owner in rig.owners:
        owner.partition.wake()
    await rig.quiet()


# -- the law


ACTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(-5, 30)), st.integers(0, 2), st.integers(0, 20)),
    max_size=25,
)


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
def test_every_alarm_rings_as_a_list_of_times_says(actions: list[tuple[int, int | None, int, int]]) -> None:
    """Set, moved, ended, repeated and slept through in any order: as often as the model, with the times that were set."""
    with Kit(decider()) as kit:
        pending: dict[str, list[object]] = {}
        expected: list[tuple[str, object]] = []

        def pass_to(now: object) -> None:
            for name, times in pending.items():
                expected.extend((name, at) for at in times if at <= now)  # type: ignore[operator]
                pending[name] = [at for at in times if at > now]  # type: ignore[operator]

        for number, after, more, sleep in actions:
            name = f"x{number}"
            command = alarm(kit, name, None if after is None else after * MINUTE, every=600, more=more)
            kit.send(command)
            pending[name] = [] if command.at is None else [command.at + n * 10 * MINUTE for n in range(more + 1)]
            pass_to(kit.clock.now())
            kit.advance(sleep * MINUTE)
            pass_to(kit.clock.now())
        rang = [(event.name, event.due) for event in kit.events() if isinstance(event, AlarmRang)]
        assert sorted(rang) == sorted(expected)
        assert kit.state(A) == Bell(len(expected))
        assert kit.parked() == []
        for number in range(4):
            document = kit.state(A, f"alarm/x{number}")
            assert isinstance(document, Alarm)
            assert document.at == min(pending.get(f"x{number}", []), default=None)  # type: ignore[type-var]
