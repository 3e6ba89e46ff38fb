"""The checker is worth something: it is silent about legal histories, and names what was planted."""

import random
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.generate import generate
from streams.envelope import Actor
from streams.testing import SIGNER, Kit
from tests.acceptance.test_planted_bugs import accepted
from tests.checker.check import check
from tests.checker.history import History, Observation, of
from tests.checker.legal import KINDS, Kind, Legal, sums
from tests.checker.memory import observe, positions
from tests.checker.model import points
from topics.points import POINTS

Seen = list[Observation]


@pytest.fixture(scope="module")
def shown() -> Seen:
    """What points showed of some commands, of which a client gave some twice, with a read after each."""
    ticks, dice = count(), random.Random(5)
    history = History(clock=lambda: next(ticks))
    with Kit.of("points") as kit:
        for line in generate(5, 200, users=8):
            if (command := accepted(line)) is None:
                history.note("refused", "client", domain="points", key=None, cmd_id=line["id"])
                continue
            for _ in range(1 + (dice.random() < 0.2)):
                kit.send(
                    command, actor=Actor("user", line["as"]["user"], line["as"]["role"]), command_id=UUID(line["id"])
                )
            seq = max((row[1] for row in kit.rows("ledger") if row[0] == command.key), default=0)
            history.note("read", "client", domain="points", key=command.key, seq=seq, token=line["id"])
            positions(history, kit.store, "points")
        observe(history, kit.broker, kit.store, [POINTS], SIGNER)
    for record in of(history.seen, "record"):
        if record["envelope"]["actor"]["type"] == "user":
            known = {name: record[name] for name in ("domain", "key", "cmd_id", "topic", "partition", "offset")}
            history.note("acked", "client", **known)
    return history.seen


def test_what_the_domain_shows_is_right(shown: Seen) -> None:
    kinds = {one["kind"] for one in shown}

    assert kinds == {"refused", "read", "position", "record", "event", "result", "row", "acked"}
    assert check(shown, points) == []


