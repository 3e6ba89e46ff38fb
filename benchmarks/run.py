"""`python -m benchmarks`: measure, print a line a round, print the tables; a whole run is saved in `results/latest.json`."""

import argparse
import asyncio
import shlex
import sys
import tempfile
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from benchmarks import events, instance, machine, projection, replay, report, results, streams, subscribing
from benchmarks.instance import StartError
from benchmarks.latency import Client, LatencyError, Offer
from benchmarks.projection import MeasurementError
from benchmarks.replay import ReplayError
from benchmarks.results import Result
from benchmarks.streams import StreamsError
from benchmarks.subscribing import SubscribeError
from benchmarks.systems import Place, System, systems
from streams.envelope import Signer

WORKS = ("projection", "subscribe", "command-to-view", "live-streams", "replay")
AGE = timedelta(hours=1)  # of the first event; later than all of them is none


def main() -> None:
    """Parse the arguments and run what they name; only a whole run is saved."""
    options = _parser().parse_args()
    try:
        header, found = asyncio.run(_run(options))
    except (MeasurementError, LatencyError, StreamsError, SubscribeError, ReplayError, StartError) as error:
        sys.exit(f"benchmarks: {error}")
    arguments = [f"ARGS={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else []
    header["commands"] = [shlex.join(["make", "bench", *arguments])]
    if options.works == WORKS and not options.systems:
        results.save(header, found)
    print(report.render(header, found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--events", type=int, default=400_000, help="events of the projection")
    parser.add_argument("--users", type=int, default=20_000, help="users that they are spread over")
    parser.add_argument("--seed", type=int, default=1, help="of users and amounts")
    parser.add_argument("--rate", type=int, default=300, help="commands a second offered in command-to-view")
    parser.add_argument("--seconds", type=float, default=20, help="for how long, beside the warm-up")
    parser.add_argument("--streams", type=int, default=1000, help="that are open in live-streams")
    parser.add_argument("--changes", type=int, default=100, help="a second of what they show")
    parser.add_argument("--replayed", type=int, default=100_000, help="commands whose events are replayed")
    parser.add_argument("--throttle", type=int, default=2000, help="events a second of a replay beside live traffic")
    parser.add_argument("--works", type=_names, default=WORKS, help=f"some of {','.join(WORKS)}")
    parser.add_argument("--systems", type=_names, default=(), help="some of the systems of the projection")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


async def _run(options: argparse.Namespace) -> tuple[dict[str, object], list[Result]]:
    found: list[Result] = []
    header: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="caravan-bench-") as folder:
        if {"projection", "subscribe"} & {*options.works}:
            async with instance.infrastructure(Path(folder)) as place:
                header = await machine.describe(place.dsn)
                written = await _written(place, options)
                if "projection" in options.works:
                    found += await _projection(place, options, written)
                if "subscribe" in options.works:
                    found += await _subscribe(place, options, written)
        if "command-to-view" in options.works:
            async with instance.platform(Path(folder)) as platform:
                header = header or await machine.describe(platform.dsn)
                client = Client(platform.url, platform.tokens, Offer(options.rate, options.seconds))
                found += await _latency(client, options)
        if "live-streams" in options.works:
            async with instance.platform(Path(folder) / "streams") as platform:
                header = header or await machine.describe(platform.dsn)
                found += await _streams(platform, options)
        if "replay" in options.works:
            async with instance.platform(Path(folder) / "replay") as platform:
                header = header or await machine.describe(platform.dsn)
                found += await _replay(platform, options)
    return header, found


async def _written(place: Place, options: argparse.Namespace) -> events.Written:
    load = events.Load(options.events, options.users, options.seed, events.now() - AGE)
    written = await events.write(place.servers, place.topic, load, Signer(place.keys))
    print(f"{written.events} events of {written.bytes / written.events:.0f} B", flush=True)
    return written


async def _subscribe(place: Place, options: argparse.Namespace, written: events.Written) -> list[Result]:
    rates: dict[str, list[float]] = defaultdict(list)
    names = list(subscribing.SYSTEMS)
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            read = await subscribing.measure(name, place.servers, place.topic, written.events, written.total)
            rate = written.events / read.seconds
            print(
                f"round {number + 1}  subscribe, {name}  {rate:.0f}/s, {read.processor:.1f} s of processor", flush=True
            )
            rates[name].append(rate)
    about = {
        "work": "subscribe",
        "load": f"{written.events} events of {written.bytes / written.events:.0f} B",
        "unit": "events/s",
    }
    return [
        results.summarise(values, digits=0, system=name, commit=machine.commit(), **about)
        for name, values in rates.items()
    ]


async def _projection(place: Place, options: argparse.Namespace, written: events.Written) -> list[Result]:
    entered = [system for system in systems() if system.name in (options.systems or (system.name,))]
    rates: dict[System, list[float]] = defaultdict(list)
    digests = set()
    for number in range(options.rounds):
        for system in entered[number % len(entered) :] + entered[: number % len(entered)]:
            rate, digest = await projection.measure(system, place, written)
            print(f"round {number + 1}  {system.title}  {rate:.0f}/s", flush=True)
            rates[system].append(rate)
            digests.add(digest)
    if len(digests) != 1:
        raise MeasurementError("The systems did not make the same rows.")
    words = f"{written.events} events of {written.bytes / written.events:.0f} B, {written.users} users"
    return _fastest([_rate(system, values, words) for system, values in rates.items()])


def _rate(system: System, values: list[float], load: str) -> Result:
    about = {"work": "projection", "system": system.name, "variant": system.variant, "load": load, "unit": "events/s"}
    return results.summarise(values, digits=0, commit=machine.commit(), **about)


def _fastest(found: list[Result]) -> list[Result]:
    """Of the variants of a system its best."""
    best: dict[str, Result] = {}
    for result in found:
        if result.system not in best or result.median > best[result.system].median:
            best[result.system] = result
    return list(best.values())


async def _latency(client: Client, options: argparse.Namespace) -> list[Result]:
    percentiles: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        taken = await client.measure(f"round{number}")
        print(f"round {number + 1}  command-to-view  {taken}", flush=True)
        for name, value in vars(taken).items():
            percentiles[name].append(value)
    return [
        results.summarise(
            values,
            digits=2,
            work="command-to-view",
            system="caravan",
            load=f"{options.rate} commands/s, {name}",
            unit="ms",
            commit=machine.commit(),
        )
        for name, values in percentiles.items()
    ]


async def _streams(platform: instance.Platform, options: argparse.Namespace) -> list[Result]:
    """Each stream on a key of its own, then fifty on each."""
    found = []
    for keys in (options.streams, max(1, options.streams // 50)):
        load = streams.Load(options.streams, keys, options.changes, options.seconds)
        figures: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            taken = await streams.Client(platform, load).measure(f"keys{keys}-{number}")
            print(f"round {number + 1}  live-streams  {keys} keys  {taken}", flush=True)
            for name, value in vars(taken).items():
                figures[name].append(value)
        words = f"{load.streams} streams of {keys} keys, {load.rate} changes/s"
        about = {"work": "live-streams", "system": "caravan", "commit": machine.commit()}
        found += [
            results.summarise(figures[name], digits=2, load=f"{words}, {text}", unit=unit, **about)
            for name, (text, unit) in streams.MEANING.items()
        ]
    return found


async def _replay(platform: instance.Platform, options: argparse.Namespace) -> list[Result]:
    offer, rates, taken = Offer(options.rate, options.seconds), defaultdict(list), defaultdict(list)
    for number in range(options.rounds):
        rates["live"].append(await replay.fill(platform, options.replayed, options.users, number))
        rates["replay"].append(await replay.alone(platform))
        print(
            f"round {number + 1}  replay  { ({name: round(values[-1]) for name, values in rates.items()}) }/s",
            flush=True,
        )
        taken["alone"].append(await Client(platform.url, platform.tokens, offer).measure(f"alone{number}"))
        taken["beside a replay"].append(await replay.beside(platform, offer, f"beside{number}", options.throttle))
        print(f"round {number + 1}  replay  { ({name: values[-1] for name, values in taken.items()}) }", flush=True)
    about = {"work": "replay", "system": "caravan", "commit": machine.commit()}
    loads = {"live": "the worker deciding commands", "replay": "a replay alone"}
    found = [
        results.summarise(values, digits=0, load=loads[name], unit="events/s", **about)
        for name, values in rates.items()
    ]
    for name, measured in taken.items():
        throttled = f" of {options.throttle} events/s" if name != "alone" else ""
        load = f"command-to-view, {options.rate} commands/s, {name}{throttled}, p99"
        found.append(results.summarise([one.p99 for one in measured], digits=2, load=load, unit="ms", **about))
    return found


if __name__ == "__main__":
    main()
