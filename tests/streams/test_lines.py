"""Projections of whole partitions: every record in the order of its number, with one document that they share, and none left out."""

from collections.abc import Iterable, Mapping
from typing import Any

from streams.agent import Projection
from streams.decision import ROOT, State
from streams.envelope import Signer
from streams.folding import Folding
from streams.sink import Line
from streams.store import Slot
from streams.table import Table
from streams.testing import SIGNER, Kit
from tests.streams.report import REPORT, SeenRow
from tests.streams.rig import EVENTS, Owner, Rig, until
from tests.streams.tally import TALLY, A, Add, B, account, decider

OTHER = account(1)


class Count(State, frozen=True):
    """How many records a partition has."""

    records: int = 0


def evolve(state: Mapping[str, State], line: Line) -> Mapping[str, State]:
    count = state[ROOT]
    assert isinstance(count, Count)
    return {ROOT: Count(count.records + 1)}


def project(line: Line, state: Mapping[str, State]) -> Iterable[Any]:
    count = state[ROOT]
    assert isinstance(count, Count)
    yield SeenRow(line.key, line.envelope.type, count.records)


def lines(**more: Any) -> Projection:
    given = {"project": project, "evolve": evolve} | more
    return Projection("lines", TALLY, REPORT, table=Table("lines", {ROOT: Count}), per="partition", **given)


def live(rig: Rig, agent: Projection, partition: int = 0) -> Owner:
    slot = Slot("report", agent.name, EVENTS, partition)
    return rig.open(slot, Folding(agent, slot, store=rig.store, signer=SIGNER), 500)


def seen(rig: Rig) -> list[Any]:
    return list(rig.memory.schemas["report"].rows.get("seen", []))


def stopped(rig: Rig) -> str:
    """Why the projection stands still."""
    return "".join(place.stopped or "" for place in rig.memory.schemas["report"].places.values())


def test_all_records_of_a_partition_share_a_document_whatever_their_key_and_the_cores_own_are_among_them() -> None:
    with Kit(decider(), lines()) as kit:
        for command in (Add(account=A, amount=1), Add(account=B, amount=1), Add(account=OTHER, amount=1)):
            kit.send(command)
        kit.send(Add(account=B, amount=1, how="deny"))

        assert kit.rows("seen", "report") == [
            ("0", "added", 1),
            ("0", "added", 2),
            ("0", "command_rejected", 3),
            ("1", "added", 1),
        ]
        assert kit.state("0", domain="report", projection="lines") == Count(3)
        assert sorted(kit.rebuilt().schemas["report"].rows["seen"]) == kit.rows("seen", "report")


async def test_a_partition_stands_still_at_a_record_that_it_cannot_take_and_goes_on_when_it_is_mended(
    rig: Rig,
) -> None:
    def dislikes(line: Line, state: Mapping[str, State]) -> Iterable[Any]:
        if line.envelope.number == 2:
            raise RuntimeError("The rules do not like this.")
        return project(line, state)

    rig.decider()
    owner = live(rig, lines(project=dislikes))
    for n in range(3):
        rig.send(Add(account=(A, B)[n % 2], amount=1))
    await until(lambda: stopped(rig))
    assert "leaves none out" in stopped(rig)
    assert (seen(rig), rig.memory.schemas["report"].parked) == ([], {})

    owner.handler.agent = lines()  # type: ignore[attr-defined]
    owner.partition.wake()
    await rig.quiet()
    assert [row[2] for row in seen(rig)] == [1, 2, 3]


async def test_rows_that_the_store_refuses_are_not_left_out_either(rig: Rig) -> None:
    def huge(line: Line, state: Mapping[str, State]) -> Iterable[Any]:
        return [SeenRow(line.key, "", line.envelope.number << 62)]

    rig.decider()
    live(rig, lines(project=huge))
    rig.send(Add(account=A, amount=1))
    rig.send(Add(account=B, amount=1))
    await until(lambda: stopped(rig))

    assert rig.memory.schemas["report"].parked == {}
    assert len(seen(rig)) == 1


async def test_a_record_that_was_copied_from_another_partition_is_parked(rig: Rig) -> None:
    """It is signed as it stands, and it is no record of this partition."""
    rig.decider()
    live(rig, lines())
    live(rig, lines(), 1)
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    (record,) = rig.broker.records(EVENTS)
    rig.broker.add(EVENTS, 1, record.key or b"", record.value or b"", record.headers)
    await rig.quiet()

    assert [one.cause for one in rig.memory.schemas["report"].parked.values()] == ["wrong_key"]
    assert len(seen(rig)) == 1


def test_what_was_witnessed_is_the_same_again_and_nobody_else_makes_it() -> None:
    """By the key that signed the record, whichever signs now."""

    class Record:
        headers = (("caravan-sig", b"old:x"),)

    keys = [("new", bytes(32)), ("old", bytes(range(32)))]
    told = Signer(keys[1:]).witness(Record, b"what")

    assert Signer(keys).witness(Record, b"what") == told
    assert Signer(keys).witnessed(told, b"what")
    assert not Signer(keys).witnessed(told, b"other")
    assert not Signer([("old", bytes(32))]).witnessed(told, b"what")
    assert not Signer(keys[:1]).witnessed(told, b"what")
    assert not Signer(keys).witnessed("nonsense", b"what")
