"""One partitioner everywhere: murmur2, as aiokafka and Java hash. A librdkafka client must set `murmur2_random`."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=1 << 17)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition on which a key lives."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
