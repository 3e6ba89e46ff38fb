"""Asynchronous iteration for programs without a loop: it runs in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def synchronous(begin: Callable[[], AsyncGenerator[T]]) -> Iterator[Iterator[T]]:
    """What `begin()` iterates over, read by another thread while this one works with what it was given; ended at the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="subscription", daemon=True)
    thread.start()
    try:
        yield _items(loop, begin)
    finally:
        _run(loop, _ended(loop, asyncio.all_tasks(loop))).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _items(loop: asyncio.AbstractEventLoop, begin: Callable[[], AsyncGenerator[T]]) -> Iterator[T]:
    end = object()

    async def given(out: "asyncio.Queue[Any]") -> None:
        """Stay at most one ahead."""
        try:
            async with aclosing(begin()) as items:  # a task that is cancelled between two items would leave it open
                async for item in items:
                    await out.put(item)
            await out.put(end)
        except Exception as error:  # noqa: BLE001  # is raised where it is waited for
            await out.put(error)

    async def queue() -> "asyncio.Queue[Any]":
        return asyncio.Queue(1)

    out = _run(loop, queue()).result()
    _run(loop, given(out))
    while (item := _run(loop, out.get()).result()) is not end:
        if isinstance(item, Exception):
            raise item
        yield item


def _run(loop: asyncio.AbstractEventLoop, what: Any) -> "Future[Any]":
    return asyncio.run_coroutine_threadsafe(what, loop)


async def _ended(loop: asyncio.AbstractEventLoop, tasks: "set[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
