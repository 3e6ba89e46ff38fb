"""Operators' requests to timers, policies, effects and changelogs: whoever parks a record runs it again, and what follows from it is there once."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streams import effecting
from streams.acting import Acting
from streams.agent import Changelog, Policy
from streams.changelog import Keeping
from streams.contract import Command
from streams.decision import Intent
from streams.effect import Passing, Unknown
from streams.effecting import Effecting
from streams.envelope import Signer, decode_command, decode_event, encode
from streams.outside import Outside
from streams.sink import Fact
from streams.store import Slot
from streams.testing import SIGNER
from tests.streams import alarms, receipts
from tests.streams.alarms import SetAlarm
from tests.streams.asking import ask, told
from tests.streams.rig import EVENTS, Owner, Rig, until
from tests.streams.tally import TALLY, A, Add, Added, B, account, decider

DONE = "done"
MINUTE = timedelta(minutes=1)
OTHER = account(1)


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effecting, "PATIENCE_S", (0.001, 0.01))
        patch.setattr(effecting, "DRAIN_S", 0.05)
        yield


# -- timers


def alarm(rig: Rig, name: str, after: timedelta, **more: Any) -> SetAlarm:
    return SetAlarm(account=A, name=name, at=rig.clock.now() + after, **more)


async def advance(rig: Rig, by: timedelta) -> None:
    rig.clock.advance(by)
    for owner in rig.owners:
        owner.partition.wake()
    await rig.quiet()


def mend_alarms(owner: Owner) -> None:
    """The rule likes every time from now on."""

    def decide(state: Any, command: Any, case: Any) -> Any:
        mended = {name: msgspec.structs.replace(s, how="well") if name else s for name, s in state.items()}
        return alarms.decide(mended, command, case)

    handler: Any = owner.handler
    handler.decider = replace(handler.decider, decide=decide)


def rung(rig: Rig) -> list[str]:
    return [alarms.AlarmRang.from_topic(bytes(e.payload)).name for e in rig.events() if e.type == "alarm_rang"]


async def test_a_parked_timer_is_run_and_its_key_goes_on(rig: Rig) -> None:
    owner = rig.decider(agent=alarms.decider())
    rig.send(alarm(rig, "x", MINUTE, how="raise"))
    await rig.quiet()
    await advance(rig, MINUTE)
    rig.send(alarm(rig, "y", MINUTE))
    await rig.quiet()
    (timer, follower) = rig.parked()
    assert timer.offset < 0 <= follower.offset
    mend_alarms(owner)
    assert told(await ask(rig, owner, "redrive", timer.offset)) == (DONE, "2 records were run.")
    assert rung(rig) == ["x"]
    assert timer.command_id is not None
    assert rig.result(timer.command_id).status == "accepted"
    await advance(rig, MINUTE)
    assert rung(rig) == ["x", "y"]
    assert rig.schema.timers == {}


async def test_timers_stand_among_commands_where_they_rang(rig: Rig) -> None:
    owner = rig.decider(agent=alarms.decider())
    rig.send(alarm(rig, "poison", MINUTE, how="raise"))
    for n, name in enumerate("abc", 2):
        rig.send(alarm(rig, name, n * MINUTE, every=3600, more=9))
    await rig.quiet()
    await advance(rig, MINUTE)  # the poison is parked, and all that follows waits behind it
    rig.send(alarm(rig, "b", timedelta(days=1)))
    await rig.quiet()
    await advance(rig, MINUTE)  # a rings behind that command
    await advance(rig, MINUTE)  # b does so too, before the command that ends it is run
    await advance(rig, MINUTE)
    assert len(rig.parked()) == 5
    mend_alarms(owner)
    row = await ask(rig, owner, "redrive", rig.parked()[0].offset)
    assert row.status == DONE
    assert rig.parked() == []
    assert rung(rig) == ["poison", "a", "c"], "b was put off by a command that came first"
    assert set(rig.schema.timers) == {f"{A}/alarm/{name}" for name in "abc"}


async def test_a_skipped_timer_rings_no_more(rig: Rig) -> None:
    owner = rig.decider(agent=alarms.decider())
    rig.send(alarm(rig, "x", MINUTE, how="raise"))
    await rig.quiet()
    await advance(rig, MINUTE)
    (timer,) = rig.parked()
    await ask(rig, owner, "skip", timer.offset)
    await advance(rig, 100 * MINUTE)
    assert (rig.parked(), rung(rig), rig.schema.timers) == ([], [], {})


async def test_a_timer_that_would_be_due_for_ever_stays_parked(rig: Rig) -> None:
    owner = rig.decider(agent=alarms.decider())
    rig.send(alarm(rig, "x", MINUTE, how="stand"))
    await rig.quiet()
    await advance(rig, MINUTE)
    (timer,) = rig.parked()
    row = await ask(rig, owner, "redrive", timer.offset)
    assert "failed again (rule_failed)" in (row.outcome or "")
    assert "is still due after its own command" in rig.parked()[0].error
    assert (rig.parked()[0].attempts, rig.parked()[0].before) == (2, timer.before)


async def test_a_timer_is_edited_as_a_command_is(rig: Rig) -> None:
    owner = rig.decider(agent=alarms.decider())
    rig.send(alarm(rig, "x", MINUTE, how="raise"))
    rig.send(alarm(rig, "y", timedelta(days=9)))
    await rig.quiet()
    await advance(rig, MINUTE)
    (timer,) = rig.parked()
    for value in (
        b"{}",
        encode(msgspec.structs.replace(decode_command(timer.value or b""), payload=msgspec.Raw(b"{}"))),
    ):
        row = await ask(rig, owner, "edit", timer.offset, value)
        assert (row.status, (row.outcome or "")[:11]) == ("refused", "Not a timer")
    mend_alarms(owner)
    row = await ask(rig, owner, "edit", timer.offset, timer.value)
    assert told(row) == (DONE, "It was edited. 1 record was run.")
    assert rung(rig) == ["x"]


async def test_a_redrive_long_after_takes_a_command_for_as_old_as_it_was(rig: Rig) -> None:
    """Where the platform's clock was moved on, too."""
    owner = rig.decider()
    await advance(rig, timedelta(days=2))
    rig.send(Add(account=A, amount=1, how="raise"))
    await rig.quiet()
    await advance(rig, timedelta(days=3))
    row = await ask(rig, owner, "redrive", 0)
    assert "(rule_failed)" in (row.outcome or ""), "and not (stale_id)"


