"""What the commands' definitions share: their common options, the panels of the help, its examples."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path, typer.Option("--data-dir", envvar="CARAVAN_DATA_DIR", help="Folder of the instance.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
HERE = Path(".caravan")
RUN, WORK, DEVELOP = "Run", "Work with what runs", "Develop"


def examples(*lines: str) -> str:
    """The foot of a command's help."""
    return "\n\n".join(("[bold]Examples[/bold]", *lines))
