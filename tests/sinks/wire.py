"""A way to Postgres that counts what passes: round trips, statements, and those that had to be parsed."""

import asyncio
import struct
from collections import Counter
from contextlib import suppress
from typing import Self

_ASKED = {b"Q": "statements", b"E": "statements", b"P": "parsed"}  # simple query, execute, parse
_TOLD = {b"Z": "trips", b"G": "trips"}  # ready for the next query; ready for the rows of a COPY


class Wire:
    """Listens on `port` and passes everything on; use it with `async with`. `counts` tells what passed since `begin`."""

    def __init__(self, host: str, port: int) -> None:
        """Leads there."""
        self._to = host, port
        self.counts: Counter[str] = Counter()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut all connections."""
        self._server.close()
        for writer in self._writers:
            writer.close()

    def begin(self) -> None:
        """Count from zero."""
        self.counts.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(*self._to)
        self._writers += [writer, onward]
        first = await reader.readexactly(4)  # the one message without a type
        onward.write(first + await reader.readexactly(struct.unpack("!i", first)[0] - 4))
        await asyncio.gather(self._pass(reader, onward, _ASKED), self._pass(there, writer, _TOLD))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, names: dict[bytes, str]) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
                if name := names.get(head[:1]):
                    self.counts[name] += 1
                writer.write(head + body)
                await writer.drain()
        writer.close()
