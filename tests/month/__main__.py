"""`python -m tests.month`: a month of a town on a broker, a Postgres and workers of its own; the status is 1 when anything differs."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from caravan.instance import Instance
from streams.settings import Settings
from tests.month import chart
from tests.month.run import Wishes, month

START_S = 180  # the first start on a machine downloads the broker


def main() -> int:
    """0 when every row is as the model has it."""
    parser = argparse.ArgumentParser(prog="make month", description="A month of a town, held against a plain model.")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=1, help="of more, each looks at the clock at a moment of its own"
    )
    parser.add_argument("--chart", type=Path, metavar="SVG", help="draw what the platform showed into this file")
    parser.add_argument("--keep", action="store_true", help="leave lines, logs and data where they are")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="month-"))
    try:
        return asyncio.run(_run(wanted, folder))
    finally:
        if wanted.keep:
            print(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _run(wanted: argparse.Namespace, folder: Path) -> int:
    async with infrastructure(folder / "data") as settings:
        figures = await month(settings, folder, Wishes(wanted.users, wanted.days, wanted.seed, wanted.workers))
    for table, count in figures.rows.items():
        print(f"  {table:<24} {count:>9} rows")
    print(figures.told())
    if wanted.chart and figures.found:
        chart.draw(figures.found, wanted.chart.resolve())
    for words in figures.wrong:
        print(f"WRONG {words}")
    return 1 if figures.wrong else 0


@asynccontextmanager
async def infrastructure(data: Path) -> AsyncIterator[Settings]:
    """A broker and a Postgres of our own, and settings for them with the virtual clock."""
    arguments = ["-m", "caravan", "infra", "--data-dir", str(data)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=STDOUT)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while (line := await process.stdout.readline()) and b"export " not in line:
                pass
        exported = {name: value for name, value in Instance(data).exports().items() if name.startswith("CARAVAN_")}
        yield replace(Settings.from_env(exported), clock="virtual")
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    sys.exit(main())