# -- policies


def policy(*poison: int) -> Policy:
    """Each amount above zero is taken back at another account; these amounts it does not like."""

    def act(fact: Fact[Added]) -> Iterable[Command]:
        if fact.event.amount in poison:
            raise RuntimeError("The policy does not like this.")
        return [Add(account=OTHER, amount=-fact.event.amount)] if fact.event.amount > 0 else []

    return Policy("award", TALLY, TALLY, {Added: act})


def mend_policy(owner: Owner) -> None:
    handler = owner.handler
    assert isinstance(handler, Acting)
    handler.policy = replace(handler.policy, on=policy().on)


def causes(rig: Rig) -> list[tuple[int, str]]:
    return rig.causes(EVENTS)


@pytest.mark.parametrize("fault", [None, OSError("away")])
async def test_a_policy_gives_the_commands_of_parked_events_once(rig: Rig, fault: Exception | None) -> None:
    rig.decider(0)
    rig.decider(1)
    owner = rig.policy(policy=policy(2))
    for amount in (1, 2, 3):
        rig.send(Add(account=A, amount=amount))
    rig.send(Add(account=B, amount=4))
    await rig.quiet()
    assert causes(rig) == [(1, "rule_failed"), (2, "held")]
    place = rig.place(EVENTS, 0, "award")
    before = (place.next, place.number)
    mend_policy(owner)
    rig.store.before["commit"].append(fault)
    assert (await ask(rig, owner, "redrive", 2)).status == DONE
    assert rig.amounts(OTHER) == [-1, -4, -2, -3]
    assert (place.next, place.number) == before
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    assert rig.amounts(OTHER) == [-1, -4, -2, -3, -5]
    assert causes(rig) == []


