"""Puts load on points: signed commands straight onto the topic, as the edge publishes them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple, Self

from examples.generate import Line, generate
from streams.clock import SystemClock, unix_ms
from streams.contract import Command
from streams.envelope import Actor, Signer
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.log import Entry, NotSent, SendUnknown
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.settings import Settings
from tests.checker.history import History
from topics.points import POINTS, AwardPoints

USERS = [f"u{n}" for n in range(1, 41)]
"""Those whom the load is about; they are on every partition."""

TOPIC = POINTS.commands_topic
ADMIN = Actor("user", "root", "Admin")
AT_ONCE = 100  # commands under way together
AGAIN_S = 0.05  # between two tries to publish one command
PACE_S = 0.02  # between two handfuls of a steady load
HANDFUL = 20  # commands


class Order(NamedTuple):
    """A command and who gives it."""

    command: Command
    actor: Actor = ADMIN


class Signed(NamedTuple):
    """A record of a command."""

    id: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Load:
    """Publishes commands, each until Kafka has acknowledged it, under one id; so repeats happen when Kafka goes away."""

    def __init__(self, settings: Settings, history: History) -> None:
        """Nothing is connected before the first command; what comes of each is noted in `history`."""
        self._history = history
        self.signer = Signer(settings.signing_keys)
        self.acknowledged: set[str] = set()
        self.spans: list[tuple[float, float]] = []
        """When load was steady, Unix time."""
        self.refused = 0
        self._kafka = Kafka(settings)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        """Ready at once."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._kafka.stop()

    async def send(self, orders: Iterable[Order], skew: timedelta = timedelta()) -> list[str]:
        """Publish them all, those of one key in their order, by a clock that is so far ahead; their ids."""
        return await asyncio.gather(*(self._send(order, skew) for order in orders))

    async def heap(self, user: str, number: int) -> None:
        """So many awards for one user at once, in large batches."""
        records = [self.record(order) for order in awards([user], number)]
        partition = partition_of(user.encode(), POINTS.partitions)
        groups = [[Entry(record.key, record.value, record.headers)] for record in records]
        await self._kafka.append(TOPIC, partition, groups)
        self.acknowledged.update(record.id for record in records)

    @asynccontextmanager
    async def steady(self, seed: int) -> AsyncIterator[None]:
        """About a thousand commands a second while the block runs; all are acknowledged when it ends well."""
        going = asyncio.Event()
        going.set()
        task = asyncio.create_task(self._steadily(seed, going))
        begin = time.time()
        try:
            yield
            going.clear()
            await task
        finally:
            self.spans.append((begin, time.time()))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def write(self, partition: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> int:
        """Write a record as it is, as anyone may who reaches the broker; its offset."""
        producer = await self._kafka._producer("publish")
        sent = await producer.send_and_wait(self.full_name, value, key=key, headers=headers, partition=partition)
        return int(sent.offset)

    @property
    def full_name(self) -> str:
        """The command topic as Kafka names it."""
        return self._kafka._namespace + TOPIC

    def record(self, order: Order, age_ms: int = 0, skew: timedelta = timedelta()) -> Signed:
        """The record of a command; with `age_ms` its id is that old."""
        command_id = uuid7(unix_ms() - age_ms + skew // timedelta(milliseconds=1))
        key, value = command_record(
            order.command, command_id=command_id, issued_at=SystemClock().now() + skew, actor=order.actor
        )
        return Signed(str(command_id), key, value, signed(TOPIC, key, value, self.signer))

    async def _send(self, order: Order, skew: timedelta) -> str:
        async with self._room:
            command_id, key, value, headers = self.record(order, skew=skew)
            self._note("sent", command_id, key)
            while True:
                try:
                    partition, offset = await self._kafka.publish(TOPIC, key, value, headers)
                except (NotSent, SendUnknown) as error:
                    self.refused += 1
                    if isinstance(error, SendUnknown):
                        self._note("unknown", command_id, key)
                    await asyncio.sleep(AGAIN_S)
                else:
                    self.acknowledged.add(command_id)
                    self._note("acked", command_id, key, topic=TOPIC, partition=partition, offset=offset)
                    return command_id

    def _note(self, kind: str, command_id: str, key: bytes, **place: Any) -> None:
        self._history.note(kind, "load", domain=POINTS.domain, key=key.decode(), cmd_id=command_id, **place)

    async def _steadily(self, seed: int, going: asyncio.Event) -> None:
        for n in count():
            if not going.is_set():
                return
            await self.send(orders(seed + n, HANDFUL))
            await asyncio.sleep(PACE_S)


def orders(seed: int, number: int) -> list[Order]:
    """Commands of every kind that the edge lets pass; users who begin with something, and ids that no other seed has."""
    dice = random.Random(seed)
    begin = [Order(AwardPoints(user_id=user, amount=dice.randint(1, 500))) for user in USERS[::8]]
    lines = (_order(seed, line) for line in generate(seed, number * 2, len(USERS)))
    return [*begin, *(order for order in lines if order)][:number]


def awards(users: Sequence[str], number: int, amount: int = 1) -> list[Order]:
    """So many awards for the users in turn."""
    return [Order(AwardPoints(user_id=users[n % len(users)], amount=amount)) for n in range(number)]


def _order(seed: int, line: Line) -> Order | None:
    if line["as"] is None:
        return None
    actor = Actor("user", line["as"]["user"], line["as"]["role"])
    data = {name: value for name, value in line["data"].items() if name != "note"}  # notes are sealed at the edge
    for name in ("hold_id", "transfer_id", "source"):
        if isinstance(data.get(name), str) and data[name]:
            data[name] = f"{seed}-{data[name]}"
    try:
        command = POINTS.commands[line["command"].removeprefix("points.")].model_validate(data)
    except ValueError:
        return None
    return Order(command, actor) if command.may_be_issued_by(actor) else None
