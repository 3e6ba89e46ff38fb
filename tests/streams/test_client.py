"""Subscriptions: every event once, typed, in order, resumable; what is no event is told."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from streams.client import Gone, Received, Subscription, Unread, subscribe
from streams.contract import Event
from streams.envelope import encode
from streams.errors import CaravanError
from streams.kafka import Kafka
from streams.settings import Settings
from tests.streams.published import (
    BIKES,
    Published,
    Rented,
    Returned,
    Stocked,
    enveloped,
    payload,
    place_of,
    publishing,
)

LIGHT = """
import sys
import streams.client, topics.points, topics.promotions
heavy = {"faust", "mode", "fastapi", "starlette", "asyncpg", "uvicorn", "typer", "pyarrow", "polars", "pandas", "caravan", "api", "agents", "sinks"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or None)
"""


@pytest_asyncio.fixture
async def bikes(settings: Settings) -> AsyncIterator[Published]:
    async with publishing(settings) as published:
        yield published


async def all_of(subscription: Subscription[Any]) -> list[Received[Any]]:
    return [received async for received in subscription]


def rented(bike: str, cents: int = 100, **more: Any) -> Rented:
    return Rented(bike_id=bike, cents=cents, **more)


def test_importing_it_is_light() -> None:
    """No Faust, no web server, no database; Arrow comes when it is asked for."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


async def test_events_are_typed_and_tell_what_their_envelope_says(bikes: Published) -> None:
    """One topic, one class of it; the order of a partition."""
    told = await bikes.command(rented("b1", 250, extras=("bell",)), Returned(bike_id="b1"))
    await bikes.command(rented("b1", 300))

    found = await all_of(subscribe(Rented, **bikes.options()))

    assert [received.event for received in found] == [rented("b1", 250, extras=("bell",)), rented("b1", 300)]
    first, place = found[0], place_of(rented("b1"))
    assert first._asdict() == {
        "event": rented("b1", 250, extras=("bell",)),
        "type": "rented",
        "time": told[0].occurred_at,
        "key": "b1",
        "seq": 1,
        "number": 1,
        "actor": told[0].actor,
        "event_id": told[0].event_id,
        "command_id": told[0].command_id,
        "correlation_id": told[0].correlation_id,
        "hops": 0,
        "outcome": None,
        "topic": "bikes.events",
        "partition": place.partition,
        "offset": 0,
    }


async def test_several_topics_come_in_the_order_of_time(bikes: Published) -> None:
    """Classes of two topics, and a topic whole; without a loop as with one."""
    for n in range(6):
        await bikes.command(rented(f"b{n}"))
        await bikes.later()
        await bikes.command(Stocked(shop_id=f"s{n}", bikes=n), Stocked(shop_id=f"s{n}", bikes=n + 1))
        await bikes.later()
    expected = [key for n in range(6) for key in (f"b{n}", f"s{n}", f"s{n}")]

    found = await all_of(subscribe(Rented, Stocked, **bikes.options()))
    plain = await asyncio.to_thread(lambda: list(subscribe(BIKES, Stocked, **bikes.options())))

    assert [received.key for received in found] == expected
    assert [received.event_id for received in plain] == [received.event_id for received in found]


@pytest.mark.req("SR100")
async def test_what_the_relay_repeats_comes_once(bikes: Published) -> None:
    """A zombie's late relay, and one in the middle of a batch."""
    for n in range(1, 6):
        await bikes.command(rented("b1", n))
    await bikes.command(rented("b1", 4), rented("b1", 5), rented("b1", 6), number=4)
    await bikes.command(rented("b1", 2), number=2)
    await bikes.command(rented("b1", 7))

    subscription = subscribe(Rented, **bikes.options())

    assert [received.event.cents for received in await all_of(subscription)] == [1, 2, 3, 4, 5, 6, 7]
    assert subscription.repeats == 3


