"""The views of moderation on a real Postgres, and what the audit says of rows that do not add up."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.governance.audit import cases as audit
from agents.governance.sink.cases import (
    AppealRow,
    CaseEventRow,
    CaseRow,
    ContentRow,
    DismissalRow,
    KindRow,
    ListRow,
    ReportRow,
)
from agents.governance.view.cases import (
    appeals_open,
    case_history,
    moderation_kinds,
    moderation_lists,
    moderation_queue,
    moderation_stats,
    my_cases,
    reports_open,
)
from sinks.postgres import migrate
from streams import discover
from streams.view import Page, Paging
from tests.caravan.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def put(db: Any, *rows: Any) -> None:
    for row in rows:
        await db.copy_records_to_table(row.__rows__.name, records=[row], columns=row.__rows__.columns)


def case(subject: str, revision: int = 1, number: int = 1, **fields: Any) -> CaseRow:
    """A case of ann's that waits."""
    return CaseRow(
        **{
            "subject": subject,
            "revision": revision,
            "number": number,
            "kind": "note",
            "author_id": "ann",
            "origin": "submission",
            "status": "open",
            "opened_at": NOON,
            "moderator_id": None,
            "waiting": "",
            "flags": "",
            "reports": 0,
            "approved_by": None,
            "decided_by": None,
            "decided_at": None,
            "reason": None,
            "appeal": "none",
            **fields,
        }
    )


def approved(subject: str, by: str | None, minutes: int, how: str = "moderator", **fields: Any) -> CaseRow:
    at = NOON + minutes * MINUTE
    return case(subject, status="approved", approved_by=how, decided_by=by, decided_at=at, **fields)


def rejected(subject: str, by: str, minutes: int, **fields: Any) -> CaseRow:
    at = NOON + minutes * MINUTE
    return case(subject, status="rejected", decided_by=by, decided_at=at, reason="No.", **fields)


def told(row: CaseRow, event: str, seq: int, by: str | None = None, words: str | None = None) -> CaseEventRow:
    return CaseEventRow(row.subject, seq, row.revision, row.number, NOON + seq * MINUTE, event, by, words)


DECIDED = (
    approved("notes:a", "mod", 10),
    approved("notes:b", "root", 20),
    approved("notes:c", None, 0, "checks"),
    rejected("notes:d", "mod", 60, appeal="filed"),
    rejected("notes:e", "mod", 6000),
)
WAITING = (
    case("notes:a", number=2, origin="reports", reports=2, opened_at=NOON + 11 * MINUTE),
    case("notes:f", waiting="text author", opened_at=NOON - MINUTE),
    case("notes:f", 2, status="claimed", moderator_id="mod", flags="list:spam rate", opened_at=NOON + MINUTE),
    case("essays:g", kind="essay", author_id="bob", status="escalated", opened_at=NOON + 2 * MINUTE),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    """A schema with these rows; what a test adds is taken back."""
    namespace = f"t{secrets.token_hex(3)}_"
    await migrate(infra.postgres, namespace, ["governance"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f'"{namespace}governance"'})
    await put(
        connection,
        *DECIDED,
        *WAITING,
        *(told(row, f"content_{row.status}", 2, row.decided_by) for row in DECIDED),
        told(DECIDED[3], "moderation_requested", 1, "ann", "submission"),
        told(DECIDED[3], "appeal_filed", 3, "ann", "It is none."),
        ContentRow("notes:d", 1, "Offer", "Buy now", ""),
        ContentRow("notes:f", 1, None, "Good morning", "m1 m2"),
        ReportRow("notes:a", 1, "bob", 2, "spam", "Look", NOON + 11 * MINUTE),
        ReportRow("notes:a", 1, "cy", 2, "other", None, NOON + 12 * MINUTE),
        ReportRow("notes:a", 1, "dan", 2, "other", None, NOON + 12 * MINUTE),
        ReportRow("notes:a", 1, "eve", 2, "other", None, NOON + 12 * MINUTE),
        DismissalRow("notes:a", 1, "dan", 2, "mod", None, NOON + 13 * MINUTE),
        DismissalRow("notes:a", 1, "eve", 2, "mod", None, NOON + 13 * MINUTE),
        AppealRow("notes:d", 1, 1, "ann", "It is none.", NOON + 90 * MINUTE),
        ListRow("gambling", "words", '["casino"]'),
        ListRow("gone", "links", "[]"),
        KindRow("note", True, 20),
    )
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def pages(view: Any, db: Any, *args: Any, limit: int) -> list[list[Any]]:
    """All parts of a list."""
    found, paging = [], Paging(limit=limit)
    while True:
        page: Page[Any] = await view(db, *args, paging)
        found.append(page.items)
        if page.next is None:
            return found
        paging = Paging.read(page.next, limit)


def places(found: list[Any]) -> list[tuple[str, int, int]]:
    return [(one.subject, one.revision, one.case) for one in found]


@pytest.mark.req("SR097")
async def test_the_queue_has_what_waits_the_oldest_first(db: Any) -> None:
    found = await pages(moderation_queue, db, limit=3)

    first, more = (places(page) for page in found)
    assert first + more == [("notes:f", 1, 1), ("notes:f", 2, 1), ("essays:g", 1, 1), ("notes:a", 1, 2)]
    oldest, claimed = found[0][:2]
    assert (oldest.text, oldest.media_ids, oldest.waiting) == ("Good morning", ["m1", "m2"], ["text", "author"])
    assert (claimed.moderator_id, claimed.flags, claimed.title) == ("mod", ["list:spam", "rate"], None)
    assert found[1][0].reports == 2


@pytest.mark.req("SR097")
async def test_the_queue_is_asked_by_kind_status_and_age(db: Any) -> None:
    essays = (await moderation_queue(db, Paging(), kind="essay")).items
    claimed = (await moderation_queue(db, Paging(), status="claimed")).items
    old = (await moderation_queue(db, Paging(), opened_before=NOON)).items

    assert [places(found) for found in (essays, claimed, old)] == [
        [("essays:g", 1, 1)],
        [("notes:f", 2, 1)],
        [("notes:f", 1, 1)],
    ]
    assert (await moderation_queue(db, Paging(), status="approved")).items == []


async def test_the_history_of_a_subject_is_told_in_order(db: Any) -> None:
    found = await pages(case_history, db, "notes:d", limit=2)

    assert [[one.event for one in page] for page in found] == [
        ["moderation_requested", "content_rejected"],
        ["appeal_filed"],
    ]
    assert (found[1][0].by, found[1][0].words) == ("ann", "It is none.")
    assert (await case_history(db, "notes:z", Paging())).items == []


async def test_open_reports_are_those_of_open_cases_that_nobody_dismissed(db: Any) -> None:
    found = await pages(reports_open, db, limit=1)

    assert [[(one.reporter_id, one.category, one.note) for one in page] for page in found] == [
        [("bob", "spam", "Look")],
        [("cy", "other", None)],
    ]
    await db.execute("UPDATE moderation_case SET status = 'approved', decided_at = now() WHERE reports > 0")
    assert (await reports_open(db, Paging())).items == []


async def test_an_appeal_is_shown_with_what_was_rejected(db: Any) -> None:
    (found,) = (await appeals_open(db, Paging())).items

    assert (found.subject, found.appeal, found.decided_by, found.reason) == ("notes:d", "It is none.", "mod", "No.")
    assert (found.title, found.text, found.filed_at) == ("Offer", "Buy now", NOON + 90 * MINUTE)


async def test_authors_see_what_became_of_theirs_the_last_first(db: Any) -> None:
    found = await pages(my_cases, db, "ann", limit=3)

    assert [place for page in found for place in places(page)] == [
        ("notes:a", 1, 2),
        ("notes:f", 2, 1),
        ("notes:e", 1, 1),
        ("notes:d", 1, 1),
        ("notes:c", 1, 1),
        ("notes:b", 1, 1),
        ("notes:a", 1, 1),
        ("notes:f", 1, 1),
    ]
    assert (found[0][2].status, found[0][2].reason) == ("rejected", "No.")
    assert [one.subject for one in (await my_cases(db, "bob", Paging())).items] == ["essays:g"]


@pytest.mark.req("SR097")
async def test_the_stats_are_what_a_recount_gives(db: Any) -> None:
    stats = await moderation_stats(db, since=NOON, until=NOON + timedelta(days=1))
    essay, note = stats.kinds
    assert (essay.kind, essay.waiting, essay.oldest, essay.approved) == ("essay", 1, NOON + 2 * MINUTE, 0)
    assert (essay.rejected, essay.median_seconds) == (0, None)

    counted = [row for row in DECIDED if row.decided_at and row.decided_at < NOON + timedelta(days=1)]
    seconds = sorted((row.decided_at - row.opened_at).total_seconds() for row in counted if row.decided_at)
    assert (note.waiting, note.oldest) == (3, NOON - MINUTE)
    assert (note.approved, note.rejected, note.by_checks, note.overturned) == (3, 1, 1, 0)
    assert note.median_seconds == (seconds[1] + seconds[2]) / 2
    assert [(one.moderator_id, one.approved, one.rejected) for one in stats.moderators] == [
        ("mod", 1, 1),
        ("root", 1, 0),
    ]
    assert (await moderation_stats(db)).kinds[1].rejected == 2


async def test_lists_and_kinds_are_those_that_there_are(db: Any) -> None:
    (one,) = await moderation_lists(db)
    assert (one.list_id, one.of, one.entries) == ("gambling", "words", ["casino"])

    (kind,) = await moderation_kinds(db)
    assert (kind.kind, kind.automatic, kind.most_per_hour) == ("note", True, 20)


BROKEN = {
    "one_case_of_a_revision_is_open": [case("notes:f", 1, 2, origin="reports")],
    "a_case_has_one_decision": [approved("notes:h", "mod", 1)],
    "nobody_decides_on_their_own": [approved("identity:ann", "ann", 1, author_id=None)],
    "a_case_counts_its_reports": [case("notes:h", reports=1)],
}


@pytest.mark.req("SR097")
@pytest.mark.parametrize("name", BROKEN)
async def test_the_audit_finds_what_does_not_add_up(db: Any, name: str) -> None:
    checks = {name: check for name, check in discover.checks("governance").items() if hasattr(audit, name)}
    assert set(checks) == set(BROKEN)
    assert [await check(db) for check in checks.values()] == [[]] * len(checks)

    await put(db, *BROKEN[name])
    if name == "nobody_decides_on_their_own":
        await put(db, told(BROKEN[name][0], "content_approved", 1, "ann"))
    assert {found for found, check in checks.items() if await check(db)} == {name}


async def test_the_audit_finds_a_second_decision_and_who_judged_themselves(db: Any) -> None:
    await put(db, told(DECIDED[0], "content_rejected", 9, "root"))
    assert [row["subject"] for row in await audit.a_case_has_one_decision(db)] == ["notes:a"]

    await put(db, told(DECIDED[3], "appeal_decided", 9, "mod"))
    assert [row["subject"] for row in await audit.nobody_decides_on_their_own(db)] == ["notes:d"]
