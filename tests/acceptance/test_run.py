"""All domains end to end: real processes, impatient clients, workers killed in the midst of chains, time that is moved, and models that know what is right."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.generate import Line
from examples.journeys import SHOWN, Journeys
from sinks.postgres import clock, migrate
from streams import discover
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.answers import answer
from tests.acceptance.chains import wrongs
from tests.acceptance.children import Child
from tests.acceptance.clients import Clients
from tests.acceptance.left import Left
from tests.acceptance.watch import Watch
from tests.acceptance.workers import Kill, Workers, until
from topics.identity import IDENTITY
from topics.points import POINTS
from topics.promotions import PROMOTIONS

TOPICS = (IDENTITY, POINTS, PROMOTIONS)
SHORTLY = timedelta(days=1)  # until what is short-lived ends
PAY_BY = timedelta(minutes=20)  # more than the points for a voucher may take
KILLS = (
    Kill(1 / 3, False, "points.events", "points.commands", lambda seen: seen.published),
    Kill(1 / 2, True, "promotions.events", "promotions.commands", lambda seen: seen.waiting),
)
"""Who carries transfers and payments on is killed, then who sells vouchers."""
SOME = 5  # purchases that wait for points
ASKED = 100  # things of a kind that are looked at over HTTP too; all are compared in the tables


@pytest.mark.req("SR045")
@pytest.mark.req("SR047")
@pytest.mark.req("SR055")
@pytest.mark.req("SR066")
@pytest.mark.req("SR115")
@pytest.mark.timeout(900)  # s; each kill costs a session time-out, and the machine may be busy
@pytest.mark.parametrize(
    ("seed", "count"), [(20, 2400), pytest.param(21, 20_000, marks=pytest.mark.full)], ids=["short", "long"]
)
async def test_every_command_has_its_effect_once_though_workers_are_killed(
    settings: Settings, free_port: int, tmp_path: Path, seed: int, count: int
) -> None:
    settings = replace(settings, clock="virtual")
    await prepare(settings)
    acts = Journeys(seed, sets=2, soon=datetime.now(UTC) + SHORTLY).acts(count)
    edge = Child(["api", "--port", str(free_port)], settings, tmp_path / "edge.log")
    workers = Workers(settings, tmp_path)
    clients = Clients(f"http://127.0.0.1:{free_port}", settings.jwt_secret or "", seed)
    try:
        async with Watch(settings, TOPICS) as watch:
            await until(clients.served)
            await workers.ready()
            await clients.send(acts.opening)
            moved = await bustle(settings, acts.bustle, clients, workers, watch)
            await until(watch.drained)
            await clients.send(await shown(acts.tills[::2], watch))
            await until(watch.drained)  # nothing is under way when the clock is moved
            await clock.advance(settings.postgres, settings.namespace, SHORTLY)
            await until(watch.drained)
            await clients.send(await shown(acts.tills[1::2], watch))
            await clients.finished()
            await until(watch.drained)
            left = await watch.left(moved)

            assert wrongs(left) == []
            assert await watch.duplicates() > 0, "no kill left work half done"
            assert missing(left) == set()
            answered_right(clients, watch, left)
            await shown_right(clients, left)
    finally:
        await clients.close()
        workers.stop()
        edge.stop()


async def prepare(settings: Settings) -> None:
    """Topics and schemas, as `caravan up` makes them."""
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    await kafka.stop()


async def bustle(
    settings: Settings, lines: Sequence[Line], clients: Clients, workers: Workers, watch: Watch
) -> datetime:
    """Send the lines; workers are killed meanwhile, and in the end points come too late. Returns when the clock was moved for that."""
    for kill in KILLS:
        number = round(len(lines) * kill.share)
        sending = asyncio.create_task(clients.send(lines[:number]))
        killed = await workers.kill_at_work(watch, kill)
        workers.start(killed if kill.same_name else None)
        await workers.ready()
        await sending
        lines = lines[number:]
    sending = asyncio.create_task(clients.send(lines))
    moved = await make_late(settings, watch)
    await sending
    return moved


async def make_late(settings: Settings, watch: Watch) -> datetime:
    """Hold up those who set points aside for vouchers, until the time for that is over for some."""

    async def vouchers(status: str, reason: str | None = None) -> int:
        rows = await watch.rows("promotions.voucher")
        return sum((row["status"], row["reason"]) == (status, reason) for row in rows)

    async def some_wait() -> bool:
        return await vouchers("started") >= SOME

    async def some_are_late() -> bool:
        return await vouchers("failed", "timed_out") > 0

    async with watch.slowed("promotions.events"):
        await until(some_wait)
        moved = await watch.now()
        await clock.advance(settings.postgres, settings.namespace, PAY_BY)
        await until(some_are_late)
    return moved


async def shown(lines: Sequence[Line], watch: Watch) -> list[Line]:
    """The lines with the codes that owners of vouchers show."""
    codes = {
        (row["campaign_id"], f"{row['voucher_id']}-{SHOWN}"): row["code"]
        for row in await watch.rows("promotions.voucher")
        if row["code"]
    }
    return [
        {**line, "data": {**data, "code": codes.get((data["campaign_id"], data["code"]), data["code"])}}
        for line in lines
        for data in [line["data"]]
    ]


def missing(left: Left) -> set[str]:
    """What should have happened to some command or other, and did not."""
    codes = {code for results in left.results.values() for _, code in results.values() if code}
    wanted = {"already_redeemed", "expired", "insufficient", "limit_reached", "login_taken", "sold_out", "timed_out"}
    kinds: set[str] = {event["type"] for event in left.events}
    return (wanted - codes) | ({"voucher_expired", "points_expired", "login_released"} - kinds)


def answered_right(clients: Clients, watch: Watch, left: Left) -> None:
    """Every line got the answer it had to get; what was accepted is on its topic with its result, and nothing else is."""
    assert [reply for reply in clients.answers if reply.status != answer(reply.line)] == []
    assert sum(reply.status != 202 for reply in clients.answers) > len(clients.answers) / 20
    assert clients.repeats > len(clients.answers) / 50
    accepted = {reply.command_id for reply in clients.answers if reply.status == 202}
    assert accepted == watch.sent()
    assert accepted <= {name for results in left.results.values() for name in results}


async def shown_right(clients: Clients, left: Left) -> None:
    """The edge shows what the tables hold, and personal texts in clear."""
    dice = random.Random(len(left.events))
    seen = left.points()
    notes = written_notes(clients, left)
    expiring = defaultdict[str, list[Any]](list)
    for row in sorted(left.rows["points.expiring"], key=lambda row: row["expires_at"]):
        if row["amount"]:
            expiring[row["user_id"]].append((row["expires_at"], row["amount"]))
    for user in dice.sample(sorted(seen.balances), ASKED):
        available, held = seen.balances[user]
        balance = await clients.get(f"/v1/points/balance/{user}")
        lots = [(datetime.fromisoformat(lot["expires_at"]), lot["amount"]) for lot in balance.pop("expiring")]
        assert lots == expiring[user]
        assert {name: balance[name] for name in ("user_id", "active", "held", "available")} == {
            "user_id": user,
            "active": available + held,
            "held": held,
            "available": available,
        }
        entries = [row_of(entry) for entry in await clients.items(f"/v1/points/statement/{user}")]
        assert entries == [
            (*row[:-1], notes.get(str(row[6])) if row[-1] else None) for row in reversed(seen.ledger[user])
        ]
    await users_shown(clients, left)
    for row in left.rows["promotions.campaign"]:
        stats = await clients.get(f"/v1/promotions/campaign_stats/{row['partner_id']}/{row['campaign_id']}")
        assert all(
            stats[name] == row[name] for name in ("status", "issued", "reserved", "redeemed", "expired", "failed")
        )
    for domain, results in left.results.items():
        for command in dice.sample(sorted(results), ASKED):
            told = await clients.get(f"/v1/commands/{command}", domain=domain)
            assert (told["status"], told["code"]) == results[command]


async def users_shown(clients: Clients, left: Left) -> None:
    """Who registered is found by the address and number that were given, in clear; a login is one user's."""
    registered = {row["user_id"] for row in left.rows["identity.profile"]}
    lines = {
        reply.line["data"]["user_id"]: reply.line["data"]
        for reply in clients.answers
        if reply.line["command"] == "identity.register_user"
        and reply.command_id
        and left.results["identity"][reply.command_id] == ("accepted", None)
    }
    assert lines.keys() == registered
    for user, data in sorted(lines.items())[:ASKED]:
        profile = await clients.get(f"/v1/identity/user_profile/{user}")
        email = data.get("email")
        assert profile["email"] == (email and email.replace("Example.COM", "example.com"))
        assert profile["phone"] == (data.get("phone") or "").replace(" ", "") or profile["phone"] is None
        for login in filter(None, (email, data.get("phone"))):
            assert (await clients.get(f"/v1/identity/users_by_login/{login}"))["user_id"] == user


def written_notes(clients: Clients, left: Left) -> dict[str, str]:
    """What was written with each transfer that began."""
    return {
        reply.line["data"]["transfer_id"]: reply.line["data"]["note"]
        for reply in clients.answers
        if reply.command_id is not None
        and "note" in reply.line["data"]
        and left.results["points"][reply.command_id][1] in {None, "balance_limit"}
    }


def row_of(entry: dict[str, Any]) -> tuple[Any, ...]:
    """A statement's entry as a row of the ledger."""
    return (*{**entry, "at": datetime.fromisoformat(entry["at"])}.values(),)
