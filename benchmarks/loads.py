"""The loads of the projection: topics of events, each written once in a run, by the first that needs it."""

from argparse import ArgumentParser, Namespace
from datetime import timedelta
from typing import NamedTuple

from benchmarks import events, instance
from benchmarks.events import Written
from benchmarks.systems import Place
from streams.envelope import Signer

AGE = timedelta(hours=1)  # of the first event; later than all of them is none
SHAPES = {"uniform": {}, "wide": {"wide": True}, "zipf": {"skewed": True}}
UNIFORM = "uniform"


class Filled(NamedTuple):
    """A topic with its events; `words` say in the results what they are."""

    place: Place
    written: Written
    words: str


_FILLED: dict[tuple[str, str, int], Filled] = {}


def arguments(parser: ArgumentParser) -> None:
    """What loads are made of."""
    parser.add_argument("--events", type=int, default=1_000_000, help="events of projection and subscribe")
    parser.add_argument("--users", type=int, default=20_000, help="users that events or commands are spread over")
    parser.add_argument("--seed", type=int, default=1, help="of users and amounts")


async def filled(place: Place, options: Namespace, shape: str = UNIFORM, share: int = 1) -> Filled:
    """The load of one of the `SHAPES`, with one event in `share`."""
    key = (place.dsn, shape, share)
    if key not in _FILLED:
        plain = (shape, share) == (UNIFORM, 1)
        own = place if plain else await instance.beside(place, f"{shape}{share}")
        number = max(1, options.events // share)
        load = events.Load(number, options.users, options.seed, events.now() - AGE, **SHAPES[shape])
        made = await events.write(own.servers, own.topic, load, Signer(own.keys))
        words = f"{made.events} events of {made.bytes / made.events:.0f} B, {made.users} users"
        _FILLED[key] = Filled(own, made, f"{words}, Zipf" if load.skewed else words)
        print(_FILLED[key].words, flush=True)
    return _FILLED[key]
