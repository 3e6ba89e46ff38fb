# mypy: ignore-errors
"""Faust as its tutorial writes it: a model, a table, an agent that takes event by event, and a Postgres transaction for each.

Run by the suite: `python faust_tutorial.py SERVERS TOPIC DSN GROUP FOLDER`; the tables exist before the start. Runs until SIGTERM.
"""

import datetime
import sys
from typing import Optional

import asyncpg
import faust
import faust_changelogs

SERVERS, TOPIC, DSN, GROUP, FOLDER = sys.argv[1:6]

app = faust.App(
    GROUP,
    broker=f"kafka://{SERVERS}",
    store="memory://",
    datadir=FOLDER,
    topic_partitions=4,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    consumer_max_fetch_size=4 << 20,
)


class Award(faust.Record, serializer="json"):
    user_id: str
    amount: int
    rule: Optional[str] = None
    source: Optional[str] = None


class Event(faust.Record, serializer="json"):
    event_id: str
    type: str
    schema_version: int
    occurred_at: str
    domain: str
    aggregate_id: str
    aggregate_seq: int
    command_id: str
    correlation_id: str
    causation_id: str
    number: int
    payload: Award


events = app.topic(TOPIC, value_type=Event)
balances = app.Table("balances", default=int, partitions=4)


@app.agent(events)
async def award(stream):
    db = await asyncpg.connect(DSN)
    async for event in stream:
        user, amount = event.payload.user_id, event.payload.amount
        balances[user] += amount
        async with db.transaction():
            await db.execute(
                "insert into ledger (user_id, seq, at, kind, debit, credit, amount, reference)"
                " values ($1, $2, $3, 'awarded', 'system:issued', $4, $5, $6) on conflict do nothing",
                user,
                event.aggregate_seq,
                datetime.datetime.fromisoformat(event.occurred_at.replace("Z", "+00:00")),
                f"user:{user}:available",
                amount,
                event.payload.source,
            )
            await db.execute(
                "insert into balance (user_id, available, held) values ($1, $2, 0)"
                " on conflict (user_id) do update set available = excluded.available",
                user,
                balances[user],
            )


if __name__ == "__main__":
    faust_changelogs.make(SERVERS, GROUP, ["balances"])
    sys.argv[1:] = ["-L", "uvloop", "worker", "-l", "error", "--without-web"]
    app.main()
