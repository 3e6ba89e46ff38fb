"""The decider: commands that wait on their topic, decided by the shipped worker into results, ledger, balances, state and events; and Faust as
its tutorial writes it, doing less.

The clock starts when the first results are there, which are then not counted, and stops when all results are there and every event has been
relayed to its topic. Each round has topics and tables of its own, filled with the same bytes before the worker starts.
"""

import asyncio
import random
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks import events, instance, machine, projection, results, workers
from benchmarks.events import ISSUER, Record, Written
from benchmarks.results import Result
from benchmarks.systems import Place, PythonPeer
from benchmarks.work import Work, WorkError, chosen, in_turn
from streams import ids
from streams.clock import unix_ms
from streams.envelope import Signer
from streams.partitioner import partition_of
from streams.producer import command_record
from topics.points import POINTS, AwardPoints

POLL = 0.01  # s between two looks
PATIENCE = 180  # s for one round
OURS, PEER = "caravan", "faust"
SHARE = 40  # Faust gets one command in so many: it is slow
WORKER = ("-m", "caravan", "worker", "--domains", "points")
DECIDED = "SELECT coalesce(sum(next), 0) FROM {schema}.offsets WHERE agent = 'points'"
RESULTS = "SELECT count(*), count(*) FILTER (WHERE status = 'accepted') FROM {schema}.results"
LEDGER = """
SELECT count(*), sum(amount), count(*) FILTER (WHERE debit = 'system:issued' AND credit = 'user:' || user_id || ':available')
FROM {schema}.ledger
"""
BALANCE = "SELECT count(*), sum(available), sum(held) FROM {schema}.balance"


class DeciderError(WorkError):
    """Something was not decided, or not once."""


class Variant(NamedTuple):
    """A system, in so many processes."""

    name: str
    processes: int


class Told(msgspec.Struct):
    """What is looked at of an event."""

    event_id: str
    command_id: str
    number: int


class Commands:
    """Signed `award_points`, made once and put onto a topic each round; equal options give equal users and amounts."""

    def __init__(self, place: Place, number: int, users: int, seed: int) -> None:
        """Make them."""
        signer, numbers = Signer(place.keys), random.Random(seed)
        drawn = [(f"u{numbers.randrange(users)}", numbers.randrange(1, 100)) for _ in range(number)]
        self.records = [_record(user, amount, signer) for user, amount in drawn]
        self._drawn = drawn

    def written(self, number: int) -> Written:
        """What the tables must show after the first `number` of them."""
        drawn, size = self._drawn[:number], sum(len(record.value) for record in self.records[:number])
        return Written(number, sum(amount for _, amount in drawn), len({user for user, _ in drawn}), [], size)


def _record(user: str, amount: int, signer: Signer) -> Record:
    at = events.now()
    command = AwardPoints(user_id=user, amount=amount)
    key, value = command_record(command, command_id=ids.uuid7(unix_ms()), issued_at=at, actor=ISSUER)
    signature = signer.sign(POINTS.commands_topic, key, value)
    return Record(partition_of(key, POINTS.partitions), key, value, signature, at)


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--commands", type=int, default=200_000, help="commands that the decider is given")


