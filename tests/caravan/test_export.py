"""`caravan export`: a file that is whole or not there, and goes on where an earlier one ended."""

import asyncio
import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from caravan.errors import BadInput, Problem
from caravan.export import Order, export
from streams.kafka import Kafka
from streams.log import Entry
from streams.reading import Place
from streams.settings import Settings
from tests.caravan.conftest import caravan, clean
from tests.streams.published import Published
from topics.points import POINTS, PointsAwarded, PointsSpent, PointsTransferStarted

KILLED = """
import os, signal, sys
from caravan import export_tables
from caravan.__main__ import main
export_tables.tables_of = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["caravan", "export", "points", "--to", sys.argv[1]]
main()
"""


def awarded(user: str, amount: int) -> PointsAwarded:
    return PointsAwarded(user_id=user, amount=amount)


@pytest_asyncio.fixture
async def points(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Published]:
    """The topic of points with some events."""
    kafka, published = Kafka(settings), Published(settings)
    await kafka.declare([POINTS])
    await kafka.stop()
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    await published.command(awarded("u1", 5), awarded("u1", 6))
    await published.command(awarded("u2", 7))
    await published.command(PointsSpent(user_id="u1", amount=2))
    yield published
    await published.close()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def environment(settings: Settings) -> dict[str, str]:
    return {"CARAVAN_KAFKA": settings.kafka, "CARAVAN_NAMESPACE": settings.namespace}


async def written(to: Path, since: str = "earliest", types: tuple[str, ...] = (), **more: Any) -> Any:
    """The table of a file that is written."""
    order = Order("points.events", to, since, "now", types, **{"verify": False, "overwrite": False, **more})
    await asyncio.to_thread(export, Path("nowhere"), order, as_json=True)
    return pq.read_table(to)


async def test_one_type_gives_its_fields_and_several_a_column_each(points: Published, tmp_path: Path) -> None:
    """Each event once, with what its envelope tells, by the command as a user runs it."""
    one, every = tmp_path / "one.parquet", tmp_path / "all.parquet"
    await points.command(awarded("u1", 5), awarded("u1", 6), number=1)

    done = await asyncio.to_thread(
        caravan, "export", "points", "--type", "points_awarded", "--to", str(one), **environment(points.settings)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 events in ")
    table = pq.read_table(one)
    assert sorted(zip(table["user_id"].to_pylist(), table["amount"].to_pylist(), strict=True)) == [
        ("u1", 5),
        ("u1", 6),
        ("u2", 7),
    ]

    wide = await written(every)
    rows = [(row["_type"], row[row["_type"]]["amount"]) for row in wide.to_pylist()]
    assert sorted(rows) == [("points_awarded", 5), ("points_awarded", 6), ("points_awarded", 7), ("points_spent", 2)]
    assert all(
        row["points_spent" if row["_type"] == "points_awarded" else "points_awarded"] is None
        for row in wide.to_pylist()
    )


async def test_an_export_goes_on_behind_an_earlier_one(points: Published, tmp_path: Path) -> None:
    """By the earlier file."""
    first = await written(tmp_path / "monday.parquet", types=("points_awarded",))
    await points.command(awarded("u3", 8))
    second = await written(
        tmp_path / "tuesday.parquet", since=str(tmp_path / "monday.parquet"), types=("points_awarded",)
    )
    third = await written(tmp_path / "wednesday.parquet", since=str(tmp_path / "tuesday.parquet"))

    assert (first.num_rows, second["amount"].to_pylist(), third.num_rows) == (3, [8], 0)


async def test_what_was_killed_leaves_no_file_and_is_written_anew(points: Published, tmp_path: Path) -> None:
    """By SIGKILL, while it writes."""
    to = tmp_path / "points.parquet"
    command = [sys.executable, "-c", KILLED, str(to)]
    killed = await asyncio.to_thread(subprocess.run, command, env=clean(environment(points.settings)), check=False)

    assert killed.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["points.parquet.part"]
    assert (await written(to)).num_rows == 4
    assert names(tmp_path) == ["points.parquet"]


async def test_a_file_that_is_there_is_not_overwritten_without_a_word(points: Published, tmp_path: Path) -> None:
    """Nor one that somebody else writes."""
    to = tmp_path / "points.parquet"
    to.write_text("mine")
    with pytest.raises(BadInput, match="--overwrite"):
        await written(to)
    assert to.read_text() == "mine"
    assert (await written(to, overwrite=True)).num_rows == 4

    other = tmp_path / "other.parquet"
    held = await asyncio.to_thread(Path(f"{other}.part").open, "ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(Problem, match="another export writes"):
        await written(other)
    held.close()
    assert (await written(other)).num_rows == 4


async def test_personal_values_are_masked_and_strange_records_told(
    points: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's record is none where signatures are checked."""
    started = PointsTransferStarted(user_id="u1", transfer_id="t1", to="u2", amount=1, note="hello", command_id="c")
    await points.command(started)
    await points.write(Place("points.events", 0), [Entry(b"u1", b"rubbish", [])])
    monkeypatch.setenv("CARAVAN_SIGNING_KEYS", f"k1:{bytes(range(32)).hex()}")

    table = await written(tmp_path / "a.parquet", types=("points_transfer_started",))
    assert table["note"].to_pylist() == ["•••"]
    told = capsys.readouterr()
    assert json.loads(told.out)["unread"] == {"undecodable": 1}
    assert "Not an envelope" in told.err
    await written(tmp_path / "b.parquet", verify=True)
    assert json.loads(capsys.readouterr().out)["unread"] == {"unsigned": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "nothing", "--to", "x.parquet"), "there are no events 'nothing'; there are: "),
        (("export", "points", "--type", "nope", "--to", "x.parquet"), "points.events has no type 'nope'; it has:"),
        (("export", "points", "--to", "nowhere/x.parquet"), "there is no folder nowhere"),
        (("export", "points", "--to", "x.parquet", "--since", "often"), "'often'"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    """With the status of wrong usage."""
    done = caravan(*arguments, CARAVAN_KAFKA="kafka://127.0.0.1:9")

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
