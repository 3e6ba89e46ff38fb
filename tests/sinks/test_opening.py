"""What an effect needs of the platform's own Postgres: clear text of what is sealed, as long as its key is there, and views."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from agents.quests.view import leaderboard
from sinks.postgres import migrate
from sinks.postgres.keys import SubjectKeys
from sinks.postgres.opening import OneByOne, Opening, Views
from streams.decision import Intent
from streams.effect import Passing, Refused
from streams.outside import Outside
from streams.personal import seal
from streams.settings import Settings

KEY = b"a" * 32
TEXT = seal("Good morning", "ann", KEY)
SEALED = Intent("check", {"title": None, "text": TEXT, "n": 1})


@pytest_asyncio.fixture
async def admin(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A migrated database with a key of ann's."""
    await migrate(settings.postgres, settings.namespace)
    connection = await asyncpg.connect(settings.postgres)
    await connection.execute(f"INSERT INTO {settings.namespace}edge.subject_keys VALUES ('ann', $1)", KEY)
    yield connection
    await connection.close()


def keys_of(settings: Settings) -> OneByOne:
    return OneByOne(SubjectKeys(settings.postgres, settings.namespace))


async def test_an_intent_is_handed_on_in_the_clear(settings: Settings, admin: asyncpg.Connection) -> None:
    inner = Outside([{"flags": []}], found=[{}, None], repeatable=True)
    opening = Opening(keys_of(settings), inner)

    assert await opening.perform(SEALED, "k1") == {"flags": []}
    assert [(asked.intent.data, asked.key) for asked in inner.asked] == [
        ({"title": None, "text": "Good morning", "n": 1}, "k1")
    ]
    assert (opening.repeatable, opening.finds, await opening.find("k1")) == (True, True, {})
    await asyncio.gather(*(opening.perform(SEALED, f"k{n}") for n in range(8)))
    assert len(inner.asked) == 9, "many at a time, over one connection"
    await opening.close()
    assert inner.closed


@pytest.mark.req("SR140")
async def test_of_an_erased_subject_nothing_is_opened_and_nobody_asked(
    settings: Settings, admin: asyncpg.Connection
) -> None:
    inner = Outside()
    opening = Opening(keys_of(settings), inner)
    await opening.perform(SEALED, "k1")
    await admin.execute(
        f"UPDATE {settings.namespace}edge.subject_keys SET key = NULL, erased_at = now(), erased_by = 'k'"
    )

    with pytest.raises(Refused, match="destroyed"):
        await opening.perform(SEALED, "k2")
    assert len(inner.asked) == 1
    await opening.close()


async def test_what_is_not_sealed_needs_no_key() -> None:
    inner = Outside()
    nowhere = Opening(OneByOne(SubjectKeys("postgresql://nobody@127.0.0.1:1/none")), inner)

    await nowhere.perform(Intent("check", {"text": "Good morning"}), "k1")
    assert inner.asked[0].intent.data == {"text": "Good morning"}
    with pytest.raises(Passing, match="cannot be read"):
        await nowhere.perform(SEALED, "k2")
    await nowhere.close()


async def test_a_login_that_may_not_read_keys_is_told_how_it_may(settings: Settings, admin: asyncpg.Connection) -> None:
    name, password = f"{settings.namespace}eve", secrets.token_hex(8)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    host = urlsplit(settings.postgres).netloc.rpartition("@")[2]
    dsn = f"postgresql://{name}:{password}@{host}{urlsplit(settings.postgres).path}"
    opening = Opening(keys_of(replace(settings, postgres=dsn)), Outside())

    with pytest.raises(Refused, match="GRANT"):
        await opening.perform(SEALED, "k1")
    await opening.close()
    await admin.execute(f"DROP ROLE {name}")


async def test_views_of_a_domain_are_asked_as_the_domain(settings: Settings, admin: asyncpg.Connection) -> None:
    views = Views(settings, "quests")
    assert (
        await asyncio.gather(*(views(leaderboard, leaderboard_id="all", period="season") for _ in range(3)))
        == [None] * 3
    )
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND query LIKE '%leaderboard%'"
        " AND pid <> pg_backend_pid()"
    )
    with suppress(Passing):  # it may not have heard yet that its session is over
        await views(leaderboard, leaderboard_id="all", period="season")
    assert await views(leaderboard, leaderboard_id="all", period="season") is None, "it connects anew"
    await views.close()

    nowhere = Views(replace(settings, postgres="postgresql://nobody@127.0.0.1:1/none"), "quests")
    with pytest.raises(Passing, match="quests cannot be read"):
        await nowhere(leaderboard, leaderboard_id="all", period="season")
    await nowhere.close()
