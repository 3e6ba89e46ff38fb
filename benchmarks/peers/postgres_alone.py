"""Postgres alone, the ceiling: all events are read and decoded before the first row is written, then COPY, one upsert and the position
in a transaction per batch, as the bare loop writes them.

Run by the suite: `python postgres_alone.py SERVERS TOPIC DSN GROUP FOLDER NUMBER OF`: one of OF processes that share the four partitions; they begin to
write together. The tables exist before the start. Runs until SIGTERM.
"""

import asyncio
import sys
from pathlib import Path

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from bare_loop import BATCH, FETCH, Batch  # type: ignore[import-not-found]  # it stands beside this file


async def batches(servers: str, topic: str, partitions: list[int]) -> list[Batch]:
    """All events of the partitions, in batches ready to be written."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, max_partition_fetch_bytes=FETCH, enable_auto_commit=False)
    await consumer.start()
    assigned = [TopicPartition(topic, partition) for partition in partitions]
    consumer.assign(assigned)
    await consumer.seek_to_beginning()
    ends = await consumer.end_offsets(assigned)
    made: list[Batch] = []
    balances: dict[str, int] = {}
    while any([await consumer.position(tp) < ends[tp] for tp in assigned]):
        if fetched := await consumer.getmany(timeout_ms=200, max_records=BATCH):
            made.append(Batch())
            await made[-1].take(fetched, balances)
    await consumer.stop()
    return made


async def run(servers: str, topic: str, dsn: str, group: str, folder: str, number: str, of: str) -> None:
    prepared = await batches(servers, topic, list(range(int(number), 4, int(of))))
    db = await asyncpg.connect(dsn)
    ready = Path(folder)
    (ready / f"ready-{number}").touch()
    while len(list(ready.glob("ready-*"))) < int(of):
        await asyncio.sleep(0.01)
    for batch in prepared:
        await batch.write(db)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
