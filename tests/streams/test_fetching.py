"""Fetches that stay packed give what the client gives: the same records, the same place to go on from, the same damage told."""

import asyncio
import gc
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher as client
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchResponse_v11
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import fetching
from streams.fetching import Fetched, keep_packed
from tests.streams.rig import until

TP = TopicPartition("things.events", 3)
BLOBS = st.none() | st.binary(max_size=40)
RECORDS = st.tuples(st.integers(1, 3), BLOBS, BLOBS, st.lists(st.tuples(st.text(max_size=5), BLOBS), max_size=3))
CODECS = (0, 1, 2, 3, 4)


class Packet(NamedTuple):
    """A record batch to be: its records, each some offsets after the one before, and what the broker would say of it."""

    records: Sequence[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]
    codec: int = 0
    control: bool = False
    compacted: int = 0
    """Offsets at its end whose records are not there any more."""

    def bytes(self, first: int) -> bytes:
        builder = DefaultRecordBatchBuilder(2, self.codec, 0, 7, 0, 0, 1 << 20)
        at = -self.records[0][0]
        for step, key, value, headers in self.records:
            at += step
            builder.append(at, 1_700_000_000_000 + at, key, value, headers)
        made = bytearray(builder.build())
        struct.pack_into(">q", made, 0, first)
        struct.pack_into(">h", made, 21, struct.unpack_from(">h", made, 21)[0] | 0x20 * self.control)
        struct.pack_into(">i", made, 23, at + self.compacted)
        struct.pack_into(">I", made, 17, calc_crc32c(made[21:]))
        return bytes(made)

    @property
    def offsets(self) -> int:
        return sum(step for step, *_ in self.records[1:]) + 1 + self.compacted


PACKETS = st.builds(
    Packet, st.lists(RECORDS, min_size=1, max_size=6), st.sampled_from(CODECS), st.booleans(), st.integers(0, 2)
)


def laid(packets: Sequence[Packet], first: int = 5) -> bytes:
    """As the broker sends them."""
    data = b""
    for packet in packets:
        data += packet.bytes(first)
        first += packet.offsets
    return data


def clients(data: bytes, start: int) -> tuple[list[Any], int]:
    """The records as aiokafka itself unpacks them, and where it would go on."""
    source = client.PartitionRecords(
        TP, client.MemoryRecords(data), None, start, None, None, True, client.READ_UNCOMMITTED
    )
    return list(source), source.next_fetch_offset


def shown(record: Any) -> tuple[Any, ...]:
    return record.offset, record.timestamp, record.key, record.value, tuple(record.headers)


