"""Envelopes: what stands around a payload on a topic, its JSON and its signature.

The value of a record is one JSON object; its key is the aggregate id in UTF-8; its headers are `caravan-sig` and, when
traced, `traceparent`. The signature is HMAC-SHA256 over topic, key and value by one of the platform's keys, so only the edge and
the relay can speak on a topic.
"""

import hmac
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b, sha256
from typing import Any, Literal
from uuid import UUID

import msgspec

SIGNATURE = "caravan-sig"
_BLOCK = 64  # bytes, of SHA-256
MAX_HOPS = 16  # policies in a row before a chain of commands counts as a loop

Headers = Sequence[tuple[str, bytes]]


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a user with a role, or a service (`service:points` is type service, id points)."""

    type: Literal["user", "service", "guest"]
    id: str
    role: str = ""


class CommandEnvelope(msgspec.Struct, frozen=True, kw_only=True):
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


class Source(msgspec.Struct, frozen=True):
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


class EventEnvelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
        self._keys = {key_id.encode(): _Mac.keyed(secret) for key_id, secret in keys}
        self._id, self._mac = next(iter(self._keys.items()))

    def sign(self, topic: str, key: bytes, value: bytes) -> tuple[str, bytes]:
        """The signature header of a record."""
        return SIGNATURE, self._id + b":" + self._mac.on(topic).of(key, value)

    def checker(self, topic: str) -> Callable[[Any], bool]:
        """A function that tells whether one of the platform's keys signed exactly this record of `topic`."""
        macs = {key_id: mac.on(topic).of for key_id, mac in self._keys.items()}

        def signed(record: Any) -> bool:
            for name, header in record.headers:
                if name == SIGNATURE:
                    key_id, _, told = header.partition(b":")
                    mac = macs.get(key_id)
                    return mac is not None and hmac.compare_digest(told, mac(record.key or b"", record.value or b""))
            return False

        return signed


class _Mac:
    """HMAC-SHA256 (RFC 2104) whose keyed states are made once, which more than halves the time for a short record."""

    def __init__(self, inner: Any, outer: Any) -> None:
        self._inner, self._outer = inner, outer

    @classmethod
    def keyed(cls, secret: bytes) -> "_Mac":
        block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        return cls(sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block)))

    def on(self, topic: str) -> "_Mac":
        """The state after the topic's name."""
        inner = self._inner.copy()
        inner.update(topic.encode() + b"\0")
        return _Mac(inner, self._outer)

    def of(self, key: bytes, value: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"%d\0%b" % (len(key), key))
        inner.update(value)
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)
