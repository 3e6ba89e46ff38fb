"""A key that is destroyed: nobody gets it any more, none is made again, and whoever wants to seal something is told."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from sinks.postgres import migrate
from sinks.postgres.edge import EdgeStore
from sinks.postgres.keys import Keys, SubjectKeys
from streams import discover
from streams.decision import Intent
from streams.personal import Erased
from streams.settings import Settings

DESTROY = Intent("destroy_key", {"subject": "ann"})
pytestmark = pytest.mark.req("SR140")


@pytest_asyncio.fixture
async def edge(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EdgeStore]:
    """The edge's own tables, migrated; ann and bob have keys."""
    monkeypatch.setattr(discover, "domains", list)
    await migrate(settings.postgres, settings.namespace)
    store = EdgeStore(settings.postgres, settings.postgres_read, settings.namespace)
    await store.start()
    for subject in ("ann", "bob"):
        await store.subject_key(subject)
    yield store
    await store.stop()


async def asked(settings: Settings, query: str) -> list[Any]:
    """What stands in the edge's schema."""
    path = {"search_path": f"{settings.namespace}edge"}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_nobody_gets_it_and_none_is_made_again(edge: EdgeStore, settings: Settings) -> None:
    before = await edge.subject_keys(["ann", "bob"])
    keys = Keys(settings)
    await keys.perform(DESTROY, "once")

    assert await edge.subject_keys(["ann", "bob"]) == {"bob": before["bob"]}
    with pytest.raises(Erased):
        await edge.subject_key("ann")
    assert await edge.subject_key("bob") == before["bob"]
    async with SubjectKeys(settings.postgres, settings.namespace) as readable:
        assert await readable(["ann", "bob"]) == {"ann": None, "bob": before["bob"]}
    assert await asked(settings, "SELECT subject FROM subject_keys WHERE key IS NULL") == [("ann",)]


async def test_it_may_be_asked_twice_and_looked_up(edge: EdgeStore, settings: Settings) -> None:
    keys = Keys(settings)
    assert await keys.find("once") is None
    for _ in range(2):
        await keys.perform(DESTROY, "once")
    (first,) = await asked(settings, "SELECT erased_at FROM subject_keys WHERE subject = 'ann'")

    assert await keys.find("once") == {}
    assert await keys.find("twice") is None
    await keys.perform(DESTROY, "twice")
    assert await asked(settings, "SELECT erased_at, erased_by FROM subject_keys WHERE subject = 'ann'") == [
        (*first, "twice")
    ]


async def test_who_never_had_one_gets_none(edge: EdgeStore, settings: Settings) -> None:
    await Keys(settings).perform(Intent("destroy_key", {"subject": "cy"}), "once")

    with pytest.raises(Erased):
        await edge.subject_key("cy")


async def test_digests_of_what_was_said_go_as_well(edge: EdgeStore, settings: Settings) -> None:
    """Under an Idempotency-Key the edge keeps a digest of the clear body."""
    for name in ("ann", "bob"):
        await edge.reserve((f"user:{name}", "points", "k"), "digest", uuid4(), (b"", b""))
    await Keys(settings).perform(DESTROY, "once")

    assert await asked(settings, "SELECT principal FROM idempotency") == [("user:bob",)]


async def test_after_an_older_copy_was_restored_it_is_asked_for_again(edge: EdgeStore, settings: Settings) -> None:
    """The copy has the key; the call is not known in it, and made once more."""
    copy = await asked(settings, "SELECT key FROM subject_keys WHERE subject = 'ann'")
    keys = Keys(settings)
    await keys.perform(DESTROY, "once")
    connection = await asyncpg.connect(settings.postgres)
    await connection.execute(
        f"UPDATE {settings.namespace}edge.subject_keys SET key = $1, erased_at = NULL, erased_by = NULL WHERE subject = 'ann'",
        copy[0][0],
    )
    await connection.close()

    assert keys.forgets
    assert await keys.find("once") is None
    await keys.perform(DESTROY, "once")
    assert await edge.subject_keys(["ann"]) == {}
