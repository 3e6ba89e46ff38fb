"""Reading records one after the other: what a reader remembers of keys and types changes no answer."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from streams import records
from streams.clock import SystemClock
from streams.envelope import Actor, Signer, decode_command, encode
from streams.ids import uuid7
from streams.memory import MemoryRecord
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.records import CommandReader, Unfit
from tests.streams.tally import TALLY, Add

SIGNER = Signer([("k1", b"1" * 16)])
TOPIC = TALLY.commands_topic
KEYS = [key for key in map("a{}".format, range(200)) if partition_of(key.encode(), TALLY.partitions) == 0]
ELSEWHERE = next(key for key in map("a{}".format, range(200)) if partition_of(key.encode(), TALLY.partitions) == 1)


def of(account: str, key: bytes | None = None, **around: Any) -> MemoryRecord:
    """A signed record; `key` and what stands in its envelope may be others than they should be."""
    told, value = command_record(
        Add(account=account, amount=1),
        command_id=uuid7(1),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor=Actor("user", "u"),
    )
    value = encode(msgspec.structs.replace(decode_command(value), **around))
    key = told if key is None else key
    return MemoryRecord(TOPIC, 0, 0, 1, key, value, signed(TOPIC, key, value, SIGNER))


def reader() -> CommandReader:
    return CommandReader(TALLY, 0, SIGNER, SystemClock())


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (of(KEYS[0], key=KEYS[1].encode()), "wrong_key"),
        (of(KEYS[0], aggregate_id=KEYS[1]), "wrong_key"),
        (of(KEYS[1], key=KEYS[0].encode(), aggregate_id=KEYS[0]), "wrong_key"),
        (of(ELSEWHERE), "wrong_key"),
        (of(KEYS[0], domain="points"), "unknown_type"),
        (of(KEYS[0], type="subtract"), "unknown_type"),
        (of(KEYS[0], schema_version=2), "unknown_version"),
        (of(KEYS[0], payload=msgspec.Raw(b'{"account":1}')), "undecodable"),
    ],
)
def test_a_record_that_does_not_speak_is_told_so_each_time(record: MemoryRecord, cause: str) -> None:
    one = reader()
    for _ in range(2):
        with pytest.raises(Unfit) as unfit:
            one.read(record)
        assert unfit.value.cause == cause
        assert [one.read(of(key)).message.key for key in KEYS[:2]] == KEYS[:2]


def test_keys_are_forgotten_and_learnt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "HERE", 3)
    one = reader()
    for key in KEYS[:10] * 2:
        assert one.read(of(key)).message.key == key
        assert len(one._message._here) <= 3


def test_a_signature_without_a_value_is_none() -> None:
    record, nothing = of(KEYS[0]), cast("bytes", None)
    for checker in (SIGNER.checker(TOPIC), Signer([("k2", b"2" * 16), ("k1", b"1" * 16)]).checker(TOPIC)):
        assert checker(record)
        assert not checker(MemoryRecord(TOPIC, 0, 0, 1, record.key, record.value, [("caravan-sig", nothing)]))
