"""The least a Python program can do for exactly-once rows: aiokafka, msgspec, COPY, one upsert, the offset, one transaction.

No framework, no contracts, no signature check, no fence, no parked records: the floor that the platform is held against.
While one batch is written the next is decoded. Run by the suite: `python bare_loop.py SERVERS TOPIC DSN GROUP FOLDER NUMBER OF`: one of OF
processes that share the four partitions; the tables exist before the start. Runs until SIGTERM.
"""

import asyncio
import datetime
import sys
import uuid

import asyncpg
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

BATCH = 20_000  # records at most in one transaction
CHUNK = 500  # records decoded at a stretch
FETCH = 4 << 20  # bytes of a partition in one fetch

UPSERT = """
insert into balance (user_id, available, held) select *, 0 from unnest($1::text[], $2::bigint[])
on conflict (user_id) do update set available = excluded.available
"""
ADVANCE = """
insert into position select * from unnest($1::int[], $2::bigint[])
on conflict (partition) do update set next = excluded.next
"""


class Actor(msgspec.Struct):
    type: str
    id: str
    role: str = ""


class Source(msgspec.Struct):
    partition: int
    offset: int
    hash: str


class Award(msgspec.Struct):
    user_id: str
    amount: int
    rule: str | None = None
    source: str | None = None


class Event(msgspec.Struct):
    event_id: uuid.UUID
    type: str
    schema_version: int
    occurred_at: datetime.datetime
    domain: str
    aggregate_id: str
    aggregate_seq: int
    actor: Actor
    command_id: uuid.UUID
    correlation_id: uuid.UUID
    causation_id: uuid.UUID
    number: int
    source: Source
    payload: Award
    hops: int = 0


decode = msgspec.json.Decoder(Event).decode
COLUMNS = ("user_id", "seq", "at", "kind", "debit", "credit", "amount", "reference")
Row = tuple[str, int, datetime.datetime, str, str, str, int, str | None]
Fetched = dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]


class Batch:
    """What one transaction writes."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.changed: dict[str, int] = {}
        self.next: dict[int, int] = {}

    async def take(self, fetched: Fetched, balances: dict[str, int]) -> None:
        """Decode; the loop gets its turn every now and then, so that the batch before goes on being written."""
        for tp, records in fetched.items():
            self.next[tp.partition] = records[-1].offset + 1
            for begin in range(0, len(records), CHUNK):
                for record in records[begin : begin + CHUNK]:
                    event = decode(record.value)
                    user, amount = event.payload.user_id, event.payload.amount
                    balances[user] = self.changed[user] = balances.get(user, 0) + amount
                    self.rows.append(_row(event, user, amount))
                await asyncio.sleep(0)

    async def write(self, db: asyncpg.Connection) -> None:
        async with db.transaction():
            await db.copy_records_to_table("ledger", columns=COLUMNS, records=self.rows)
            await db.execute(UPSERT, list(self.changed), list(self.changed.values()))
            await db.execute(ADVANCE, list(self.next), list(self.next.values()))


def _row(event: Event, user: str, amount: int) -> Row:
    seq, at, source = event.aggregate_seq, event.occurred_at, event.payload.source
    return user, seq, at, "awarded", "system:issued", f"user:{user}:available", amount, source


async def run(servers: str, topic: str, dsn: str, group: str, folder: str, number: str, of: str) -> None:
    db = await asyncpg.connect(dsn)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, max_partition_fetch_bytes=FETCH, enable_auto_commit=False)
    await consumer.start()
    mine = range(int(number), 4, int(of))
    consumer.assign([TopicPartition(topic, partition) for partition in mine])
    await consumer.seek_to_beginning()
    for partition, position in await db.fetch("select partition, next from position"):
        if partition in mine:
            consumer.seek(TopicPartition(topic, partition), position)
    balances: dict[str, int] = {user: total for user, total in await db.fetch("select user_id, available from balance")}
    writing = asyncio.create_task(asyncio.sleep(0))
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        if not fetched:
            continue
        batch = Batch()
        await batch.take(fetched, balances)
        await writing
        writing = asyncio.create_task(batch.write(db))


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
