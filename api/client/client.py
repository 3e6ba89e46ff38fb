"""The client: commands, what became of them, views, lists and live views."""

import asyncio
import inspect
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from copy import copy
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar
from uuid import uuid4

from api.client.live import Live
from api.client.memory import Memory
from api.client.outcome import Outcome, outcome
from api.client.reads import Read, read
from api.client.wire import Wire
from streams.contract import Command
from streams.personal import blind_fields
from streams.view import Page

P = ParamSpec("P")
T = TypeVar("T")
Bearer = str | Callable[[], str | Awaitable[str]] | None
"""The caller's token; or what gives one that is still good, asked before each request; None is a Guest."""

WAIT_S = 20  # that the edge is asked to keep one request until the result is there
ASK_S = 0.2  # between two looks at a result
VIEW_S = 5.0  # that a view waits until it covers its tokens


class Client:
    """One caller of one edge. Use it with `async with`; any number of tasks may share it.

    Whatever fails raises EdgeError with a stable `code`; Unreachable is the one for no answer within `patience` (s).
    """

    def __init__(
        self,
        url: str,
        *,
        token: Bearer = None,
        patience: float = 30.0,
        connections: int = 100,
        own_writes: bool = True,
    ) -> None:
        """`own_writes`: views include the commands that this client issued, unless they are asked with tokens of their own."""
        self._wire = Wire(url, connections=connections, patience=patience)
        self._token, self._memory = token, Memory() if own_writes else None

    async def __aenter__(self) -> Self:
        """Open it; connections are made when they are needed."""
        await self._wire.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._wire.close()

    def by(self, token: Bearer, *, own_writes: bool = True) -> "Client":
        """Another caller over the same connections, with writes of its own. It is closed with this one."""
        other = copy(self)
        other._token, other._memory = token, Memory() if own_writes else None  # noqa: SLF001 - it is one of us
        return other

    async def probe(self) -> None:
        """Raise Unreachable unless something answers there."""
        await self._wire.probe()

    # -- commands

    async def issue(self, command: Command, *, wait: float = 0, key: str | None = None) -> Outcome:
        """Issue a command; its outcome is `pending` once Kafka has it, or what became of it within `wait` seconds.

        It is sent again under its Idempotency-Key until it is taken; with the same `key` a later call is the same command.
        """
        contract, began = type(command), self._memory.begin() if self._memory else 0
        filled = blind_fields(contract)  # by the edge
        body = command.model_dump_json(exclude_unset=True, exclude=set(filled)).encode()
        deadline = time.monotonic() + wait
        name = contract.wire_name
        found = await self.send(contract.topic.domain, name, body, key=key or str(uuid4()), wait=min(wait, WAIT_S))
        if self._memory and found.token:
            about = "" if contract.key_field in filled else command.key
            self._memory.keep(contract.topic, about, found.token, began)
        left = deadline - time.monotonic()
        return await self.wait(found, left) if wait > WAIT_S and left > 0 else found

    async def send(self, domain: str, command: str, body: bytes, *, key: str, wait: float = 0) -> Outcome:
        """Issue a command that is JSON already, by its name."""
        headers = {"content-type": "application/json", "idempotency-key": key, **await self._bearer()}
        if wait > 0:
            headers["prefer"] = f"wait={math.ceil(wait)}"
        answer = await self._wire.ask("POST", f"/v1/{domain}/{command}", headers, body, wait=wait)
        told = answer.told()
        if answer.status in (200, 202) and "command_id" in told:
            return outcome(told, domain)
        if "events" in told:  # a rule's own no
            return outcome(told, domain, answer.status)
        raise answer.error()

    async def wait(self, found: Outcome, seconds: float | None = None) -> Outcome:
        """What became of a command, asked until there is a result; still `pending` when the time (default: our patience) is over."""
        deadline = time.monotonic() + (self._wire.patience if seconds is None else seconds)
        while not found.final and time.monotonic() < deadline:
            answer = await self._wire.ask("GET", found.status_url, await self._bearer(), until=deadline)
            if answer.status != 200:
                raise answer.error()
            found = found.later(answer.told())
            if not found.final:
                await asyncio.sleep(min(ASK_S, max(0.0, deadline - time.monotonic())))
        return found

    # -- views

    def view(
        self, view: Callable[Concatenate[Any, P], Awaitable[T | None]], /, *given: P.args, **named: P.kwargs
    ) -> "Query[T]":
        """What a view shows, asked with the arguments of its function: `await client.view(open_invoices, customer_id="c1")`.

        Raises EdgeError `not_found` where it shows nothing to this caller.
        """
        return Query(self, read(view, given, named))

    def items(
        self, view: Callable[Concatenate[Any, P], Awaitable[Page[T]]], /, *given: P.args, **named: P.kwargs
    ) -> "Items[T]":
        """All items of a list, in order, read part by part as they are wanted; `Paging(limit=…)` is the size of a part."""
        return Items(self, read(view, given, named))

    def live(
        self, view: Callable[Concatenate[Any, P], Awaitable[T | None]], /, *given: P.args, **named: P.kwargs
    ) -> Live[T]:
        """The states of a view as they come."""
        asked = read(view, given, named)
        return Live(self._wire, asked, self._bearer, self._own(asked))

    async def _ask(self, asked: Read, after: tuple[str, ...] | None) -> Any:
        covering = self._own(asked) if after is None else after
        query = asked.query | ({"after": ",".join(covering)} if covering else {})
        answer = await self._wire.ask("GET", asked.path, await self._bearer(), query=query, wait=VIEW_S)
        if answer.status != 200:
            raise answer.error()
        return asked.answer.validate_json(answer.raw)

    def _own(self, asked: Read) -> tuple[str, ...]:
        return self._memory.of(asked.domain, asked.about) if self._memory else ()

    async def _bearer(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        return {"authorization": f"Bearer {token}"} if token else {}


class _Asked:
    """What is about to be read, and what it must cover."""

    def __init__(self, client: Client, asked: Read) -> None:
        """Made by the client."""
        self._client, self._read = client, asked
        self._after: tuple[str, ...] | None = None

    def after(self, *tokens: str) -> Self:
        """Cover what these tokens stand for instead of the client's own writes; without one, nothing."""
        self._after = tokens
        return self


class Query(_Asked, Generic[T]):
    """A view that is about to be asked: await it, as often as you like. Made by `Client.view`."""

    def __await__(self) -> Generator[Any, None, T]:
        """The answer. Raises EdgeError, `parked` where a command that it must cover is."""
        return self._asked().__await__()

    async def _asked(self) -> T:
        answer: T = await self._client._ask(self._read, self._after)  # noqa: SLF001 - one class in two
        return answer


class Items(_Asked, Generic[T]):
    """A list that is about to be read. Made by `Client.items`."""

    async def __aiter__(self) -> AsyncIterator[T]:
        """From the first part, or from that which the paging names, to the end."""
        asked = self._read
        while True:
            page: Page[T] = await self._client._ask(asked, self._after)  # noqa: SLF001 - one class in two
            for item in page.items:
                yield item
            if page.next is None:
                return
            asked = asked._replace(query=asked.query | {"cursor": page.next})
