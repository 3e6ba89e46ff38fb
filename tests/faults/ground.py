"""Points on real Kafka and Postgres with worker processes that may be frozen, killed and replaced."""

import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Self

from caravan.embedded.process import Child
from sinks.postgres import migrate
from streams.kafka import Kafka
from streams.partitioner import partition_of
from streams.settings import Settings
from tests.acceptance.children import environment
from tests.checker.check import check
from tests.checker.history import History
from tests.checker.model import points
from tests.faults.accounts import Account, account
from tests.faults.invariants import broken
from tests.faults.load import USERS, Load
from tests.faults.observer import observe, watched
from tests.faults.outside import COMMANDS, PARTITIONS, PATIENCE_S, Outside, settled, until
from topics.points import POINTS

ROOT = Path(__file__).parents[2]
END_S = 15.0  # how long a worker may take to leave


class Worker:
    """A worker process, or an edge; it ends with us. `session` is the name of its sessions in Postgres."""

    def __init__(self, settings: Settings, log: Path, code: Path, arguments: Sequence[str]) -> None:
        """Start `caravan` with these on the code in `code`, and what is not there from the checkout."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
        self.log = log
        self.session = f"{settings.namespace}{log.stem}"
        named = f"{settings.postgres}{'&' if '?' in settings.postgres else '?'}application_name={self.session}"
        given = {**environment(settings), "CARAVAN_POSTGRES": named, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "caravan", *arguments]
        self._child = Child(log.stem, command, log, env=ours | given, cwd=code)
        self._child.start()

    @property
    def pid(self) -> int:
        """Its process id, which is also in the owner of its positions."""
        return self._child.pid

    @property
    def text(self) -> str:
        """What it wrote."""
        return self.log.read_text("utf-8", "replace")

    async def said(self, words: str, seconds: float = PATIENCE_S) -> None:
        """Wait until it wrote this; raises when it ended before."""

        async def has() -> bool:
            ended = self._child.ended()
            if words in self.text:
                return True
            assert ended is None, f"it ended with {ended}:\n{self.text}"
            return False

        await until(has, f"{words!r} in {self.log}", seconds)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._child.ended() is None

    def freeze(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        os.kill(self.pid, signal.SIGKILL)
        self._child.reap(0)

    async def leave(self) -> int | None:
        """Tell it to end, as an operator would, and wait; its exit status."""

        async def left() -> bool:
            return not self.runs

        self._child.ask()
        await until(left, f"it leaves:\n{self.text}", END_S)
        return self._child.ended()

    def stop(self) -> None:
        """End it; by force if it does not."""
        if self.runs:
            self.thaw()
        self._child.stop(END_S)


class Ground:
    """Migrated, declared, and looked at from outside; workers end with it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Nothing happens before it is entered."""
        self.settings = settings
        self.history = History(folder / "history.jsonl")
        self.load = Load(settings, self.history)
        self.outside = Outside(settings)
        self.workers: list[Worker] = []
        self._folder = folder
        self._locks = count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Topics and schemas, as `caravan up` makes them."""
        await migrate(self.settings.postgres, self.settings.namespace)
        await self.declare()
        await self._stack.enter_async_context(self.outside)
        await self._stack.enter_async_context(self.load)
        await self._stack.enter_async_context(watched(self.history, self.outside))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        for worker in self.workers:
            worker.stop()
        await self._stack.aclose()
        self.history.close()

    async def declare(self) -> None:
        """Make the topics that are missing."""
        kafka = Kafka(self.settings)
        await kafka.declare([POINTS])
        await kafka.stop()

    def start_worker(self, *options: str, code: Path = ROOT, settings: Settings | None = None) -> Worker:
        """Another worker; with `settings` it goes another way to Kafka or Postgres."""
        log = self._folder / f"worker-{len(self.workers)}.log"
        worker = Worker(settings or self.settings, log, code, ("worker", "--domains", "points", *options))
        self.workers.append(worker)
        return worker

    async def worker(self, *options: str, code: Path = ROOT, settings: Settings | None = None) -> Worker:
        """Another worker, ready."""
        worker = self.start_worker(*options, code=code, settings=settings)
        await worker.said("worker ready: points")
        return worker

    async def settle(self) -> None:
        """Wait until everything is done."""
        await until(lambda: settled(self.outside), "all is settled")

    async def broken(self) -> list[str]:
        """Whatever does not hold."""
        keys = dict(self.settings.signing_keys)
        found = await broken(self.outside, keys, self.load.acknowledged)
        await observe(self.history, self.outside, keys)
        return [*found, *check(self.history.seen, points)]

    async def account(self) -> Account:
        """What the run came to; asked once all is settled."""
        return await account(self.outside, self.load.acknowledged, self.load.spans)

    async def epochs(self) -> dict[int, int]:
        """Partition -> the decider's epoch."""
        return {n: row["epoch"] for n, row in (await self.outside.offsets(COMMANDS)).items()}

    async def owners(self) -> set[int]:
        """Process ids of those who hold some partition of commands or events."""
        rows = await self.outside.rows("SELECT owner FROM offsets")
        return {_pid(row["owner"]) for row in rows}

    async def shared(self) -> bool:
        """Whether every worker that runs holds some partition, and nobody else does."""
        return await self.owners() == {worker.pid for worker in self.workers if worker.runs}

    async def decider(self) -> tuple[Worker, list[int]]:
        """A worker that holds partitions of commands, and these."""
        held: defaultdict[int, list[int]] = defaultdict(list)
        for partition, row in sorted((await self.outside.offsets(COMMANDS)).items()):
            held[_pid(row["owner"])].append(partition)
        return next((worker, held[worker.pid]) for worker in self.workers if worker.runs and held[worker.pid])

    async def positions(self) -> dict[int, int]:
        """Partition -> next command to decide."""
        return {n: row["next"] for n, row in (await self.outside.offsets(COMMANDS)).items()}

    @asynccontextmanager
    async def held_at_begin(self, worker: Worker, partition: int) -> AsyncIterator[None]:
        """Run the block while `worker` waits for the row of this partition's position; then Postgres gives it the row."""
        async with self.outside.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT FROM offsets WHERE topic = $1 AND partition = $2 FOR UPDATE", COMMANDS, partition
            )
            await self._waits(worker, "transactionid")
            yield

    @asynccontextmanager
    async def held_in_commit(self, worker: Worker, partition: int | None = None) -> AsyncIterator[None]:
        """Run the block while COMMITs of `worker` (on this partition) do not end; then those of its sessions that live go on."""
        held = PARTITIONS if partition is None else [partition]
        users = [user for user in USERS if partition_of(user.encode(), POINTS.partitions) in held]
        lock = next(self._locks)
        if lock == 1:
            await self.outside.execute(_SLOW_COMMIT)
        async with self.outside.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1), $2)", worker.session, lock)
            await self.outside.rows("INSERT INTO slow SELECT $1, unnest($2::text[]), $3", worker.session, users, lock)
            await self._waits(worker, "advisory", lock)
            yield

    async def _waits(self, worker: Worker, kind: str, number: int | None = None) -> None:
        async def waits() -> bool:
            return bool(await self.outside.rows(_WAITING, worker.session, kind, number))

        await until(waits, f"the worker waits for a lock ({kind})")

    async def goes_on(self) -> None:
        """Wait until commands of every partition were decided from now on."""
        before = await self.positions()

        async def moved() -> bool:
            return all(at > before.get(n, 0) for n, at in (await self.positions()).items())

        await until(moved, "every partition moves")


_WAITING = """
    SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE application_name = $1 AND NOT granted AND locktype = $2 AND ($3::int IS NULL OR objid::bigint = $3)"""
# A deferred trigger runs in the COMMIT, after the fence.
_SLOW_COMMIT = """
    CREATE TABLE slow (session text, user_id text, lock int);
    GRANT SELECT ON slow TO PUBLIC;
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format(
            'SELECT pg_advisory_xact_lock_shared(hashtext(session), lock) FROM %I.slow WHERE session = $1 AND user_id = $2',
            TG_TABLE_SCHEMA
        ) USING current_setting('application_name'), NEW.user_id;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()"""


def _pid(owner: str) -> int:
    return int(owner.rpartition(":")[2] or 0)