async def test_missing_numbers_are_an_error(bikes: Published) -> None:
    """Nothing is lost in silence; with keys, what a stranger writes is no event at all."""
    await bikes.command(rented("b1", 1))
    (forged,) = enveloped([rented("b1", 2)], 900, 0, None, {})
    await bikes.write(place_of(rented("b1")), [bikes.entry("bikes.events", b"b1", encode(forged), signed=False)])
    await bikes.command(rented("b1", 3))

    with pytest.raises(Gone, match="from number 1 to 900 at offset 1"):
        await all_of(subscribe(Rented, **bikes.options()))

    checked = subscribe(Rented, **bikes.options(signing_keys=bikes.settings.signing_keys))
    assert [received.event.cents for received in await all_of(checked)] == [1, 3]
    assert checked.unread == {"unsigned": 1}


async def test_what_cannot_be_read_is_told_and_the_rest_goes_on(bikes: Published) -> None:
    """Garbage, a newer version, a type that nobody declares, another's key, a broken payload."""
    place, told = place_of(rented("b1")), list[Unread]()
    await bikes.command(rented("b1", 1))
    await bikes.write(place, [bikes.entry("bikes.events", b"b1", b"no JSON", signed=False)])
    await bikes.command(rented("b1", 2), schema_version=3)
    await bikes.command(rented("b1", 2), payload=payload(bike_id="b1", cents="many"))
    await bikes.command(rented("b1", 2), payload=payload(bike_id="b2", cents=2))
    await bikes.command(rented("b1", 2), type="ridden")
    await bikes.command(rented("b1", 3))

    some = subscribe(Rented, **bikes.options(on_unread=told.append))
    every = subscribe(BIKES, **bikes.options(on_unread=told.append))

    assert [received.event.cents for received in await all_of(some)] == [1, 3]
    assert [(one.offset, one.cause) for one in told] == [
        (1, "undecodable"), (2, "unknown_version"), (3, "undecodable"), (4, "wrong_key"),
    ]  # fmt: skip
    assert [received.event.cents for received in await all_of(every)] == [1, 3]
    assert every.unread == {"undecodable": 2, "unknown_version": 1, "wrong_key": 1, "unknown_type": 1}


async def test_old_versions_come_as_of_today(bikes: Published) -> None:
    """By the contract's upcasters."""
    await bikes.command(rented("b1"), schema_version=1, payload=payload(bike_id="b1", euros=7))

    found = await all_of(subscribe(Rented, **bikes.options()))

    assert [received.event for received in found] == [rented("b1", 700)]


async def test_the_cores_own_events_come_when_asked_for(bikes: Published) -> None:
    """They have no class."""
    await bikes.core("b1")
    await bikes.command(rented("b1"))

    assert [received.type for received in await all_of(subscribe(BIKES, **bikes.options()))] == ["rented"]
    both = await all_of(subscribe(BIKES, **bikes.options(core=True)))
    assert [(received.type, received.event is None) for received in both] == [
        ("command_accepted", True),
        ("rented", False),
    ]


async def test_a_kept_cursor_goes_on_where_it_was(bikes: Published) -> None:
    """Stopped after every single event, in the middle of commands too, and begun anew each time; repeats are still known."""
    for n in range(4):
        await bikes.command(rented(f"b{n}", 1), Returned(bike_id=f"b{n}"), rented(f"b{n}", 2))
    await bikes.command(rented("b0", 2), number=3)
    expected = [received.event_id for received in await all_of(subscribe(Rented, **bikes.options()))]
    assert len(expected) == 8

    found: list[str] = []
    since = "earliest"
    for _ in expected:
        async with subscribe(Rented, **bikes.options(since=since)) as subscription:
            async for received in subscription:
                found.append(received.event_id)
                since = subscription.cursor
                break

    assert found == expected
    rest = subscribe(Rented, **bikes.options(since=since))
    assert await all_of(rest) == []
    assert len(rest.cursor) < 200


async def test_begun_again_a_subscription_goes_on(bikes: Published) -> None:
    """With what has come meanwhile."""
    await bikes.command(rented("b1", 1))
    subscription = subscribe(Rented, **bikes.options())
    first = await all_of(subscription)
    await bikes.command(rented("b1", 2))

    assert [received.event.cents for received in first + await all_of(subscription)] == [1, 2]


