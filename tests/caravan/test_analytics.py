"""What an analyst sees of a platform that works: cuts without missing causes, and reports that say what Postgres says."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import polars as pl
import pytest
import pytest_asyncio

from examples import analytics
from sinks.postgres import migrate
from streams import discover
from streams.client import Cut, Received, cut, subscribe
from streams.client.cutting import consistent
from streams.clock import SystemClock, unix_ms
from streams.contract import Command, Event
from streams.envelope import Actor, Signer
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.producer import command_record, signed
from streams.reading import Place, Reader
from streams.settings import Settings
from tests.acceptance.children import Child
from tests.acceptance.workers import until
from topics.points import POINTS, AwardPoints, PointsAwarded, PointsHeld, PointsHoldCaptured, PointsSpent, SpendPoints
from topics.promotions import PROMOTIONS, ActivateCampaign, CreateCampaign, PurchaseVoucher, VoucherPurchased, hold_of

ADMIN, PARTNER = Actor("user", "root", "Admin"), Actor("user", "p1", "Partner")
USERS, VOUCHERS, CAMPAIGNS = 12, 240, 5
TOPICS = (POINTS, PROMOTIONS)


class Market:
    """A worker with points and promotions, and commands put onto their topics as the edge does."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.options: dict[str, Any] = {"kafka": settings.kafka, "namespace": settings.namespace}
        self._folder = folder
        self._kafka, self._signer = Kafka(settings), Signer(settings.signing_keys)
        self._worker: Child | None = None

    async def open(self) -> None:
        """Ready, and campaigns on sale to users who have points."""
        await migrate(self.settings.postgres, self.settings.namespace)
        await self._kafka.declare([discover.topic(domain) for domain in discover.domains()])
        worker = self._worker = Child(
            ("worker", "--domains", "points,promotions"), self.settings, self._folder / "worker.log"
        )

        async def ready() -> bool:
            return worker.says("worker ready")

        await until(ready)
        for n in range(USERS):
            await self.publish(AwardPoints(user_id=f"u{n}", amount=500 + n), ADMIN)
            await self.publish(SpendPoints(user_id=f"u{n}", amount=1 + n), Actor("user", f"u{n}", "User"))
        terms = {
            "partner_id": "p1",
            "name": "Tea",
            "price": 10,
            "value": 3,
            "currency": "EUR",
            "quantity": 999,
            "budget": 9999,
        }
        for n in range(CAMPAIGNS):
            await self.publish(CreateCampaign(campaign_id=f"c{n}", per_user=99, valid_days=9, **terms), PARTNER)
            await self.publish(ActivateCampaign(campaign_id=f"c{n}", partner_id="p1"), PARTNER)

    async def publish(self, command: Command, actor: Actor) -> None:
        """Put a command on its topic."""
        key, value = command_record(command, command_id=uuid7(unix_ms()), issued_at=SystemClock().now(), actor=actor)
        topic = command.topic.commands_topic
        await self._kafka.publish(topic, key, value, signed(topic, key, value, self._signer))

    async def buy(self) -> None:
        """Vouchers, one after the other."""
        for n in range(VOUCHERS):
            user = f"u{n % USERS}"
            bought = PurchaseVoucher(campaign_id=f"c{n % CAMPAIGNS}", voucher_id=f"v{n}", user_id=user)
            await self.publish(bought, Actor("user", user, "User"))

    async def look(self, cuts: list[Cut]) -> None:
        """Take cuts without end."""
        async with Reader(self.settings, wait_ms=20) as reader:
            places = await reader.places([topic.events_topic for topic in TOPICS])
            while True:
                cuts.append(await consistent(reader, places))

    async def events(self, **options: Any) -> list[Received[Any]]:
        """All that was published."""
        return [received async for received in subscribe(*TOPICS, **self.options, **options)]

    async def settled(self) -> bool:
        """Whether every voucher was paid."""
        return sum(isinstance(received.event, PointsHoldCaptured) for received in await self.events()) == VOUCHERS

    async def sql(self, query: str) -> list[tuple[Any, ...]]:
        """What Postgres says; `NS` stands before schemas."""
        connection = await asyncpg.connect(self.settings.postgres)
        try:
            return [tuple(row) for row in await connection.fetch(query.replace("NS", self.settings.namespace))]
        finally:
            await connection.close()

    async def close(self) -> None:
        """End all."""
        await self._kafka.stop()
        if self._worker is not None:
            self._worker.stop()


@pytest_asyncio.fixture
async def market(settings: Settings, tmp_path: Path) -> AsyncIterator[Market]:
    market = Market(settings, tmp_path)
    try:
        await market.open()
        yield market
    finally:
        await market.close()


