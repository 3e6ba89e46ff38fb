"""`caravan export`: the events of a topic as a Parquet file, which is there whole or not at all."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from caravan.commands import URLS
from caravan.errors import BadInput, Problem
from caravan.instance import Instance
from caravan.tail import EARLIEST, start_of
from streams import discover
from streams.client import Cut, Subscription, Unread, subscribe
from streams.contract import Event
from streams.errors import CaravanError
from streams.settings import Settings

ROWS = 200_000  # of a row group, about
CURSOR = b"caravan.cursor"  # of the file's metadata: where the next export goes on


class Order(NamedTuple):
    """What is to be written."""

    topic: str
    to: Path
    since: str
    until: str
    types: tuple[str, ...]
    verify: bool
    overwrite: bool


class Written(NamedTuple):
    """What was."""

    file: str
    rows: int
    bytes: int
    seconds: float
    unread: dict[str, int]
    cursor: str


def export(folder: Path, order: Order, *, as_json: bool) -> None:
    """Write the file; raises BadInput where it is there already."""
    kinds = _kinds(order)
    _demand_free(order)
    if not order.to.parent.is_dir():
        raise BadInput(f"there is no folder {order.to.parent} to write {order.to.name} into")
    subscription = _subscription(folder, order, kinds)
    with _part(order) as part:
        written = _write(subscription, kinds, order, part)
    print(json.dumps(written._asdict()) if as_json else _words(written))


def _words(written: Written) -> str:
    rate = written.rows / max(written.seconds, 0.001)
    told = f"{written.rows} events in {written.seconds:.1f} s ({rate:.0f}/s), {written.bytes / 1e6:.1f} MB in {written.file}"
    if written.unread:
        causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(written.unread.items()))
        told += f"; {sum(written.unread.values())} records are no events that this code reads ({causes})"
    return told


def _kinds(order: Order) -> list[type[Event]]:
    domain, dot, kind = order.topic.partition(".")
    if domain not in discover.domains() or (dot and kind != "events"):
        known = ", ".join(f"{name}.events" for name in discover.domains())
        raise BadInput(f"there are no events '{order.topic}'; there are: {known}")
    events = discover.topic(domain).events
    if unknown := [name for name in order.types if name not in events]:
        raise BadInput(f"{domain}.events has no type '{unknown[0]}'; it has: {', '.join(events)}")
    return [events[name] for name in order.types or events]


def _subscription(folder: Path, order: Order, kinds: list[type[Event]]) -> Subscription[Event]:
    env = dict(os.environ)
    if not env.get(URLS[0]):
        instance = Instance(folder)
        instance.require()
        env = {**instance.exports(), **env}
    told: set[str] = set()

    def tell(one: Unread) -> None:
        """Show the first of each cause."""
        if one.cause not in told:
            told.add(one.cause)
            print(f"caravan: {one.place.topic} {one.place.partition} at {one.offset}: {one.error}", file=sys.stderr)

    keys = Settings.from_env({**dict.fromkeys(URLS, "-"), **env}).signing_keys if order.verify else ()
    return subscribe(
        *(kinds if order.types else [kinds[0].topic]),
        since=_since(order.since),
        until=order.until if order.until == "now" else _time(order.until),
        on_unread=tell,
        signing_keys=keys,
        kafka=env[URLS[0]],
        namespace=env.get("CARAVAN_NAMESPACE", ""),
    )


def _since(since: str) -> Any:
    if since.endswith(".parquet"):
        return _cursor(Path(since))
    return since if since == EARLIEST or since.startswith("{") else _time(since)


def _time(told: str) -> Any:
    return Cut.parse(told) if told.startswith("{") else datetime.fromtimestamp(start_of(told) / 1000, UTC)


def _cursor(file: Path) -> str:
    """Where the export ended that wrote this file."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        found: bytes | None = (pq.read_metadata(file).metadata or {}).get(CURSOR)
    except (ArrowInvalid, OSError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    if found is None:
        raise BadInput(f"{file} was not written by caravan export: it does not say where it ends")
    return found.decode()


# -- the file


@contextmanager
def _part(order: Order) -> Iterator[IO[bytes]]:
    """A file beside the wanted one, which takes its name when all is in it; what a killed export left is written anew."""
    path = order.to.with_name(f"{order.to.name}.part")
    with path.open("ab") as part:
        if not _alone(part, path):
            raise Problem(f"another export writes {path}; wait for it, or end it")
        part.truncate(0)
        try:
            yield part
            part.flush()
            os.fsync(part.fileno())
            _demand_free(order)
            path.rename(order.to)
        except BaseException:
            path.unlink()
            raise


def _alone(part: IO[bytes], path: Path) -> bool:
    """Whether nobody else writes this file, nor has renamed it since it was opened here."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(part.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _demand_free(order: Order) -> None:
    if order.to.exists() and not order.overwrite:
        raise BadInput(f"{order.to} is there already; --overwrite replaces it")


def _write(subscription: Subscription[Event], kinds: list[type[Event]], order: Order, part: IO[bytes]) -> Written:
    try:
        import pyarrow.parquet as pq

        from caravan.export_tables import schema_of, tables_of
    except ImportError as error:
        raise CaravanError(f"Parquet needs Arrow ({error.name}): pip install 'caravan[analytics]'") from error
    began, rows = time.monotonic(), 0
    with pq.ParquetWriter(part, schema_of(kinds), compression="zstd") as writer, _progress(order.topic) as progress:
        for batch in subscription.arrow(ROWS):
            for table in tables_of(kinds, batch):
                writer.write_table(table)
            rows += batch.rows
            progress(*subscription.progress)
        writer.add_key_value_metadata({CURSOR.decode(): subscription.cursor})
    seconds = round(time.monotonic() - began, 3)
    return Written(str(order.to), rows, part.tell(), seconds, dict(subscription.unread), subscription.cursor)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
