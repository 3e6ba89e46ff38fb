"""Envelopes and signatures: exactly what was signed passes, and the JSON is as documented."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streams.envelope import Actor, Signer, body_hash, decode_command
from streams.ids import uuid7
from streams.memory import MemoryRecord
from streams.producer import command_record, signed
from tests.streams.tally import Add

SIGNER = Signer([("k1", b"1" * 16)])


def record(key: bytes | None, value: bytes | None, headers: Any) -> MemoryRecord:
    return MemoryRecord("t", 0, 0, 0, key, value, headers)


def test_a_command_on_its_topic_reads_as_documented() -> None:
    command_id = uuid7(1)
    key, value = command_record(
        Add(account="a", amount=1),
        command_id=command_id,
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor=Actor("user", "u", "User"),
    )
    assert key == b"a"
    assert json.loads(value) == {
        "command_id": str(command_id),
        "type": "add",
        "schema_version": 1,
        "issued_at": "2026-01-01T00:00:00Z",
        "domain": "tally",
        "aggregate_id": "a",
        "actor": {"type": "user", "id": "u", "role": "User"},
        "correlation_id": str(command_id),
        "causation_id": None,
        "hops": 0,
        "payload": {"account": "a", "amount": 1, "how": "well", "pending": ""},
    }
    assert decode_command(value).command_id == command_id


def test_unknown_fields_of_an_envelope_are_no_error() -> None:
    _, value = command_record(
        Add(account="a", amount=1),
        command_id=uuid7(1),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor=Actor("user", "u"),
    )
    later = json.loads(value) | {"colour": "red"}
    assert decode_command(json.dumps(later).encode()).type == "add"


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [("u", b"k", b"v"), ("t", b"l", b"v"), ("t", b"k", b"w"), ("t", b"kv", b""), ("t", b"", b"kv"), ("t", None, b"v")],
)
def test_a_signature_is_over_topic_key_and_value(topic: str, key: bytes | None, value: bytes) -> None:
    headers = [SIGNER.sign("t", b"k", b"v")]
    assert SIGNER.checker("t")(record(b"k", b"v", headers))
    assert not SIGNER.checker(topic)(record(key, value, headers))


def test_keys_rotate() -> None:
    old, new = ("k1", b"1" * 16), ("k2", b"2" * 16)
    rotating = Signer([new, old])
    assert rotating.checker("t")(record(b"k", b"v", [SIGNER.sign("t", b"k", b"v")]))
    assert not SIGNER.checker("t")(record(b"k", b"v", [rotating.sign("t", b"k", b"v")]))


@pytest.mark.parametrize("header", [b"", b":", b"k1", b"k1:", b"k9:abc", b"\xff:\xff"])
def test_a_header_that_is_none_of_ours_is_no_signature(header: bytes) -> None:
    assert not SIGNER.checker("t")(record(b"k", b"v", [("caravan-sig", header)]))
    assert not SIGNER.checker("t")(record(b"k", b"v", []))


def test_a_second_signature_header_cannot_stand_in_for_a_wrong_first() -> None:
    good = SIGNER.sign("t", b"k", b"v")
    assert not SIGNER.checker("t")(record(b"k", b"v", [("caravan-sig", b"k1:x"), good]))


def test_a_trace_goes_along() -> None:
    assert [name for name, _ in signed("t", b"k", b"v", SIGNER)] == ["caravan-sig"]
    assert signed("t", b"k", b"v", SIGNER, "00-1")[1] == ("traceparent", b"00-1")


def test_equal_payloads_hash_alike() -> None:
    assert body_hash(b"a") == body_hash(memoryview(b"a")) != body_hash(b"b")