async def test_a_policy_skips_and_edits_events(rig: Rig) -> None:
    rig.decider(0)
    rig.decider(1)
    owner = rig.policy(policy=policy(2, 3))
    for amount in (2, 3, 4):
        rig.send(Add(account=A, amount=amount))
    await rig.quiet()
    row = await ask(rig, owner, "skip", 0)
    assert "The one at offset 1 failed again" in (row.outcome or "")
    was = decode_event(rig.parked(EVENTS)[0].value or b"")
    other = msgspec.structs.replace(was, number=77)
    assert (await ask(rig, owner, "edit", 1, encode(other))).outcome == "An edit leaves number as it is, which is 2."
    better = msgspec.structs.replace(was, payload=msgspec.Raw(Added(account=A, amount=33).to_json()))
    row = await ask(rig, owner, "edit", 1, encode(better))
    assert told(row) == (DONE, "It was edited. 2 records were run.")
    assert rig.amounts(OTHER) == [-33, -4]
    assert len(rig.schema.results) == 5, "a skipped event has no result"


async def test_a_policy_runs_events_that_it_can_read_by_now(rig: Rig) -> None:
    rig.decider(0)
    rig.decider(1)
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    slot = Slot("tally", "award", EVENTS, 0)
    stranger = Acting(policy(), slot, store=rig.store, log=rig.broker, signer=Signer([("k", b"another secret..")]))
    other = rig.open(slot, stranger)
    await rig.quiet()
    assert causes(rig) == [(0, "unsigned")]
    row = await ask(rig, other, "redrive", 0)
    assert "0 records were run. The one at offset 0 failed again (unsigned)" in (row.outcome or "")
    await other.leave()
    owner = rig.policy(policy=policy())
    assert (await ask(rig, owner, "redrive", 0)).outcome == "1 record was run."
    assert rig.amounts(OTHER) == [-1]


# -- effects


def desk(rig: Rig, outside: Outside, **changes: Any) -> Owner:
    """A decider, and an owner of its effect."""
    rig.decider()
    agent = receipts.effect(**changes)
    slot = Slot("tally", agent.name, EVENTS, 0)
    handler = Effecting(agent, outside, slot, store=rig.store, log=rig.broker, signer=SIGNER, clock=rig.clock)
    owner = rig.open(slot, handler)
    handler.wake = owner.partition.wake
    return owner


async def settled(rig: Rig, owner: Owner, *parked: str) -> None:
    """Wait until these causes are parked and no call is under way."""
    handler: Any = owner.handler
    await until(
        lambda: (
            [cause for _, cause in causes(rig)] == [*parked]
            and handler.idle
            and all(call.status == "parked" or call.number > 1 for call in rig.schema.calls.values())
        )
    )
    await rig.quiet()


@pytest.mark.parametrize("action", ["redrive", "skip"])
async def test_a_parked_call_is_made_again_or_let_go_and_the_next_of_its_key_is_made(rig: Rig, action: str) -> None:
    outside = Outside([Unknown("who knows")])
    owner = desk(rig, outside)
    for amount in (5, 6):
        rig.send(Add(account=A, amount=amount))
    await settled(rig, owner, "effect_unknown")
    rig.send(Add(account=A, amount=7))  # waits as a parked event, behind the two calls
    await settled(rig, owner, "effect_unknown", "held")
    await ask(rig, owner, action, 0)
    await until(lambda: not rig.schema.calls and not causes(rig))
    await rig.quiet()
    asked = [asked.intent.data["amount"] for asked in outside.asked]
    assert asked == ([5, 5, 6, 7] if action == "redrive" else [5, 6, 7])
    assert rig.amounts(A) == [5, 6, 7, *[-1] * (3 if action == "redrive" else 2)]


async def test_a_call_that_was_done_and_could_not_be_told_is_not_made_again(rig: Rig) -> None:
    outside = Outside([{"raise": True}])
    owner = desk(rig, outside)
    rig.send(Add(account=A, amount=5))
    await settled(rig, owner, "rule_failed")
    handler: Any = owner.handler
    quiet = replace(receipts.effect(), result=lambda fact, reply: Add(account=fact.key, amount=-10))
    handler.effect = quiet
    assert (await ask(rig, owner, "redrive", 0)).status == DONE
    await until(lambda: not rig.schema.calls)
    await rig.quiet()
    assert len(outside.asked) == 1
    assert rig.amounts(A) == [5, -10]


