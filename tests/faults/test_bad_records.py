"""Records that were never validly accepted, written onto the command topic by whoever reached the broker."""

import json
from typing import Any, NamedTuple

import pytest

from streams.envelope import Signer
from streams.partitioner import partition_of
from streams.producer import signed
from tests.faults.ground import Ground
from tests.faults.load import TOPIC, Load, Order, Signed, awards, orders
from tests.faults.report import Figures
from topics.points import POINTS, AwardPoints

USER = "u1"  # of the good load too
DAY_MS = 24 * 3600 * 1000


class Bad(NamedTuple):
    """A record that must be parked for `cause`."""

    cause: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int = partition_of(USER.encode(), POINTS.partitions)


def bad_records(load: Load) -> list[Bad]:
    """One of every kind."""
    good = load.record(Order(AwardPoints(user_id=USER, amount=1000)))
    other = load.record(Order(AwardPoints(user_id=USER, amount=1000)))
    garbage = b"\x00\xff\xfe not JSON"
    stale = load.record(Order(AwardPoints(user_id=USER, amount=1000)), age_ms=2 * DAY_MS)
    forger = Signer((("k1", bytes(32)),))
    unknown_key = Signer((("k9", bytes(32)),))
    elsewhere = (partition_of(good.key, POINTS.partitions) + 1) % POINTS.partitions
    return [
        Bad("unsigned", None, garbage, []),
        Bad("unsigned", good.key, b"", []),
        Bad("unsigned", good.key, good.value, []),
        Bad("unsigned", good.key, good.value, signed(TOPIC, good.key, good.value, forger)),
        Bad("unsigned", good.key, good.value, signed(TOPIC, good.key, good.value, unknown_key)),
        Bad("unsigned", good.key, good.value, signed(POINTS.events_topic, good.key, good.value, load.signer)),
        Bad("unsigned", good.key, good.value, [("caravan-sig", b"k1"), ("more", garbage)]),
        Bad("unsigned", good.key, good.value, other.headers),
        Bad("unsigned", b"u2", good.value, good.headers),
        Bad("undecodable", good.key, garbage, signed(TOPIC, good.key, garbage, load.signer)),
        changed(load, "undecodable", payload={"user_id": USER, "amount": -5}),
        changed(load, "unknown_type", type="mint_points"),
        changed(load, "unknown_type", domain="orders"),
        changed(load, "unknown_version", schema_version=99),
        changed(load, "wrong_key", payload={"user_id": "u2", "amount": 1000}),
        Bad("wrong_key", good.key, good.value, good.headers, elsewhere),
        Bad("stale_id", stale.key, stale.value, stale.headers),
    ]


def changed(load: Load, cause: str, **fields: Any) -> Bad:
    """A record whose envelope was written otherwise by someone who has the platform's key."""
    record: Signed = load.record(Order(AwardPoints(user_id=USER, amount=1000)))
    value = json.dumps(json.loads(record.value) | fields).encode()
    return Bad(cause, record.key, value, signed(TOPIC, record.key, value, load.signer))


@pytest.mark.scenario("S5")
@pytest.mark.scenario("S17")
async def test_bad_records_are_parked_with_their_cause_and_hold_nothing_back(ground: Ground, figures: Figures) -> None:
    ground.start_worker()
    written = {}
    for seed, bad in enumerate(bad_records(ground.load)):
        await ground.load.send(orders(seed, 20))
        offset = await ground.load.write(bad.partition, bad.key, bad.value, bad.headers)
        written[bad.partition, offset] = bad
        await ground.load.send(awards([USER, "u2"], 4))
    await ground.settle()

    figures.note(faults=len(written), **await ground.account())
    rows = await ground.outside.rows("SELECT * FROM parked")
    assert {(row["partition"], row["offset"]): row["cause"] for row in rows} == {
        place: bad.cause for place, bad in written.items()
    }
    assert not any(row["holds"] for row in rows)
    assert all(row["error"] for row in rows)
    results = {str(row["command_id"]) for row in await ground.outside.rows("SELECT command_id FROM results")}
    assert ground.load.acknowledged <= results
    assert await ground.broken() == []
