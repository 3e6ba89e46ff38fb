"""What `explain` tells of calls to the outside; the rest of the walk is tested on a real platform."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest

from caravan.chain import Chain, EventNode, Left
from caravan.explain import tree
from sinks.postgres.explain import Evidence, Known, Owed
from streams.decision import Intent
from streams.effect import Adapter, Effect
from streams.envelope import Actor, EventEnvelope, Source
from streams.ids import derived
from streams.reading import Place, Reader
from streams.settings import Settings
from topics.points import POINTS, PointsAwarded

EVENT = PointsAwarded(user_id="ann", amount=5)
EVENT_ID = uuid4()


def way(_: Settings) -> Adapter:
    """Nobody calls here."""
    raise NotImplementedError


GREET = Effect(
    "greet",
    POINTS,
    {PointsAwarded: lambda fact: Intent("send_mail", {"to": fact.key, "text": "enc1.c2VjcmV0"})},
    adapter=way,
)
ENVELOPE = EventEnvelope(
    event_id=str(EVENT_ID),
    type="points_awarded",
    schema_version=1,
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    domain="points",
    aggregate_id="ann",
    aggregate_seq=1,
    actor=Actor("service", "points"),
    command_id=str(uuid4()),
    correlation_id=str(uuid4()),
    causation_id=str(uuid4()),
    number=7,
    source=Source(0, 3, ""),
    payload=msgspec.Raw(EVENT.to_json()),
)


class Told:
    """What Postgres says: the call that is owed, how far the effect has come, and the result of its command."""

    def __init__(self, owed: Owed | None, number: int | None, answered: UUID | None = None) -> None:
        self._owed, self._number, self._answered = owed, number, answered

    async def owed(self, *_: object) -> Owed | None:
        return self._owed

    async def number(self, *_: object) -> int | None:
        return self._number

    async def parked(self, *_: object) -> None:
        return None

    async def result(self, _domain: str, command_id: UUID) -> Known | None:
        return Known("accepted", None, None, [], "service:points", 0, -5) if command_id == self._answered else None


class Empty:
    """A topic on which nothing is."""

    async def bisect(self, *_: object) -> int:
        return 0

    async def scan(self, *_: object) -> Any:
        nothing: list[Any] = []
        for record in nothing:
            yield record


@pytest.mark.parametrize(
    ("owed", "number", "status"),
    [
        (Owed("waiting", 2, "the line is busy"), 7, "waiting, 2 attempts: the line is busy"),
        (Owed("parked", 8, None), 9, "parked, 8 attempts"),
        (None, 7, "ended"),
        (None, 6, "not yet"),
        (None, None, "not yet"),
    ],
)
async def test_an_effect_is_told_with_where_it_stands(owed: Owed | None, number: int | None, status: str) -> None:
    """A call that has ended leaves no row, so it is told by how far the effect has come."""
    chain = Chain(cast(Reader, Empty()), cast(Evidence, Told(owed, number)))
    node = EventNode(str(EVENT_ID), "points_awarded")
    await chain._effect(node, GREET, Left(None, ENVELOPE, Place("points.events", 0)), EVENT, 0)

    assert [(outside.effect, outside.wants, outside.status) for outside in node.effects] == [
        ("greet", "send_mail to=ann text=•••", status)
    ]


async def test_the_command_that_an_answer_led_to_is_found() -> None:
    """By its derived id, since the answer is not kept."""
    command_id = derived(EVENT_ID, "greet", "spend_points", "ann", 0)
    chain = Chain(cast(Reader, Empty()), cast(Evidence, Told(None, 7, command_id)))
    node = EventNode(str(EVENT_ID), "points_awarded")
    await chain._effect(node, GREET, Left(None, ENVELOPE, Place("points.events", 0)), EVENT, 0)
    (link,) = node.effects[0].commands

    assert (link.by, link.command.id, link.command.status) == ("points: effect greet", str(command_id), "accepted")
    assert tree(link.command).label
