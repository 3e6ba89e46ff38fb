"""`caravan replay`: its definition."""

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

import typer

from caravan.errors import BadInput
from caravan.options import HERE, DataDir, Json

EXAMPLES = (
    "caravan replay points --plan",
    "caravan replay points",
    "caravan replay points --swap",
    "caravan replay points --swap-back",
    "caravan replay points --abort",
    "caravan replay points --views balance --rate 5000",
    "caravan replay points --views ledger --from 2026-01-31T13:30",
)
ACTIONS = {
    "plan": "Say what would be done, and do nothing.",
    "swap": "Exchange the tables with the live ones.",
    "swap_back": "Exchange them again.",
    "abort": "Drop what was built; after a swap, the old tables.",
    "status": "Say where a replay stands.",
}
F = TypeVar("F", bound=Callable[..., None])


def domains_so_far(incomplete: str) -> Iterator[str]:
    """What the shell offers for a domain."""
    from streams import discover

    yield from (name for name in discover.domains() if name.startswith(incomplete))


def _flag(name: str) -> str:
    return name.replace("_", "-")


def flagged(function: F) -> F:
    """Give a command a flag for each thing that it can do: what it takes as keywords is told to typer one by one."""
    named = inspect.signature(function)
    parameters = [one for one in named.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    for name, words in ACTIONS.items():
        kind = Annotated[bool, typer.Option(f"--{_flag(name)}", help=words)]
        function.__annotations__[name] = kind
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind))
    function.__signature__ = named.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


@flagged
def replay(
    domain: Annotated[
        str, typer.Argument(help="The domain whose views are built anew.", autocompletion=domains_so_far)
    ],
    views: Annotated[
        str | None,
        typer.Option(help="Only these tables of its views, with commas; all and its documents unless given."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="Where rows begin, in views only appended to: 2026-01-31T13:30, 10m, 0:1200,1:980."
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Events a second at most, to spare live traffic.", min=1)] = None,
    accept: Annotated[
        str | None, typer.Option("--accept-diff", metavar="DIFF", help="With --swap: the reviewed diff, by its mark.")
    ] = None,
    show: Annotated[int, typer.Option(help="Of each table, so many rows that differ are shown.", min=0)] = 20,
    as_json: Json = False,
    data_dir: DataDir = HERE,
    **actions: bool,
) -> None:
    """Build a domain's views anew from its events, beside live traffic; compare, swap and swap back.

    The same code folds all events into a schema beside the live one; nothing is published and nothing goes outward. Then it compares at equal numbers.
    Stopped or killed at any point, the same command goes on.

    The status is 0 when the replay and the live tables are equal, 1 when they differ, 2 when it could not.
    """
    from caravan.replay import terminal

    action = _action([name for name, wanted in actions.items() if wanted])
    if accept is not None and action != "swap":
        raise BadInput("--accept-diff goes with --swap")
    if action not in ("build", "plan") and (views is not None or start is not None):
        raise BadInput(f"--views and --from are for building; --{_flag(action)} takes the replay as it was begun")
    terminal.replay(data_dir, domain, terminal.Asked(action, views, start, rate, accept, show, as_json))


def _action(given: list[str]) -> str:
    if len(given) > 1:
        raise BadInput(f"{' and '.join(f'--{_flag(name)}' for name in given)} do not go together")
    return given[0] if given else "build"
