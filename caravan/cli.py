"""The command line: every command takes --data-dir and finds the instance there; CARAVAN_* in the environment win."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="CARAVAN_DATA_DIR", help="Folder of the instance.", show_default=True)
]
HERE = Path(".caravan")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A message-driven backend platform: Kafka, Faust agents, Postgres views and an HTTP edge, by one command.",
    epilog="Begin with: [bold]caravan up[/bold], then [bold]caravan token --user u1 --role User[/bold]. "
    "Errors are one line; CARAVAN_DEBUG=1 shows where they come from.",
)


def example(*lines: str) -> str:
    """The foot of a command's help."""
    return "Examples:\n\n" + "\n\n".join(lines)


@app.command(epilog=example("eval \"$(caravan infra --quiet)\"", "caravan infra --data-dir /tmp/try"))
def infra(data_dir: DataDir = HERE, new_ports: Annotated[bool, typer.Option(help="Choose other ports.")] = False) -> None:
    """Run the broker and Postgres only, in the foreground, and print how to reach them."""
    from caravan import up

    up.infra(data_dir, new_ports=new_ports)
