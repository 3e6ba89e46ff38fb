"""The command line: every command takes --data-dir and finds the instance there; CARAVAN_* in the environment win."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from caravan import cli_audit_log, cli_contracts, cli_export, cli_parked, cli_replay
from caravan.options import DEVELOP, HERE, RUN, WORK, DataDir, Json, examples

NewPorts = Annotated[bool, typer.Option("--new-ports", help="Choose other ports for the broker and Postgres.")]


class Clock(StrEnum):
    """Whose time it is."""

    SYSTEM = "system"
    VIRTUAL = "virtual"


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A message-driven backend platform: Kafka, Faust agents, Postgres views and an HTTP edge, started by one command.",
    epilog="Begin with [bold]caravan up[/bold], then [bold]caravan token --user u1 --role User[/bold]. "
    "Where broker and Postgres run elsewhere, set CARAVAN_KAFKA and CARAVAN_POSTGRES. "
    "An error is one line; CARAVAN_DEBUG=1 shows where it comes from.",
)


def topics_so_far(incomplete: str) -> list[str]:
    """What the shell offers for the name of a topic."""
    from streams import discover

    names = [name for domain in discover.domains() for name in (domain, f"{domain}.commands", f"{domain}.events")]
    return [name for name in names if name.startswith(incomplete)]


@app.command(
    rich_help_panel=RUN,
    epilog=examples(
        "caravan up",
        "caravan up --reload --clock virtual",
        "caravan up --port 8080 --workers 2 --data-dir /srv/caravan --host 0.0.0.0",
    ),
)
def up(
    data_dir: DataDir = HERE,
    port: Annotated[int | None, typer.Option(help="Port of the edge; chosen once and kept.", min=1, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address that the edge listens on; loopback unless given.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes; each runs every domain.", min=1)] = 1,
    clock: Annotated[
        Clock | None,
        typer.Option(help="Whose clock the platform has; a virtual one moves by caravan clock advance. Kept."),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart workers and edge when their code changes.")] = False,
    new_ports: NewPorts = False,
) -> None:
    """Run the whole platform here: broker, Postgres, workers and the edge.

    The first start fetches the broker's files, once per user; later starts need no network. Ctrl-C ends everything.

    Where CARAVAN_KAFKA and CARAVAN_POSTGRES say that broker and Postgres run elsewhere, it starts neither.
    """
    from caravan import up as supervisor

    wishes = supervisor.Wishes(host, port, workers, clock.value if clock else None, new_ports, reload)
    supervisor.up(data_dir, wishes)


@app.command(rich_help_panel=RUN, epilog=examples("caravan down", "caravan down --data-dir /srv/caravan"))
def down(data_dir: DataDir = HERE) -> None:
    """Stop what runs on a data folder, and wait until it has ended."""
    from caravan import up as supervisor

    supervisor.down(data_dir)


@app.command(rich_help_panel=RUN, epilog=examples("caravan infra", "caravan infra --data-dir /tmp/try"))
def infra(data_dir: DataDir = HERE, new_ports: NewPorts = False) -> None:
    """Run the broker and Postgres only, in the foreground, and print what to export and how to reach them."""
    from caravan import up as supervisor

    supervisor.infra(data_dir, new_ports=new_ports)


@app.command(
    rich_help_panel=RUN, epilog=examples("caravan worker", "caravan worker --domains points,quests --instance w1")
)
def worker(
    data_dir: DataDir = HERE,
    domains: Annotated[str, typer.Option(help="Domains to run, separated by commas; all unless given.")] = "",
    instance: Annotated[
        str | None, typer.Option(help="Name of this worker: its restart within 10 s moves no partition.")
    ] = None,
    rebuild: Annotated[
        list[str] | None, typer.Option(help="Rebuild this domain's views from its events, beside the live ones.")
    ] = None,
) -> None:
    """Run the agents of some or all domains until SIGTERM."""
    from caravan import commands

    commands.worker(data_dir, [name for name in domains.split(",") if name], instance, rebuild or [])


@app.command(rich_help_panel=RUN, epilog=examples("caravan api", "caravan api --host 0.0.0.0 --port 8080"))
def api(
    data_dir: DataDir = HERE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Run one edge until SIGTERM."""
    from caravan import commands

    commands.api(data_dir, host, port)


@app.command(
    rich_help_panel=RUN,
    epilog=examples("caravan migrate", "CARAVAN_POSTGRES=postgresql://… CARAVAN_KAFKA=kafka://… caravan migrate"),
)
def migrate(
    data_dir: DataDir = HERE,
    early: Annotated[
        bool, typer.Option("--early", hidden=True, help="The broker of this instance is starting.")
    ] = False,
) -> None:
    """Bring the schemas of all domains up to date, and create the topics that are missing."""
    from caravan import commands

    commands.migrate(data_dir, early=early)


