"""Batches are as large as what waits, within bounds, and hold only what follows on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import waiting
from streams.waiting import BYTES, PACKED, RECORDS, Delivery, Waiting


class Numbered(NamedTuple):
    offset: int
    value: bytes = b"v"


def records(*offsets: int) -> list[Numbered]:
    return [Numbered(offset) for offset in offsets]


def put(*deliveries: Delivery) -> Waiting:
    found = Waiting()
    for delivery in deliveries:
        found.put(delivery)
    return found


def offsets(taken: tuple[Any, int]) -> list[int]:
    return [record.offset for record in taken[0]]


def test_few_deliveries_are_one_batch() -> None:
    few = put(Delivery.of(records(0, 1), 1), Delivery.of(records(2), 1))
    assert offsets(few.take()) == [0, 1, 2]
    assert len(few) == 0


def test_what_does_not_follow_on_is_the_next_batch() -> None:
    gap = put(Delivery.of(records(0, 1), 1), Delivery.of(records(3), 1), Delivery.of(records(4), 1))
    assert [offsets(gap.take()), offsets(gap.take())] == [[0, 1], [3, 4]]


def test_another_generation_is_the_next_batch() -> None:
    both = put(Delivery.of(records(0, 1), 1), Delivery.of(records(2), 2))
    assert [both.take()[1], both.take()[1]] == [1, 2]


@pytest.mark.parametrize(("count", "size", "parts"), [(RECORDS // 4, 1, 4), (1, BYTES // 3, 3), (RECORDS + 1, 1, 1)])
def test_a_batch_is_bounded_in_records_and_in_bytes_and_has_one_part_at_least(
    count: int, size: int, parts: int
) -> None:
    def unpacked() -> Iterator[Any]:
        for n in range(9):
            yield records(*range(n * count, (n + 1) * count)), size

    deep = put(Delivery(unpacked(), 9 * count - 1, 1))
    assert offsets(deep.take()) == [*range(parts * count)]
    assert len(deep) == 1
    assert offsets(deep.take())[0] == parts * count


@pytest.mark.parametrize(
    ("count", "size", "full"), [(3, PACKED // 4, False), (4, PACKED // 4, True), (1, PACKED, False)]
)
def test_few_records_wait_for_nobody_however_many_deliveries_they_are(count: int, size: int, full: bool) -> None:
    found = put(*(Delivery([(records(n), 1)], n, 1, size) for n in range(count)))
    assert found.full == full
    found.take()
    assert not found.full


def test_what_nobody_measured_is_much() -> None:
    assert put(Delivery.of(records(0), 1), Delivery.of(records(1), 1)).full


def test_nothing_is_unpacked_that_is_not_taken() -> None:
    unpacked = []

    def parts() -> Iterator[Any]:
        for n in range(4):
            unpacked.append(n)
            yield records(n), BYTES

    deep = put(Delivery(parts(), 3, 1))
    deep.take()
    assert unpacked == [0, 1], "one beyond the batch tells that it is full"


@given(st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=5), st.integers(1, 8))
def test_every_record_is_taken_once_and_in_order(sizes: list[list[int]], most: int) -> None:
    """Deliveries may have no records at all."""
    found, at = Waiting(), 0
    for parts in sizes:
        made = []
        for size in filter(None, parts):
            made.append((records(*range(at, at + size)), size))
            at += size
        found.put(Delivery(made, at - 1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "RECORDS", most)
        taken: list[list[int]] = []
        while found:
            taken.append(offsets(found.take()))
    assert [offset for batch in taken for offset in batch] == [*range(at)]
    assert all(taken[:-1]), "only the last ones may have had nothing"
