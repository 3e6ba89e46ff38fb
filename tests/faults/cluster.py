"""Three brokers of one test alone, each of which may be killed, frozen and started again. A record that was acknowledged is on two of them."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from caravan.embedded.kafka import Kafka
from caravan.errors import StartFailed
from caravan.instance import LOOPBACK, Instance
from streams.kafka import KafkaUrl

BROKERS = (1, 2, 3)
TRIES = 4  # time-outs of a start
REPLICATED = """
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
unclean.leader.election.enable=false
replica.lag.time.max.ms=5000
"""


class Broker(Kafka):
    """One of them; it is controller too."""

    def __init__(self, instance: Instance, node: int, voters: str) -> None:
        super().__init__(instance)
        self.node, self._voters = node, voters

    def _configure(self, name: str, folder: str) -> None:
        super()._configure(name, folder)
        with (self.instance.folder / name).open("a") as file:  # of two lines for one property the later counts
            file.write(REPLICATED.format(node=self.node, voters=self._voters))

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.child is not None
        return self.child.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.child is not None and self.child.ended() is None

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        assert self.child is not None
        os.kill(self.pid, signal.SIGKILL)
        self.child.reap(float("inf"))

    def freeze(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> None:
        """Return when it answers: beside its fellows it may take more than one time-out."""
        for _ in range(TRIES):
            try:
                return super().wait()
            except StartFailed:
                if not self.runs:
                    raise
        raise StartFailed(f"broker {self.node} runs and does not answer; see {self.log}")

    async def again(self) -> None:
        """Start it where it was; it answers when this returns."""
        self.start()
        await asyncio.to_thread(self.wait)


class Cluster:
    """All of them; `.url` names them all."""

    def __init__(self) -> None:
        """Start them in folders of their own."""
        self._stack = ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="caravan-faults-"))
        self._stack.callback(shutil.rmtree, folder)
        instances = [Instance(folder / str(node)) for node in BROKERS]
        for instance in instances:
            self._stack.enter_context(instance.hold())
            instance.run.instance = instances[0].run.instance
        voters = ",".join(
            f"{n}@{LOOPBACK}:{one.run.controller_port}" for n, one in zip(BROKERS, instances, strict=True)
        )
        self.brokers = [Broker(one, n, voters) for n, one in zip(BROKERS, instances, strict=True)]
        self.url = "kafka://" + ",".join(f"{LOOPBACK}:{one.run.kafka_port}" for one in instances)
        for broker in self.brokers:
            job = broker.prepare()
            if job is not None:
                job.finish(120.0)
                broker.prepared()
        for broker in self.brokers:
            broker.start()
            self._stack.callback(broker.stop, 0.0)
        for broker in self.brokers:
            broker.wait()

    async def leader(self, topic: str, partition: int) -> Broker:
        """The broker that takes what is written to this partition."""
        async with AIOKafkaProducer(**KafkaUrl.parse(self.url).client()) as producer:
            await producer.partitions_for(topic)
            node = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return self._broker(node)

    async def coordinator(self, group: str) -> Broker:
        """The broker that leads the partition of __consumer_offsets on which the group is."""
        admin = AIOKafkaAdminClient(**KafkaUrl.parse(self.url).client())
        await admin.start()
        try:
            return self._broker(await admin.find_coordinator(group))
        finally:
            await admin.close()

    def _broker(self, node: int | None) -> Broker:
        return next(broker for broker in self.brokers if broker.node == node)

    def running(self) -> Sequence[Broker]:
        """Those that have not ended."""
        return [broker for broker in self.brokers if broker.runs]

    def __enter__(self) -> Self:
        """They run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them and remove their folders."""
        self._stack.close()
