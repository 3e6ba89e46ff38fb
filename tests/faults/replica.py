"""A real streaming replica of a test's own Postgres: it can be held back, cut off, and made the primary."""

import asyncio
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from caravan.embedded.postgres import Postgres
from caravan.embedded.process import Child
from caravan.instance import LOOPBACK, free_ports
from tests.faults.infrastructure import Own
from tests.faults.outside import until

COPY_S, END_S = 120.0, 10.0


class Replica:
    """Follows a primary through `port`, where a proxy may stand."""

    def __init__(self, primary: Own, port: int) -> None:
        """Nothing runs yet."""
        part = cast("Postgres", primary.part)
        self._stack = ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="caravan-faults-"))
        folder.chmod(0o755)  # as root, Postgres runs as another user
        self._stack.callback(shutil.rmtree, folder)
        data = folder / "replica"
        data.mkdir(mode=0o700)
        if part.user:
            os.chown(data, *part.user)
        (self.port,) = free_ports(1)
        url = urlsplit(primary.url)
        self.url = urlunsplit(url._replace(netloc=f"{url.username}:{url.password}@{LOOPBACK}:{self.port}"))
        copy = [str(part.binary("pg_basebackup")), "-D", str(data), "-h", LOOPBACK, "-p", str(port), "-U", "caravan"]
        env = {**os.environ, "PGPASSWORD": url.password or ""}
        options = [f"--{name}={value}" for name, value in {**part.settings, "port": str(self.port)}.items()]
        run = [str(part.binary("postgres")), "-D", str(data), *options]
        log = folder / "replica.log"
        self._copy = Child(
            "pg_basebackup", [*copy, "-R", "-X", "stream", "-c", "fast"], log, env=env, cwd=Path("/"), user=part.user
        )
        self._child = Child("replica", run, log, cwd=Path("/"), user=part.user)

    async def start(self) -> Self:
        """Copy the primary and follow it; it answers when this returns."""
        self._copy.start()
        await asyncio.to_thread(self._copy.finish, COPY_S)
        self._child.start()
        self._stack.callback(self._child.stop, END_S)

        async def answers() -> bool:
            self._child.check()
            try:
                return bool(await self.ask("SELECT pg_is_in_recovery()"))
            except (OSError, asyncpg.PostgresError):
                return False

        await until(answers, "the replica answers")
        return self

    async def ask(self, query: str) -> Any:
        """What it answers."""
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def hold(self) -> None:
        """Take what comes and do not apply it."""
        await self.ask("SELECT pg_wal_replay_pause()")

    async def go_on(self) -> None:
        """Apply what has come, and what comes."""
        await self.ask("SELECT pg_wal_replay_resume()")

    async def promote(self) -> None:
        """Become a primary, with what has come."""
        assert await self.ask("SELECT pg_promote(true, 60)")

    def __enter__(self) -> Self:
        """Its folder is there."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and remove its folder."""
        self._stack.close()