def missing(events: list[Received[Any]], ends: dict[Place, int]) -> int:
    """How many events are inside whose cause is not: a voucher without its hold, or a payment without its voucher."""
    inside = [received for received in events if received.offset < ends[Place(received.topic, received.partition)]]
    held = {received.event.hold_id for received in inside if isinstance(received.event, PointsHeld)}
    paid = {received.event.hold_id for received in inside if isinstance(received.event, PointsHoldCaptured)}
    bought = [received.event for received in inside if isinstance(received.event, VoucherPurchased)]
    sold = {hold_of(event.campaign_id, event.voucher_id) for event in bought}
    return len(sold - held) + len(paid - sold)


@pytest.mark.full
@pytest.mark.req("SR110", "SR052")
async def test_cuts_and_reports_of_a_platform_at_work(market: Market, record_property: Any) -> None:
    """Cuts are taken while vouchers are bought; afterwards reports and timelines are those of Postgres and of the topics."""
    cuts = [await cut(*TOPICS, **market.options)]
    looking = asyncio.create_task(market.look(cuts))
    await market.buy()
    await until(market.settled)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    cuts.append(await cut(*TOPICS, **market.options))
    events = await market.events()

    assert [missing(events, ends) for ends in cuts] == [0] * len(cuts)
    assert len({str(ends) for ends in cuts}) > 1
    mixed = Cut(cuts[-1] | {place: end for place, end in cuts[0].items() if place.topic == POINTS.events_topic})
    assert missing(events, mixed) == VOUCHERS
    record_property("told", f"{len(cuts)} cuts, {len({str(ends) for ends in cuts})} of them different")
    among = cuts[len(cuts) // 2]
    part = await market.events(until=among)
    assert len(part) == sum(received.offset < among[Place(received.topic, received.partition)] for received in events)
    assert missing(part, among) == 0

    await _reports_are_those_of_postgres(market)
    await _timelines_are_what_was_published(market, events)


async def _reports_are_those_of_postgres(market: Market) -> None:
    """Built twice from the beginning by readers that know nothing of each other."""
    report = await asyncio.to_thread(analytics.read, **market.options)
    again = await asyncio.to_thread(analytics.read, **market.options)
    assert report.days.equals(again.days)
    assert report.campaigns.sort("campaign_id").equals(again.campaigns.sort("campaign_id"))
    days = await market.sql(
        """SELECT (at AT TIME ZONE 'UTC')::date, sum(amount) FILTER (WHERE kind = 'awarded'),
        sum(amount) FILTER (WHERE kind IN ('spent', 'captured')) FROM "NSpoints".ledger GROUP BY 1 ORDER BY 1"""
    )
    assert report.days.rows() == [(day, issued or 0, spent or 0) for day, issued, spent in days]
    vouchers = await market.sql(
        """SELECT campaign_id, count(*), count(*) FILTER (WHERE status = 'valid'), sum(price) FILTER (WHERE status = 'valid')
        FROM "NSpromotions".voucher GROUP BY 1 ORDER BY 1"""
    )
    told = report.campaigns.sort("campaign_id").select("campaign_id", "started", "purchased", "points")
    assert told.rows() == vouchers


async def _timelines_are_what_was_published(market: Market, events: list[Received[Any]]) -> None:
    """Of each user what the records say that stand on the topics, each once, in their order there."""
    published: defaultdict[str, dict[str, None]] = defaultdict(dict)
    async with Reader(market.settings) as reader:
        for place in await reader.places([topic.events_topic for topic in TOPICS]):
            async for record in reader.scan(place, 0):
                told = json.loads(record.value)
                if user := told["payload"].get("user_id"):
                    published[user][told["event_id"]] = None
    for user, ids in published.items():
        timeline = [received for received in events if getattr(received.event, "user_id", None) == user]
        assert sorted(received.event_id for received in timeline) == sorted(ids)
    assert len(published) == USERS


@pytest.mark.req("SR100")
def test_an_event_counts_on_its_own_day_whenever_it_comes() -> None:
    """And days on which nothing was spent are there too."""
    day = datetime.fromisoformat("2026-01-31T23:59:59+00:00")

    def frame(*rows: tuple[datetime, int]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema={"_time": pl.Datetime("us", "UTC"), "amount": pl.Int64}, orient="row")

    late = frame((day + timedelta(days=1), 5), (day, 7))
    frames: dict[type[Event], pl.DataFrame] = {kind: frame() for kind in analytics.KINDS}
    frames[PointsAwarded], frames[PointsSpent] = late, frame((day, 2))

    assert analytics.days(frames).rows() == [(day.date(), 7, 2), ((day + timedelta(days=1)).date(), 5, 0)]
