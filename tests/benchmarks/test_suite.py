"""The suite's own parts: what it generates, in which turn it measures, what it saves and shows. Nothing here is timed."""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from benchmarks import report, results, run
from benchmarks.events import Generator, Load, Record
from benchmarks.python import LOCK
from benchmarks.results import Result
from benchmarks.work import Work, WorkError, empty_folder, in_turn
from streams.envelope import EventEnvelope, Signer
from topics.points import POINTS, PointsAwarded

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)
SIGNER = Signer((("k1", b"k" * 32),))
HEADER = {
    "date": "2026-01-01T00:00:00+00:00",
    "commit": "abc",
    "machine": {"cpu": "cpu", "cores": 2, "memory_gib": 4},
    "versions": {"python": "3.11", "java": "25", "postgres": "18"},
    "commands": ["make bench"],
}


def made(load: Load) -> tuple[list[Record], Generator]:
    generator = Generator(load, SIGNER)
    return list(generator.records()), generator


def result(system: str, median: float, work: str = "projection", load: str = "400 events", commit: str = "a") -> Result:
    return Result(work, system, load, median, median * 0.9, median * 1.1, "events/s", 3, commit)


def test_equal_loads_are_equal_bytes() -> None:
    """Every system of every run reads the same."""
    load = Load(50, 20, 7, START)

    assert made(load)[0] == made(load)[0]
    assert made(load)[0] != made(Load(50, 20, 8, START))[0]


def test_the_account_is_that_of_the_records() -> None:
    """What the tables are held against is what was written."""
    records, generator = made(Load(500, 40, 7, START))
    events = [msgspec.json.decode(record.value) for record in records]
    written = generator.written()

    assert written.total == sum(event["payload"]["amount"] for event in events)
    assert written.users == len({record.key for record in records})
    assert written.bytes == sum(len(record.value) for record in records)
    last = {
        record.partition: (event["aggregate_id"], event["aggregate_seq"])
        for record, event in zip(records, events, strict=True)
    }
    assert sorted(written.last) == sorted(last.values())
    for partition in range(POINTS.partitions):
        numbers = [
            event["number"] for record, event in zip(records, events, strict=True) if record.partition == partition
        ]
        assert numbers == list(range(1, len(numbers) + 1))


def test_skewed_users_come_as_often_as_zipf_says() -> None:
    """The first of 1000 has 1 / H(1000; 0.99) of all events, and ranks fall off; uniform users have a thousandth each."""
    skewed = Counter(record.key for record in made(Load(6000, 1000, 3, START, skewed=True))[0])
    uniform = Counter(record.key for record in made(Load(6000, 1000, 3, START))[0])
    first = 6000 / sum(rank**-0.99 for rank in range(1, 1001))

    assert skewed[b"u0"] == pytest.approx(first, rel=0.15)
    assert skewed[b"u9"] == pytest.approx(first * 10**-0.99, rel=0.35)
    assert max(uniform.values()) < 25


@pytest.mark.parametrize(("wide", "least", "most"), [(False, 560, 620), (True, 930, 1000)])
def test_an_event_has_the_size_that_it_is_said_to_have(wide: bool, least: int, most: int) -> None:
    """And is one that the contract takes."""
    for record in made(Load(20, 20000, 3, START, wide=wide))[0]:
        envelope = msgspec.json.decode(record.value, type=EventEnvelope)
        assert PointsAwarded.model_validate_json(bytes(envelope.payload)).user_id == record.key.decode()
        assert least <= len(record.value) <= most


def test_who_begins_moves_on_each_round() -> None:
    """So no system always has the warmest or the fullest database."""
    assert list(in_turn(3, "abc")) == [
        (1, "a"),
        (1, "b"),
        (1, "c"),
        (2, "b"),
        (2, "c"),
        (2, "a"),
        (3, "c"),
        (3, "a"),
        (3, "b"),
    ]
    assert list(in_turn(2, "")) == []