async def run(place: Place, options: Namespace) -> list[Result]:
    """All systems, all rounds."""
    commands = Commands(place, options.commands, options.users, options.seed)
    variants = [Variant(OURS, 1), Variant(OURS, 2), Variant(PEER, 1)]
    rates: dict[Variant, list[float]] = defaultdict(list)
    numbers = {OURS: options.commands, PEER: max(1, options.commands // SHARE)}
    for number, variant in in_turn(options.rounds, chosen(variants, options.systems, lambda one: one.name)):
        own = await instance.beside(place, f"{variant.name}{variant.processes}{number}")
        records, written = commands.records[: numbers[variant.name]], commands.written(numbers[variant.name])
        topic = f"{own.namespace}{POINTS.commands_topic}"
        await events.put(own.servers, topic, records)
        if variant.name == OURS:
            rate = await _ours(own, written, variant.processes)
        else:
            rate = await _faust(replace(own, topic=topic), records, written)
        await _forget(own)
        print(f"round {number}  decider  {variant.name}, {variant.processes} at work  {rate:.0f}/s", flush=True)
        rates[variant].append(rate)
    found = []
    for (name, processes), values in rates.items():
        load = f"{numbers[name]} commands of {written_size(commands, numbers[name]):.0f} B"
        about = {"variant": f"{processes} worker{'s' * (processes > 1)}", "unit": "commands/s", "load": load}
        found.append(results.summarise(values, digits=0, work="decider", system=name, commit=machine.commit(), **about))
    return projection.fastest(found)


def written_size(commands: Commands, number: int) -> float:
    """Bytes of a command."""
    return commands.written(number).bytes / number


async def _ours(place: Place, written: Written, processes: int) -> float:
    logs = [place.folder / f"{place.namespace}{number}.log" for number in range(processes)]
    db = await asyncpg.connect(place.dsn)
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers, enable_auto_commit=False)
    await consumer.start()
    try:
        async with workers.running(WORKER, place.environment, logs) as running, asyncio.timeout(PATIENCE):
            rate = await _watch(place, db, consumer, written.events, running)
        await _verify(db, f"{place.namespace}points", written)
        await _verify_events(place, consumer, written.events)
        return rate
    except TimeoutError as error:
        raise DeciderError(f"Not all is decided after {PATIENCE} s; a log ends with\n{running[0].said()}") from error
    finally:
        await consumer.stop()
        await db.close()


async def _watch(
    place: Place, db: asyncpg.Connection, consumer: AIOKafkaConsumer, number: int, running: Sequence[workers.Worker]
) -> float:
    query = DECIDED.format(schema=f"{place.namespace}points")

    async def until(least: int) -> int:
        while (decided := int(await db.fetchval(query))) < least:
            for worker in running:
                worker.check()
            await asyncio.sleep(POLL)
        return decided

    first = await until(1)
    began = time.perf_counter()
    await until(number)
    while sum((await consumer.end_offsets(_partitions(place))).values()) < number:  # noqa: ASYNC110 - a worker makes it true
        await asyncio.sleep(POLL)
    return (number - first) / (time.perf_counter() - began)


def _partitions(place: Place) -> list[TopicPartition]:
    return [TopicPartition(place.topic, partition) for partition in range(POINTS.partitions)]


async def _verify(db: asyncpg.Connection, schema: str, written: Written) -> None:
    number, total, users = written.events, written.total, written.users
    wanted = {RESULTS: (number, number), LEDGER: (number, total, number), BALANCE: (users, total, 0)}
    for query, expected in wanted.items():
        found = tuple((await db.fetch(query.format(schema=schema)))[0])
        if found != expected:
            raise DeciderError(f"{query.strip().format(schema=schema)} gives {found} and not {expected}")


async def _verify_events(place: Place, consumer: AIOKafkaConsumer, number: int) -> None:
    """Each command has one event, and numbers have no gap. What a relay without an answer has sent again is dropped by its number, as readers do."""
    consumer.assign(_partitions(place))
    await consumer.seek_to_beginning()
    decode = msgspec.json.Decoder(Told).decode
    told: dict[int, list[Told]] = defaultdict(list)
    while sum(map(len, told.values())) < number:
        for tp, records in (await consumer.getmany(timeout_ms=500)).items():
            seen = told[tp.partition]
            for event in (decode(record.value) for record in records):
                if event.number > len(seen) + 1:
                    raise DeciderError(f"the numbers of partition {tp.partition} have gaps")
                if event.number == len(seen) + 1:
                    seen.append(event)
    everything = [event for partition in told.values() for event in partition]
    if (
        not len(everything)
        == len({event.event_id for event in everything})
        == len({event.command_id for event in everything})
    ):
        raise DeciderError(f"{len(everything)} events are on their topic, not each once")


async def _faust(place: Place, records: Sequence[Record], written: Written) -> float:
    """Its rows are there when each user's last is."""
    system = PythonPeer(PEER, "faust_commands.py")
    return (await projection.measure(system, place, written._replace(last=list(_last(records))))).rate


def _last(records: Sequence[Record]) -> Iterator[tuple[str, int]]:
    """User and sequence of the last command of each partition."""
    last = {record.partition: record.key for record in records}
    for key in last.values():
        yield key.decode(), sum(record.key == key for record in records)


async def _forget(place: Place) -> None:
    """So that a round finds the database as the one before did."""
    db = await asyncpg.connect(place.dsn)
    try:
        query = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)"
        for (name,) in await db.fetch(query, place.namespace):
            await db.execute(f'DROP SCHEMA "{name}" CASCADE')
    finally:
        await db.close()


WORK = Work("decider", instance.infrastructure, run, arguments)
