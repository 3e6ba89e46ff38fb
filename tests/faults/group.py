"""A consumer group as the broker knows it."""

from typing import NamedTuple

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
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(settings.kafka).client())
    await admin.start()
    try:
        described = await admin.describe_consumer_groups([settings.namespace + domain])
    finally:
        await admin.close()
    _, _, state, _, _, members, *_ = described[0].groups[0]
    if state != "Stable":
        return None
    given = {member[0]: ConsumerProtocolMemberAssignment.decode(member[4]) for member in members}
    (round_,) = {int.from_bytes(one.user_data) for one in given.values()}
    return Group(round_, {name: _share(one, settings.namespace) for name, one in given.items()})


def _share(given: ConsumerProtocolMemberAssignment, namespace: str) -> Share:
    return {topic.removeprefix(namespace): tuple(sorted(numbers)) for topic, numbers in given.assignment if numbers}
