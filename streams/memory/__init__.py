"""Store and broker in memory: the ports of the core without Postgres and Kafka, held to the same suite as those."""

from streams.memory.broker import MemoryBroker, MemoryRecord
from streams.memory.feed import MemoryFeed
from streams.memory.group import MemoryGroup, Share
from streams.memory.store import MemoryStore

__all__ = ["MemoryBroker", "MemoryFeed", "MemoryGroup", "MemoryRecord", "MemoryStore", "Share"]
