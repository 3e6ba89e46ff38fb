"""`caravan audit-log …`: the definitions of its commands."""

from typing import Annotated

import typer

from caravan.options import HERE, DataDir, Json, examples

app = typer.Typer(
    no_args_is_help=True,
    epilog=examples("caravan audit-log verify --topics", "caravan audit-log search --actor root --since 1d"),
    help="Look whether the log of all commands is whole, and search in it.",
)


@app.command(
    epilog=examples(
        "caravan audit-log verify",
        "caravan audit-log verify --topics",
        "caravan audit-log verify --domain points --json | jq .findings",
    )
)
def verify(
    domain: Annotated[list[str] | None, typer.Option(help="Only the entries of this domain; all unless given.")] = None,
    topics: Annotated[
        bool, typer.Option("--topics", help="Compare each entry with what the topics tell too; slower.")
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Prove that no entry of the audit log was altered, taken out, put in or exchanged.

    Entries are bound to each other by their hashes, and anchors that only the platform can sign stand among them. Whoever can write to Postgres could make the entries
    after the last anchor anew: against that --topics compares all of them with the records that they were made from. The status is 0 when the log is whole, 1 when it is
    not, 2 when it could not look. Nothing is changed.
    """
    from caravan.audit_log import terminal

    terminal.verify(data_dir, domain or [], topics=topics, as_json=as_json)


@app.command(
    epilog=examples(
        "caravan audit-log search --actor root --since 1d",
        "caravan audit-log search --action ban_user --outcome accepted --json",
        "caravan audit-log search --target u1 --since 2026-01-31T13:30 --until 2026-02-01T00:00",
    )
)
def search(
    actor: Annotated[str | None, typer.Option(help="Who: the id of a user or service.")] = None,
    action: Annotated[
        str | None, typer.Option(help="What: the type of the command, as in ban_user or governance.ban_user.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of what: the id of the aggregate.")] = None,
    outcome: Annotated[str | None, typer.Option(help="accepted, rejected or pending.")] = None,
    since: Annotated[str | None, typer.Option(help="From when on: 10m ago, or 2026-01-31T13:30 (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Up to when, likewise.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 100,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Show what became of commands, newest first: by whom, of what kind, on what, when."""
    from caravan.audit_log import terminal

    wanted = terminal.Wanted(actor, action, target, outcome, since, until)
    terminal.search(data_dir, wanted, limit=limit, as_json=as_json)
