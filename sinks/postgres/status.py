"""Where every agent stands, for operators."""

from typing import Any

from sinks.postgres.migrations import connect
from sinks.postgres.names import quoted, schema_of
from streams import discover


async def status(dsn: str, namespace: str = "") -> list[dict[str, Any]]:
    """A dict per agent and partition: domain, agent, topic, partition, next, epoch, owner, number, relayed, duplicates, stopped, moved_at, parked
    (records) and held_keys; and per domain `bytes` on disk. Raises CaravanError.
    """
    connection = await connect(dsn)
    try:
        found = []
        for domain in discover.domains():
            schema = schema_of(namespace, domain)
            if await connection.fetchval("SELECT to_regclass($1)", f"{quoted(schema)}.offsets"):
                found += [
                    {"domain": domain, **row}
                    for row in await connection.fetch(_STATUS.format(schema=quoted(schema)), schema)
                ]
        return found
    finally:
        await connection.close()


_STATUS = """
    SELECT o.agent, o.topic, o.partition, o.next, o.epoch, o.owner, o.number, o.relayed, o.duplicates, o.stopped, o.moved_at,
        count(p.*) AS parked, count(DISTINCT p.key) FILTER (WHERE p.holds) AS held_keys,
        (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind = 'r') AS bytes
    FROM {schema}.offsets o
    LEFT JOIN {schema}.parked p USING (agent, topic, partition)
    GROUP BY o.agent, o.topic, o.partition
    ORDER BY o.agent, o.topic, o.partition"""
