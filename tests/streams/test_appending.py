"""What is appended goes to Kafka in record batches: in order, a command's events in one, and compressed quickly."""

from collections.abc import Sequence

import cramjam
import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams import kafka
from streams.kafka import _batches
from streams.log import MAX_GROUP, Entry

LZ4 = 3
HEAD = 61  # bytes of a record batch before its records
ROOM = 1000  # bytes of a batch here


class Producer:
    """Makes batches as aiokafka's producer does."""

    def __init__(self, room: int = MAX_GROUP) -> None:
        self.room = room

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.room, LZ4)


def entry(size: int, name: int = 0) -> Entry:
    return Entry(b"key", b"%d:" % name + b"v" * size, [("signature", b"s" * 40)])


def batches(groups: Sequence[Sequence[Entry]], room: int = MAX_GROUP) -> list[list[bytes]]:
    """The values of each batch, as a reader finds them."""
    found = []
    for batch in _batches(Producer(room), groups):
        records = MemoryRecords(bytes(batch._build()))
        found.append([record.value for record in records.next_batch()])
    return found


@given(st.lists(st.lists(st.integers(0, 250), min_size=1, max_size=3), min_size=1, max_size=30))
def test_all_goes_in_order_and_what_a_command_left_stays_together(sizes: list[list[int]]) -> None:
    names = iter(range(1000))
    groups = [[entry(size, next(names)) for size in group] for group in sizes]
    groups = [group for group in groups if kafka.group_size(group) <= ROOM] or [[entry(0)]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "MAX_GROUP", ROOM)
        found = batches(groups, ROOM)

    assert [value for batch in found for value in batch] == [one.value for group in groups for one in group]
    begins = {batch[0] for batch in found}
    assert begins <= {group[0].value for group in groups}, "a batch begins with a command's first event"
    assert all(sum(len(value) for value in batch) <= ROOM for batch in found)


def test_batches_are_filled() -> None:
    assert [len(batch) for batch in batches([[entry(900)]] * 2000)] == [931, 931, 138]


def test_events_of_one_command_that_need_more_than_a_batch_are_refused() -> None:
    with pytest.raises(OSError, match="above"):
        batches([[entry(MAX_GROUP // 2), entry(MAX_GROUP // 2)]])


def test_compression_is_the_quick_one() -> None:
    (batch,) = _batches(Producer(), [[entry(20, n)] for n in range(100)])
    made = bytes(batch._build())
    assert DefaultRecordBatch(made).compression_type == LZ4
    plain = bytes(cramjam.lz4.decompress(made[HEAD:]))

    def compressed(level: int) -> bytes:
        compressor = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
        compressor.compress(plain)
        return bytes(compressor.finish())

    assert compressed(1) != compressed(9)
    assert made[HEAD:] == compressed(1)
