"""The views of identity on a real Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from agents.identity.sink import LoginRow, ProfileRow
from agents.identity.view import Holder, Profile, user_profile, users_by_login
from sinks.postgres import migrate
from streams.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Any]:
    await migrate(settings.postgres, settings.namespace, ["identity"])
    path = {"search_path": f'"{settings.namespace}identity"'}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    profiles = [ProfileRow("ann", "enc1.a", None, "enc1.n", None, "Europe/Berlin", "de", NOON, LATER)]
    logins = [
        LoginRow("e0", "email", "ann", NOON),
        LoginRow("e1", "email", "bob", NOON),  # whose registration is not complete
        LoginRow("p0", None, None, LATER),
    ]
    await connection.copy_records_to_table("profile", records=profiles, columns=ProfileRow._fields)
    await connection.copy_records_to_table("login", records=logins, columns=LoginRow._fields)
    yield connection
    await connection.close()


async def test_a_profile_is_what_was_written_last(db: Any) -> None:
    assert await user_profile(db, "ann") == Profile(
        user_id="ann",
        email="enc1.a",
        phone=None,
        display_name="enc1.n",
        bio=None,
        time_zone="Europe/Berlin",
        language="de",
        registered_at=NOON,
        updated_at=LATER,
    )


async def test_who_is_no_user_has_no_profile(db: Any) -> None:
    assert await user_profile(db, "bob") is None


async def test_a_login_leads_to_its_user(db: Any) -> None:
    assert await users_by_login(db, "e0") == Holder(user_id="ann", kind="email", since=NOON)


@pytest.mark.parametrize("login", ["e1", "p0", "e9"])
async def test_a_login_that_is_free_or_only_claimed_leads_to_nobody(db: Any, login: str) -> None:
    assert await users_by_login(db, login) is None
