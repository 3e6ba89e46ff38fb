"""The chain of the audit log, over random histories: every command has one entry, and whatever is done to the entries afterwards is found."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.rules.log import ANCHOR, Entry, Head, entry_of, extended, signed
from agents.governance.sink.log import LogRow, logged
from caravan.audit_log.chain import MENDS, Chain, Row
from streams.decision import ROOT
from streams.envelope import Actor, Closing, EventEnvelope, Outcome, Signer, Source
from streams.sink import Line

pytestmark = [pytest.mark.req("SR099"), pytest.mark.req("SR143")]
SIGNER, STRANGER = Signer([("k1", bytes(range(32)))]), Signer([("k1", bytes(32))])
START = datetime(2026, 1, 1, tzinfo=UTC)
ACTORS = (Actor("user", "ann", "User"), Actor("user", "root", "Admin"), Actor("service", "points"), Actor("guest", ""))
OUTCOMES = (None, None, Outcome("rejected", "no", 409), Outcome("pending"), Outcome(settles=UUID(int=7)))


class Record:
    """A record as its signature tells by which key it was signed."""

    headers = (("caravan-sig", b"k1:"),)


def command(nth: int, number: int, events: int, seconds: int) -> list[Line]:
    """The first and the last line of a command that leaves so many events, the first with this number."""
    made = []
    for n in sorted({0, events - 1}):
        last = n == events - 1
        envelope = EventEnvelope(
            event_id=str(UUID(int=number + n)), type="happened", schema_version=1, occurred_at=START + timedelta(seconds=seconds),
            domain="points", aggregate_id=f"u{nth % 3}", aggregate_seq=n, actor=ACTORS[nth % 4], command_id=str(UUID(int=nth)),
            correlation_id=str(UUID(int=nth)), causation_id=str(UUID(int=nth)), number=number + n, source=Source(2, nth, "h"),
            outcome=OUTCOMES[nth % 5] if last else None, closes=Closing(f"do_{nth % 4}", events) if last else None,
            payload=msgspec.Raw(b"{}"),
        )  # fmt: skip
        made.append(Line(envelope, lambda what: SIGNER.witness(Record, what)))
    return made


def history(sizes: list[int]) -> tuple[list[LogRow], Head]:
    """The rows that the log writes of commands which leave so many events each, and its head."""
    rows, number = list[LogRow](), 1
    state: dict[str, Any] = {ROOT: Head()}
    for nth, events in enumerate(sizes):
        for line in command(nth, number, events, nth):
            state |= extended(state, line)
            rows += logged(line, state)
        number += events
    return rows, state[ROOT]


def found(rows: list[LogRow], head: Head, signer: Signer = SIGNER) -> set[tuple[str, int]]:
    """What verifying finds: what, and at which number."""
    chain = Chain("points", 2, signer.witnessed)
    for row in rows:
        chain.take(Row(Entry(*row[:15]), row.hash, row.anchor))
    chain.end((head.last, head.hash), head.last)
    assert all(one.mend == MENDS[one.kind] and one.words and one[1:3] == ("points", 2) for one in chain.findings)
    return {(one.kind, one.number) for one in chain.findings}


def sealed(rows: list[LogRow], sign: Signer | None = None) -> tuple[list[LogRow], Head]:
    """The rows with all hashes made anew, as somebody may who can write to Postgres; the anchors stay, or are those of another key."""
    before, made = b"", []
    for row in rows:
        before = sha256(before + written(row)).digest()
        anchor = sign.witness(Record, signed(before)) if sign and row.anchor else row.anchor
        made.append(row._replace(hash=before, anchor=anchor))
    return made, Head(made[-1].number + made[-1].events - 1, before.hex())


def written(row: LogRow) -> bytes:
    """An entry as anybody writes it who knows JSON."""
    told = [*row[:4], row.at.isoformat().replace("+00:00", "Z"), *row[5:15]]
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()


sizes = st.lists(st.sampled_from((1, 1, 1, 2, 3, 90)), min_size=1, max_size=30)
many = st.lists(st.sampled_from((1, 2, 3, 90)), min_size=8, max_size=30)


@given(sizes)
def test_every_command_has_one_entry_and_the_chain_is_what_anybody_computes(events: list[int]) -> None:
    rows, head = history(events)

    assert [row.events for row in rows] == events
    assert all(row.number + row.events == after.number for row, after in pairwise(rows))
    assert [row.number for row in rows if row.anchor] == [
        row.number for row in rows if (row.number + row.events - 1) // ANCHOR > (row.number - 1) // ANCHOR
    ]
    assert sealed(rows) == (rows, head) if not head.anchored else sealed(rows)[0] == rows
    assert found(rows, head) == set()


CHANGES: dict[str, Any] = {
    "domain": "orders",
    "partition": 3,
    "at": START - timedelta(microseconds=1),
    "action": "undo",
    "actor_type": "nobody",
    "actor": "eve",
    "role": "Partner",
    "target": "u9",
    "outcome": "undone",
    "code": "another",
    "command_id": str(UUID(int=999)),
    "correlation_id": str(UUID(int=999)),
    "settles": str(UUID(int=999)),
    "hash": bytes(32),
}


@given(many, st.data())
def test_an_altered_entry_is_found_at_its_place(events: list[int], data: st.DataObject) -> None:
    rows, head = history(events)
    at = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(sorted(CHANGES)))
    rows[at] = rows[at]._replace(**{column: CHANGES[column]})

    kinds = {("altered", rows[at].number)}
    assert found(rows, head) - {("anchor_forged", rows[at].number)} == kinds


@given(many, st.data())
def test_a_missing_entry_is_found_where_it_was(events: list[int], data: st.DataObject) -> None:
    rows, head = history(events)
    gone = data.draw(st.integers(0, len(rows) - 1))
    number = rows[gone].number
    del rows[gone]

    assert found(rows, head) == {("missing", number)}


@given(many, st.data())
def test_two_entries_that_changed_places_are_found(events: list[int], data: st.DataObject) -> None:
    """With their hashes or without them; next to each other or not."""
    rows, head = history(events)
    plain = [n for n, row in enumerate(rows) if row.events == 1 and not row.anchor]
    if len(plain) < 2:
        return
    one, other = sorted(data.draw(st.lists(st.sampled_from(plain), min_size=2, max_size=2, unique=True)))
    here, there = rows[one], rows[other]
    rows[one], rows[other] = there._replace(number=here.number), here._replace(number=there.number)
    if data.draw(st.booleans()):
        rows[one], rows[other] = rows[one]._replace(hash=here.hash), rows[other]._replace(hash=there.hash)

    assert found(rows, head) == {("swapped", here.number)}


@given(many, st.data())
def test_an_entry_that_was_put_in_is_found(events: list[int], data: st.DataObject) -> None:
    """Between others, or behind the last one; with a hash that fits or not."""
    rows, head = history(events)
    at = data.draw(st.integers(0, len(rows) - 1))
    more = rows[at]._replace(number=rows[at].number if at < len(rows) - 1 else head.last + 1, events=1, anchor=None)
    if at < len(rows) - 1:
        assert ("appended", more.number) in found([*rows[: at + 1], more, *rows[at + 1 :]], head)
        return
    more = more._replace(hash=sha256(bytes.fromhex(head.hash) + written(more)).digest())
    assert ("appended", more.number) in found([*rows, more], head)


@given(many, st.data())
def test_a_chain_made_anew_without_the_platforms_key_is_found_by_its_anchors(
    events: list[int], data: st.DataObject
) -> None:
    rows, _ = history([*events, 300])
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = rows[at]._replace(actor="eve")
    anchors = {("anchor_forged", row.number) for row in rows[at:] if row.anchor}
    assert anchors

    made, end = sealed(rows)
    assert found(made, end) == anchors
    assert found(*sealed(rows, STRANGER)) >= anchors
    bare = [row._replace(anchor=None) for row in made]
    assert {("anchor_missing", number) for _, number in anchors} <= found(bare, end)


@pytest.mark.parametrize("lost", ["all", "last"])
def test_entries_that_are_missing_at_the_end_are_found(lost: str) -> None:
    rows, head = history([1, 2, 1])

    assert found([] if lost == "all" else rows[:-1], head) == {("missing", 1 if lost == "all" else 4)}


def test_numbers_that_the_log_never_knew_are_told_and_are_no_forgery() -> None:
    """As another version of the platform leaves them, whose last events did not say so."""
    state: dict[str, Any] = {ROOT: Head()}
    rows = list[LogRow]()
    for nth, number in enumerate((5, 6, 9)):
        (line,) = command(nth, number, 1, nth)
        state |= extended(state, line)
        rows += logged(line, state)

    assert found(rows, state[ROOT]) == {("unlogged", 7)}


def test_an_event_that_is_not_the_last_of_its_command_leaves_nothing() -> None:
    first, last = command(0, 1, 2, 0)

    assert entry_of(first.envelope) is None
    assert (extended({ROOT: Head()}, first), list(logged(first, {ROOT: Head()}))) == ({}, [])
    told: Callable[[Any], Any] = entry_of
    assert told(last.envelope)[:4] == ("points", 2, 1, 2)
