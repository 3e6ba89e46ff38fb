"""Faust as the framework, with a transport that hands over whole batches. With that transport the only module that imports faust.

Faust keeps app, agents as declarations, group and assignment. What it would do with acknowledgements, offsets and seeks is off: positions live in
the store (`streams.loop`). One app, so one consumer group, per domain.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.tables import TableManager
from faust.types.tuples import TP

from streams.consuming import MAX_BYTES, Consumer, ConsumerThread, Transport
from streams.kafka import KafkaUrl
from streams.loop import Partition
from streams.settings import Settings
from streams.store import Slot
from streams.waiting import Delivery

log = logging.getLogger(__name__)

SESSION_S = 10.0  # how long the group waits for a member that died
HEARTBEAT_S = 0.5  # so a hand-over is told within half a second
METADATA_S = 10.0  # how soon a topic that was made again, or has more partitions, is seen
ANSWER_S = 1.5  # how long the group may take to say whether we are of it
SEEK_S = 10.0  # how long the consumer's thread may take to seek
RESTART_S = 12.0  # how long a stuck partition may take to end; it drains as one that leaves does


class NoTables(TableManager):
    """Faust sleeps a second for tables of its own that may be declared late; there are none."""

    async def sleep(self, n: Any) -> None:
        """Let others run."""
        await super().sleep(0)


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
            TableManager=NoTables,
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
            self.agent(channel, name=f"{self.conf.id}-{topic}")(self._listen)
        self._agents[topic].append((agent, open_partition))

    async def _listen(self, stream: Any) -> None:
        """An agent in Faust's eyes: it makes the group read the topic, and what is read comes by `deliver`."""
        async for _ in stream:
            raise AssertionError("The consumer gives Faust no messages.")

    def deliver(self, tp: TP, delivery: Delivery) -> None:
        """Records have come, which are of everyone who reads their topic."""
        for agent, _ in self._agents[tp.topic.removeprefix(self._namespace)]:
            if (tp, agent) in self._working:
                self._working[tp, agent][0].offer(delivery)

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
        return cast(Consumer, self.consumer).thread

    def _tp(self, slot: Slot) -> TP:
        return TP(self._namespace + slot.topic, slot.partition)


def _credentials(url: KafkaUrl) -> Any:
    if url.security.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=url.mechanism, username=url.user, password=url.password, ssl_context=url.ssl_context()
        )
    return faust.SSLCredentials(url.ssl_context()) if url.security == "SSL" else None
