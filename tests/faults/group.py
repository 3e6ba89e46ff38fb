"""A consumer group as the broker knows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from streams.kafka import KafkaUrl
from streams.settings import Settings

Share = dict[str, tuple[int, ...]]
"""Topic (without namespace) -> partitions."""


class Group(NamedTuple):
    """What its members were given, and in which round of giving."""

    round: int
    shares: dict[str, Share]
    """Member id -> share."""


async def group_of(settings: Settings, domain: str) -> Group | None:
    """The group of a domain, None while it is rebalancing or has no members."""
    state, found = await _described(settings, domain)
    if state != "Stable":
        return None
    given = {member[0]: ConsumerProtocolMemberAssignment.decode(member[4]) for member in found}
    (round_,) = {int.from_bytes(one.user_data) for one in given.values()}
    return Group(round_, {name: _share(one, settings.namespace) for name, one in given.items()})


async def members(settings: Settings, domain: str) -> int:
    """How many members the group of a domain has."""
    return len((await _described(settings, domain))[1])


async def hints(settings: Settings, domain: str) -> dict[tuple[str, int], int]:
    """Topic (without namespace) and partition -> the position that Kafka was told."""
    async with _admin(settings) as admin:
        told = await admin.list_consumer_group_offsets(settings.namespace + domain)
    return {(tp.topic.removeprefix(settings.namespace), tp.partition): one.offset for tp, one in told.items()}


async def _described(settings: Settings, domain: str) -> tuple[str, list[Any]]:
    async with _admin(settings) as admin:
        described = await admin.describe_consumer_groups([settings.namespace + domain])
    _, _, state, _, _, found, *_ = described[0].groups[0]
    return state, found


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(settings.kafka).client())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def _share(given: ConsumerProtocolMemberAssignment, namespace: str) -> Share:
    return {topic.removeprefix(namespace): tuple(sorted(numbers)) for topic, numbers in given.assignment if numbers}