async def test_a_call_that_failed_has_its_attempts_anew(rig: Rig) -> None:
    outside = Outside([Passing("away"), Passing("away"), {}])
    owner = desk(rig, outside, attempts=2, result=None)
    rig.send(Add(account=A, amount=5))
    await until(lambda: len(outside.asked) == 1)
    rig.clock.advance(MINUTE)
    owner.partition.wake()
    await settled(rig, owner, "effect_failed")
    await ask(rig, owner, "redrive", 0)
    await until(lambda: not rig.schema.calls)
    assert len(outside.asked) == 3
    assert causes(rig) == []


async def test_where_the_outside_can_be_asked_it_is_asked_before_a_call_is_made_again(rig: Rig) -> None:
    outside = Outside([Unknown("who knows")], found=[Unknown("not now")] * 7 + [{"id": "r1"}])
    owner = desk(rig, outside)
    rig.send(Add(account=A, amount=5))
    for _ in range(40):
        if causes(rig):
            break
        await rig.quiet()
        rig.clock.advance(MINUTE)
        owner.partition.wake()
        await asyncio.sleep(0.01)
    await settled(rig, owner, "effect_unknown")
    await ask(rig, owner, "redrive", 0)
    await until(lambda: not rig.schema.calls)
    assert len(outside.asked) == 1, "it was found"


async def test_an_event_of_which_no_call_could_be_made_is_redriven_and_its_followers_keep_their_order(rig: Rig) -> None:
    outside = Outside()
    owner = desk(rig, outside)
    rig.send(Add(account=A, amount=5, how="unread"))
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    handler: Any = owner.handler

    def write(fact: Fact[Added]) -> Intent | None:
        if fact.event.amount == 6 and not mended:
            raise RuntimeError("No receipt can be written.")
        return Intent("write", {"amount": fact.event.amount}) if fact.event.amount > 0 else None

    mended: list[int] = []
    handler.effect = replace(receipts.effect(), on={Added: write})
    for amount in (6, 7):
        rig.send(Add(account=B, amount=amount))
    await until(lambda: [cause for _, cause in causes(rig)] == ["rule_failed", "held"])
    mended.append(1)
    first = rig.parked(EVENTS)[0].offset
    assert (await ask(rig, owner, "redrive", first)).outcome == "2 records were run."
    await until(lambda: not rig.schema.calls)
    await rig.quiet()
    assert [asked.intent.data["amount"] for asked in outside.asked] == [6, 7]


async def test_a_call_that_is_owed_is_not_edited(rig: Rig) -> None:
    owner = desk(rig, Outside([Unknown("who knows")]))
    rig.send(Add(account=A, amount=5))
    await settled(rig, owner, "effect_unknown")
    row = await ask(rig, owner, "edit", 0, rig.parked(EVENTS)[0].value)
    assert told(row) == ("refused", "A call that is owed is as the rules made it: redrive it or skip it.")


# -- changelogs


async def test_a_changelog_writes_the_documents_of_events_that_it_can_read_by_now(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TALLY, "changelog", True)
    rig.broker._topics.setdefault(TALLY.changelog_topic, [[] for _ in range(TALLY.partitions)])
    rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    agent = Changelog(decider())
    slot = Slot("tally", agent.name, EVENTS, 0)
    signers = (Signer([("k", b"another secret..")]), SIGNER)
    for signer in signers:
        keeping = Keeping(agent, slot, store=rig.store, log=rig.broker, signer=signer)
        owner = rig.open(slot, keeping)
        await rig.quiet()
        row = await ask(rig, owner, "redrive", 0)
        await owner.leave()
        keys = {(record.key or b"").decode() for record in rig.broker.records(TALLY.changelog_topic)}
        assert keys == (set() if signer is signers[0] else {A, f"{A}/note/1"})
    assert row.outcome == "1 record was run."
    assert causes(rig) == []
