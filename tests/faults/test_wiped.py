"""Kafka and Postgres that do not belong together any more: the partition stops and says how to mend it, and nothing is decided."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from sinks.postgres import migrate
from streams.catalogue import Catalogue
from streams.errors import CaravanError
from streams.kafka import Kafka, KafkaUrl
from streams.settings import Settings
from tests.faults.ground import Ground
from tests.faults.infrastructure import Own
from tests.faults.load import USERS, awards, orders
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from tests.faults.report import Figures
from topics.points import POINTS


class Damage(NamedTuple):
    """What is done under a worker that runs (or between two), and what must be said then."""

    do: Callable[[Ground], Awaitable[None]]
    words: str
    live: bool = True
    mend: Callable[[Ground], Awaitable[None]] | None = None


async def wipe_commands(ground: Ground) -> None:
    """As a wiped broker: the topic is there, as `caravan up` makes it."""
    await recreate(ground, COMMANDS)


async def other_commands(ground: Ground) -> None:
    """As a broker restored from elsewhere: more records than were processed, and others."""
    await recreate(ground, COMMANDS)
    await ground.load.send(awards(USERS, 2000))


async def delete_unread(ground: Ground) -> None:
    """As a retention that was too short."""
    worker = ground.workers[0]
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


async def wipe_events(ground: Ground) -> None:
    """The event topic alone."""
    await recreate(ground, EVENTS)


async def wipe_postgres(ground: Ground) -> None:
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
    async with Catalogue(ground.settings) as catalogue:
        await catalogue.delete([topic])
    await ground.declare()


DAMAGES = {
    "commands wiped": Damage(wipe_commands, "the topic was wiped, cut off or restored", live=False),
    "other commands": Damage(other_commands, "this is another topic under the same name", live=False),
    "other commands under a live worker": Damage(other_commands, "this is another topic under the same name"),
    "unread commands deleted": Damage(delete_unread, "unread records were deleted", mend=accept_the_loss),
    "events wiped": Damage(wipe_events, "is empty and Postgres has relayed up to", live=False),
    "postgres wiped": Damage(
        wipe_postgres, "Postgres was wiped, or CARAVAN_POSTGRES names another one", mend=restore_postgres
    ),
}


QUICK = {"postgres wiped"}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(what, id=name, marks=[pytest.mark.full] * (name not in QUICK)) for name, what in DAMAGES.items()],
)
@pytest.mark.scenario("S12")
async def test_the_partition_stops_and_names_the_mend(ground: Ground, figures: Figures, damage: Damage) -> None:
    worker = await ground.worker()
    await ground.load.send(orders(1, 400))
    await ground.settle()
    if not damage.live:
        await worker.leave()
    decided = 0 if damage.do is wipe_postgres else await results(ground)
    await damage.do(ground)
    if not damage.live:
        worker = ground.start_worker()
    await ground.load.send(awards(USERS, 40))

    async def stopped() -> bool:
        rows = await ground.outside.offsets(COMMANDS)
        return len(rows) == len(PARTITIONS) and all(damage.words in (row["stopped"] or "") for row in rows.values())

    await until(stopped, f"every partition is stopped:\n{worker.text}")
    assert all(f"points points.commands/{n} stopped:" in worker.text for n in PARTITIONS)
    if damage.do is not delete_unread:  # a fetch that waited in the broker may have brought some
        assert await results(ground) == decided
    if damage.mend is not None:
        await damage.mend(ground)
        await ground.goes_on()
        assert not any(row["stopped"] for row in (await ground.outside.offsets(COMMANDS)).values())
    figures.note(faults=1, commands=len(ground.load.acknowledged))


@pytest.mark.full
@pytest.mark.scenario("S12")
async def test_partitions_that_are_added_stop_those_that_there_were(ground: Ground, figures: Figures) -> None:
    """Keys have moved: no command of a key may be decided apart from the earlier ones, and none is on the new partition."""
    worker = await ground.worker()
    await ground.load.send(orders(1, 400))
    await ground.settle()
    decided = await results(ground)
    await worker.leave()
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(ground.settings.kafka).client())
    await admin.start()
    await admin.create_partitions(
        {ground.settings.namespace + COMMANDS: NewPartitions(total_count=len(PARTITIONS) + 1)}
    )
    await admin.close()
    worker = ground.start_worker()
    await ground.load.send(awards(USERS, 200))

    async def stopped() -> bool:
        rows = await ground.outside.offsets(COMMANDS)
        return all("has 5 partitions, it had 4" in (rows[n]["stopped"] or "") for n in PARTITIONS)

    await until(stopped, f"every partition that there was is stopped; see {worker.log}")
    kafka = Kafka(ground.settings)
    with pytest.raises(CaravanError, match="the count is fixed for the life"):
        await kafka.declare([POINTS])
    await kafka.stop()
    assert await results(ground) == decided
    figures.note(faults=1, commands=len(ground.load.acknowledged))


@pytest.mark.full
@pytest.mark.scenario("S11")
async def test_an_older_copy_of_kafka_stops_all_until_the_newer_is_back(
    settings: Settings, tmp_path: Path, figures: Figures
) -> None:
    """The worker lives through it: it stops at the older copy and goes on with the newer one."""
    with Own("kafka") as kafka:
        async with Ground(replace(settings, kafka=kafka.url), tmp_path) as ground:
            worker = await ground.worker()
            await ground.load.send(orders(1, 200))
            await ground.settle()
            kafka.kill()
            kafka.copy("older")
            await kafka.start()
            await ground.load.send(orders(2, 200))
            await ground.settle()
            decided = await results(ground)
            kafka.kill()
            kafka.copy("newer")
            kafka.put_back("older")
            await kafka.start()

            async def stopped() -> bool:
                rows = await ground.outside.offsets(COMMANDS)
                return all("cut off or restored" in (row["stopped"] or "") for row in rows.values())

            await until(stopped, "every partition is stopped")
            assert await results(ground) == decided
            kafka.kill()
            kafka.put_back("newer")
            await kafka.start()
            await ground.load.send(orders(3, 200))
            await ground.goes_on()
            await ground.settle()

            assert worker.runs
            figures.note(faults=2, **await ground.account())
            assert await ground.broken() == []


async def results(ground: Ground) -> int:
    """How many commands were decided."""
    return int((await ground.outside.rows("SELECT count(*) FROM results"))[0][0])