@settings(max_examples=150)
@given(st.lists(PACKETS, max_size=5), st.integers(0, 8), st.integers(0, 80), st.booleans())
def test_the_records_are_those_that_the_client_gives(packets: list[Packet], into: int, cut: int, at_end: bool) -> None:
    data = laid(packets)
    data = data[: len(data) - cut] if at_end else data
    into = min(into, packets[0].offsets - 1) if packets else into  # a broker begins with the batch of the offset
    records, end = clients(data, 5 + into)
    found = Fetched(data, 5 + into, check=True)

    assert [shown(record) for record in found.records()] == [shown(record) for record in records]
    assert [shown(record) for record in found.records()] == [shown(record) for record in records], "once more"
    assert found.end == end


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_left_as_it_was(collects: bool) -> None:
    damaged = bytearray(laid([Packet([(1, b"k", b"v", [])])]))
    damaged[-1] ^= 1
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(CorruptRecordException):
            Fetched(bytes(damaged), 5, check=True).records()
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_a_batch_larger_than_the_room_for_it_is_unpacked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = laid([Packet([(1, b"k", b"v" * 5000, [])], codec=3), Packet([(1, b"k", b"w", [])], codec=3)])
    whole = [shown(record) for record in Fetched(data, 5, check=True).records()]
    monkeypatch.setattr(fetching, "_ROOM", 500)

    assert [shown(record) for record in Fetched(data, 5, check=True).records()] == whole
    assert [value for *_, value, _ in whole] == [b"v" * 5000, b"w"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_is_told(codec: int) -> None:
    data = bytearray(laid([Packet([(1, b"k", b"good", [])]), Packet([(1, b"k", b"v" * 100, [])], codec)]))
    data[-9] ^= 4
    found = iter(Fetched(bytes(data), 5, check=True))

    assert [record.value for record in next(found)[0]] == [b"good"]
    with pytest.raises(CorruptRecordException, match="at offset 6 is damaged"):
        next(found)
    with pytest.raises(CorruptRecordException):
        clients(bytes(data), 5)


@pytest.mark.parametrize(("at", "value"), [(16, b"\1"), (8, b"\0\0\0\5"), (8, b"\xff\xff\xff\xf0")])
def test_what_is_no_record_batch_is_told(at: int, value: bytes) -> None:
    """Another format of messages, or lengths that cannot be."""
    data = bytearray(laid([Packet([(1, b"k", b"v", [])])]))
    data[at : at + len(value)] = value
    with pytest.raises(CorruptRecordException):
        Fetched(bytes(data), 5, check=True).records()


def test_a_compressed_batch_that_is_damaged_is_told_without_checksums_too() -> None:
    data = bytearray(laid([Packet([(1, b"k", b"v" * 100, [])], codec=3)]))
    data[70] ^= 255
    with pytest.raises(Exception):  # noqa: B017, PT011 - lz4's own, as the client lets it through
        Fetched(bytes(data), 5, check=False).records()


# -- the client


class Broker:
    """What a Fetcher needs of a client: answers in turn, then none."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.cluster = self
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 60_000

    def leader_for_partition(self, _: TopicPartition) -> int:
        return 1

    async def send(self, _: int, request: Any) -> FetchResponse_v11:
        self.asked.append(request.topics[0][1][0][1])
        if not self.answers:
            await asyncio.Event().wait()
        code, data = self.answers.pop(0)
        return FetchResponse_v11(0, 0, 0, [(TP.topic, [(TP.partition, code, 99, 99, 0, [], -1, data)])])


class Client:
    """A Fetcher on a broker, whose fetches are kept packed."""

    def __init__(self, broker: Broker, *, packed: bool = True) -> None:
        self.state = SubscriptionState()
        self.state.assign_from_user({TP})
        self._fetcher = client.Fetcher(broker, self.state, auto_offset_reset="none")
        if packed:
            keep_packed(self)
        self.seek(5)

    def seek(self, offset: int) -> None:
        self._fetcher.seek_to(TP, offset)

    async def get(self) -> list[Any]:
        found: dict[TopicPartition, list[Any]] = await self._fetcher.fetched_records([TP], 1)
        return found.get(TP, [])

    @property
    def position(self) -> int:
        return int(self.state.subscription.assignment.state_value(TP).position)

    async def close(self) -> None:
        await self._fetcher.close()


DATA = laid([Packet([(1, b"a", b"1", []), (1, b"b", b"2", [])], codec=3)])
MORE = laid([Packet([(1, b"c", b"3", [])])], 7)


async def test_the_client_hands_over_whole_fetches_and_goes_on_behind_them() -> None:
    ours = Client(broker := Broker((0, DATA), (0, MORE)))
    (first,) = await ours.get()
    assert [record.value for record in first.records()] == [b"1", b"2"]
    assert ours.position == first.end == 7
    (second,) = await ours.get()
    assert [record.value for record in second.records()] == [b"3"]
    await until(lambda: len(broker.asked) == 3)
    assert broker.asked == [5, 7, 8]
    await ours.close()


async def test_what_was_fetched_before_a_seek_is_not_handed_over() -> None:
    ours = Client(broker := Broker((0, DATA), (0, MORE)))
    await until(lambda: TP in ours._fetcher._records)
    ours.seek(7)
    (found,) = await ours.get()
    assert [record.value for record in found.records()] == [b"3"]
    assert broker.asked[:2] == [5, 7]
    await ours.close()


async def test_what_came_before_the_client_was_told_is_packed_too() -> None:
    ours = Client(Broker((0, DATA)), packed=False)
    await until(lambda: TP in ours._fetcher._records)
    keep_packed(ours)
    (found,) = await ours.get()
    assert [record.value for record in found.records()] == [b"1", b"2"]
    await ours.close()


async def test_an_error_of_the_broker_is_raised_as_ever() -> None:
    code = next(number for number in range(10) if for_code(number) is OffsetOutOfRangeError)
    ours = Client(Broker((code, b"")))
    with pytest.raises(OffsetOutOfRangeError):
        await ours.get()
    await ours.close()
