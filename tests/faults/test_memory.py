"""Postgres is away for a minute while a heap of commands waits: memory stays within its bound, and nothing is lost."""

import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from streams.consuming import MAX_BYTES
from streams.partitioner import partition_of
from streams.settings import Settings
from streams.waiting import DELIVERIES
from tests.faults.ground import Ground, Worker
from tests.faults.infrastructure import Own
from tests.faults.load import USERS, orders
from tests.faults.outside import PARTITIONS, settled, until
from tests.faults.planted import planted
from tests.faults.report import Figures

AWAY_S = 60.0
SETTLE_S = 240.0  # more than a busy machine takes for the heap
HEAP = 30_000  # commands a partition, so 300 MB of them if all were taken into memory
BATCH = 1_000  # records of a batch, so that a heap is many of them
RECORD = 2_500  # bytes that a command of about 600 takes in the process with all that hangs on it
# A partition has at most a batch that commits, one that is prepared and a part beside it; its queue, packed, and a fetch that the client holds.
BOUND = len(PARTITIONS) * (3 * BATCH * RECORD + (DELIVERIES + 1) * MAX_BYTES)


class Memory:
    """A worker's resident memory, looked at from outside."""

    def __init__(self, worker: Worker) -> None:
        """Begin with what it has now."""
        self._process = psutil.Process(worker.pid)
        self._before = self._most = self._now()

    @property
    def grown(self) -> int:
        """Bytes that it had more than at first, at most."""
        return self._most - self._before

    def _now(self) -> int:
        return int(self._process.memory_info().rss)

    async def watch(self, seconds: float) -> None:
        """Look so long."""
        end = time.monotonic() + seconds

        async def over() -> bool:
            self._most = max(self._most, self._now())
            return time.monotonic() > end

        await until(over, "the time is over", seconds + 60)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.req("SR030")
@pytest.mark.scenario("S6")
async def test_a_minute_without_postgres_under_a_heap_of_commands(
    settings: Settings, tmp_path: Path, figures: Figures
) -> None:
    batches = {"streams/waiting.py": ("RECORDS = 12_500", f"RECORDS = {BATCH}")}
    with Own("postgres") as postgres:
        ours = replace(settings, postgres=postgres.url, postgres_read=postgres.url)
        async with Ground(ours, tmp_path) as ground:
            worker = await ground.worker(code=planted(tmp_path / "code", batches))
            await ground.load.send(orders(31, 500))
            await ground.settle()
            memory = Memory(worker)
            postgres.kill()
            for user in one_of_each_partition():
                await ground.load.heap(user, HEAP)
            await memory.watch(AWAY_S)
            await postgres.start()
            await until(lambda: settled(ground.outside), "all is settled", SETTLE_S)

            print(f"at most {memory.grown >> 20} MB more while Postgres was away")
            assert memory.grown < BOUND
            assert worker.runs
            assert "Restart" not in worker.text, "what is away is no hang"
            assert await ground.broken() == []
            figures.note(faults=1, **await ground.account())


def one_of_each_partition() -> list[str]:
    """Users."""
    found = {partition_of(user.encode(), len(PARTITIONS)): user for user in USERS}
    return [found[n] for n in PARTITIONS]
