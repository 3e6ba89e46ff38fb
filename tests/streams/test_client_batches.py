"""Batches: the same events as one by one, in columns that the contract fixes."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest_asyncio
from pydantic import BaseModel

from streams import discover
from streams.client import Unread, subscribe
from streams.client.columns import columns
from streams.contract import Event, Moment, Name, Topic
from streams.personal import MASK, Sealed, seal
from streams.settings import Settings
from tests.streams.published import BIKES, Published, Rented, Returned, Stocked, payload, place_of, publishing
from tests.streams.test_client import all_of, rented

ANN_KEY, BOB_KEY = b"a" * 32, b"b" * 32
ODDS = Topic("odds", key="odd_id")


class Shade(Enum):
    LIGHT = "light"


class Inner(BaseModel):
    at: Moment
    n: int | None = None


class Odd(Event, topic=ODDS):
    odd_id: Name
    day: date
    share: float
    on: bool = True
    shade: Shade = Shade.LIGHT
    side: Literal["a", "b"] | None = None
    inner: tuple[Inner, ...] = ()
    free: dict[str, Any] | None = None
    either: int | str = 0


@pytest_asyncio.fixture
async def bikes(settings: Settings) -> AsyncIterator[Published]:
    async with publishing(settings) as published:
        yield published


def test_columns_follow_from_the_contract() -> None:
    """What Arrow has no type for is kept as JSON."""
    schema = columns(Odd).schema
    inner = pa.list_(pa.struct([("at", pa.timestamp("us", "UTC")), ("n", pa.int64())]))

    assert [(field.name, field.type) for field in schema if not field.name.startswith("_")] == [
        ("odd_id", pa.string()), ("day", pa.date32()), ("share", pa.float64()), ("on", pa.bool_()), ("shade", pa.string()),
        ("side", pa.string()), ("inner", inner), ("free", pa.string()), ("either", pa.string()),
    ]  # fmt: skip
    assert schema.names[:2] == ["_time", "_key"]


TEXTS = {
    "points_rule_defined": ("amount",),
    "referral_scheme_created": ("friend_points", "levels", "tiers"),
    "referral_act_kept": ("facts",),
}
"""What has no type of its own in a column, since it is a number or a formula, or whatever somebody told: it is JSON there."""


def test_every_event_of_the_platform_has_columns() -> None:
    """Those of all domains that there are."""
    for domain in discover.domains():
        for kind in discover.topic(domain).events.values():
            assert columns(kind).schema.field("_time").type == pa.timestamp("us", "UTC")
            assert columns(kind).texts == TEXTS.get(kind.wire_name, ()), kind


async def test_a_batch_has_the_same_events(bikes: Published) -> None:
    """Every value of envelope and payload, old versions and repeats among them, in whatever form."""
    await bikes.command(
        rented("b1", 250, extras=("bell", "lock"), until="2026-02-01T00:00:00+01:00"), Returned(bike_id="b1")
    )
    await bikes.command(rented("b1", 300))
    await bikes.command(rented("b1", 300), number=3)
    await bikes.command(rented("b1"), schema_version=1, payload=payload(bike_id="b1", euros=7))
    await bikes.command(rented("b2"), payload=payload(bike_id="b2", cents=1))
    await bikes.command(Stocked(shop_id="s1", bikes=3))
    events = await all_of(subscribe(Rented, **bikes.options()))

    subscription = subscribe(Rented, Stocked, **bikes.options())
    batch = await subscription.arrow().collect()

    table = batch[Rented].sort_by([("_partition", "ascending"), ("_number", "ascending")])
    by_place = sorted(events, key=lambda received: (received.partition, received.number))
    assert table.to_pylist() == [
        {
            "_time": r.time, "_key": r.key, **r.event.model_dump(), "extras": [*r.event.extras], "_seq": r.seq, "_number": r.number,
            "_partition": r.partition, "_offset": r.offset, "_actor_type": "user", "_actor": "ann", "_role": "User",
            "_event_id": r.event_id, "_command_id": r.command_id, "_correlation_id": r.correlation_id, "_hops": 0,
            "_version": 1 if r.event.cents == 700 else 2,
        }
        for r in by_place
    ]  # fmt: skip
    assert batch["stocked"]["bikes"].to_pylist() == [3]
    assert (batch.rows, subscription.repeats) == (5, 1)
    frames = await asyncio.to_thread(lambda: subscribe(BIKES, **bikes.options()).polars().all())
    assert isinstance(frames[Rented], pl.DataFrame)
    assert sorted(frames[Rented]["cents"]) == [1, 250, 300, 700]
    panda = (await subscribe(Rented, **bikes.options()).pandas().collect())[Rented]
    assert isinstance(panda, pd.DataFrame)
    assert (str(panda["cents"].dtype), panda["cents"].sum()) == ("int64[pyarrow]", 1251)


async def test_batches_tell_what_cannot_be_read_as_single_events_do(bikes: Published) -> None:
    """The same causes at the same offsets; the rest is given."""
    place = place_of(rented("b1"))
    await bikes.command(rented("b1", 1))
    await bikes.write(place, [bikes.entry("bikes.events", b"b1", b"no JSON", signed=False)])
    await bikes.command(rented("b1"), schema_version=3)
    await bikes.command(rented("b1"), payload=payload(bike_id="b1", cents="many"))
    await bikes.command(rented("b1"), payload=payload(bike_id="b1"))
    await bikes.command(rented("b1"), payload=payload(bike_id="b2", cents=2))
    await bikes.command(rented("b1"), type="ridden")
    await bikes.command(rented("b1"), domain="cars")
    await bikes.command(rented("b1"), payload=payload(bike_id="b1", euros="x"), schema_version=1)
    await bikes.command(rented("b1"), payload=payload())
    await bikes.command(rented("b1", 3), payload=payload(bike_id="b1", cents=3, z=[{}]))
    single, batched = list[Unread](), list[Unread]()

    events = await all_of(subscribe(BIKES, **bikes.options(on_unread=single.append)))
    batch = await subscribe(BIKES, **bikes.options(on_unread=batched.append)).arrow().collect()

    assert batch[Rented]["cents"].to_pylist() == [received.event.cents for received in events] == [1, 3]
    assert sorted((one.offset, one.cause) for one in batched) == [(one.offset, one.cause) for one in single]
    assert len(single) == 9


async def test_batches_never_split_a_command_and_can_be_resumed(bikes: Published) -> None:
    """Begun anew behind every single batch."""
    for n in range(30):  # 6 MB that lz4 halves: a fetch brings some of them
        note = Sealed("enc1." + os.urandom(100_000).hex())
        about = rented(f"b{n % 5}", n), rented(f"b{n % 5}", n, note=note), Returned(bike_id=f"b{n % 5}")
        await bikes.command(*about)
    found, since, batches = list[tuple[str, int]](), "earliest", 0
    while True:
        subscription = subscribe(Rented, **bikes.options(since=since))
        async with subscription:
            async for batch in subscription.arrow(rows=4):
                commands = batch[Rented]["_command_id"].to_pylist()
                assert all(commands.count(command) == 2 for command in commands)
                found += [*zip(commands, batch[Rented]["_number"].to_pylist(), strict=True)]
                batches += 1
                break
            else:
                break
        since = subscription.cursor

    assert len(found) == len(set(found)) == 60
    assert batches > 1


async def test_a_live_batch_comes_when_nothing_more_does(bikes: Published) -> None:
    """It is not waited for until it is full."""
    await bikes.command(rented("b1", 1))
    cents: list[int] = []
    async with subscribe(Rented, **bikes.options(until="live")) as subscription:
        async for batch in subscription.polars():
            cents.extend(batch[Rented]["cents"])
            if len(cents) == 2:
                break
            await bikes.command(rented("b1", 2))

    assert cents == [1, 2]


async def keys(subjects: Collection[str]) -> Mapping[str, bytes | None]:
    """Grants ann's, knows that bob's is destroyed, and says nothing of others."""
    known: dict[str, bytes | None] = {"ann": ANN_KEY, "bob": None}
    return {subject: known[subject] for subject in subjects if subject in known}


async def test_personal_values_are_masked_unless_their_key_is_granted(bikes: Published) -> None:
    """One by one and in batches: without a key service all, with one those that it leaves out; destroyed ones are null."""
    notes = {
        "b1": Sealed(seal("mine", "ann", ANN_KEY)),
        "b2": Sealed(seal("gone", "bob", BOB_KEY)),
        "b3": Sealed(seal("hers", "eve", BOB_KEY)),
        "b4": None,
        "b5": "never sealed, which only a stranger writes",
    }
    for bike, note in notes.items():
        await bikes.command(rented(bike), payload=payload(bike_id=bike, cents=1, note=note, extras=[]))

    async def seen(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        events = await all_of(subscribe(Rented, **bikes.options(**options)))
        table = (await subscribe(Rented, **bikes.options(**options)).arrow().collect())[Rented]
        columns = (table[name].to_pylist() for name in ("_key", "note"))
        return {r.key: r.event.note for r in events}, dict(zip(*columns, strict=True))

    masked = {"b1": MASK, "b2": MASK, "b3": MASK, "b4": None, "b5": MASK}
    opened = {"b1": "mine", "b2": None, "b3": MASK, "b4": None, "b5": MASK}
    assert await seen() == (masked, masked)
    assert await seen(keys=keys) == (opened, opened)


async def test_what_arrow_has_no_type_for_comes_as_json(settings: Settings, bikes: Published) -> None:
    """And dates, enumerations and defaults as of the contract."""
    from streams.kafka import Kafka

    kafka = Kafka(settings)
    await kafka.declare([ODDS])
    await kafka.stop()
    odd = Odd(odd_id="o1", day=date(2026, 1, 31), share=0.5, free={"a": [1, "é"]}, either="x",
              inner=(Inner(at=datetime(2026, 1, 1, tzinfo=UTC)),))  # fmt: skip
    await bikes.command(odd)
    await bikes.command(odd, payload=payload(odd_id="o1", day="2026-01-31", share=1))

    table = (await subscribe(Odd, **bikes.options()).arrow().collect())[Odd]

    fields = [{name: row[name] for name in Odd.model_fields} for row in table.to_pylist()]
    assert fields[0] == {
        "odd_id": "o1", "day": date(2026, 1, 31), "share": 0.5, "on": True, "shade": "light", "side": None,
        "inner": [{"at": datetime(2026, 1, 1, tzinfo=UTC), "n": None}], "free": '{"a": [1, "é"]}', "either": '"x"',
    }  # fmt: skip
    assert fields[1] == {**fields[0], "share": 1.0, "inner": [], "free": None, "either": "0"}