def test_the_report_compares_rates_of_one_load() -> None:
    """A system that got fewer events is compared with ours on its first load."""
    found = [
        result("faust", 10, load="10 events"),
        result("quix", 50),
        result("caravan", 100),
        result("caravan", 30, load="wide"),
    ]

    lines = report.render(HEADER, found).splitlines()

    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["faust", "caravan", "quix", "caravan"]
    assert [line.split("|")[5].strip() for line in lines[2:6]] == ["10.00 x", "", "2.00 x", ""]
    assert "2 cores of cpu" in lines[-1]


def test_what_is_merged_takes_the_place_of_its_like() -> None:
    """A part measured again replaces that part; a work measured as a whole leaves nothing old of itself."""
    saved = [
        result("caravan", 1),
        result("quix", 2),
        result("caravan", 3, load="gone"),
        result("caravan", 4, "decider"),
    ]
    new = [result("caravan", 5, commit="b")]

    _, part = results.merged((HEADER, saved), (HEADER, new))
    header, whole = results.merged(
        (HEADER, saved), ({**HEADER, "commands": ["make bench ARGS=x"]}, new), {"projection"}
    )

    assert sorted(one.median for one in part) == [2, 3, 4, 5]
    assert sorted(one.median for one in whole) == [4, 5]
    assert header["commands"] == ["make bench", "make bench ARGS=x"]


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    """Header and objects."""
    results.save(HEADER, [result("caravan", 1)], tmp_path / "latest.json")

    assert results.load(tmp_path / "latest.json") == (HEADER, [result("caravan", 1)])


async def test_a_work_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, its reason is printed, and what it found before counts."""

    async def wrong(where: object, options: object) -> list[Result]:
        raise WorkError("it did not do its work", [result("caravan", 1, "wrong")])

    async def broken(where: object, options: object) -> list[Result]:
        raise ZeroDivisionError

    async def right(where: object, options: object) -> list[Result]:
        return [result("caravan", 2, "right")]

    works = [
        Work(name, empty_folder, measure)
        for name, measure in {"wrong": wrong, "broken": broken, "right": right}.items()
    ]
    monkeypatch.setattr(run, "WORKS", tuple(works))
    options = run._parser().parse_args([])

    _, found, failed = await run._run(options)

    assert [one.work for one in found] == ["wrong", "right"]
    assert failed == ["wrong", "broken"]
    assert "wrong: it did not do its work" in capsys.readouterr().err


def test_peers_run_on_the_clients_that_the_platform_runs_on() -> None:
    """Another version of a client would compare that and not what is built on it."""
    ours, theirs = (
        dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", path.read_text(), re.MULTILINE))
        for path in (ROOT / "requirements.lock", LOCK)
    )

    shared = ("aiokafka", "asyncpg", "cramjam", "faust-streaming", "msgspec", "orjson", "uvloop")
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


@pytest.mark.full
def test_charts_of_equal_results_are_equal_files(tmp_path: Path) -> None:
    """A chart that changes says that a figure did."""
    from benchmarks import charts

    found = [result("caravan", 100), result("quix", 50), result("caravan", 7, "decider")]

    one, other = charts.draw(found, tmp_path / "one"), charts.draw(found, tmp_path / "other")

    assert [path.name for path in one] == ["projection.svg", "decider.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_every_python_system_does_its_work() -> None:
    """A small run, with its checks of rows, sums and events, in an instance of its own."""
    systems = "caravan,bare-loop,bare-loop-2,postgres,quix,faststream,faust"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--works",
        "projection,subscribe,decider",
        "--loads",
        "uniform",
        "--systems",
        systems,
    ]
    small = ["--events", "4000", "--users", "300", "--commands", "2000", "--rounds", "1"]

    done = await asyncio.to_thread(
        subprocess.run, [*command, *small], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert {*systems.split(",")} <= {*re.findall(r"^round 1  uniform  ([a-z0-9-]+),", done.stdout, re.MULTILINE)}
    assert {"caravan", "faust"} == {*re.findall(r"^round 1  decider  ([a-z]+),", done.stdout, re.MULTILINE)}
