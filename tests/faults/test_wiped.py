"""Kafka and Postgres that do not belong together any more: the partition stops and says how to mend it, and nothing is decided."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from sinks.postgres import migrate
from streams.errors import CaravanError
from streams.kafka import KafkaUrl
from tests.faults.ground import Ground, Worker
from tests.faults.load import awards, orders
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from topics.points import POINTS

USERS = [f"u{n}" for n in range(1, 40)]  # on every partition


class Damage(NamedTuple):
    """What is done while the worker runs, and what it must say then."""

    do: Callable[[Ground, Worker], Awaitable[None]]
    words: str
    mend: Callable[[Ground], Awaitable[None]] | None = None


async def wipe_commands(ground: Ground, worker: Worker) -> None:
    """As a wiped broker: the topic is there, as `caravan up` makes it, with a few new commands."""
    await recreate(ground, COMMANDS)
    await ground.load.send(awards(USERS, 40))


async def other_commands(ground: Ground, worker: Worker) -> None:
    """As a broker restored from elsewhere: more records than were processed, and others."""
    worker.freeze()
    await recreate(ground, COMMANDS)
    await ground.load.send(awards(USERS, 2000))
    worker.thaw()


async def delete_unread(ground: Ground, worker: Worker) -> None:
    """As a retention that was too short."""
    worker.freeze()
    await ground.load.send(awards(USERS, 200))
    ends = await ground.outside.ends(COMMANDS)
    name = ground.settings.namespace + COMMANDS
    client = AIOKafkaAdminClient(**KafkaUrl.parse(ground.settings.kafka).client())
    await client.start()
    await client.delete_records({TopicPartition(name, n): RecordsToDelete(end - 1) for n, end in ends.items()})
    await client.close()
    worker.thaw()


async def accept_the_loss(ground: Ground) -> None:
    """The mend that is named: move the position."""
    for partition, end in (await ground.outside.ends(COMMANDS)).items():
        await ground.outside.execute(
            f"UPDATE offsets SET next = {end - 1}, last_id = NULL WHERE topic = '{COMMANDS}' AND partition = {partition}"
        )


async def wipe_events(ground: Ground, worker: Worker) -> None:
    """The event topic alone."""
    await recreate(ground, EVENTS)


async def wipe_postgres(ground: Ground, worker: Worker) -> None:
    """The schema is put aside and made anew, as a wiped Postgres would get it."""
    schema = f"{ground.settings.namespace}points"
    await ground.outside.execute(f'ALTER SCHEMA "{schema}" RENAME TO "{schema}_kept"')
    await migrate(ground.settings.postgres, ground.settings.namespace)


async def restore_postgres(ground: Ground) -> None:
    """What was put aside comes back."""
    schema = f"{ground.settings.namespace}points"
    await ground.outside.execute(
        f'ALTER SCHEMA "{schema}" RENAME TO "{schema}_wiped"; ALTER SCHEMA "{schema}_kept" RENAME TO "{schema}"'
    )


async def recreate(ground: Ground, topic: str) -> None:
    """Delete the topic and make it again, as declared."""
    name = ground.settings.namespace + topic
    client = AIOKafkaAdminClient(**KafkaUrl.parse(ground.settings.kafka).client())
    await client.start()
    await client.delete_topics([name])

    async def there() -> bool:
        with suppress(CaravanError):
            await ground.declare()
        described = (await client.describe_topics([name]))[0]
        return not described["error_code"] and len(described["partitions"]) == POINTS.partitions

    await until(there, "the topic is there again")
    await client.close()


DAMAGES = {
    "commands wiped": Damage(wipe_commands, "the topic was wiped, cut off or restored"),
    "other commands": Damage(other_commands, "this is another topic under the same name"),
    "unread commands deleted": Damage(delete_unread, "unread records were deleted", accept_the_loss),
    "events wiped": Damage(wipe_events, "is empty and Postgres has relayed up to"),
    "postgres wiped": Damage(wipe_postgres, "Postgres was wiped or restored from an older copy", restore_postgres),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_the_partition_stops_and_names_the_mend(ground: Ground, damage: Damage) -> None:
    worker = await ground.worker()
    await ground.load.send(orders(1, 400))
    await ground.settle()
    decided = await results(ground)
    await damage.do(ground, worker)

    async def stopped() -> bool:
        rows = await ground.outside.offsets(COMMANDS)
        return len(rows) == len(PARTITIONS) and all(damage.words in (row["stopped"] or "") for row in rows.values())

    await until(stopped, "every partition is stopped")
    assert worker.text.count(damage.words) == len(PARTITIONS)
    if damage.mend is None:
        assert await results(ground) == decided
        return
    await damage.mend(ground)
    await ground.load.send(awards(USERS, 40))
    await ground.goes_on()
    assert not any(row["stopped"] for row in (await ground.outside.offsets(COMMANDS)).values())


async def results(ground: Ground) -> int:
    """How many commands were decided."""
    return int((await ground.outside.rows("SELECT count(*) FROM results"))[0][0])
