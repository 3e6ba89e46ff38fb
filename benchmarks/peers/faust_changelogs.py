# mypy: ignore-errors
"""The changelog topics of Faust's tables, made before its worker starts.

A worker that makes them itself asks for their partitions at once, and ends with PartitionsMismatch when the broker has not told of them yet.
"""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


def make(servers, group, tables, partitions=4):
    """Make the topics, as the worker would."""
    asyncio.run(_make(servers, [f"{group}-{table}-changelog" for table in tables], partitions))


async def _make(servers, names, partitions):
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs={"cleanup.policy": "compact"}) for name in names]
        )
    finally:
        await admin.close()