@app.command(
    rich_help_panel=WORK,
    epilog=examples("caravan token --user u1 --role User", "TOKEN=$(caravan token --user root --role Admin --ttl 8h)"),
)
def token(
    user: Annotated[str, typer.Option(help="Who calls: the id of a user.")],
    role: Annotated[str, typer.Option(help="Guest, User, VIP, PRO, Partner or Admin.")],
    ttl: Annotated[str, typer.Option(help="How long it is good for: 90s, 15m, 12h or 7d.")] = "12h",
    data_dir: DataDir = HERE,
) -> None:
    """Print a development token for the edge; in production your identity provider gives them."""
    from caravan import commands

    commands.token(data_dir, user, role, ttl)


@app.command(rich_help_panel=WORK, epilog=examples("caravan status", "caravan status --json | jq '.agents[].lag'"))
def status(data_dir: DataDir = HERE, as_json: Json = False) -> None:
    """Show where every agent stands: position, lag, parked records and rate; and the disk in use.

    Partitions of an agent that stand alike are one line; --json has each by itself.
    """
    from caravan import commands

    commands.status(data_dir, as_json=as_json)


@app.command(
    rich_help_panel=DEVELOP,
    epilog=examples(
        "caravan new invoices",
        "caravan new loyalty_cards --aggregate card --key card_number --command issue_card --event card_issued",
        "caravan new invoices --yes --into ~/src/caravan",
    ),
)
def new(
    domain: Annotated[str, typer.Argument(help="Name of the domain: lower-case words joined by _, usually a plural.")],
    aggregate: Annotated[str | None, typer.Option(help="What one of them is called, as in invoice.")] = None,
    key: Annotated[str | None, typer.Option(help="Field that identifies it, as in invoice_id.")] = None,
    command: Annotated[str | None, typer.Option(help="First command, as in create_invoice.")] = None,
    event: Annotated[str | None, typer.Option(help="Event that follows it, as in invoice_created.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the usual names.")] = False,
    into: Annotated[Path | None, typer.Option(help="Checkout to write into; the one around here unless given.")] = None,
) -> None:
    """Write a small working domain: contract, rules, table, rows, view, migration and tests.

    It asks for what the options leave open, if it can. Only new files are written; the platform finds the domain by their names.
    """
    from caravan import new as writer

    named = {"aggregate": aggregate, "key": key, "command": command, "event": event}
    writer.new(domain, named, yes=yes, into=into)


