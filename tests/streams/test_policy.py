"""Policies: an event's commands are published once in effect, under ids that depend on nothing else, and a loop of policies ends."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from streams import loop
from streams.agent import Policy
from streams.contract import Command
from streams.envelope import MAX_HOPS, Actor, decode_command
from streams.errors import ContractError
from streams.sink import Fact
from streams.store import Unavailable
from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import ECHO, TALLY, A, Add, Added, B, account

OTHER = account(1)


def published(rig: Rig) -> list[tuple[str, int, str]]:
    """(account, amount, id) of the commands on the topic, partition after partition."""
    found = []
    for record in rig.broker.records(COMMANDS):
        envelope = decode_command(record.value or b"")
        if envelope.causation_id is not None:
            command = Add.from_topic(bytes(envelope.payload))
            found.append((command.account, command.amount, str(envelope.command_id)))
    return found


def policy(*amounts: tuple[str, int], name: str = "award") -> Policy:
    """For each event of an even amount these commands."""

    def act(fact: Fact[Added]) -> Iterable[Command]:
        return [Add(account=who, amount=amount) for who, amount in amounts] if fact.event.amount % 2 == 0 else []

    return Policy(name, TALLY, TALLY, {Added: act})


async def test_an_event_brings_its_commands_to_the_partition_of_their_key(rig: Rig) -> None:
    rig.decider(0)
    rig.decider(1)
    rig.policy(policy=policy((OTHER, 1), (OTHER, 3), (B, 5)))
    cause = rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.totals() == {A: 2, B: 5, OTHER: 4}
    record = rig.broker._topics[COMMANDS][1][0]
    envelope = decode_command(record.value or b"")
    event = rig.events()[0]
    assert envelope.actor == Actor("service", "tally")
    assert (str(envelope.causation_id), str(envelope.correlation_id)) == (str(event.event_id), str(cause))
    assert envelope.hops == 1


async def test_a_policy_that_is_asked_again_publishes_the_same_commands(rig: Rig) -> None:
    rig.decider(0)
    rig.decider(1)
    rig.store.after["commit"].append(None)
    owner = rig.policy(policy=policy((OTHER, 1), (B, 5)))
    await until(owner.partition.claimed.is_set)
    commits = rig.store.calls["commit"]
    rig.send(Add(account=A, amount=2))
    await until(lambda: rig.store.calls["commit"] > commits)
    rig.store.before["commit"].append(OSError("away"))
    await rig.quiet()
    await owner.die()
    place = rig.schema.places[owner.partition.slot]
    place.next = place.number = 0  # it reads from the beginning
    rig.policy(policy=policy((OTHER, 1), (B, 5)))
    await rig.quiet()
    assert len(published(rig)) > len(set(published(rig)))
    assert rig.totals() == {A: 2, B: 5, OTHER: 1}


async def test_ids_depend_on_cause_policy_type_key_and_place_among_equals_only(rig: Rig) -> None:
    """A changed policy neither loses nor doubles the commands that it gave before."""
    rig.decider(0)
    rig.decider(1)
    for number, changed in enumerate(
        (
            policy((OTHER, 1), (B, 1), (B, 3)),
            policy((B, 1), (OTHER, 1), (B, 3)),
            policy((account(1, 1), 9), (B, 1), (B, 3), (OTHER, 1)),
        )
    ):
        if number == 0:
            rig.send(Add(account=A, amount=2))
        owner = rig.policy(policy=changed)
        await rig.quiet()
        await owner.leave()
        place = rig.schema.places[owner.partition.slot]
        place.next = place.number = 0
        place.last_id = None
    by_account = {who: {i for w, _, i in published(rig) if w == who} for who, _, _ in published(rig)}
    assert {who: len(ids) for who, ids in by_account.items()} == {OTHER: 1, B: 2, account(1, 1): 1}
    assert rig.totals() == {A: 2, B: 4, OTHER: 1, account(1, 1): 9}


async def test_two_policies_on_one_event_give_different_commands(rig: Rig) -> None:
    rig.decider(0)
    rig.policy(policy=policy((B, 1), name="award"))
    rig.policy(policy=policy((B, 1), name="notify"))
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.amounts(B) == [1, 1]


async def test_policies_in_a_circle_end(rig: Rig) -> None:
    rig.decider()
    rig.policy()
    rig.send(Add(account=A, amount=1, how="echo"))
    await rig.quiet()
    assert rig.amounts(A) == [1] * (MAX_HOPS + 1)
    assert [cause for _, cause in rig.causes(EVENTS)] == ["too_many_hops"]


async def test_a_policy_that_raises_parks_the_event_and_holds_its_key(rig: Rig) -> None:
    def act(fact: Fact[Added]) -> Iterable[Command]:
        if fact.event.amount == 1:
            raise RuntimeError("No.")
        return Add(account=OTHER, amount=fact.event.amount)  # type: ignore[return-value]

    rig.decider(0)
    rig.decider(1)
    rig.policy(policy=Policy("choosy", TALLY, TALLY, {Added: act}))
    for name, amount in ((A, 1), (A, 2), (B, 4)):
        rig.send(Add(account=name, amount=amount))
    await rig.quiet()
    assert rig.causes(EVENTS) == [(0, "rule_failed"), (1, "held")]
    assert rig.amounts(OTHER) == [4]


async def test_kafka_away_delays_a_policy_and_doubles_nothing(rig: Rig) -> None:
    rig.decider(0)
    rig.decider(1)
    rig.policy(policy=policy((OTHER, 1)))
    rig.send(Add(account=A, amount=2))
    rig.broker.before["append"].extend([None, OSError("away"), OSError("away")])
    rig.broker.after["append"].extend([OSError("no answer"), OSError("no answer")])
    await rig.quiet()
    await until(lambda: rig.amounts(OTHER))
    assert rig.amounts(OTHER) == [1]


async def test_a_position_that_passed_nothing_is_written_now_and_then(rig: Rig) -> None:
    rig.decider()
    owner = rig.policy()
    rig.send(Add(account=A, amount=1))
    await until(lambda: rig.schema.places[owner.partition.slot].next == 1)


@pytest.mark.parametrize("leaving", [True, False])
async def test_a_position_that_passed_nothing_is_written_before_it_is_given_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, leaving: bool
) -> None:
    monkeypatch.setattr(loop, "DEFER_S", 3600.0)
    rig.decider()
    owner = rig.policy()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    assert owner.partition._deferred is not None
    if leaving:
        await owner.leave()
    else:
        owner.partition.reassign()
    await until(lambda: rig.schema.places[owner.partition.slot].next == 1)


async def test_a_position_that_passed_nothing_goes_with_the_next_effect(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DEFER_S", 3600.0)
    rig.decider()
    owner = rig.policy()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    rig.store.before["commit"].extend([None, Unavailable("away")])
    rig.send(Add(account=A, amount=2, how="echo"), hops=MAX_HOPS - 1)
    await until(lambda: rig.schema.places[owner.partition.slot].next >= 2)
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 2]


def test_a_policy_listens_to_its_source_only() -> None:
    with pytest.raises(ContractError, match="Added is not an event of"):
        Policy("lost", type(TALLY)("elsewhere", key="id"), TALLY, ECHO.on)


async def test_a_policy_that_starts_now_leaves_what_was_before(rig: Rig) -> None:
    rig.decider(0)
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    chosen = replace(policy((B, 5)), start="now")
    owner = rig.policy(policy=chosen)
    await until(owner.partition.claimed.is_set)
    await owner.die()  # before it moved: its place is kept all the same
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    rig.policy(policy=chosen)
    await rig.quiet()
    assert [amount for _, amount, _ in published(rig)] == [5]
