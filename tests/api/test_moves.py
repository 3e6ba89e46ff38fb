"""Who waits for a move is woken by it, and by others only where they cannot be told apart."""

import pytest

from sinks.postgres.moves import MAX_MARKS, Moves, message

PLACE = ("points", "points", 1)
MANY = [f"k{n}" for n in range(MAX_MARKS + 1)]


@pytest.mark.parametrize(
    ("told", "key", "whole", "beyond"),
    [
        (message(PLACE, 7, ["a:1", "b"]), True, True, True),
        (message(PLACE, 7, ["b", "c"]), False, True, True),
        (message(PLACE, 7, []), False, True, True),
        (message(PLACE, 5, ["a:1"]), True, True, False),
        (message(PLACE, 7, MANY), True, True, True),
        ("points:points:1:7", True, True, True),
        (message(("points", "points", 2), 7, ["a:1"]), False, False, False),
        (message(("points", "by_day", 9), 7, ["a:1", "2026-01-05"]), True, True, False),
        (message(("points", "by_day", 9), 7, ["b"]), False, True, False),
        (message(("ledger", "by_day", 1), 7, ["a:1"]), False, False, False),
        ("points:points:x:7", False, False, False),
        ("", False, False, False),
    ],
)
async def test_a_move_wakes_whom_it_concerns(told: str, key: bool, whole: bool, beyond: bool) -> None:
    """Who waits for a key, for any move of the partition, and for its passing of an offset."""
    moves = Moves()
    with (
        moves.watch_any("points", [0, 1], "a:1") as of_key,
        moves.watch_any("points", [0, 1]) as of_any,
        moves.watch("points", 1, 5) as of_offset,
    ):
        moves.heard(told)

        assert [watch._entry.woken.done() for watch in (of_key, of_any, of_offset)] == [key, whole, beyond]
        moves.unheard()
        assert all(watch._entry.woken.done() for watch in (of_key, of_any, of_offset))
    assert moves._waiting == {}


def test_a_message_fits() -> None:
    """Postgres takes fewer than 8000 bytes."""
    assert len(message(PLACE, 2**62, MANY[:MAX_MARKS])) < 4000
