# mypy: ignore-errors
"""FastStream with `batch=True`: a list of events at a time, and hand-written SQL for them in one transaction.

Run by the suite: `python faststream_batch.py SERVERS TOPIC DSN GROUP FOLDER NUMBER OF`: one of OF processes that share the four partitions; the
tables exist before the start. Runs until SIGTERM.
"""

import sys

import asyncpg
import uvloop
from bare_loop import decode
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, TopicPartition

SERVERS, TOPIC, DSN, GROUP = sys.argv[1:5]
NUMBER, OF = map(int, sys.argv[6:8])
BATCH = 10_000  # events of one call at most
FETCH = 4 << 20  # bytes of a partition in one fetch

LEDGER = """
insert into ledger (user_id, seq, at, kind, debit, credit, amount, reference)
select u, s, t, 'awarded', 'system:issued', 'user:' || u || ':available', a, r
from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::text[]) as e (u, s, t, a, r)
on conflict do nothing
"""
BALANCE = """
insert into balance (user_id, available, held) select *, 0 from unnest($1::text[], $2::bigint[])
on conflict (user_id) do update set available = balance.available + excluded.available
"""


broker = KafkaBroker(SERVERS, apply_types=False, logger=None)
app = FastStream(broker, logger=None)
pool = {}


@app.on_startup
async def connect():
    pool["db"] = await asyncpg.connect(DSN)


async def decoded(message):
    """All events of a batch; the documented hook in place of FastStream's own decoding."""
    return [decode(value) for value in message.body]


@broker.subscriber(
    partitions=[TopicPartition(TOPIC, partition) for partition in range(NUMBER, 4, OF)],
    group_id=GROUP,
    batch=True,
    max_records=BATCH,
    auto_offset_reset="earliest",
    max_partition_fetch_bytes=FETCH,
    ack_policy=AckPolicy.ACK,
    decoder=decoded,
)
async def award(events):
    changed = {}
    for event in events:
        user = event.payload.user_id
        changed[user] = changed.get(user, 0) + event.payload.amount
    db = pool["db"]
    async with db.transaction():
        await db.execute(
            LEDGER,
            [event.payload.user_id for event in events],
            [event.aggregate_seq for event in events],
            [event.occurred_at for event in events],
            [event.payload.amount for event in events],
            [event.payload.source for event in events],
        )
        await db.execute(BALANCE, list(changed), list(changed.values()))


if __name__ == "__main__":
    uvloop.run(app.run())