@app.command(
    rich_help_panel=WORK,
    epilog=examples(
        "caravan tail points",
        "caravan tail points.events --since 10m --key ann",
        "caravan tail points --since earliest --no-follow --json | jq .type",
    ),
)
def tail(
    topic: Annotated[
        str, typer.Argument(help="points.commands, points.events, or points for both.", autocompletion=topics_so_far)
    ],
    since: Annotated[
        str | None,
        typer.Option(help="From when on: 10m ago, 2026-01-31T13:30 (UTC), or earliest; from now on unless given."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only records of this aggregate id.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what comes, or end after what is there.")] = True,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Show the records of a topic as they come: decoded, checked, personal fields masked."""
    from caravan import tail as follower

    follower.tail(data_dir, topic, since=since, key=key, follow=follow, as_json=as_json)


@app.command(
    rich_help_panel=WORK,
    epilog=examples(
        "caravan send commands.jsonl",
        "python -m examples.generate --count 5000 | caravan send -",
        "caravan send commands.jsonl --url https://staging.example.com --concurrency 128 --results outcomes.jsonl",
    ),
)
def send(
    file: Annotated[str, typer.Argument(help="Commands, a line of JSON each; - reads standard input.")],
    url: Annotated[
        str | None,
        typer.Option(envvar="CARAVAN_URL", help="Where the edge answers; that of the instance unless given."),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Requests under way at the same time.", min=1, max=1000)] = 64,
    timeout: Annotated[str, typer.Option(help="How long one command is tried and waited for.")] = "60s",
    results: Annotated[Path | None, typer.Option(help="Write what became of each command to this file.")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """Send a file of commands through the edge and show what became of them.

    A line is {"command": "points.award_points", "id": UUID, "as": {"user": "u1", "role": "Admin"}, "data": {…}}. The id is the command's
    Idempotency-Key: within two days, sending the file again changes nothing and says the same. Commands of one key are sent in the order of the
    file. The status is 0 unless something failed; a command that the rules refuse has not.
    """
    from caravan import send as sender

    sender.send(data_dir, file, url=url, concurrency=concurrency, timeout=timeout, results=results)


@app.command(
    rich_help_panel=WORK,
    epilog=examples(
        "caravan explain 01a1fde6-cbac-72f9-98e7-c2b30946775d", "caravan explain 01a1… --json | jq .status"
    ),
)
def explain(
    command_id: Annotated[str, typer.Argument(help="The command_id that the edge answered.")],
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Show what became of a command: its events, the rows they wrote, the commands that policies made of them, and so on across domains.

    Rows are shown as they stand now; personal fields are masked.
    """
    from caravan import explain as explainer

    explainer.explain(data_dir, command_id, as_json=as_json)


@app.command(
    rich_help_panel=WORK,
    epilog=examples(
        "caravan topics", "caravan topics --create", "caravan topics --json | jq '.[] | select(.state != \"ok\")'"
    ),
)
def topics(
    create: Annotated[bool, typer.Option("--create", help="Make the topics that are missing.")] = False,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Show the topics that contracts declare beside those that there are.

    The status is 0 when all are as declared. Nothing is changed that is there: where records could be lost it says the way.
    """
    from caravan import topics as catalogue

    catalogue.topics(data_dir, create=create, as_json=as_json)


@app.command(
    rich_help_panel=WORK,
    epilog=examples(
        "caravan audit",
        "caravan audit --domain points --json | jq .findings",
        "caravan audit --watch --every 30s --metrics 9105",
    ),
)
def audit(
    domain: Annotated[list[str] | None, typer.Option(help="Only this domain; all unless given.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Check commands from then on only: 10m ago, 2026-01-31T13:30 (UTC); all that are kept unless given."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking, and print what changes.")] = False,
    every: Annotated[str, typer.Option(help="How long from look to look with --watch.")] = "60s",
    metrics: Annotated[
        str | None, typer.Option(help="Serve metrics for Prometheus with --watch: PORT on loopback, or HOST:PORT.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = HERE,
) -> None:
    """Prove from topics and Postgres alone that nothing was lost and nothing doubled, also while traffic goes on.

    Every command has one result, every event was published, views and documents are what the events make, ledgers add up, positions go
    forward. The status is 0 when all holds, 1 when something does not, 2 when it could not look. Nothing is changed.
    """
    from caravan.audit import terminal
    from caravan.errors import BadInput

    if metrics is not None and not watch:
        raise BadInput("--metrics needs --watch: without it there is nobody to serve them")
    terminal.audit(
        data_dir, domain or [], since=since, every=every if watch else None, metrics=metrics, as_json=as_json
    )


app.command(rich_help_panel=WORK, epilog=examples(*cli_replay.EXAMPLES))(cli_replay.replay)
app.command(rich_help_panel=WORK, epilog=examples(*cli_export.EXAMPLES))(cli_export.export)
app.add_typer(cli_parked.app, name="parked", rich_help_panel=WORK)
app.add_typer(cli_audit_log.app, name="audit-log", rich_help_panel=WORK)
app.add_typer(cli_contracts.app, name="contracts", rich_help_panel=DEVELOP)
times = typer.Typer(
    invoke_without_command=True,
    epilog=examples("caravan clock", "caravan clock advance 2d"),
    help="Show what time it is on the platform, or move a virtual clock.",
)
app.add_typer(times, name="clock", rich_help_panel=WORK)


@times.callback()
def clock(context: typer.Context, data_dir: DataDir = HERE) -> None:
    """Show what time it is on the platform; with a command, move a virtual clock."""
    from caravan import clock as clocks

    if context.invoked_subcommand is None:
        clocks.show(data_dir)


@times.command(epilog=examples("caravan clock advance 2d", "caravan clock advance 90m --data-dir /tmp/try"))
def advance(by: Annotated[str, typer.Argument(help="How far: 90s, 15m, 12h or 7d.")], data_dir: DataDir = HERE) -> None:
    """Move the clock of edge and workers on, and have happen what is due by then; for a platform of caravan up --clock virtual.

    What is under way meanwhile happens at the new time.
    """
    from caravan import clock as clocks

    clocks.advance(data_dir, by)


@app.command(
    rich_help_panel=DEVELOP,
    epilog=examples(
        "caravan reset",
        "caravan reset --yes",
        "CARAVAN_NAMESPACE=try_ CARAVAN_KAFKA=… CARAVAN_POSTGRES=… caravan reset",
    ),
)
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False, data_dir: DataDir = HERE
) -> None:
    """Delete all topics, schemas and data of this instance, or of CARAVAN_NAMESPACE, and begin anew; not while it runs."""
    from caravan import reset as resetter

    resetter.reset(data_dir, yes=yes)


@app.command(hidden=True)
def probe() -> None:
    """Import all code that workers and edge would, and say what is wrong with it."""
    from caravan import reload

    reload.probe()
