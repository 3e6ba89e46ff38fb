"""A program in another language reads what we publish, with nothing of ours but the exported schemas, and comes to what Postgres has."""

import asyncio
import json
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from api.client import Client, EdgeError
from examples.generate import generate
from streams.kafka import KafkaUrl
from tests.api.whole import Whole, whole
from tests.caravan.conftest import ROOT
from tests.caravan.running import Running
from tests.faults.outside import EVENTS, PARTITIONS, Outside, settled, until
from tests.node import installed, run

SOURCE = ROOT / "examples" / "node-consumer"
SCHEMAS = ROOT / "docs" / "contracts" / "schemas" / "points" / "events"
LINES, USERS = 400, 6
LIMIT_S = 600


@pytest.mark.full
@pytest.mark.req("SR110")
@pytest.mark.timeout(LIMIT_S)
def test_another_language_comes_to_the_same(infra: Running, tmp_path: Path) -> None:
    """Whatever the relay repeats; and a record that is not as the contract says stops it."""
    consumer = installed(SOURCE, tmp_path)
    with whole(infra, tmp_path) as platform:
        asyncio.run(_worked(platform))
        repeats = asyncio.run(_repeated(platform))
        done = _consumed(consumer, platform)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        rows = asyncio.run(platform.rows("points", "SELECT user_id, available + held AS has FROM balance"))
        assert {user: int(points) for user, points in told["balances"].items()} == {
            r["user_id"]: r["has"] for r in rows
        }
        assert len(rows) > USERS
        assert (told["repeats"], told["records"] > LINES) == (repeats, True)

        place = asyncio.run(_spoilt(platform))
        done = _consumed(consumer, platform)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{place}: not as points_awarded.v1 says: /payload/amount must be integer" in done.stderr


async def _worked(platform: Whole) -> None:
    """Commands of all kinds about points went through the edge, each key's in order, and all their events are out."""
    lanes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in generate(11, LINES, USERS):
        lanes[str(line["data"].get("user_id"))].append(line)
    async with Client(platform.url) as client, asyncio.TaskGroup() as group:
        for lines in lanes.values():
            group.create_task(_send(client, platform, lines))
    async with Outside(platform.settings) as outside:
        await until(lambda: settled(outside), "all is settled")


async def _send(client: Client, platform: Whole, lines: Sequence[dict[str, Any]]) -> None:
    for line in lines:
        who = line.get("as")
        caller = client.by(platform.bearer(who["user"], who["role"]) if who else None)
        domain, _, name = line["command"].partition(".")
        with suppress(EdgeError):  # some lines are meant to be turned away
            await caller.send(domain, name, json.dumps(line["data"]).encode(), key=line["id"])


async def _repeated(platform: Whole) -> int:
    """Records that are there already are sent again, as a relay does that was killed before it wrote down that they were; how many."""
    async with Outside(platform.settings) as outside:
        await outside.read_on()
        again = [record for partition in PARTITIONS for record in outside.records(EVENTS, partition)[-3:]]
    async with AIOKafkaProducer(**KafkaUrl.parse(platform.settings.kafka).client()) as producer:
        for record in again:
            await producer.send_and_wait(
                record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
            )
    return len(again)


async def _spoilt(platform: Whole) -> str:
    """An event whose amount is a text follows the last one; where it is."""
    async with Outside(platform.settings) as outside:
        await outside.read_on()
        awarded = [r for n in PARTITIONS for r in outside.records(EVENTS, n) if b'"points_awarded"' in r.value]
        last = outside.last_number(awarded[-1].partition)
    event = json.loads(awarded[-1].value)
    event |= {"number": last + 1, "payload": event["payload"] | {"amount": "5"}}
    async with AIOKafkaProducer(**KafkaUrl.parse(platform.settings.kafka).client()) as producer:
        sent = await producer.send_and_wait(
            awarded[-1].topic, json.dumps(event).encode(), awarded[-1].key, partition=awarded[-1].partition
        )
    return f"{sent.topic}/{sent.partition}/{sent.offset}"


def _consumed(consumer: Path, platform: Whole) -> "subprocess.CompletedProcess[str]":
    """What it says."""
    brokers = ",".join(KafkaUrl.parse(platform.settings.kafka).servers)
    topic = f"{platform.settings.namespace}{EVENTS}"
    return run(consumer, "consumer.js", "--brokers", brokers, "--topic", topic, "--schemas", SCHEMAS, "--json")
