"""What an effect needs of the platform's own Postgres before it asks anybody: clear text of what is sealed, and views of a domain."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

import asyncpg

from sinks.postgres.faults import DRIVER
from sinks.postgres.keys import NotGranted, SubjectKeys
from sinks.postgres.names import quoted, schema_of
from sinks.postgres.reader import Reader
from streams.decision import Intent
from streams.effect import Adapter, Passing, Refused
from streams.errors import CaravanError
from streams.personal import is_sealed, subject_of, unseal
from streams.settings import Settings

T = TypeVar("T")


class OneByOne:
    """Keys of subjects for many tasks at a time, over one connection."""

    def __init__(self, keys: SubjectKeys) -> None:
        """Connects when it is first asked."""
        self._keys, self._lock = keys, asyncio.Lock()

    async def __call__(self, subjects: Collection[str]) -> Mapping[str, bytes | None]:
        """As SubjectKeys gives them. Raises Passing while Postgres is away, and Refused where the login may not read them."""
        try:
            async with self._lock:
                return await self._keys(subjects)
        except NotGranted as error:
            raise Refused(str(error)) from error
        except CaravanError as error:
            raise Passing(str(error)) from error

    async def close(self) -> None:
        """Disconnect."""
        await self._keys.__aexit__(None, None, None)


class Opening(Adapter):
    """Hands intents on to another adapter with what is sealed in them in the clear.

    Nothing of the clear text is kept: what is owed stands in Postgres as the rules made it, sealed.
    """

    def __init__(self, keys: OneByOne, inner: Adapter) -> None:
        """Both are closed with it."""
        self.repeatable, self._keys, self._inner = inner.repeatable, keys, inner

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Open it and have it done. Raises what the other and the keys raise, and Refused where a subject was erased."""
        subjects = {subject_of(value) for value in intent.data.values() if is_sealed(value)}
        keys = await self._keys(subjects) if subjects else {}
        opened = {name: _open(value, keys) for name, value in intent.data.items()}
        return await self._inner.perform(Intent(intent.act, opened), key)

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """As the other finds it."""
        return await self._inner.find(key)

    @property
    def finds(self) -> bool:
        """As the other does."""
        return self._inner.finds

    async def close(self) -> None:
        """Disconnect."""
        await self._inner.close()
        await self._keys.close()


class Views:
    """The views of one domain, for those who are asked by effects."""

    def __init__(self, settings: Settings, domain: str) -> None:
        """Connects when it is first asked."""
        self._dsn, self._domain = settings.postgres, domain
        self._schema = schema_of(settings.namespace, domain)
        self._lock = asyncio.Lock()
        self._connection: Any = None

    async def __call__(self, view: Callable[..., Awaitable[T]], **given: Any) -> T:
        """What a view finds. Raises Passing while Postgres is away."""
        try:
            async with self._lock:
                if self._connection is None or self._connection.is_closed():
                    as_domain = {"role": self._schema, "search_path": quoted(self._schema)}
                    self._connection = await asyncpg.connect(self._dsn, timeout=10, server_settings=as_domain)
                found: T = await Reader(self._connection, self._domain).view(view, given)
                return found
        except DRIVER as error:
            if self._connection is not None:
                self._connection.terminate()  # whatever state it is in
                self._connection = None
            raise Passing(f"{self._domain} cannot be read: {error}.") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()


def _open(value: Any, keys: Mapping[str, bytes | None]) -> Any:
    if not is_sealed(value):
        return value
    if (text := unseal(value, keys[subject_of(value)])) is None:
        raise Refused("What is sealed cannot be opened: the key of its subject was destroyed.")
    return text
