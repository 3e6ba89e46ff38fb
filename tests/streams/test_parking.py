"""What cannot be processed is parked with its cause; its key waits if the record was validly accepted, and nothing else does."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streams.envelope import Actor, Signer, decode_command, encode
from streams.ids import milliseconds, uuid7
from streams.memory import MemoryRecord
from streams.producer import signed
from streams.table import Table
from streams.testing import SIGNER
from tests.streams import tally
from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import SUMS, A, Add, B, C, account, decider

FORGER = Signer([("test", b"another secret..")])


@pytest.mark.parametrize("place", [0, 1, 3, 6])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("how", ["nul", "odd"])
async def test_one_record_that_the_store_refuses_is_parked_alone(
    rig: Rig, place: int, count: int, how: tally.How
) -> None:
    if place >= count:
        place = count - 1
    for n in range(count):
        rig.send(Add(account=f"{A}", amount=n) if n != place else Add(account=B, amount=n, how=how))
    rig.send(Add(account=B, amount=100))
    rig.send(Add(account=A, amount=100))
    rig.decider()
    await rig.quiet()
    assert rig.causes() == [(place, "refused_by_store"), (count, "held")]
    assert rig.amounts(A) == [*(n for n in range(count) if n != place), 100]
    assert rig.amounts(B) == []
    assert rig.numbers() == list(range(1, count + 1)), "a parked command takes no number"


async def test_poison_among_many_is_parked_alone_and_order_is_kept(rig: Rig) -> None:
    chance = random.Random(7)
    bad = set(chance.sample(range(400), 9))
    accounts = [account(0, n) for n in range(40)]
    sent = [(accounts[chance.randrange(40)], n) for n in range(400)]
    for name, n in sent:
        rig.send(Add(account=name, amount=n, how="nul" if n in bad else "well"))
    rig.decider(size=170)
    await rig.quiet()
    held: set[str] = set()
    expected, parked = [], []
    for name, n in sent:
        if name in held:
            parked.append((n, "held"))
        elif n in bad:
            held.add(name)
            parked.append((n, "refused_by_store"))
        else:
            expected.append((name, n))
    assert [(row[0], row[2]) for row in rig.entries()] == expected
    assert rig.causes() == parked
    assert all(record.holds for record in rig.parked())


async def test_two_batches_with_poison_in_flight_are_both_settled(rig: Rig) -> None:
    rig.decider(size=3)
    await until(rig.owners[0].partition.claimed.is_set)
    gate = rig.store.close("commit")
    for n in range(9):
        rig.send(Add(account=(A, B, C)[n % 3], amount=n, how="nul" if n in {1, 5} else "well"))
    await until(lambda: rig.owners[0].partition._ahead.next >= 6)
    gate.set()
    await rig.quiet()
    assert rig.causes() == [(1, "refused_by_store"), (4, "held"), (5, "refused_by_store"), (7, "held"), (8, "held")]
    assert rig.amounts(A) == [0, 3, 6]
    assert rig.amounts(C) == [2]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "The rule does not like this."),
        ("reads", "The rule cannot say what it reads."),
        ("unread", "which `reads` did not name"),
        ("undeclared", "__rows__"),
    ],
)
async def test_a_rule_that_raises_parks_its_command_and_holds_its_key(rig: Rig, how: tally.How, words: str) -> None:
    rig.send(Add(account=A, amount=1))
    rig.send(Add(account=A, amount=2, how=how))
    rig.send(Add(account=A, amount=4))
    rig.send(Add(account=B, amount=8))
    rig.decider()
    await rig.quiet()
    rig.send(Add(account=A, amount=16))  # in a later batch
    await rig.quiet()
    assert rig.causes() == [(1, "rule_failed"), (2, "held"), (4, "held")]
    assert words in rig.parked()[0].error
    assert rig.totals() == {A: 1, B: 8}
    assert rig.schema.states[A].version == 1, "nothing of it went into the state"
    assert rig.schema.results.keys().isdisjoint(parked.command_id for parked in rig.parked())


async def test_a_key_is_held_for_the_next_owner_too(rig: Rig) -> None:
    owner = rig.decider()
    rig.send(Add(account=A, amount=1, how="raise"))
    await rig.quiet()
    await owner.leave()
    rig.decider()
    rig.send(Add(account=A, amount=2))
    rig.send(Add(account=B, amount=3))
    await rig.quiet()
    assert rig.causes() == [(0, "rule_failed"), (1, "held")]
    assert rig.totals() == {B: 3}


async def test_a_hold_of_a_batch_that_failed_is_forgotten_with_it(rig: Rig) -> None:
    """The hold is part of the batch: another owner, or another version of the rules, may decide it well."""
    rig.decider(size=1)
    await until(rig.owners[0].partition.claimed.is_set)
    gate = rig.store.close("commit")
    rig.send(Add(account=A, amount=1, how="raise"))
    await until(lambda: rig.store.calls["commit"] == 1)
    rig.owners[0].handler.decider = replace(decider(), decide=lambda *_: [])  # type: ignore[attr-defined]
    rig.store.before["commit"].append(OSError("away"))
    gate.set()
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.causes() == []
    assert len(rig.schema.results) == 2


async def test_without_parked_records_no_key_is_looked_up(rig: Rig) -> None:
    rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    assert rig.store.calls["held"] == 0


async def test_too_many_bytes_of_events_are_parked(rig: Rig) -> None:
    rig.send(Add(account=A, amount=1, how="huge"))
    rig.send(Add(account=B, amount=3000, how="many"))
    rig.send(Add(account=C, amount=1))
    rig.decider()
    await rig.quiet()
    assert rig.causes() == [(0, "too_large"), (1, "too_large")]
    assert rig.totals() == {C: 1}


async def test_a_stored_document_that_cannot_be_read_parks_its_key_alone(rig: Rig) -> None:
    owner = rig.decider()
    for name in (A, B):
        rig.send(Add(account=name, amount=1))
    await rig.quiet()
    await owner.leave()
    rig.schema.states[A] = rig.schema.states[A]._replace(data='{"total": "many"}')
    rig.decider()
    for name in (A, B):
        rig.send(Add(account=name, amount=2))
    await rig.quiet()
    assert rig.causes() == [(2, "rule_failed")]
    assert "sums" in rig.parked()[0].error
    assert rig.totals() == {A: 1, B: 3}


async def test_a_table_without_a_class_for_a_sub_key_parks_and_does_not_end_the_worker(rig: Rig) -> None:
    rig.decider(agent=replace(decider(), table=Table("sums", {"": SUMS.types[""]})))
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.causes() == [(0, "rule_failed")]
    assert "note" in rig.parked()[0].error


# -- records that were never validly accepted


def changed(rig: Rig, **fields: Any) -> dict[str, Any]:
    """Key, value and headers of a signed command whose envelope was changed before it was signed."""
    rig.send(Add(account=A, amount=1))
    record = rig.broker.records(COMMANDS)[-1]
    rig.broker.drop(COMMANDS, 0, {record.offset})
    value = encode(msgspec.structs.replace(decode_command(record.value or b""), **fields))
    return {"key": record.key, "value": value, "headers": signed(COMMANDS, record.key or b"", value, SIGNER)}


async def park_alone(rig: Rig, cause: str, partition: int = 0, **record: Any) -> None:
    rig.broker.add(COMMANDS, partition, record.get("key"), record.get("value"), record.get("headers", ()))
    rig.decider(partition)
    if partition == 0:
        rig.send(Add(account=A, amount=7))
    await rig.quiet()
    assert [(parked.cause, parked.holds) for parked in rig.parked()] == [(cause, False)]
    assert (rig.parked()[0].key, rig.parked()[0].value) == (record.get("key"), record.get("value"))
    assert rig.totals() == ({A: 7} if partition == 0 else {})


@pytest.mark.parametrize("value", [b"\x00\xff garbage", b"{}", b"", None, b"[" * 5000])
async def test_garbage_holds_nothing_back(rig: Rig, value: bytes | None) -> None:
    await park_alone(rig, "unsigned", key=A.encode(), value=value)


@pytest.mark.parametrize("value", [b"\x00\xff garbage", b"{}", b"", None, b"[" * 5000])
async def test_signed_garbage_holds_nothing_back(rig: Rig, value: bytes | None) -> None:
    headers = signed(COMMANDS, A.encode(), value or b"", SIGNER)
    await park_alone(rig, "undecodable", key=A.encode(), value=value, headers=headers)


async def test_a_forged_signature_is_parked(rig: Rig) -> None:
    record = changed(rig)
    record["headers"] = signed(COMMANDS, record["key"], record["value"], FORGER)
    await park_alone(rig, "unsigned", **record)


async def test_a_signature_of_another_topic_is_parked(rig: Rig) -> None:
    record = changed(rig)
    record["headers"] = signed(EVENTS, record["key"], record["value"], SIGNER)
    await park_alone(rig, "unsigned", **record)


async def test_a_record_under_another_key_is_parked(rig: Rig) -> None:
    record = changed(rig)
    record |= {"key": B.encode(), "headers": signed(COMMANDS, B.encode(), record["value"], SIGNER)}
    await park_alone(rig, "wrong_key", **record)


async def test_a_record_without_a_key_is_parked(rig: Rig) -> None:
    record = changed(rig)
    record |= {"key": None, "headers": signed(COMMANDS, b"", record["value"], SIGNER)}
    await park_alone(rig, "wrong_key", **record)


async def test_a_record_on_another_partition_is_parked(rig: Rig) -> None:
    await park_alone(rig, "wrong_key", partition=1, **changed(rig))


async def test_an_envelope_of_another_aggregate_than_its_payload_is_parked(rig: Rig) -> None:
    await park_alone(rig, "wrong_key", **changed(rig, aggregate_id=B))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"type": "subtract"}, "unknown_type"),
        ({"type": "added"}, "unknown_type"),
        ({"domain": "points"}, "unknown_type"),
        ({"schema_version": 2}, "unknown_version"),
        ({"payload": msgspec.Raw(b'{"account": 1}')}, "undecodable"),
    ],
)
async def test_what_no_contract_describes_is_parked(rig: Rig, fields: dict[str, Any], cause: str) -> None:
    await park_alone(rig, cause, **changed(rig, **fields))


@pytest.mark.parametrize("hours", [-25, 25])
async def test_an_id_far_off_its_time_is_parked(rig: Rig, hours: int) -> None:
    off = int(timedelta(hours=hours).total_seconds() * 1000)
    stale = uuid7(milliseconds(uuid7(int(rig.clock.now().timestamp() * 1000))) + off)
    await park_alone(rig, "stale_id", **changed(rig, command_id=stale))


async def test_an_id_of_today_is_taken(rig: Rig) -> None:
    rig.decider()
    for hours in (-23, 23):
        off = int(timedelta(hours=hours).total_seconds() * 1000)
        rig.send(Add(account=A, amount=1), command_id=uuid7(int(rig.clock.now().timestamp() * 1000) + off))
    await rig.quiet()
    assert rig.amounts(A) == [1, 1]


async def test_an_id_is_taken_though_a_virtual_clock_was_moved_by_days_since(rig: Rig) -> None:
    """Whether the broker took the record before the move or after it; also when all is read again."""
    rig.send(Add(account=A, amount=1))
    rig.clock.advance(timedelta(days=3))
    rig.send(Add(account=A, amount=2))
    rig.decider()
    await rig.quiet()
    assert rig.amounts(A) == [1, 2]


def test_keys_of_signatures_rotate_without_a_stop() -> None:
    old, new = ("old", b"0" * 16), ("new", b"1" * 16)
    both = Signer([new, old])
    for signer, fits in ((Signer([old]), True), (both, True), (Signer([new]), True), (FORGER, False)):
        record = MemoryRecord(COMMANDS, 0, 0, 0, b"k", b"v", signed(COMMANDS, b"k", b"v", signer))
        assert both.checker(COMMANDS)(record) is fits


async def test_a_flood_of_garbage_delays_nobody_for_ever(rig: Rig) -> None:
    for n in range(2000):
        rig.broker.add(COMMANDS, 0, A.encode(), b"garbage")
        if n % 500 == 0:
            rig.send(Add(account=A, amount=1))
    rig.decider()
    await rig.quiet()
    assert len(rig.parked()) == 2000
    assert rig.amounts(A) == [1] * 4


# -- refusals are no failures


async def test_refusals_and_results(rig: Rig) -> None:
    rig.decider()
    denied = rig.send(Add(account=A, amount=3, how="deny"))
    forbidden = rig.send(Add(account=A, amount=1), actor=Actor("guest", "g", "Guest"))
    silent = rig.send(Add(account=A, amount=1, how="silent"))
    pending = rig.send(Add(account=A, amount=1, how="pend"))
    await rig.quiet()
    assert rig.result(pending).status == "pending"
    settling = rig.send(Add(account=A, amount=2, how="settle", pending=str(pending)))
    await rig.quiet()
    results = [rig.result(command_id) for command_id in (denied, forbidden, silent, pending, settling)]
    assert [(r.status, r.code) for r in results] == [
        ("rejected", "denied"), ("rejected", "forbidden"), ("accepted", None), ("accepted", None), ("accepted", None),
    ]  # fmt: skip
    assert results[0].details == '{"status":422,"details":{"amount":3}}'
    told: Sequence[str] = [event.type for event in rig.events()]
    assert told == ["command_rejected", "command_rejected", "command_accepted", "added", "added"]
    assert rig.parked() == []
