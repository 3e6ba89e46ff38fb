"""The transport: aiokafka's consumer on its own thread, which hands over whole batches of a partition.

With `streams.app` the only module that imports faust.
"""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, cast

from aiokafka.errors import KafkaError
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.assignor import Sharing
from streams.fetching import keep_packed
from streams.waiting import Delivery

log = logging.getLogger(__name__)

MAX_BYTES = 4 << 20  # bytes a fetch of one partition brings, packed
LONG_POLL_MS = 300  # how long the broker keeps a fetch that finds nothing; a seek waits for the one under way
IDLE_S = 1.0  # longest wait for records before Faust looks around


class Owner(Protocol):
    """The app, as its consumer needs it."""

    def assigned(self, tps: set[TP]) -> None:
        """The group gave us these partitions, and no others."""

    def deliver(self, tp: TP, delivery: Delivery) -> None:
        """Records have come."""

    async def wait_active(self, seconds: float) -> None:
        """Wait until some partition is resumed."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches; it knows which delivery was fetched after which seek."""

    def __post_init__(self) -> None:
        """Count the seeks of each partition from zero."""
        super().__post_init__()
        self.generations: defaultdict[TP, int] = defaultdict(int)

    def _create_worker_consumer(self, transport: Any) -> Any:
        """With an assignor that gives every worker its share of each topic and leaves caches where they are."""
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = (Sharing(),)
        consumer._fetch_max_wait_ms = LONG_POLL_MS
        return consumer

    async def seek_to(self, tp: TP, offset: int) -> int:
        """Seek; the answer tells this seek's deliveries from earlier ones."""
        return int(await self.call_thread(self._seek_to, tp, offset))

    async def _seek_to(self, tp: TP, offset: int) -> int:
        self._ensure_consumer().seek(TopicPartition(*tp), offset)
        self.generations[tp] += 1
        return self.generations[tp]

    async def on_start(self) -> None:
        """Begin, and have whole fetches handed over."""
        await super().on_start()
        keep_packed(self._ensure_consumer())

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """All that has come of every partition, so that all of them move on."""
        found = await super()._fetch_records(consumer, active_partitions, timeout)
        return {
            tp: Delivery(fetched, fetched.end - 1, self.generations[TP(*tp)], fetched.size)
            for tp, (fetched,) in found.items()
        }

    async def holds(self, tp: TP) -> bool | None:
        """Whether the group's coordinator knows us in the generation in which we were given this partition, asked now."""
        answer: bool | None = await self.call_thread(self._holds, tp)
        return answer

    async def _holds(self, tp: TP) -> bool | None:
        """A heartbeat beside the client's own, which leaves it to that one to act on the answer."""
        consumer = self._ensure_consumer()
        group = consumer._coordinator
        try:
            answer = await group._send_req(HeartbeatRequest(group.group_id, group.generation, group.member_id))
        except KafkaError:
            return None
        return answer.error_code == 0 and TopicPartition(*tp) in consumer.assignment()

    def look_again(self) -> None:
        """A partition was resumed: a fetch that waits for others shall look at it too."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._wake_fetch)

    def _wake_fetch(self) -> None:
        if self._consumer is not None and self._consumer._fetcher is not None:
            for waiter in list(self._consumer._fetcher._fetch_waiters):
                self._consumer._fetcher._notify(waiter)

    async def hint(self, tp: TP, offset: int) -> None:
        """Commit a position to the group, for tools; a failure is only logged."""
        await self.call_thread(self._hint, tp, offset)

    async def _hint(self, tp: TP, offset: int) -> None:
        if self.app.rebalancing:
            return  # aiokafka takes the refusal of a commit of the last generation as the loss of the new one, and rejoins as a stranger
        try:
            await self._ensure_consumer().commit({TopicPartition(*tp): OffsetAndMetadata(offset, "")})
        except (KafkaError, ValueError) as error:
            log.debug("hint of %s: %r", tp, error)


class Consumer(driver.Consumer):
    """Hands over all records of a partition that were fetched as one."""

    app: Owner  # type: ignore[assignment]  # Faust's word for it knows nothing of what we added

    @property
    def thread(self) -> ConsumerThread:
        """The thread that fetches."""
        return cast(ConsumerThread, self._thread)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """After an assignment: pause everything and let each partition's task claim its position. No I/O in this hook."""
        assigned = self.assignment()
        self.pause_partitions(assigned)
        self.app.assigned(assigned)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch and deliver; what a stopping flow throws away is read again, since every rebalance ends in claims and seeks.

        Faust is given no messages: its way from here to an agent costs more than the rules of a small batch.
        """
        records, _ = await self._wait_next_records(IDLE_S)
        if records and not self.should_stop and self.flow_active:
            for tp, delivery in records.items():
                self.app.deliver(TP(*tp), delivery)
        nothing: Sequence[tuple[TP, Any]] = ()
        for message in nothing:
            yield message

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        if self.flow_active and not self._get_active_partitions():
            await self.app.wait_active(IDLE_S)
            return None, None
        return await super()._wait_next_records(timeout)

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock detector looks at acknowledgements, which are off; the store knows who makes progress."""


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer
