"""The views of privacy on a real Postgres, and what the audit says of rows that do not add up."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.governance.audit import privacy as audit
from agents.governance.sink.privacy import ConsentRow, ErasureRow, ExportRow, StepRow
from agents.governance.view.privacy import ErasureStep, consents, data_export, erasure_progress, erasures_open
from sinks.postgres import migrate
from streams import discover
from streams.view import Paging
from tests.caravan.running import Running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.req("SR140")]
NOON, DAY = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(days=1)


def erasure(user_id: str, status: str = "asked", days: int = 30, **fields: Any) -> ErasureRow:
    """An erasure that is due so many days after the first noon."""
    at = {"requested_at": NOON, "due_by": NOON + days * DAY, "erased_at": NOON if status == "erased" else None}
    return ErasureRow(
        **{"user_id": user_id, "erasure_id": f"e-{user_id}", "status": status, "overdue": False, **at, **fields}
    )


def step(user_id: str, domain: str, status: str = "completed", reason: str | None = None) -> StepRow:
    """How far a domain is."""
    return StepRow(user_id, f"e-{user_id}", domain, status, reason, NOON)


ROWS = (
    ConsentRow("ann", "news", "2", "web", NOON, NOON + DAY, True),
    ConsentRow("ann", "analytics", "1", "app", NOON, NOON + DAY, False),
    ConsentRow("bob", "news", "1", "web", NOON, NOON, True),
    ExportRow("ann", "x1", "ready", NOON, NOON + 7 * DAY, 9),
    ExportRow("bob", "x2", "in_progress", NOON, None, None),
    ExportRow("cy", "x4", "ready", NOON, NOON + 7 * DAY, 9),
    erasure("ann", days=20),
    erasure("bob", "acknowledged"),
    erasure("cy", "requested"),
    erasure("dan", "erased"),
    step("ann", "shop", "deferred", "an order is open"),
    step("ann", "identity"),
    step("bob", "shop"),
    step("dan", "shop"),
)


async def put(db: Any, *rows: Any) -> None:
    for row in rows:
        await db.copy_records_to_table(row.__rows__.name, records=[row], columns=row.__rows__.columns)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    namespace = f"t{secrets.token_hex(3)}_"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discover, "domains", lambda: ["governance"])
        await migrate(infra.postgres, namespace, ["governance"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f"{namespace}governance"})
    await put(connection, *ROWS)
    for user_id, export_id in (("ann", "x1"), ("cy", "x3")):
        await connection.execute("INSERT INTO export_file VALUES ($1, $2, 'the file')", user_id, export_id)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def test_consents_are_those_of_the_user(db: Any) -> None:
    found = await consents(db, "ann")

    assert [(one.purpose, one.given, one.text_version) for one in found] == [
        ("analytics", False, "1"),
        ("news", True, "2"),
    ]
    assert await consents(db, "eve") == []


async def test_a_file_is_shown_with_the_export_that_it_is_of(db: Any) -> None:
    """What was left of an export before it is not."""
    shown = {name: await data_export(db, name) for name in ("ann", "bob", "cy", "eve")}

    assert {name: export and (export.status, export.file) for name, export in shown.items()} == {
        "ann": ("ready", "the file"),
        "bob": ("in_progress", None),
        "cy": ("ready", None),
        "eve": None,
    }


async def test_an_erasure_is_shown_domain_by_domain(db: Any) -> None:
    progress = await erasure_progress(db, "ann")

    assert progress is not None
    assert (progress.status, progress.due_by, progress.overdue) == ("asked", NOON + 20 * DAY, False)
    assert progress.steps == [
        ErasureStep(domain="identity", status="completed", reason=None, at=NOON),
        ErasureStep(domain="shop", status="deferred", reason="an order is open", at=NOON),
    ]
    assert await erasure_progress(db, "eve") is None


async def test_open_erasures_come_as_they_are_due(db: Any) -> None:
    first = await erasures_open(db, Paging(limit=2))
    rest = await erasures_open(db, Paging.read(first.next, 2))

    assert [one.user_id for one in (*first.items, *rest.items)] == ["ann", "bob", "cy"]
    assert rest.next is None


DAMAGES = {
    "erased_after_every_step": [
        "UPDATE erasure_step SET status = 'deferred' WHERE user_id = 'dan'",
        "DELETE FROM erasure_step WHERE user_id = 'bob'",
    ],
    "no_file_of_who_is_erased": [
        "UPDATE export_file SET user_id = 'dan' WHERE user_id = 'ann'",
        "UPDATE consent SET user_id = 'dan' WHERE user_id = 'ann'",
    ],
}


@pytest.mark.parametrize(("name", "damage"), [(name, one) for name, damages in DAMAGES.items() for one in damages])
async def test_the_audit_finds_what_does_not_add_up(db: Any, name: str, damage: str) -> None:
    checks = {name: check for name, check in discover.checks("governance").items() if hasattr(audit, name)}
    assert set(checks) == set(DAMAGES)
    assert [await check(db) for check in checks.values()] == [[]] * len(checks)

    await db.execute(damage)
    assert {found for found, check in checks.items() if await check(db)} == {name}


async def test_a_file_that_is_about_to_go_is_no_finding(db: Any) -> None:
    await db.execute("UPDATE export_file SET user_id = 'dan' WHERE user_id = 'ann'")
    await db.execute(
        'INSERT INTO effects (agent, partition, number, "offset", key, value, headers, intent, due, status, unknown, attempts, epoch, first)'
        " VALUES ('exports', 0, 1, 0, 'dan', '', '[]', '{}', 0, 'waiting', false, 0, 0, true)"
    )

    assert await audit.no_file_of_who_is_erased(db) == []
