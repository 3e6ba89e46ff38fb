"""The auditor on a platform that has worked: it finds nothing, and names whatever is then done to topics and tables."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from caravan.audit import Finding, audit
from streams import discover
from streams.audit import check
from streams.errors import CaravanError
from streams.reading import Place
from streams.view import Db
from tests.caravan.audited import Platform, breaking, place_of
from topics.points import AwardPoints, TransferPoints

pytestmark = pytest.mark.asyncio(loop_scope="session")
USER = "v0"


async def only(rested: Platform, name: str) -> Finding:
    """The finding of that name, of which there is one."""
    (found,) = [one for one in (await rested.look()).findings if one.check == name]
    return found


async def test_a_healthy_platform_has_no_findings(rested: Platform) -> None:
    """And something of everything was looked at: every table of every domain has rows."""
    look = await rested.look()
    tables = {
        (name, table): sum(domain.scratch.sums(table).counts)
        for name, domain in rested.auditor.domains.items()
        for table in ("results", "state", "timers", *(kind.name for kind in domain.tables))
    }

    assert breaking(look.findings) == {}
    assert {place for place, rows in tables.items() if not rows} == {("identity", "timers")}
    assert set(look.ages.values()) == {0.0}
    assert breaking(await audit(rested.settings)) == {}


# What is done to a table, and what is found then: domain, tables, statement, the names by domain, words of one of them.
DAMAGES: dict[str, tuple[str, str, str, set[str], str]] = {
    "row changed": (
        "points", "balance", "UPDATE balance SET available = available + 1 WHERE user_id = 'v0'",
        {"row_changed", "balance_is_its_ledger", "accounts_sum_to_zero"}, "balance v0: available is",
    ),
    "row deleted": (
        "points", "balance", "DELETE FROM balance WHERE user_id = 'v0'",
        {"row_missing", "balance_is_its_ledger", "accounts_sum_to_zero", "held_is_open_holds", "expiring_is_available"},
        "balance v0: the events make user_id=v0 available=",
    ),
    "row added": (
        "points", "balance", "INSERT INTO balance VALUES ('nobody', 7, 0)",
        {"row_extra", "balance_is_its_ledger", "accounts_sum_to_zero"},
        "balance nobody: no event made user_id=nobody available=7",
    ),
    "ledger doubled": (
        "points", "ledger",
        ("INSERT INTO ledger SELECT user_id, seq + 100000, at, kind, debit, credit, amount, reference, note FROM ledger "
        "WHERE user_id = 'v0' AND kind = 'awarded'"),
        {"row_extra", "balance_is_its_ledger", "accounts_sum_to_zero"}, "ledger v0 1000",
    ),
    "ledger is one-sided": (
        "points", "ledger", "UPDATE ledger SET credit = debit WHERE user_id = 'v0' AND kind = 'held'",
        {"row_changed", "movement_has_two_sides", "balance_is_its_ledger"}, 'credit is "user:v0:available"',
    ),
    "document changed": (
        "points", "state",
        "UPDATE state SET data = (data::jsonb || '{\"amount\": 6}')::json WHERE key = 'v0/hold/h'",
        {"document_changed", "held_is_open_holds"}, "state v0/hold/h: amount is 6 and the events make 5",
    ),
    "document's version changed": (
        "points", "state", "UPDATE state SET version = version + 1 WHERE key = 'v1'", {"document_changed"},
        "state v1: version is",
    ),
    "document deleted": (
        "points", "state", "DELETE FROM state WHERE key = 'v0'", {"document_missing"}, "state v0: the events make version=",
    ),
    "document added": (
        "points", "state", "INSERT INTO state VALUES ('x', 1, 0, 1, 0, '{}')", {"document_extra"},
        "state x: no event made version=1",
    ),
    "timer missing": (
        "points", "timers", "DELETE FROM timers WHERE key = 'v3'", {"timer_missing"},
        "timers v3: the events make partition=",
    ),
    "timer moved": (
        "promotions", "timers", "UPDATE timers SET due = due + 1 WHERE key = 'free/voucher/free-0'", {"timer_changed"},
        "timers free/voucher/free-0: due is",
    ),
    "timer added": (
        "points", "timers", "INSERT INTO timers VALUES ('x', 0, 1)", {"timer_extra"}, "timers x: no event made",
    ),
    "result missing": (
        "points", "results",
        'DELETE FROM results WHERE partition = 0 AND "offset" = (SELECT max("offset") FROM results WHERE partition = 0)',
        {"result_missing"}, "its events are on the topic and it has no row in `results`",
    ),
    "result changed": (
        "promotions", "results", "UPDATE results SET status = 'rejected' WHERE \"offset\" = 0", {"result_changed"},
        'status is "rejected" and the events make "accepted"',
    ),
    "result of no command": (
        "points", "results",
        ("INSERT INTO results SELECT gen_random_uuid(), status, code, details, events, hash, actor, partition, 100000 "
        "FROM results WHERE partition = 0 LIMIT 1"),
        {"result_without_events"}, "points.commands 0:100000: command",
    ),
    "campaign counts one more": (
        "promotions", "campaign", "UPDATE campaign SET issued = issued + 1 WHERE campaign_id = 'paid'",
        {"row_changed", "campaign_counts_its_vouchers"}, "campaign paid: issued is",
    ),
    "campaign sold more than there is": (
        "promotions", "campaign", "UPDATE campaign SET quantity = 1 WHERE campaign_id = 'free'",
        {"row_changed", "campaign_keeps_its_limits"}, "quantity is 1",
    ),
    "login of somebody else": (
        "identity", "login", "UPDATE login SET user_id = 'i9' WHERE user_id = 'i1'", {"row_changed", "login_has_one_owner"},
        'login login-1: user_id is "i9" and the events make "i1"',
    ),
    "somebody's profile changed": (
        "identity", "profile", "UPDATE profile SET bio = 'enc1.b3RoZXI=' WHERE user_id = 'i1'", {"row_changed"},
        'profile i1: bio is "•••" and the events make "•••"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_done_to_a_table_is_named(rested: Platform, damage: str) -> None:
    domain, table, statement, names, words = DAMAGES[damage]
    async with rested.kept(table, domain=domain):
        await rested.execute(statement, domain=domain)
        findings = list((await rested.look()).findings)

    assert {(one.domain, one.check) for one in findings if not one.harmless} == {(domain, name) for name in names}
    assert any(words in f"{one.place}: {one.words}" for one in findings), [str(one) for one in findings]
    assert "enc1." not in json.dumps([str(one) for one in findings])
    assert await rested.found() == {}


async def test_a_doubled_movement_is_told_with_the_sums(rested: Platform) -> None:
    """As the domain's own checks tell it."""
    async with rested.kept("ledger"):
        await rested.execute(DAMAGES["ledger doubled"][2])
        found = await only(rested, "balance_is_its_ledger")

    assert "What a user has available, held and pending is what the ledger gave" in found.words
    assert "account=user:v0:available ledger=85 balance=35" in found.words
    assert "caravan replay points" in found.mend


