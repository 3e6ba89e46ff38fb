"""A platform that has worked and rests: topics and tables of all domains with something of everything, and what damages them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from caravan.audit import Auditor, Finding
from caravan.audit.finding import HARMLESS
from caravan.audit.look import Look
from sinks.postgres import PostgresStore, migrate
from streams import discover
from streams.agent import Decider, agents_of
from streams.clock import SystemClock, unix_ms
from streams.contract import Command
from streams.deciding import Deciding
from streams.envelope import Actor, Signer
from streams.handler import Position
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.partitioner import partition_of
from streams.personal import Sealed
from streams.producer import command_record, signed
from streams.reading import Place, Reader
from streams.settings import Settings
from streams.store import Slot
from tests.acceptance.children import Child
from tests.faults.load import orders
from topics.identity import RegisterUser, UpdateProfile
from topics.points import (
    ActivatePointsRule,
    AwardPoints,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    Tier,
    TransferPoints,
)
from topics.promotions import ActivateCampaign, CreateCampaign, PurchaseVoucher

PATIENCE_S = 100.0
POLL_S = 0.1
ADMIN = Actor("user", "root", "Admin")
LATER = datetime.now(UTC) + timedelta(days=300)
SECRET = Sealed("enc1.c2VjcmV0")


class Platform:
    """The rested platform, seen by one auditor that has folded it already; what is done to it is undone."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is open yet."""
        self.settings = settings
        self.auditor = Auditor(settings)
        self.db: Any = None
        self._kafka = Kafka(settings)
        self._signer = Signer(settings.signing_keys)

    async def publish(self, command: Command, actor: Actor = ADMIN) -> tuple[int, int]:
        """Put a command on its topic, as the edge does; partition and offset."""
        key, value = command_record(command, command_id=uuid7(unix_ms()), issued_at=SystemClock().now(), actor=actor)
        topic = command.topic.commands_topic
        return await self._kafka.publish(topic, key, value, signed(topic, key, value, self._signer))

    async def look(self) -> Look:
        """What the auditor finds now."""
        return await self.auditor.look()

    async def found(self) -> Counter[tuple[str, str]]:
        """The findings that break a promise, by domain and name."""
        return breaking((await self.look()).findings)

    async def execute(self, statement: str, *args: Any, domain: str = "points") -> None:
        """Change something behind the workers' backs."""
        await self.db.execute(f'SET search_path = "{self.settings.namespace}{domain}"')
        await self.db.execute(statement, *args)

    async def value(self, query: str, *args: Any, domain: str = "points") -> Any:
        """What Postgres says."""
        await self.db.execute(f'SET search_path = "{self.settings.namespace}{domain}"')
        return await self.db.fetchval(query, *args)

    @asynccontextmanager
    async def kept(self, *tables: str, domain: str = "points") -> AsyncIterator[None]:
        """These tables are at the end of the block as they were before it."""
        for table in tables:
            await self.execute(f"CREATE TABLE kept_{table} AS TABLE {table}", domain=domain)
        try:
            yield
        finally:
            for table in tables:
                back = f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
                await self.execute(back, domain=domain)
            if "offsets" in tables:
                await self.look()  # that positions went back is told once

    async def record(self, place: Place, offset: int) -> Any:
        """A record where it stands."""
        async with Reader(self.settings) as reader:
            return await reader.read(place, offset)

    async def write(self, topic: str, partition: int, record: Any) -> None:
        """Put a record, as it is, behind the others."""
        producer = await self._kafka._producer("publish")
        name = self.settings.namespace + topic
        await producer.send_and_wait(
            name, record.value, key=record.key, headers=list(record.headers), partition=partition
        )

    @asynccontextmanager
    async def decided(self, command: Command) -> AsyncIterator[Deciding]:
        """Decide a command in a transaction, and do not come to relay its events."""
        partition, offset = await self.publish(command)
        domain = command.topic.domain
        (decider,) = [agent for agent in agents_of(domain) if isinstance(agent, Decider)]
        slot = Slot(domain, domain, command.topic.commands_topic, partition)
        store = PostgresStore(self.settings.postgres, self.settings.namespace)
        await store.start()
        deciding = Deciding(decider, slot, store=store, log=self._kafka, signer=self._signer, clock=SystemClock())
        try:
            claim = await store.claim(slot, "test", None)
            await deciding.begin(claim)
            record = await self.record(Place(slot.topic, partition), offset)
            work = await deciding.prepare([record], Position(claim.next, claim.number, claim.last_id), careful=True)
            await store.commit(slot, claim.epoch, work)
            yield deciding
        finally:
            await deciding.end()
            await store.stop()

    async def relay(self, deciding: Deciding) -> int:
        """Have what it decided last sent now; its number."""
        (number,) = [await self.value("SELECT max(number) FROM outbox WHERE partition = $1", deciding.slot.partition)]
        await deciding.relay._send(await deciding._store.unsent(deciding.slot, number - 1, 10))
        return int(number)

    async def close(self) -> None:
        """Close what is open."""
        await self._kafka.stop()


