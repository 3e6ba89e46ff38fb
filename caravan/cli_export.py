"""`caravan export`: its definition."""

from pathlib import Path
from typing import Annotated

import typer

from caravan.options import HERE, DataDir, Json

EXAMPLES = (
    "caravan export points.events --to points.parquet",
    "caravan export points --type points_awarded --since 2026-01-31 --to awarded.parquet",
    "caravan export points --type points_awarded --since monday.parquet --to tuesday.parquet",
)


def export(
    topic: Annotated[str, typer.Argument(help="points.events, or points for the same.")],
    to: Annotated[Path, typer.Option(help="The file to write; it is there whole or not at all.")],
    since: Annotated[
        str,
        typer.Option(
            help="From when on: 10m ago, 2026-01-31T13:30 (UTC), earliest, a cursor, or a file of an earlier export, to go on behind it."
        ),
    ] = "earliest",
    until: Annotated[str, typer.Option(help="Up to when: now, 2026-01-31T13:30 (UTC), or a cut.")] = "now",
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this event type; all of the topic unless given.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Take only records that CARAVAN_SIGNING_KEYS signed; slower.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Write events to a Parquet file, each once, personal values masked.

    With one type its fields are columns; with several each type is a column of records, null where a row is of another. What envelopes tell
    stands in columns that begin with _. An export that was killed leaves nothing under the file's name; run it again.
    """
    from caravan.export import Order
    from caravan.export import export as write

    write(data_dir, Order(topic, to, since, until, tuple(types or ()), verify, overwrite), as_json=as_json)