# What is done to a position, and what is found then.
POSITIONS: dict[str, tuple[str, set[str], str]] = {
    "beyond the topic": (
        "UPDATE offsets SET next = next + 1000 WHERE agent = 'transfers' AND partition = 1",
        {"position_beyond_log"}, "offsets transfers points.events 1: next is",
    ),
    "of another record": (
        "UPDATE offsets SET last_id = 'another' WHERE agent = 'points' AND partition = 2", {"position_of_other_record"},
        "is not the one that was worked last",
    ),
    "with another number": (
        "UPDATE offsets SET number = number + 3 WHERE agent = 'transfers' AND partition = 0", {"position_number"},
        "number is",
    ),
    "gone back": (
        ("UPDATE offsets SET next = next - 1, last_id = NULL WHERE agent = 'sign_ups' AND partition = "
        "(SELECT partition FROM offsets WHERE agent = 'sign_ups' AND next > 1 ORDER BY 1 LIMIT 1)"),
        {"position_went_back", "position_number"}, "next went from",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", POSITIONS)
async def test_what_is_done_to_a_position_is_named(rested: Platform, damage: str) -> None:
    statement, names, words = POSITIONS[damage]
    async with rested.kept("offsets"):
        await rested.execute(statement)
        findings = list((await rested.look()).findings)

    assert {one.check for one in findings if not one.harmless} == names
    assert any(words in f"{one.place}: {one.words}" for one in findings), [str(one) for one in findings]


async def test_an_unsent_event_is_none_of_the_auditors_business_until_its_row_is_gone(rested: Platform) -> None:
    """Committed and in the outbox, all holds; deleted before it was sent, its number is missing; sent twice, it is told and harmless."""
    command = AwardPoints(user_id="unsent", amount=3)
    partition = place_of("unsent")
    async with rested.decided(command) as deciding:
        look = await rested.look()
        assert breaking(look.findings) == {}
        assert (look.waiting["points"], look.ages["points"] >= 0) == (1, True)

        async with rested.kept("outbox"):
            await rested.execute("DELETE FROM outbox")
            missing = await only(rested, "event_missing")
            fresh = breaking(await audit(rested.settings, ["points"]))
        number = await rested.value("SELECT number FROM outbox")
        assert f"number {number} is neither on the topic nor in the outbox" in missing.words
        assert fresh.keys() >= {("points", name) for name in ("event_missing", "result_without_events", "row_extra")}

        async with rested.kept("outbox"):
            await rested.execute("UPDATE outbox SET value = value || ' '::bytea")
            assert await rested.found() == {("points", "outbox_differs"): 1}

        await rested.relay(deciding)
        assert await rested.found() == {}
        await rested.relay(deciding)
        look = await rested.look()
        repeated = await only(rested, "event_repeated")
        assert breaking(look.findings) == {}
        assert look.findings.counts["points", "event_repeated"] == 1
        assert (repeated.harmless, repeated.place.startswith(f"points.events {partition}:")) == (True, True)
        assert f"number {number} once more" in repeated.words


async def test_an_outbox_that_nobody_empties_is_named_with_its_age(rested: Platform) -> None:
    async with rested.decided(AwardPoints(user_id="late", amount=3)) as deciding:
        async with rested.kept("offsets"):
            await rested.execute("UPDATE offsets SET moved_at = moved_at - interval '2 minutes'")
            old = await only(rested, "outbox_old")
        await rested.relay(deciding)

    assert "1 events wait to be sent, for 12" in old.words
    assert await rested.found() == {}


async def test_a_policy_that_passed_an_event_without_its_command_is_named(rested: Platform) -> None:
    transfer = TransferPoints(user_id="v3", transfer_id="jumped", to="v2", amount=1)
    async with rested.decided(transfer) as deciding:
        number = await rested.relay(deciding)
    assert await rested.found() == {}, "what the policy has not come to is not lost"

    async with rested.kept("offsets"):
        await rested.execute(
            "UPDATE offsets SET next = next + 1, number = $2, last_id = NULL WHERE agent = 'transfers' AND partition = $1",
            deciding.slot.partition, number,
        )  # fmt: skip
        found = await rested.found()
        jumped = await only(rested, "policy_jumped")

    assert found == {("points", "policy_jumped"): 1}
    assert f"policy transfers has passed number {number}, and its credit_transfer v2" in jumped.words


async def test_events_of_which_postgres_knows_nothing_are_named(rested: Platform) -> None:
    """As after a restore of an older copy."""
    async with rested.kept("offsets"):
        await rested.execute(
            "UPDATE offsets SET number = number - 1, relayed = number - 1 WHERE agent = 'points' AND partition = $1",
            place_of("unsent"),
        )
        names = breaking(await audit(rested.settings, ["points"]))

    assert ("points", "event_unknown") in names


async def test_nothing_can_be_changed_by_an_audit(rested: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check tries to write is refused by Postgres, and the other checks are run."""

    @check(mend="Do not.")
    async def writes(db: Db) -> list[Any]:
        """It writes."""
        return await db.fetch("DELETE FROM balance RETURNING user_id")

    @check(mend="None.")
    async def reads(db: Db) -> list[Any]:
        """It reads."""
        return await db.fetch("SELECT 1 AS one")

    monkeypatch.setattr(discover, "checks", lambda _: {"writes": writes, "reads": reads})
    findings = await audit(rested.settings, ["points"])

    assert {(one.check, "read-only transaction" in one.words) for one in findings if not one.harmless} == {
        ("check_failed", True),
        ("reads", False),
    }


async def test_it_says_when_it_could_not_look(rested: Platform) -> None:
    away = replace(rested.settings, postgres="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(CaravanError, match="Postgres cannot be reached"):
        await audit(away, ["points"])
    with pytest.raises(CaravanError, match="There is no topic"):
        await audit(replace(rested.settings, namespace="nowhere_"), ["points"])


async def test_an_offset_that_jumped_is_named_with_the_commands_that_it_passed(rested: Platform) -> None:
    """Signed commands are `offset_jumped`, a record that was never validly accepted is `record_lost`; parked they are neither."""
    partition, offset = await rested.publish(AwardPoints(user_id=USER, amount=1))
    await rested.publish(AwardPoints(user_id=USER, amount=2))
    first = await rested.record(Place("points.commands", partition), offset)
    unsigned = SimpleNamespace(key=first.key, value=first.value, headers=())
    await rested.write("points.commands", partition, unsigned)
    assert await rested.found() == {}, "undecided is not lost"

    async with rested.kept("offsets"):
        await rested.execute(
            "UPDATE offsets SET next = next + 3, last_id = NULL WHERE agent = 'points' AND partition = $1", partition
        )
        found = await rested.found()
        jumped, lost = await only(rested, "offset_jumped"), await only(rested, "record_lost")
        for n in range(3):
            await rested.execute(
                'INSERT INTO parked (agent, topic, partition, "offset", headers, cause, error, holds) '
                "VALUES ('points', 'points.commands', $1, $2, '[]', 'x', 'x', true)", partition, offset + n,
            )  # fmt: skip
        parked = await rested.found()
        await rested.execute("DELETE FROM parked")

    assert found == {("points", "offset_jumped"): 1, ("points", "record_lost"): 1}
    assert jumped.place == f"points.commands {partition}:{offset}"
    assert f"the 2 commands up to {offset + 1} have neither results nor events" in jumped.words
    assert lost.place == f"points.commands {partition}:{offset + 2}"
    assert parked == {}
