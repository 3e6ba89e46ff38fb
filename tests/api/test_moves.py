"""Who waits for a move is woken by it, and by others only where they cannot be told apart."""

import pytest

from sinks.postgres.moves import MAX_MARKS, Moves, Told, message

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
    moves, heard = Moves(), list[tuple[str, int | None, int]]()

    def of(name: str) -> Told:
        return lambda partition, reached: heard.append((name, partition, reached))

    with (
        moves.listening("points", [0, 1], of("key"), key="a:1"),
        moves.listening("points", [0, 1], of("any")),
        moves.listening("points", [1], of("offset"), offset=5),
        moves.watch("points", 1, 5) as watch,
    ):
        moves.heard(told)

        assert {name for name, _, _ in heard} == {
            name for name, woken in (("key", key), ("any", whole), ("offset", beyond)) if woken
        }
        assert watch.woken.is_set() == beyond
        own = ":by_day:" not in told
        assert all(
            (partition, reached) == ((1, int(told.split(":")[3])) if own else (None, -1))
            for _, partition, reached in heard
        )
        heard.clear()
        moves.unheard()
        assert sorted(heard) == [("any", None, 0), ("key", None, 0), ("offset", None, 0)]
        assert watch.woken.is_set()
    assert moves._waiting == {}


async def test_who_waits_knows_whether_it_is_idle_to_ask() -> None:
    """It is while the last that was heard of the place is that it has not come so far; not when nothing was heard, or may have been missed."""
    moves = Moves()
    with moves.watch("points", 1, 5) as watch:

        def early() -> bool:
            return watch.early

        assert not early()  # nothing was heard
        moves.heard(message(("points", "by_day", 1), 3, []))
        moves.heard(message(("points", "points", 2), 3, []))
        assert not early()  # not of this place
        moves.heard(message(PLACE, 5, ["a"]))
        assert early()
        assert not await watch.next(0)
        moves.heard(message(PLACE, 6, ["a"]))
        assert await watch.next(0)
        assert not early()
        moves.heard(message(PLACE, 5, ["a"]))  # of a server that was put back
        moves.unheard()
        assert not early()


def test_a_message_fits() -> None:
    """Postgres takes fewer than 8000 bytes."""
    assert len(message(PLACE, 2**62, MANY[:MAX_MARKS])) < 4000
