"""Shipped workers as processes of their own, and commands for them: what the works that stop, kill and count workers share."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import WorkError
from streams import ids
from streams.clock import SystemClock, unix_ms
from streams.envelope import Actor, Signer
from streams.kafka import Kafka
from streams.log import Entry
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.settings import Settings
from topics.points import POINTS, AwardPoints

READY = b"worker ready"
START_S = 60  # until a worker is ready
POLL_S = 0.01  # between two looks
GRACE_S = 15  # to end after SIGTERM
TAIL = 2000  # characters of its log that are shown when it failed
CHUNK = 2000  # commands appended at once
ISSUER = Actor("user", "bench", "Admin")
AMOUNT = 5


@dataclass
class Worker:
    """A worker process. Its log is a file; `began` is when the command was given (`time.perf_counter`)."""

    process: Process
    log: Path
    began: float

    @property
    def pid(self) -> int:
        """The process, whose number also stands in the owner of what it has claimed."""
        return self.process.pid

    async def ready(self) -> float:
        """Wait until it has claimed all that it was assigned; seconds since its command."""
        async with asyncio.timeout(START_S):
            while READY not in self.log.read_bytes():
                self.check()
                await asyncio.sleep(POLL_S)
        return time.perf_counter() - self.began

    def check(self) -> None:
        """Raise WorkError if it has ended."""
        if self.process.returncode is not None:
            raise WorkError(f"A worker ended with {self.process.returncode}; its log ends with\n{self.said()}")

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-TAIL:]

    async def end(self) -> None:
        """Have it leave in order."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), GRACE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Worker:
    """Start one; `command` follows the Python interpreter."""
    began = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    return Worker(process, log, began)


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], logs: Sequence[Path]
) -> AsyncIterator[list[Worker]]:
    """A worker for each log, ended at the end."""
    workers = [await start(command, environment, log) for log in logs]
    try:
        yield workers
    finally:
        for worker in workers:
            await worker.end()


class Awards:
    """Commands `award_points`, signed and appended as the edge does it."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected before the first command."""
        self._kafka, self._signer = Kafka(settings), Signer(settings.signing_keys)

    async def append(self, users: Iterable[str]) -> int:
        """A command for each of these users; returns how many."""
        groups: list[list[list[Entry]]] = [[] for _ in range(POINTS.partitions)]
        count = 0
        for count, user in enumerate(users, 1):  # noqa: B007 - the last one is the number of all
            around = {"command_id": ids.uuid7(unix_ms()), "issued_at": SystemClock().now(), "actor": ISSUER}
            key, value = command_record(AwardPoints(user_id=user, amount=AMOUNT), **around)
            entry = Entry(key, value, signed(POINTS.commands_topic, key, value, self._signer))
            groups[partition_of(key, POINTS.partitions)].append([entry])
        for partition, waiting in enumerate(groups):
            for begin in range(0, len(waiting), CHUNK):
                await self._kafka.append(POINTS.commands_topic, partition, waiting[begin : begin + CHUNK])
        return count

    async def close(self) -> None:
        """Leave Kafka."""
        await self._kafka.stop()
