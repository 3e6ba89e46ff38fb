# mypy: ignore-errors
"""Faust as its tutorial writes it, on commands: a table of balances, and a ledger row and the balance in a Postgres transaction for each. No
results, no check for duplicates, no events.

Run by the suite: `python faust_commands.py SERVERS TOPIC DSN GROUP FOLDER`; the tables exist before the start. Runs until SIGTERM.
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


class AwardPoints(faust.Record, serializer="json"):
    user_id: str
    amount: int
    rule: Optional[str] = None
    source: Optional[str] = None


class Command(faust.Record, serializer="json"):
    command_id: str
    type: str
    schema_version: int
    issued_at: str
    domain: str
    aggregate_id: str
    payload: AwardPoints


commands = app.topic(TOPIC, value_type=Command)
balances = app.Table("balances", default=int, partitions=4)
entries = app.Table("entries", default=int, partitions=4)


@app.agent(commands)
async def award(stream):
    db = await asyncpg.connect(DSN)
    async for command in stream:
        user, amount = command.payload.user_id, command.payload.amount
        balances[user] += amount
        entries[user] += 1
        async with db.transaction():
            await db.execute(
                "insert into ledger (user_id, seq, at, kind, debit, credit, amount, reference)"
                " values ($1, $2, $3, 'awarded', 'system:issued', $4, $5, $6) on conflict do nothing",
                user,
                entries[user],
                datetime.datetime.fromisoformat(command.issued_at.replace("Z", "+00:00")),
                f"user:{user}:available",
                amount,
                command.payload.source,
            )
            await db.execute(
                "insert into balance (user_id, available, held) values ($1, $2, 0)"
                " on conflict (user_id) do update set available = excluded.available",
                user,
                balances[user],
            )


if __name__ == "__main__":
    faust_changelogs.make(SERVERS, GROUP, ["balances", "entries"])
    sys.argv[1:] = ["-L", "uvloop", "worker", "-l", "error", "--without-web"]
    app.main()
