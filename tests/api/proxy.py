"""A wire that tests can cut or freeze, before Kafka or Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Wire:
    """A TCP proxy on a port of its own. With `kafka` it stands for the broker in the broker's own answers, too."""

    def __init__(self, url: str, *, kafka: bool = False) -> None:
        """Lead to the server of `url`."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 0
        self._kafka = kafka
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Take connections; after `cut` on the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Keep connections and let nothing through, as a stopped process does."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let everything through that came meanwhile."""
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, far_writer))
                    both.create_task(self._answer(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except* (OSError, EOFError):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            await self._flows.wait()
            writer.write(chunk)
            await writer.drain()
        raise EOFError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._kafka:
            await self._pass(reader, writer)
        ours, theirs = self.port.to_bytes(4, "big"), self._port.to_bytes(4, "big")
        while size := await reader.readexactly(4):
            frame = await reader.readexactly(int.from_bytes(size, "big"))
            await self._flows.wait()
            writer.write(size + frame.replace(theirs, ours))
            await writer.drain()


@asynccontextmanager
async def wire(url: str, *, kafka: bool = False, closed: bool = False) -> AsyncIterator[Wire]:
    """A wire to `url`; `closed` has its port but nobody listens there yet."""
    line = Wire(url, kafka=kafka)
    await line.open()
    if closed:
        await line.cut()
    try:
        yield line
    finally:
        line.thaw()
        with suppress(asyncio.CancelledError):
            await line.cut()
