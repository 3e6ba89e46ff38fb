"""Events of several partitions, given on in one order however they were fetched."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.client.merging import Merge
from streams.reading import Place

TIMES = st.lists(st.integers(0, 4), max_size=8).map(sorted)


@given(st.lists(TIMES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_is_that_of_time_and_partition_however_it_was_fetched(
    partitions: list[list[int]], dice: Random
) -> None:
    """Times are equal often: milliseconds are long."""
    places = [Place("bikes.events", n) for n in range(len(partitions))]
    expected = sorted((time, n, at) for n, times in enumerate(partitions) for at, time in enumerate(times))

    merge: Merge[tuple[int, int, int]] = Merge()
    left = {
        place: [(time, place.partition, at) for at, time in enumerate(partitions[place.partition])] for place in places
    }
    found: list[tuple[int, int, int]] = []
    behind = {place for place in places if left[place]}
    while behind:
        place = dice.choice(sorted(behind))
        for _ in range(dice.randint(1, 3)):
            if left[place]:
                one = left[place].pop(0)
                merge.put(place, one[0], one)
        behind = {place for place in behind if left[place]}
        found += [item for _, item in merge.take(behind)]

    assert found == expected
