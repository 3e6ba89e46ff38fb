"""Takes down what topics and Postgres show of a domain."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from streams.envelope import Signer
from tests.checker.history import History
from tests.checker.memory import columns_of
from tests.faults.outside import AWAY, Outside

ACTOR = "observer"
POLL_S = 0.1


async def positions(history: History, outside: Outside) -> None:
    """Where the agents of a domain stand now; nothing while Postgres is away."""
    try:
        rows = await outside.standing()
    except AWAY:
        return
    for row in rows:
        history.position(ACTOR, outside.topic.domain, row)


@asynccontextmanager
async def watched(history: History, *domains: Outside) -> AsyncIterator[None]:
    """Look at the positions again and again while the block runs."""

    async def look() -> None:
        while True:
            for outside in domains:
                await positions(history, outside)
            await asyncio.sleep(POLL_S)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def observe(history: History, outside: Outside, keys: Mapping[str, bytes]) -> None:
    """Everything that is there at the end of a run."""
    await outside.read_on()
    _topics(history, outside, Signer(tuple(keys.items())))
    domain = outside.topic.domain
    for row in await outside.rows("SELECT * FROM results"):
        history.result(ACTOR, domain, row)
    for row in await outside.rows("SELECT * FROM parked"):
        history.parked(ACTOR, domain, row)
    await positions(history, outside)
    for table, columns in columns_of(domain).items():
        names = ", ".join(f'"{name}"' for name in columns)
        rows = await outside.rows(f'SELECT {names} FROM "{table}" ORDER BY {names}')
        history.rows(ACTOR, domain, table, rows)


def _topics(history: History, outside: Outside, signer: Signer) -> None:
    topic = outside.topic
    commands, events = signer.checker(topic.commands_topic), signer.checker(topic.events_topic)
    for (name, partition), records in sorted(outside.all_records().items()):
        for record in records:
            if name == topic.commands_topic:
                history.record(ACTOR, topic.domain, name, partition, record, valid=bool(commands(record)))
            elif events(record):
                history.event(ACTOR, topic.domain, name, partition, record)
