"""Keys of personal data: read by a login that was granted them, and by no other; a destroyed one opens nothing any more."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from sinks.postgres import migrate
from sinks.postgres.keys import NotGranted, SubjectKeys
from streams.client import subscribe
from streams.errors import CaravanError
from streams.personal import MASK, Sealed, seal
from streams.settings import Settings
from tests.streams.published import Rented, payload, publishing

Login = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def admin(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A migrated database."""
    await migrate(settings.postgres, settings.namespace)
    connection = await asyncpg.connect(settings.postgres)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def login(settings: Settings, admin: asyncpg.Connection) -> AsyncIterator[Login]:
    """Makes logins of analysts; DSN of each."""
    made: list[str] = []

    async def make(*, granted: bool) -> str:
        name, password = f"{settings.namespace}ann{len(made)}", secrets.token_hex(8)
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        made.append(name)
        if granted:
            await admin.execute(f"GRANT {settings.namespace}edge_keys TO {name}")
        host = urlsplit(settings.postgres).netloc.rpartition("@")[2]
        return f"postgresql://{name}:{password}@{host}{urlsplit(settings.postgres).path}"

    yield make
    for name in made:
        await admin.execute(f"DROP ROLE {name}")


async def test_only_a_granted_login_reads_keys_and_nothing_else(
    settings: Settings, admin: asyncpg.Connection, login: Login
) -> None:
    """The platform's own secret stays hidden, and so does the table."""
    edge = f"{settings.namespace}edge"
    await admin.executemany(
        f"INSERT INTO {edge}.subject_keys VALUES ($1, $2)", [("ann", b"a" * 32), ("/blind", b"x" * 32)]
    )
    granted = await login(granted=True)

    async with SubjectKeys(granted, settings.namespace) as keys:
        assert await keys(["ann", "bob", "/blind"]) == {"ann": b"a" * 32, "bob": None, "/blind": None}
    async with SubjectKeys(await login(granted=False), settings.namespace) as keys:
        with pytest.raises(NotGranted, match=r"GRANT .*edge_keys"):
            await keys(["ann"])
    connection = await asyncpg.connect(granted)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch(f"SELECT * FROM {edge}.subject_keys")
    await connection.close()
    with pytest.raises(CaravanError, match="cannot be read"):
        await SubjectKeys("postgresql://nobody:x@127.0.0.1:9/none")(["ann"])


async def test_a_destroyed_key_stays_erased(settings: Settings, admin: asyncpg.Connection, login: Login) -> None:
    """Opened by who may, masked for who asks for nothing, an error for who may not; null for everybody once it is destroyed."""
    edge, note = f"{settings.namespace}edge", Sealed(seal("mine", "ann", b"a" * 32))
    await admin.execute(f"INSERT INTO {edge}.subject_keys VALUES ('ann', $1)", b"a" * 32)
    async with publishing(settings) as bikes:
        await bikes.command(Rented(bike_id="b1", cents=1), payload=payload(bike_id="b1", cents=1, note=note, extras=[]))
        granted, other = await login(granted=True), await login(granted=False)

        async def seen(dsn: str | None) -> tuple[list[str | None], list[str | None]]:
            async with SubjectKeys(dsn or "", settings.namespace) as keys:
                options = bikes.options(keys=keys if dsn else None)
                events = [received.event.note async for received in subscribe(Rented, **options)]
                batch = await subscribe(Rented, **options).arrow().collect()
                return events, batch[Rented]["note"].to_pylist()

        assert await seen(None) == ([MASK], [MASK])
        assert await seen(granted) == (["mine"], ["mine"])
        with pytest.raises(NotGranted):
            await seen(other)
        await admin.execute(f"DELETE FROM {edge}.subject_keys WHERE subject = 'ann'")
        assert await seen(granted) == ([None], [None])
        assert await seen(None) == ([MASK], [MASK])