def breaking(findings: Iterable[Finding]) -> Counter[tuple[str, str]]:
    """Those that break a promise, counted by domain and name."""
    return Counter((one.domain, one.check) for one in findings if one.check not in HARMLESS)


def everything() -> list[tuple[Command, Actor]]:
    """Commands that leave something in every table."""
    partner, guest = Actor("user", "p1", "Partner"), Actor("guest", "")
    campaign = {"partner_id": "p1", "name": "Tea", "value": 300, "currency": "EUR", "quantity": 5, "budget": 1500}
    made: list[tuple[Command, Actor]] = [
        (DefineTiers(tiers=(Tier(tier_id="silver", name="Silver", points=50),)), ADMIN),
        (DefinePointsRule(rule_id="hello", event="identity.user_registered", amount=5, pending=31), ADMIN),
        (ActivatePointsRule(rule_id="hello"), ADMIN),
    ]
    made += [
        (CreateCampaign(campaign_id=name, price=price, valid_days=9, **campaign), partner)
        for name, price in (("free", 0), ("paid", 10))
    ]
    made += [(ActivateCampaign(campaign_id=name, partner_id="p1"), partner) for name in ("free", "paid")]
    made += [(AwardPoints(user_id=f"v{n}", amount=50, expires_at=LATER), ADMIN) for n in range(4)]
    made += [(HoldPoints(user_id="v0", hold_id="h", amount=5), Actor("user", "v0", "User"))]
    made += [
        (TransferPoints(user_id="v1", transfer_id="t", to="v2", amount=5, note=SECRET), Actor("user", "v1", "User"))
    ]
    for n in range(3):
        registered = RegisterUser(user_id=f"i{n}", email=SECRET, email_login=f"login-{n % 2}", display_name=SECRET)
        made.append((registered, guest))
    return made


async def work(platform: Platform, folder: Path) -> None:
    """Have a worker do everything, and leave; nothing is under way then."""
    settings = platform.settings
    await migrate(settings.postgres, settings.namespace)
    await platform._kafka.declare([discover.topic(domain) for domain in discover.domains()])
    worker = Child(("worker",), settings, folder / "worker.log")
    try:
        await until_true(lambda: worker.says("worker ready"))
        given = [(order.command, order.actor) for order in orders(7, 150)]
        for command, actor in everything():  # in this order
            await platform.publish(command, actor)
        await asyncio.gather(*(platform.publish(command, actor) for command, actor in given))
        await rested(platform)
        for n in range(4):
            buyer = Actor("user", f"v{n}", "User")
            for name in ("free", "paid"):
                await platform.publish(
                    PurchaseVoucher(campaign_id=name, voucher_id=f"{name}-{n}", user_id=f"v{n}"), buyer
                )
        await platform.publish(UpdateProfile(user_id="i1", bio=SECRET), Actor("user", "i1", "User"))
        await rested(platform)
    finally:
        worker.stop()


async def rested(platform: Platform) -> None:
    """Wait until every agent has come to the end of its topic, and all that was decided is relayed."""
    found = {domain: agents_of(domain) for domain in discover.domains()}
    agents = {(domain, agent.name) for domain, there in found.items() for agent in there if found[agent.source.domain]}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            look = await platform.look()
            assert breaking(look.findings) == {}, list(look.findings)
            if look.lags.keys() == agents and not any(look.lags.values()) and not any(look.waiting.values()):
                return
            await asyncio.sleep(POLL_S)


async def until_true(condition: Any) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def rested_platform(settings: Settings, folder: Path) -> AsyncIterator[Platform]:
    """It has worked, and nothing is under way."""
    platform = Platform(settings)
    try:
        # the auditor looks at what is there from the first command on
        async with platform.auditor:
            await work(platform, folder)
            platform.db = await asyncpg.connect(settings.postgres)
            yield platform
    finally:
        if platform.db is not None:
            await platform.db.close()
        await platform.close()


def place_of(key: str, partitions: int = 4) -> int:
    """The partition of a key."""
    return partition_of(key.encode(), partitions)
