"""What was fetched of a partition, kept as the broker sent it and unpacked where it is used.

aiokafka makes an object of each record in Python; here its compiled parser makes the records, and nothing is done to them after it. What the client
guarantees stays: checksums are looked at, control batches are passed over, and its position moves as if it had handed the records over one by one.
This relies on private parts of aiokafka 0.14, which tests/streams/test_fetching.py compares with what the client itself gives.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import Any

import cramjam
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher as client
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy

client.MemoryRecords = _MemoryRecordsPy  # its twin in C does not show the bytes

_HEAD = Struct(
    ">qi4xb4xhi"
)  # of a record batch: first offset, bytes that follow, format, attributes, how far the last offset is away
_HEAD_SIZE = 61  # bytes before its records
_FOLLOWS = 12  # bytes after which the count of those that follow begins
_FORMAT = 2
_CODEC, _LZ4, _CONTROL = 0x07, 0x03, 0x20  # bits of the attributes
_ATTRIBUTES = 22  # where their lower byte stands
_ROOM = 1 << 20  # bytes; a batch that needs more uncompressed takes the client's way


class Fetched:
    """Record batches of one partition. Whoever iterates unpacks them, again each time."""

    def __init__(self, data: bytes, start: int, *, check: bool) -> None:
        """`data` holds the record at `start` and those after it; `check` has checksums looked at."""
        self._data, self._start, self._check = memoryview(data), start, check
        self._spans: list[tuple[int, int]] = []
        self._damaged = False
        self.end = start
        """The offset after the last one, which counts even where its record was compacted away."""
        self.size = len(data)
        at = 0
        while len(data) - at >= _HEAD_SIZE:
            first, follow, form, attributes, delta = _HEAD.unpack_from(data, at)
            begin, at = at, at + _FOLLOWS + follow
            if form != _FORMAT or follow < _HEAD_SIZE - _FOLLOWS:
                self._damaged = True  # told to whoever reads on up to there
                break
            if at > len(data):
                break  # the broker cuts where an answer is full
            if not attributes & _CONTROL:
                self._spans.append((begin, at))
            self.end = first + delta + 1

    def __iter__(self) -> Iterator[tuple[Sequence[Any], int]]:
        """The records of each batch, with their bytes. Raises CorruptRecordException."""
        room = bytearray()
        for begin, end in self._spans:
            packed, size = self._data[begin:end], end - begin
            batch = DefaultRecordBatch(packed)
            if self._check and not batch.validate_crc():
                raise CorruptRecordException(f"The record batch at offset {batch.base_offset} is damaged.")
            if batch.compression_type == _LZ4:
                room = room or bytearray(_ROOM)
                if plain := _uncompressed(packed, room):
                    batch, size = DefaultRecordBatch(plain), len(plain)
            records = list(batch)
            if batch.base_offset < self._start:
                records = [record for record in records if record.offset >= self._start]
            if records:
                yield records, size
        if self._damaged:
            raise CorruptRecordException(f"What stands at offset {self.end} is no record batch of format {_FORMAT}.")

    def first(self) -> Any | None:
        """The first record, None if there is none."""
        return next((records[0] for records, _ in self), None)

    def records(self) -> list[Any]:
        """All of them at once."""
        with _uncollected():
            return [record for records, _ in self for record in records]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have the collector wait: it would look again and again at records that all live, a fifth of what a reader does in all."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _uncompressed(packed: memoryview, room: bytearray) -> memoryview | None:
    """The batch as it was before lz4, laid into `room`; None where there is not enough of that, or it is damaged."""
    try:
        size = cramjam.lz4.decompress_into(packed[_HEAD_SIZE:], memoryview(room)[_HEAD_SIZE:])
    except cramjam.DecompressionError:
        return None
    room[:_HEAD_SIZE] = packed[:_HEAD_SIZE]
    room[_ATTRIBUTES] &= ~_CODEC
    return memoryview(room)[: _HEAD_SIZE + size]


class _Whole:
    """Stands where the client has an iterator over the records of a fetch, and gives all of them as one."""

    def __init__(self, source: Any) -> None:
        self.next_fetch_offset = source.next_fetch_offset
        self._fetched = Fetched(source._records._buffer, source.next_fetch_offset, check=source._check_crcs)

    def __iter__(self) -> Iterator[Fetched]:
        self.next_fetch_offset = self._fetched.end
        yield self._fetched


def keep_packed(consumer: AIOKafkaConsumer) -> None:
    """From now on `getmany` of this client, which was started, gives one Fetched of each partition in place of records.

    It reads what was not committed as well, so transactions do not matter.
    """
    fetcher = consumer._fetcher
    receive = fetcher._proc_fetch_request
    assert fetcher._isolation_level == client.READ_UNCOMMITTED

    async def receive_packed(*request: Any) -> Any:
        told = await receive(*request)
        pack()
        return told

    def pack() -> None:
        for result in fetcher._records.values():
            if isinstance(source := getattr(result, "_partition_records", None), client.PartitionRecords):
                result._partition_records = _Whole(source)

    pack()
    fetcher._proc_fetch_request = receive_packed
