"""Clients: they publish in bursts, give a command again when they got no answer, and sometimes when they did."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from streams.contract import Command
from streams.envelope import Actor
from streams.ids import _shaped
from streams.log import NotSent, SendUnknown
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.testing import SIGNER
from tests.simulation.orders import POISON, ROOT, Order, award, lonely
from tests.simulation.store import UNSTORABLE
from topics.points import POINTS

if TYPE_CHECKING:
    from tests.simulation.world import World

BURST = 24  # commands that a client has under way at most
PAUSE_S = 1.2  # longest between two bursts
TRIES = 3
LATE_S = 25.0  # longest until a command is given once more though it was answered


class Clients:
    """Everybody who publishes."""

    def __init__(self, world: "World") -> None:
        """Nothing is published yet."""
        self.world, self.broker, self.note = world, world.broker, world.history.note
        self.dice = world.dice
        self.names = 0
        self.tokens: list[tuple[str, str, int, int]] = []
        """Of points: key, command, partition and offset that a client may read after."""
        self._late: list[asyncio.Task[None]] = []

    async def run(self, lines: Sequence[Any]) -> None:
        """Publish them all, several at a time."""
        begin = 0
        while begin < len(lines):
            size = self.dice.randint(1, BURST)
            orders = [self.world.order(line) for line in lines[begin : begin + size]]
            await asyncio.gather(*(self._place(order) for order in orders))
            await asyncio.sleep(self.dice.random() * PAUSE_S)
            begin += size
        await asyncio.gather(*self._late)

    async def close(self) -> None:
        """Say something on every partition, so that whoever missed the last record there sees that something was before."""
        for domain, topic in self.world.topics.items():
            for partition in range(topic.partitions):
                key = next(
                    f"end-{n}" for n in range(100) if partition_of(f"end-{n}".encode(), topic.partitions) == partition
                )
                await self.publish(self.world.closing(domain, key), ROOT)

    async def publish(self, command: Command, actor: Actor, *, tries: int = TRIES, late: bool = False) -> None:
        """Publish a command until it is answered or the client gives up."""
        now = self.world.clock.now()
        identifier = _shaped(int(now.timestamp() * 1000).to_bytes(6, "big") + self.dice.randbytes(10), 7)
        skew = timedelta(seconds=self.dice.uniform(-3600, 3600)) if self.world.faults.strikes("skewed") else timedelta()
        key, value = command_record(command, command_id=identifier, issued_at=now + skew, actor=actor)
        topic = command.topic.commands_topic
        known = {"domain": command.topic.domain, "key": command.key, "cmd_id": str(identifier)}
        self.note("sent", "client", **known)
        record = topic, key, value, signed(topic, key, value, SIGNER)
        await self._send(known, record, tries)
        if self.world.faults.strikes("repeated"):
            await self._send(known, record, 1)
        if late or self.world.faults.strikes("repeated late"):
            self._late.append(asyncio.create_task(self._again(known, record)))

    async def _again(self, known: dict[str, str], record: Any) -> None:
        await asyncio.sleep(self.dice.random() * LATE_S)
        await self._send(known, record, 1)

    async def _send(self, known: dict[str, str], record: Any, tries: int) -> None:
        sent = False
        for _ in range(tries):
            try:
                partition, offset = await self.broker.publish(*record)
            except NotSent:
                await asyncio.sleep(self.dice.random())
            except SendUnknown:
                sent = True
                await asyncio.sleep(self.dice.random())
            else:
                self.note("acked", "client", **known, topic=record[0], partition=partition, offset=offset)
                if record[0] == POINTS.commands_topic:
                    self.tokens.append((known["key"], known["cmd_id"], partition, offset))
                return
        if sent:
            self.note("unknown", "client", **known)

    async def _place(self, order: Order) -> None:
        if order.command is None:
            self.note("refused", "edge", domain=order.line["command"].split(".")[0], key=None, cmd_id=order.line["id"])
        else:
            await self.publish(order.command, order.actor)
        await self._stranger()

    async def _stranger(self) -> None:
        """Now and then somebody writes what nobody should, and something happens to those whose keys may wait."""
        self.names += 1
        strikes, dice = self.world.faults.strikes, self.dice
        if strikes("rule raises"):
            await self.publish(lonely(dice, POISON), ROOT)
        if strikes("store refuses"):
            await self.publish(award(f"odd-{dice.randrange(4)}", UNSTORABLE, f"rule-{self.names}"), ROOT)
        if dice.random() < 0.1:
            await self.publish(lonely(dice, f"event-lone-{self.names}"), ROOT)
        topic = dice.choice([*self.world.topics.values()])
        partition = dice.randrange(topic.partitions)
        if strikes("undecodable"):
            value = dice.choice([b"\xff", b"{", b"[]", b'{"command_id": 1}', b""])
            self.broker.add(
                topic.commands_topic, partition, b"k", value, signed(topic.commands_topic, b"k", value, SIGNER)
            )
        if strikes("unsigned"):
            self._put(partition, signer=False)
        if strikes("wrong key"):
            self._put(partition, key=b"another")
        if strikes("wrong partition"):
            self._put(partition, elsewhere=True)
        if strikes("garbage event"):
            self.broker.add(topic.events_topic, partition, b"k", b"{}", [])

    def _put(self, partition: int, *, signer: bool = True, key: bytes | None = None, elsewhere: bool = False) -> None:
        """An award for one of the users of that partition, with something wrong about its record."""
        there = next(
            n for n in range(99) if (partition_of(f"u{n}".encode(), POINTS.partitions) == partition) != elsewhere
        )
        command = award(f"u{there}", f"event-forged-{self.names}")
        identifier = UUID(bytes=self.dice.randbytes(16), version=4)
        own, value = command_record(command, command_id=identifier, issued_at=self.world.clock.now(), actor=ROOT)
        key = key or own
        topic = POINTS.commands_topic
        self.broker.add(topic, partition, key, value, signed(topic, key, value, SIGNER) if signer else [])
