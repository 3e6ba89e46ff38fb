"""A file with all that the platform holds of a user, from every domain there is: sealed with the user's own key, and kept in a domain's schema.

What is held is found by discovery. Of each table that a domain's rows go to: the rows that name the user in a column, or have something sealed for them.
Of the rules' documents: those of the user's own key, and what is sealed for them in others. Of the events, and of the commands that are kept still: those
of the user's key, and those in which something is sealed for them. What is sealed for somebody else is left out. The domain that keeps the file has a table for it::

    CREATE TABLE export_file (user_id text NOT NULL PRIMARY KEY, export_id text NOT NULL, file text NOT NULL);
"""

import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from sinks.postgres.migrations import EDGE
from sinks.postgres.names import quoted, schema_of
from streams import discover
from streams.decision import Intent
from streams.effect import Adapter, Refused
from streams.personal import opened, seal, sealed_for
from streams.pulse import breathe
from streams.reading import Reader
from streams.settings import Settings

FORMAT = "caravan-data-export/1"
_COLUMNS = """
SELECT a.attname AS name, t.typname AS type FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND t.typname IN ('text', '_text', 'json') ORDER BY a.attnum"""
_KEY = """
INSERT INTO {edge}.subject_keys (subject, key) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject RETURNING key"""
_PUT = """
INSERT INTO {file} (user_id, export_id, file) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET export_id = excluded.export_id, file = excluded.file"""
_NAMES = {"text": "({0} = $1 OR strpos({0}, $2) > 0)", "_text": "$1 = ANY({0})", "json": "strpos({0}::text, $2) > 0"}
_DOCUMENTS = """
SELECT key, data, own FROM (SELECT key, data, split_part(key, '/', CASE WHEN starts_with(key, '/') THEN 3 ELSE 1 END) = $1 AS own FROM state) AS s
WHERE own OR strpos(data::text, $2) > 0 ORDER BY key"""  # a projection's documents have its name before the key


class _Message(msgspec.Struct):
    """What is told of a command or event."""

    type: str
    aggregate_id: str
    payload: msgspec.Raw
    occurred_at: str | None = None
    issued_at: str | None = None


class Exports(Adapter):
    """Makes files (`make` with `subject`, `export_id` and `at`) and takes them away (`drop`; without `export_id` whichever there is)."""

    repeatable = True

    def __init__(self, settings: Settings, *, domain: str) -> None:
        """`domain` keeps the files. Connects when it is first asked."""
        self._settings = settings
        self._edge = quoted(schema_of(settings.namespace, EDGE))
        self._domain = domain
        self._file = f"{quoted(schema_of(settings.namespace, domain))}.export_file"

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:  # noqa: ARG002 - a file is in the place of the one before
        """Do what `act` says; `size` is the file's in bytes. Raises Refused for a subject who was erased."""
        data = intent.data
        if intent.act == "drop":
            await self._drop(data["subject"], data["export_id"])
            return {}
        return {"size": await self._make(data["subject"], data["export_id"], data["at"])}

    async def _make(self, subject: str, export_id: str, at: str) -> int:
        async with self._connected(EDGE) as connection:
            key = await connection.fetchval(_KEY.format(edge=self._edge), subject, os.urandom(32))
        if key is None:
            raise Refused(f"{subject} was erased.")
        held = opened(await self._held(subject), subject, key)
        text = json.dumps({"format": FORMAT, "user_id": subject, "requested_at": at, "domains": held})
        async with self._connected(self._domain) as connection:  # an erasure meanwhile has made it unreadable
            await connection.execute(_PUT.format(file=self._file), subject, export_id, seal(text, subject, key))
        return len(text)

    async def _drop(self, subject: str, export_id: str | None) -> None:
        async with self._connected(self._domain) as connection:
            query = f"DELETE FROM {self._file} WHERE user_id = $1 AND export_id = coalesce($2, export_id)"
            await connection.execute(query, subject, export_id)

    async def _held(self, subject: str) -> dict[str, Any]:
        """What is held of the subject, by domain; what is sealed stays so."""
        found = await self._told(subject)
        async with self._connected(EDGE) as connection:
            for domain, held in found.items():
                schema = quoted(schema_of(self._settings.namespace, domain))
                await connection.execute(f"SET search_path TO {schema}")
                held["documents"] = await _documents(connection, subject)
                held["rows"] = await _rows(connection, domain, subject)
        there = {domain: {part: told for part, told in held.items() if told} for domain, held in found.items()}
        return {domain: held for domain, held in there.items() if held}

    async def _told(self, subject: str) -> dict[str, dict[str, Any]]:
        """Events and commands by domain, in the order of time; every topic is read."""
        key, prefix = subject.encode(), sealed_for(subject).encode()
        found: dict[str, dict[str, Any]] = {domain: {"events": [], "commands": []} for domain in discover.domains()}
        topics = [discover.topic(domain) for domain in found]
        lists = {topic.events_topic: found[topic.domain]["events"] for topic in topics}
        lists |= {topic.commands_topic: found[topic.domain]["commands"] for topic in topics}
        async with Reader(self._settings) as reader:
            places = await reader.places(lists)
            for place, (start, end) in (await reader.bounds(places)).items():
                async for records in reader.batches(place, start, end):
                    mine = [r.value for r in records if r.value and (r.key == key or prefix in r.value)]
                    lists[place.topic] += filter(None, map(_message, mine))
                    await breathe()
        for messages in lists.values():
            messages.sort(key=lambda message: str(message["at"]))
        return found

    @asynccontextmanager
    async def _connected(self, owner: str) -> AsyncIterator[Any]:
        """A connection that may what this schema's owner may; the edge may read everything."""
        role = {"role": schema_of(self._settings.namespace, owner)}
        connection = await asyncpg.connect(self._settings.postgres, timeout=10, server_settings=role)
        try:
            yield connection
        finally:
            await connection.close()


async def _rows(connection: Any, domain: str, subject: str) -> dict[str, list[Any]]:
    """Rows by table."""
    found: dict[str, list[Any]] = {}
    for table in discover.rows(domain):
        columns = await connection.fetch(_COLUMNS, quoted(table.name))
        if tests := [_NAMES[column["type"]].format(quoted(column["name"])) for column in columns]:
            # both parameters have to be used, whatever the columns
            query = f"SELECT row_to_json(t) FROM {quoted(table.name)} AS t WHERE $1 <> $2 AND ({' OR '.join(tests)})"
            if rows := await connection.fetch(query, subject, sealed_for(subject)):
                found[table.name] = [json.loads(row[0]) for row in rows]
    return found


async def _documents(connection: Any, subject: str) -> dict[str, Any]:
    """Documents by key; of one that is not the subject's own what is sealed for them."""
    prefix = sealed_for(subject)
    rows = await connection.fetch(_DOCUMENTS, subject, prefix)
    told = ((row["key"], row["own"], json.loads(row["data"])) for row in rows)
    return {key: data if own else [*_sealed(data, prefix)] for key, own, data in told}


def _sealed(value: Any, prefix: str) -> Iterable[str]:
    """Whatever in it is sealed for a subject."""
    if isinstance(value, str) and value.startswith(prefix):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _sealed(part, prefix)


def _message(value: bytes) -> dict[str, Any] | None:
    """A command or event; None for what is none, which anybody can put onto a topic."""
    try:
        told = msgspec.json.decode(value, type=_Message)
        return {"type": told.type, "at": told.occurred_at or told.issued_at, "key": told.aggregate_id, "payload": json.loads(bytes(told.payload))}  # fmt: skip
    except ValueError:  # msgspec's errors are such
        return None
