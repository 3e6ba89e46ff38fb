"""Envelopes: what stands around a payload on a topic, its JSON and its signature.

The value of a record is one JSON object; its key is the aggregate id in UTF-8; its headers are `caravan-sig` and, when
traced, `traceparent`. The signature is HMAC-SHA256 over topic, key and value by one of the platform's keys, so only the edge and
the relay can speak on a topic.
"""

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b, sha256
from hmac import compare_digest
from typing import Any, Literal
from uuid import UUID

import msgspec

SIGNATURE = "caravan-sig"
_BLOCK = 64  # bytes, of SHA-256
_WITNESS = "witness"  # what stands in the place of a topic's name, all of which have a dot
MAX_HOPS = 16  # policies in a row before a chain of commands counts as a loop

Headers = Sequence[tuple[str, bytes]]
_Mac = Callable[[bytes, bytes], bytes]  # from key and value of a record


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who acts: a user with a role, or a service (`service:points` is type service, id points)."""

    type: Literal["user", "service", "guest"]
    id: str
    role: str = ""


class CommandEnvelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A command on `<domain>.commands`. `hops` counts the policies behind it."""

    command_id: UUID
    type: str
    schema_version: int
    issued_at: datetime
    domain: str
    aggregate_id: str
    actor: Actor
    correlation_id: UUID
    causation_id: UUID | None
    hops: int = 0
    payload: msgspec.Raw


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where the command of an event stood: its partition and offset, and the hash of its payload."""

    partition: int
    offset: int
    hash: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command, on the last event that it left; without one it was accepted.

    `settles` is the pending command of which this is the late result.
    """

    status: Literal["accepted", "rejected", "pending"] = "accepted"
    code: str | None = None
    http: int | None = None
    details: dict[str, Any] | None = None
    settles: UUID | None = None


class Closing(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """On the last event that a command left: the command's type, and how many events it left."""

    command: str
    events: int = 1


class EventEnvelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event on `<domain>.events`.

    `number` is gap-free per domain and partition, and is the coordinate of relay, deduplication and replay;
    `aggregate_seq` counts the events of the aggregate. Ids are text here: a reader hands them on, and parsing them would cost as much as all the rest.
    """

    event_id: str
    type: str
    schema_version: int
    occurred_at: datetime
    domain: str
    aggregate_id: str
    aggregate_seq: int
    actor: Actor
    command_id: str
    correlation_id: str
    causation_id: str
    number: int
    source: Source
    hops: int = 0
    outcome: Outcome | None = None
    closes: Closing | None = None
    payload: msgspec.Raw


encode = msgspec.json.Encoder().encode
decode_command = msgspec.json.Decoder(CommandEnvelope).decode
decode_event = msgspec.json.Decoder(EventEnvelope).decode


def body_hash(payload: bytes | memoryview) -> str:
    """Short hash of a payload, for telling a repeated command from another one under the same id."""
    return blake2b(payload, digest_size=16).hexdigest()


class Signer:
    """Signs and checks records. The first key signs; every key is accepted, so keys rotate without a stop."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Take (id, secret) pairs, at least one."""
        self._keys = {key_id.encode(): secret for key_id, secret in keys}
        self._id, self._secret = next(iter(self._keys.items()))
        self._macs: dict[str, _Mac] = {}

    def sign(self, topic: str, key: bytes, value: bytes) -> tuple[str, bytes]:
        """The signature header of a record."""
        mac = self._macs.get(topic)
        if mac is None:
            mac = self._macs[topic] = _mac(self._secret, topic)
        return SIGNATURE, self._id + b":" + mac(key, value)

    def witness(self, record: Any, what: bytes) -> str:
        """Sign `what` with the key that signed a record of ours, as `key id:signature`: whoever folds the record anew says the same, also after a rotation."""
        key_id: bytes = next(header for name, header in record.headers if name == SIGNATURE).partition(b":")[0]
        return (key_id + b":" + _mac(self._keys[key_id], _WITNESS)(b"", what)).decode()

    def witnessed(self, told: str, what: bytes) -> bool:
        """Whether one of the platform's keys signed just this, by `witness`."""
        secret = self._keys.get(told.partition(":")[0].encode())
        if secret is None:
            return False
        return compare_digest(told.partition(":")[2].encode(), _mac(secret, _WITNESS)(b"", what))

    def checker(self, topic: str) -> Callable[[Any], bool]:
        """A function that tells whether one of the platform's keys signed exactly this record of `topic`."""
        checks = {key_id: _check(key_id, _mac(secret, topic)) for key_id, secret in self._keys.items()}
        if len(checks) == 1:
            return next(iter(checks.values()))

        def signed(record: Any) -> bool:
            for name, header in record.headers:
                if name == SIGNATURE:
                    check = checks.get((header or b"").partition(b":")[0])
                    return check is not None and check(record)
            return False

        return signed


def _mac(secret: bytes, topic: str) -> _Mac:
    """HMAC-SHA256 (RFC 2104) over topic, key and value, from keyed states that are made once: for a short record they are half of the work."""
    block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
    inner, outer = sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))
    inner.update(topic.encode() + b"\0")
    begin, finish = inner.copy, outer.copy

    def mac(key: bytes, value: bytes) -> bytes:
        state = begin()
        state.update(_length(len(key)) + key)
        state.update(value)  # joined to the key it would be copied once more
        result = finish()
        result.update(state.digest())
        return b2a_base64(result.digest(), newline=False)

    return mac


def _check(key_id: bytes, mac: _Mac) -> Callable[[Any], bool]:
    prefix = key_id + b":"

    def signed(record: Any) -> bool:
        for name, header in record.headers:
            if name == SIGNATURE:
                return compare_digest(header or b"", prefix + mac(record.key or b"", record.value or b""))
        return False

    return signed


@lru_cache(maxsize=1024)
def _length(size: int) -> bytes:
    return b"%d\0" % size
