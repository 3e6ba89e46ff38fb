"""What a work of the suite is: its name, what must run for it, how it is measured."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.results import Result

T = TypeVar("T")


class WorkError(Exception):
    """The work was not done, or not rightly; its words are printed and the other works go on. `found` is what there is nevertheless."""

    def __init__(self, words: str, found: Sequence[Result] = ()) -> None:
        """Say why."""
        super().__init__(words)
        self.found = list(found)


def _nothing(parser: ArgumentParser) -> None:
    del parser


@dataclass(frozen=True)
class Work:
    """One thing that is measured.

    `needs` makes, in a new folder, what must run: `instance.infrastructure` (a Place, shared by works that follow each other), `instance.platform`
    (a Platform of its own) or `empty_folder` (nothing but the folder, where the work starts what it needs). `measure` gets that
    and the parsed options, runs all rounds, prints a line for each and raises WorkError when something was not as it must be.
    `arguments` adds the options that only this work has.
    """

    name: str
    needs: Callable[[Path], AbstractAsyncContextManager[Any]]
    measure: Callable[[Any, Namespace], Awaitable[list[Result]]]
    arguments: Callable[[ArgumentParser], None] = _nothing


def empty_folder(folder: Path) -> AbstractAsyncContextManager[Path]:
    """Nothing runs."""
    folder.mkdir(parents=True, exist_ok=True)
    return nullcontext(folder)


def in_turn(rounds: int, systems: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Each system once a round, counted from 1; who begins moves on by one each round."""
    for number in range(rounds):
        first = number % max(1, len(systems))
        for system in (*systems[first:], *systems[:first]):
            yield number + 1, system


def names(text: str) -> tuple[str, ...]:
    """Of an argument, with commas between them."""
    return tuple(text.split(","))


def chosen(systems: Sequence[T], wanted: Sequence[str], name: Callable[[T], str]) -> list[T]:
    """Those that `--systems` names; all when it names none."""
    return [system for system in systems if not wanted or name(system) in wanted]