def test_a_history_is_kept_in_a_file(shown: Seen, tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    for one in shown:
        history.note(
            one["kind"], one["actor"], **{name: one[name] for name in one if name not in {"t", "kind", "actor"}}
        )
    history.close()

    again = History.load(tmp_path / "history")
    assert again.digest() == history.digest()
    assert check(again.seen, points) == []


# -- planted in what the domain shows


def command_of(seen: Seen, kind: str = "award_points") -> str:
    """A command in the middle of the run, whose key had some before it and has some after it."""
    found = [r["cmd_id"] for r in of(seen, "record") if r["envelope"]["type"] == kind]
    return str(found[len(found) // 2])


def without(seen: Seen, name: str, *kinds: str) -> None:
    """Forget what was seen of a command, in these kinds."""
    seen[:] = [one for one in seen if one["kind"] not in kinds or one["cmd_id"] != name]


def lost(seen: Seen) -> None:
    """A command was acknowledged and is not on the topic."""
    name = command_of(seen)
    without(seen, name, "record", "result", "event")


def undone(seen: Seen) -> None:
    """A command is on the topic and nothing came of it."""
    without(seen, command_of(seen), "result", "event")


def doubled(seen: Seen) -> None:
    """The events of a command are told once more, under later numbers."""
    events = [one for one in of(seen, "event") if one["cmd_id"] == command_of(seen)]
    there = [one for one in of(seen, "event") if one["partition"] == events[0]["partition"]]
    for n, one in enumerate(events, 1):
        seen.append({**one, "number": one["number"] + len(there) + n, "offset": len(there) + n})


def doubled_row(seen: Seen) -> None:
    """A movement is in the ledger twice."""
    seen.append(dict(next(one for one in of(seen, "row") if one["table"] == "ledger")))


def doubled_result(seen: Seen) -> None:
    """A repeat was decided once more."""
    names = [one["cmd_id"] for one in of(seen, "record")]
    name = next(name for name in names if names.count(name) > 1)
    result = next(one for one in of(seen, "result") if one["cmd_id"] == name)
    seen.append({**result, "offset": [one for one in of(seen, "record") if one["cmd_id"] == name][-1]["offset"]})


def reordered(seen: Seen) -> None:
    """Two commands of a key took effect the other way round: the earlier one's offset was the later one's."""
    events = [one for one in of(seen, "event") if one["envelope"]["source"]["offset"] >= 0]
    first = events[0]
    second = next(one for one in events if one["key"] == first["key"] and one["cmd_id"] != first["cmd_id"])
    a, b = first["envelope"]["source"], second["envelope"]["source"]
    first["envelope"]["source"], second["envelope"]["source"] = b, a


def ghost(seen: Seen) -> None:
    """A command that was refused has its effect."""
    known = {"actor": "client", "t": 0, "kind": "refused", "domain": "points", "key": None}
    seen.append({**known, "cmd_id": command_of(seen)})


def stranger(seen: Seen) -> None:
    """A command that nobody published has a result."""
    without(seen, command_of(seen), "record", "acked")


def without_events(seen: Seen) -> None:
    """A command has its result and its rows, and no event."""
    without(seen, command_of(seen), "event")


def without_result(seen: Seen) -> None:
    """A command has its events and its rows, and no result."""
    without(seen, command_of(seen), "result")


def without_row(seen: Seen) -> None:
    """A command has its result and its events, and no movement."""
    seen.remove(next(one for one in of(seen, "row") if one["table"] == "ledger"))


def without_cause(seen: Seen) -> None:
    """A movement is there of which no event tells."""
    row = next(one for one in of(seen, "row") if one["table"] == "ledger")
    seen.append({**row, "row": {**row["row"], "seq": 999}})


def half_told(seen: Seen) -> None:
    """A result names an event that nobody saw."""
    next(one for one in of(seen, "result") if one["events"])["events"].append(["another", "points_awarded"])


def both(seen: Seen) -> None:
    """A command has a result and is parked."""
    one = next(one for one in of(seen, "record") if one["cmd_id"] == command_of(seen))
    known = {name: one[name] for name in ("domain", "key", "cmd_id", "topic", "partition", "offset")}
    seen.append({"kind": "parked", "actor": "store", "t": 0, "agent": "points", "holds": True, "cause": "", **known})


def two_values(seen: Seen) -> None:
    """Two readers read the same offset and saw different records."""
    seen.append({**of(seen, "record")[3], "actor": "another", "value": "another"})


def elsewhere(seen: Seen) -> None:
    """An acknowledged command stands where another one was said to stand."""
    of(seen, "acked")[3]["cmd_id"] = "another"


def gap(seen: Seen) -> None:
    """A number is missing."""
    seen.remove(next(one for one in of(seen, "event") if one["number"] == 3))


def two_contents(seen: Seen) -> None:
    """A number came twice, with different events."""
    one = next(one for one in of(seen, "event") if one["number"] == 3)
    seen.append({**one, "offset": 10**6, "value": "another"})


def unsent(seen: Seen) -> None:
    """The last event of a partition is committed and not on the topic."""
    events = [one for one in of(seen, "event") if one["partition"] == 0]
    seen.remove(max(events, key=lambda one: one["offset"]))


def back(seen: Seen) -> None:
    """A position was moved back on the way."""
    one = next(one for one in of(seen, "position") if one["next"] > 1)
    seen.insert(seen.index(one) + 1, {**one, "next": one["next"] - 1})


def passed(seen: Seen) -> None:
    """A position went past a command of which nothing came."""
    without(seen, command_of(seen), "result", "event", "acked")


def older(seen: Seen) -> None:
    """A reader saw less than before."""
    read = next(one for one in reversed(of(seen, "read")) if one["seq"] > 1)
    seen.append({**read, "seq": read["seq"] - 1, "token": None})


def stale(seen: Seen) -> None:
    """A reader did not see what was there when the token was given."""
    name = next(e["cmd_id"] for e in of(seen, "event") if e["envelope"]["type"] == "points_awarded")
    read = next(one for one in of(seen, "read") if one["token"] == name)
    seen.append({**read, "seq": 0, "actor": "another"})


def wrong_balance(seen: Seen) -> None:
    """A balance is not what the commands lead to."""
    next(one for one in of(seen, "row") if one["table"] == "balance")["row"]["available"] += 1


def wrong_result(seen: Seen) -> None:
    """A command that should have been refused was accepted."""
    next(one for one in of(seen, "result") if one["code"] == "insufficient")["status"] = "accepted"


def skipped_sequence(seen: Seen) -> None:
    """An event counts twice in its key's sequence."""
    next(one for one in of(seen, "event") if one["envelope"]["aggregate_seq"] == 2)["envelope"]["aggregate_seq"] = 3


def back_in_time(seen: Seen) -> None:
    """An event of a key is earlier than the one before it."""
    one = next(one for one in of(seen, "event") if one["envelope"]["aggregate_seq"] == 2)
    one["envelope"]["occurred_at"] = "1999-01-01T00:00:00Z"


PLANTED: dict[str, tuple[Callable[[Seen], None], ...]] = {
    "lost": (lost, undone),
    "doubled": (doubled, doubled_row, doubled_result),
    "reordered": (reordered,),
    "ghost": (ghost, stranger),
    "half-applied": (without_events, without_result, without_cause, half_told, both),
    "two values": (two_values, elsewhere),
    "numbers": (gap, two_contents, unsent),
    "position": (back, passed),
    "read": (older, stale),
    "model": (without_row, wrong_balance, wrong_result),
    "sequence": (skipped_sequence,),
    "time": (back_in_time,),
}


@pytest.mark.parametrize(("name", "plant"), [(name, plant) for name, plants in PLANTED.items() for plant in plants])
def test_what_is_planted_is_named(shown: Seen, name: str, plant: Callable[[Seen], None]) -> None:
    seen = deepcopy(shown)
    plant(seen)

    assert name in {words.partition(":")[0] for words in check(seen, points)}


# -- legal histories, whatever they hold

STEPS = st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"), st.integers(0, 3))


@given(st.lists(STEPS, max_size=40))
def test_any_legal_history_passes(steps: list[tuple[Kind, str, int]]) -> None:
    legal = Legal()
    for step in steps:
        legal.step(*step)

    assert check(legal.end("reader 1", "reader 2"), sums) == []


@pytest.mark.parametrize("kind", ["result", "record", "row", "event"])
@given(steps=st.lists(STEPS.filter(lambda step: step[0] != "relay again"), max_size=20), data=st.data())
def test_no_history_passes_without_one_of_its_pieces(kind: str, steps: list[tuple[Kind, str, int]], data: Any) -> None:
    legal = Legal()
    for step in [("accept", "a", 2), *steps]:
        legal.step(*step)
    seen = legal.end("reader")
    piece = data.draw(st.sampled_from(of(seen, kind)))

    assert check([one for one in seen if one is not piece], sums)


def test_a_command_that_overtakes_a_parked_one_is_named() -> None:
    legal = Legal()
    legal.step("poison", "a", 1)
    waiting = legal._held.pop("a")
    legal.step("accept", "a", 1)
    legal._held["a"] = waiting

    assert "reordered" in {words.partition(":")[0] for words in check(legal.end("reader"), sums)}
