"""`caravan contracts …`: the definitions of its commands."""

from pathlib import Path
from typing import Annotated

import typer

from caravan.options import Json, examples

app = typer.Typer(
    no_args_is_help=True,
    epilog=examples("caravan contracts check", "caravan contracts export", "caravan contracts docs"),
    help="The contracts of all domains as documents: AsyncAPI, JSON Schemas, OpenAPI; and whether a change breaks somebody.",
)


@app.command(
    epilog=examples("caravan contracts export", "caravan contracts export --to /tmp/contracts"),
)
def export(
    to: Annotated[
        Path | None, typer.Option(help="Folder to write to; docs/contracts of the checkout unless given.")
    ] = None,
    accept_incompatible: Annotated[
        bool,
        typer.Option(
            "--accept-incompatible",
            help="Write also what breaks those who rely on the former export; for what was never released.",
        ),
    ] = False,
) -> None:
    """Write AsyncAPI, OpenAPI, and the JSON Schema of every message's records.

    The same contracts give the same files. What is written is what check compares with, so commit it.
    """
    from caravan.contracts import terminal

    terminal.export(to, accept_incompatible=accept_incompatible)


@app.command(epilog=examples("caravan contracts docs"))
def docs(
    to: Annotated[
        Path | None, typer.Option(help="Folder to write to; docs/domains of the checkout unless given.")
    ] = None,
) -> None:
    """Write a page per domain for people: what it is, its messages with an example each, its views, what always holds.

    They are made of the contracts and of what the code says about itself; check tells when they are older than it.
    """
    from caravan.contracts import terminal

    terminal.write_pages(to)


@app.command(
    epilog=examples(
        "caravan contracts check",
        "caravan contracts check --json | jq '.verdicts[] | select(.level == \"incompatible\")'",
    ),
)
def check(
    against: Annotated[
        Path | None,
        typer.Option(help="Folder of the export to compare with; docs/contracts of the checkout unless given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the contracts in the code with the committed export, and say what each difference means, and to whom.

    Nothing has to run. The status is 0 when nothing differs, 1 when something does: either it breaks somebody, or the export is to be made again.
    """
    from caravan.contracts import terminal

    terminal.check(against, as_json=as_json)