async def test_a_cursor_of_another_topic_is_refused(bikes: Published, settings: Settings) -> None:
    """The topic was deleted and made anew: events would be missing, or others stand there."""
    await bikes.command(rented("b1", 1))
    subscription = subscribe(Rented, **bikes.options())
    await all_of(subscription)
    other = Settings(**{**settings.__dict__, "namespace": f"{settings.namespace}x_"})
    async with publishing(other) as anew:
        with pytest.raises(Gone, match="the topic has 0 to 0"):
            await all_of(subscribe(Rented, **anew.options(since=subscription.cursor)))
        await anew.command(rented("b1", 5))
        await anew.command(rented("b1", 6))
        with pytest.raises(Gone, match="another record at offset 0"):
            await all_of(subscribe(Rented, **anew.options(since=subscription.cursor)))


async def test_since_a_time_or_offsets_and_until_them(bikes: Published) -> None:
    """Events of one command come together, whatever the time between them."""
    place = place_of(rented("b1"))
    await bikes.command(rented("b1", 1))
    await bikes.command(rented("b1", 2), rented("b1", 3))
    await bikes.command(rented("b1", 4))
    between = {"bikes.events": {0: 0, 1: 0, place.partition: 1}}
    end = {"bikes.events": {0: 0, 1: 0, place.partition: 3}}

    part = await all_of(subscribe(Rented, **bikes.options(since=between, until=end)))
    never = await all_of(subscribe(Rented, **bikes.options(since="2100-01-01")))
    ever = await all_of(subscribe(Rented, **bikes.options(since="2000-01-01", until="2100-01-01T00:00:00Z")))

    assert [received.event.cents for received in part] == [2, 3]
    assert (never, [received.event.cents for received in ever]) == ([], [1, 2, 3, 4])


async def test_a_live_one_gives_what_comes(bikes: Published) -> None:
    """And ends when it is left."""
    await bikes.command(rented("b1", 1))
    found: list[int] = []
    async with subscribe(Rented, **bikes.options(until="live")) as subscription:
        async for received in subscription:
            found.append(received.event.cents)
            if len(found) == 4:
                break
            await bikes.command(rented("b1", found[-1] + 1))

    assert found == [1, 2, 3, 4]


async def test_without_a_loop_it_can_be_left_at_any_time(bikes: Published) -> None:
    """The reading thread ends with the loop over it; errors are raised where it stands."""
    for n in range(3):
        await bikes.command(rented("b1", n + 1))

    def first() -> tuple[int, list[int]]:
        subscription = subscribe(Rented, **bikes.options(until="live"))
        with subscription:
            cents = next(received.event.cents for received in subscription)
        again = subscribe(Rented, **bikes.options(since=subscription.cursor))
        return cents, [received.event.cents for received in again]

    assert await asyncio.to_thread(first) == (1, [2, 3])
    with pytest.raises(CaravanError, match="Kafka is away"):
        await asyncio.to_thread(lambda: list(subscribe(Rented, kafka="kafka://127.0.0.1:9", namespace="")))


@pytest.mark.parametrize(
    ("asked", "more", "words"),
    [
        ((), {}, "Say what to subscribe to"),
        (("nothing.events",), {}, "There are no events 'nothing.events'"),
        (("points.commands",), {}, "There are no events 'points.commands'"),
        (("points",), {"since": "yesterday"}, "since='yesterday' is neither"),
        (("points",), {"since": '{"cursor":9,"at":{}}'}, "cursor of version 9"),
        (("points",), {"since": '{"cursor":1}'}, "This is no cursor"),
        (("points",), {"until": "later"}, "until='later' is neither"),
    ],
)
async def test_what_cannot_be_is_said_in_words(settings: Settings, asked: Any, more: Any, words: str) -> None:
    """Before or when it is read."""
    kafka = Kafka(settings)
    from streams import discover

    await kafka.declare([discover.topic("points")])
    await kafka.stop()
    with pytest.raises(CaravanError, match=words):
        await all_of(subscribe(*asked, kafka=settings.kafka, namespace=settings.namespace, **more))


def test_an_event_class_is_what_type_checkers_see() -> None:
    """Place and class are told apart."""
    subscription: Subscription[Rented] = subscribe(Rented, kafka="kafka://127.0.0.1:9", namespace="")
    every: Subscription[Event] = subscribe(BIKES, kafka="kafka://127.0.0.1:9", namespace="")

    assert (subscription.end, subscription.live, every.live) == (None, False, False)
