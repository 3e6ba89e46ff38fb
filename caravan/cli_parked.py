"""`caravan parked …`: the definitions of its commands."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from caravan.options import HERE, DataDir, Json, examples


def places_so_far(context: typer.Context, incomplete: str) -> Iterator[str]:
    """What the shell offers for a place: those of parked records."""
    with suppress(Exception):
        from caravan import parked

        folder = Path(context.params.get("data_dir") or HERE)
        yield from (place for place in parked.places(folder) if place.startswith(incomplete))


Where = Annotated[
    str,
    typer.Argument(
        metavar="PLACE",
        help="As list prints it: points.commands/2/1207.",
        autocompletion=places_so_far,
        show_default=False,
    ),
]
Domain = Annotated[str | None, typer.Option(help="Only what is parked in this domain.")]
Agent = Annotated[str | None, typer.Option(help="Only what this agent parked.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with who did it and when.", show_default=False)]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until the partition's owner has acted, or for 30 s.")
]

app = typer.Typer(
    no_args_is_help=True,
    epilog=examples(
        "caravan parked list",
        "caravan parked show points.commands/2/1207",
        "caravan parked redrive --cause rule_failed",
    ),
    help="Look at records that could not be processed, and have them processed again, mended or skipped.",
)


@app.command(
    "list",
    epilog=examples("caravan parked list", "caravan parked list --key u1", "caravan parked list --since 1h --json"),
)
def show_list(
    domain: Domain = None,
    agent: Agent = None,
    key: Annotated[str | None, typer.Option(help="Only this key, with the records that wait on it.")] = None,
    cause: Annotated[str | None, typer.Option(help="Only this cause; held are those that wait behind another.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only messages of this type.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only those parked since then: 10m ago, or 2026-01-31T13:30 (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=100_000)] = 50,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """List the records that could not be processed, and how many wait behind each.

    While a record that was accepted is parked, later ones of its key wait behind it, in their order. They are counted and not listed, unless by
    --key or --cause held.
    """
    from caravan import parked

    chosen = parked.Chosen(domain, agent, key, cause, kind, since)
    parked.show_list(data_dir, chosen, limit=limit, as_json=as_json)


@app.command(
    epilog=examples(
        "caravan parked show points.commands/2/1207", "caravan parked show points.commands/2/1207 --raw > value.json"
    )
)
def show(
    place: Where,
    domain: Domain = None,
    agent: Agent = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes of its value, and nothing else.")] = False,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Show a record: what it says, why it is parked, what was done about it, and what to do next. Personal fields are masked."""
    from caravan import parked

    parked.show(data_dir, parked.Spot(place, domain, agent), raw=raw, as_json=as_json)


@app.command(
    epilog=examples(
        "caravan parked redrive points.commands/2/1207",
        "caravan parked redrive --key u1 --domain points",
        "caravan parked redrive --cause rule_failed --yes",
    )
)
def redrive(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="PLACE",
            help="As list prints it; or choose by the options.",
            autocompletion=places_so_far,
            show_default=False,
        ),
    ] = None,
    domain: Domain = None,
    agent: Agent = None,
    key: Annotated[str | None, typer.Option(help="All of this key; needs --domain.")] = None,
    cause: Annotated[str | None, typer.Option(help="All that were parked for this cause.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    wait: Wait = True,
    data_dir: DataDir = HERE,
) -> None:
    """Have records processed again, in the order of their keys, by the code that runs now; what waits behind them follows.

    The status is 0 when all were processed, and 1 when one was parked again or its owner has not acted in time.
    """
    from caravan import parked

    asking = parked.Asking(data_dir, wait)
    if place is not None:
        parked.redrive(asking, parked.Spot(place, domain, agent))
    else:
        chosen = parked.Chosen(domain, agent, key, cause)
        parked.redrive_all(asking, chosen, everything=everything, yes=yes)


@app.command(epilog=examples('caravan parked skip points.commands/2/1207 --reason "sent twice by the old importer"'))
def skip(
    place: Where,
    reason: Reason,
    domain: Domain = None,
    agent: Agent = None,
    wait: Wait = True,
    data_dir: DataDir = HERE,
) -> None:
    """Give a record up, so that what waits behind it goes on; a command is answered as rejected, with the code skipped."""
    from caravan import parked

    parked.skip(parked.Asking(data_dir, wait), parked.Spot(place, domain, agent), reason)


@app.command(
    epilog=examples(
        'caravan parked edit points.commands/2/1207 --payload \'{"amount": 5}\' --reason "typing error, says ann"',
        'caravan parked edit points.commands/2/1207 --value value.json --reason "not JSON before"',
    )
)
def edit(
    place: Where,
    reason: Reason,
    payload: Annotated[
        str | None, typer.Option(help="Fields of the payload to change, as a JSON object; null takes one out.")
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(help="File with the whole new value; - reads standard input. --raw of show gives the old one."),
    ] = None,
    domain: Domain = None,
    agent: Agent = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    wait: Wait = True,
    data_dir: DataDir = HERE,
) -> None:
    """Change what a record says, and have it processed; the old value is kept with the request."""
    from caravan import parked

    new = parked.New(payload, value)
    parked.edit(parked.Asking(data_dir, wait), parked.Spot(place, domain, agent), new, reason, yes=yes)
