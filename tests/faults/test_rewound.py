"""Positions set back: everything from there on is read again, and nothing comes of it that was not there."""

import json
from collections import Counter

import pytest

from tests.faults.ground import Ground
from tests.faults.load import USERS, Order, orders
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS
from tests.faults.report import Figures
from tests.faults.test_poison import REFUSED, on
from tests.faults.test_restored import tables
from topics.points import AwardPoints

# What is read again counts as a repeat; it is none, so that it is taken off beforehand. What was parked is parked already.
DECIDER = """
    UPDATE offsets o SET next = o.next / 2, last_id = NULL, duplicates = duplicates - (o.next - o.next / 2) + (
        SELECT count(*) FROM parked p WHERE p.topic = o.topic AND p.partition = o.partition AND p."offset" >= o.next / 2)
    WHERE topic = $1"""
READERS = "UPDATE offsets SET next = 0, number = 0, last_id = NULL WHERE topic = $1"


def rewards() -> list[Order]:
    """One for each user, by a rule and because of an event, which is given once."""
    return [Order(AwardPoints(user_id=user, amount=5, rule="first_quest", source=f"quest-{user}")) for user in USERS]


def awarded(ground: Ground) -> Counter[tuple[str, str, str]]:
    """How often the topic tells of each reward; what the relay repeated counts once."""
    told = {
        (n, json.loads(record.value)["number"]): record.value
        for n in PARTITIONS
        for record in ground.outside.records(EVENTS, n)
    }
    events = [event for value in told.values() if (event := json.loads(value))["type"] == "points_awarded"]
    rewards = [event["payload"] for event in events if event["payload"].get("rule") == "first_quest"]
    return Counter(
        (one["user_id"], one["rule"], one["source"]) for one in rewards if one["source"].startswith("quest-")
    )


@pytest.mark.full
@pytest.mark.scenario("S14")
@pytest.mark.req("SR055")
@pytest.mark.req("SR056")
@pytest.mark.parametrize("what", ["commands", "events", "both"])
async def test_what_is_read_again_changes_nothing(ground: Ground, figures: Figures, what: str) -> None:
    """Policies publish their commands again, under the same ids: the decider knows these."""
    await ground.outside.execute(f"ALTER TABLE ledger ADD CHECK (amount <> {REFUSED})")
    worker = await ground.worker()
    await ground.load.send([*orders(1, 600), *on("poor", 10, REFUSED, 1), *rewards(), *rewards()])
    await ground.settle()
    assert await worker.leave() == 0
    before, ends = await tables(ground), [await ground.outside.ends(topic) for topic in (COMMANDS, EVENTS)]
    if what != "events":
        await ground.outside.rows(DECIDER, COMMANDS)
    if what != "commands":
        await ground.outside.rows(READERS, EVENTS)
    ground.history.seen[:] = [one for one in ground.history.seen if one["kind"] != "position"]
    await ground.worker()
    await ground.settle()

    assert await tables(ground) == before
    assert await ground.outside.ends(EVENTS) == ends[1], "nothing is told again"
    now = await ground.outside.ends(COMMANDS)
    again = sum(now[n] - ends[0][n] for n in PARTITIONS)
    assert (again > 0) == (what != "commands"), "the policies' commands came again"
    assert awarded(ground) == Counter({(user, "first_quest", f"quest-{user}"): 1 for user in USERS})
    figures.note(faults=1, **await ground.account())
    assert await ground.broken() == []
