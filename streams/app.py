"""Faust as the framework, with a transport that hands over whole batches. The only module that imports faust.

Faust keeps app, agents as declarations, group and assignment. What it would do with acknowledgements, offsets and seeks is off: positions live in
the store (`streams.loop`). One app, so one consumer group, per domain.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from streams.assignor import Sharing
from streams.kafka import KafkaUrl
from streams.loop import Delivery, Partition
from streams.settings import Settings
from streams.store import Slot

log = logging.getLogger(__name__)

SESSION_S = 10.0  # how long the group waits for a member that died
HEARTBEAT_S = 0.5  # so a hand-over is told within half a second
MAX_RECORDS = 12_000  # records of a partition that are handed over at most
MAX_BYTES = 8 << 20  # bytes a fetch of one partition brings
LONG_POLL_MS = 300  # how long the broker keeps a fetch that finds nothing; a seek waits for the one under way
METADATA_S = 10.0  # how soon a topic that was made again, or has more partitions, is seen
ANSWER_S = 1.5  # how long the group may take to say whether we are of it
SEEK_S = 10.0  # how long the consumer's thread may take to seek
RESTART_S = 12.0  # how long a stuck partition may take to end; it drains as one that leaves does
IDLE_S = 1.0  # longest wait for records before Faust looks around


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

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """A batch of each partition that has one, so that all of them move on; Faust would empty one after the other."""
        records: dict[Any, Any] = {}
        for tp in tuple(active_partitions):
            records.update(await super()._fetch_records(consumer, {tp}, 0, max_records))
        if active_partitions and not records:
            records.update(await super()._fetch_records(consumer, active_partitions, timeout, max_records))
        return {tp: Delivery(found, self.generations[TP(*tp)]) for tp, found in records.items()}

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
    """Hands over one message per partition, which holds all records that were fetched."""

    app: "App"

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """After an assignment: pause everything and let each partition's task claim its position. No I/O in this hook."""
        assigned = self.assignment()
        self.pause_partitions(assigned)
        self.app.assigned(assigned)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch; what a stopping flow throws away is read again, since every rebalance ends in claims and seeks."""
        records, active = await self._wait_next_records(IDLE_S)
        if not records or self.should_stop or not self.flow_active:
            return
        for tp, delivery in records.items():
            self._read_offset.pop(tp, None)  # Faust would drop what it has read, and a seek goes back to just that
            if active is None or tp in active:
                yield tp, self._to_message(TP(*tp), delivery)

    def _to_message(self, tp: TP, delivery: Any) -> ConsumerMessage:
        last = delivery.records[-1].offset
        message = ConsumerMessage(tp.topic, tp.partition, last, 0.0, 0, [], None, delivery, None, 0, 0, tp)
        message.generation_id = self.app.consumer_generation_id  # Faust drops what another generation fetched
        return message

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


class App(faust.App):
    """One domain's app: its agents, each with a task per assigned partition."""

    def __init__(self, domain: str, settings: Settings, *, instance: str | None = None) -> None:
        """`instance` makes the membership static: a restart within the session time-out causes no rebalance."""
        url = KafkaUrl.parse(settings.kafka)
        self._namespace = settings.namespace
        self._agents: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        self._working: dict[tuple[TP, str], tuple[Partition, asyncio.Task[None]]] = {}
        self._paused: defaultdict[TP, set[str]] = defaultdict(set)
        self._active = asyncio.Event()
        self.domain = domain
        self.assigned_once = asyncio.Event()
        super().__init__(
            settings.namespace + domain,
            broker=[f"kafka://{server}" for server in url.servers],
            broker_credentials=_credentials(url),
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=HEARTBEAT_S,
            broker_request_timeout=30.0,
            broker_rebalance_timeout=15.0,
            broker_max_poll_interval=1000.0,
            broker_max_poll_records=MAX_RECORDS,
            broker_commit_interval=3600.0,
            consumer_max_fetch_size=MAX_BYTES,
            consumer_metadata_max_age_ms=int(METADATA_S * 1000),
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=f"{instance}-{domain}" if instance else None,
            producer_request_timeout=30.0,
            store="memory://",
            stream_wait_empty=False,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            worker_redirect_stdouts=False,
        )

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept in files."""

    def read(self, topic: str, agent: str, open_partition: Any) -> None:
        """Have `agent` read `topic`: `open_partition(slot)` gives the Partition that works it."""
        if topic not in self._agents:
            channel = self.topic(
                self._namespace + topic, value_serializer="raw", key_type=None, value_type=None, acks=False
            )
            self.agent(channel, name=f"{self.conf.id}-{topic}")(self._deliver)
        self._agents[topic].append((agent, open_partition))

    async def _deliver(self, stream: Any) -> None:
        async for event in stream.events():
            delivery, tp = event.value, event.message.tp
            for agent, _ in self._agents[tp.topic.removeprefix(self._namespace)]:
                if (tp, agent) in self._working:
                    self._working[tp, agent][0].offer(delivery.records, delivery.generation)

    # -- assignment

    def assigned(self, tps: set[TP]) -> None:
        """Start the tasks of new partitions, have those that stay look at their claim, and end those that went."""
        wanted = {(tp, agent) for tp in tps for agent, _ in self._agents[tp.topic.removeprefix(self._namespace)]}
        for key in [key for key in self._working if key not in wanted or self._working[key][1].done()]:
            partition, _ = self._working.pop(key)
            partition.leave()
        for tp, agent in wanted:
            self._paused[tp].add(agent)
            if (tp, agent) in self._working:
                self._working[tp, agent][0].reassign()
            else:
                self._open(tp, agent)
        self.assigned_once.set()

    def _open(self, tp: TP, agent: str, why: str = "") -> None:
        topic = tp.topic.removeprefix(self._namespace)
        opener = dict(self._agents[topic])[agent]
        partition: Partition = opener(Slot(self.domain, agent, topic, tp.partition))
        if why:
            partition.reason.doubt(why)  # shown until something is committed
        task = asyncio.create_task(partition.run(), name=f"{agent}/{topic}/{tp.partition}")
        task.add_done_callback(self._ended)
        self._working[tp, agent] = partition, task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed; the worker ends, to begin anew", task.get_name(), exc_info=error)
            self._crash(error)

    async def leave(self) -> None:
        """Finish what is under way on every partition; then the app can stop."""
        for partition, _ in self._working.values():
            partition.leave()
        if tasks := [task for _, task in self._working.values()]:
            await asyncio.wait(tasks)

    async def replace(self, slot: Slot, why: str) -> None:
        """Put a new task in the place of one that is stuck. One that does not even end is left alone: its epoch is dead once the new one has claimed."""
        key = self._tp(slot), slot.agent
        if (found := self._working.get(key)) is None:
            return
        partition, task = found
        partition.leave()
        task.cancel()
        await asyncio.wait([task], timeout=RESTART_S)
        if not task.done():
            log.error("%s does not end; it is left behind, without a claim", task.get_name())
        if self._working.get(key) is found:
            self._open(*key, why)

    @property
    def settled(self) -> bool:
        """Whether the group has told what is worked here, and is not about to tell otherwise."""
        return self.assigned_once.is_set() and not self.rebalancing

    def partitions(self) -> Sequence[Partition]:
        """The partitions worked here."""
        return [partition for partition, _ in self._working.values()]

    # -- the feed of the loop; several agents may read one topic, which flows while none of them has paused it

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        try:
            async with asyncio.timeout(SEEK_S):
                return int(await self._thread.seek_to(self._tp(slot), offset))
        except (KafkaError, AssertionError) as error:  # aiokafka asserts that the partition is assigned
            raise OSError(f"{slot.topic}/{slot.partition} is not assigned here any more ({error!r})") from error

    def pause(self, slot: Slot) -> None:
        """Deliver nothing of this partition until `resume`."""
        tp = self._tp(slot)
        self._paused[tp].add(slot.agent)
        self.consumer.pause_partitions([tp])

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        tp = self._tp(slot)
        self._paused[tp].discard(slot.agent)
        if not self._paused[tp] and tp in self.consumer.assignment():
            self.consumer.resume_partitions([tp])
            self._active.set()
            self._thread.look_again()

    async def holds(self, slot: Slot) -> bool | None:
        """Whether the group says that this partition is worked here; None when nobody answers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                return not self.rebalancing and await self._thread.holds(self._tp(slot))
        return None

    async def hint(self, slot: Slot, offset: int) -> None:
        """Tell the group where we stand."""
        await self._thread.hint(self._tp(slot), offset)

    async def wait_active(self, seconds: float) -> None:
        """Wait until some partition is resumed."""
        self._active.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._active.wait()

    @property
    def _thread(self) -> ConsumerThread:
        return cast(ConsumerThread, cast(Consumer, self.consumer)._thread)

    def _tp(self, slot: Slot) -> TP:
        return TP(self._namespace + slot.topic, slot.partition)


def _credentials(url: KafkaUrl) -> Any:
    if url.security.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=url.mechanism, username=url.user, password=url.password, ssl_context=url.ssl_context()
        )
    return faust.SSLCredentials(url.ssl_context()) if url.security == "SSL" else None
