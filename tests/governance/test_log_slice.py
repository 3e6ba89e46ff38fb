"""The audit log through the loop in memory: whatever is sent to whatever domain leaves its one entry, and a replay leaves the same."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from agents.governance.agent.log import AUDIT_LOGS
from agents.governance.rules import log as rules
from agents.governance.rules.log import Entry, Head
from agents.governance.sink.log import LogRow
from caravan.audit_log.chain import Chain, Row
from streams import discover
from streams.agent import Decider, agents_of
from streams.envelope import Actor, Signer
from streams.testing import ADMIN, SIGNER, Kit, user
from topics.points import AwardPoints, HoldPoints, TransferPoints

pytestmark = [pytest.mark.req("SR099"), pytest.mark.req("SR143")]
DECIDING = [name for name in discover.domains() if any(isinstance(agent, Decider) for agent in agents_of(name))]
GUEST = Actor("guest", "")


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("points", "governance") as kit:
        yield kit


def log(kit: Kit) -> list[LogRow]:
    """The entries, by domain, partition and number."""
    return [LogRow(*row) for row in kit.rows("audit_log", "governance")]


def entry_of(kit: Kit, action: str) -> LogRow:
    """The one entry of a command of this type."""
    (found,) = [row for row in log(kit) if row.action == action]
    return found


def demand_whole(rows: Sequence[LogRow], signer: Signer = SIGNER) -> None:
    """Each chain is as the platform writes it."""
    for place in {row[:2] for row in rows}:
        chain = Chain(*place, signer.witnessed)
        for row in rows:
            if row[:2] == place:
                chain.take(Row(Entry(*row[:15]), row.hash, row.anchor))
        chain.end((chain.last, chain.hash.hex()), chain.last)
        assert (chain.findings, chain.first) == ([], 1)


def test_every_domain_has_its_log() -> None:
    """Also one that comes later: nothing in governance names any."""
    assert [log.source.domain for log in AUDIT_LOGS] == discover.domains()
    assert {log.per for log in AUDIT_LOGS} == {"partition"}


@pytest.mark.req("SR057")
@pytest.mark.parametrize("domains", [("points", "governance"), pytest.param(DECIDING, marks=pytest.mark.full)])
def test_every_command_has_one_entry_whoever_sent_it_and_whatever_became_of_it(domains: Sequence[str]) -> None:
    """All examples of all contracts, by an admin, a user who may not, and a guest; with what policies, sagas and timers make of them."""
    with Kit.of(*domains) as kit:
        for domain in domains:
            for n, contract in enumerate(discover.topic(domain).commands.values()):
                for example in contract.examples:
                    for actor in (ADMIN, (user("mallory"), GUEST)[n % 2]):
                        kit.send(contract.model_validate(example), actor=actor)
        kit.advance(timedelta(days=40))
        results = {id_: row for domain in domains for id_, row in kit.store.schemas[domain].results.items()}
        rows, told = log(kit), kit.envelopes()

    assert Counter(str(one) for one in results) == Counter(row.command_id for row in rows)
    settled = {row.settles for row in rows if row.settles}
    for row in rows:
        result = results[UUID(row.command_id)]
        assert f"{row.actor_type}:{row.actor}" == result.actor
        if row.command_id not in settled and not row.settles:
            assert (row.outcome, row.code) == (result.status, result.code)
    assert {row.outcome for row in rows} == {"accepted", "rejected", "pending"}
    assert {row.actor_type for row in rows} == {"user", "guest", "service"}
    assert sum(row.events for row in rows) == len(told)
    places = {(one.domain, one.source.partition, one.number): one for one in told}
    for row in rows:
        first, last = places[row[:3]], places[row[0], row[1], row.number + row.events - 1]
        assert {first.command_id, last.command_id} == {row.command_id}
        assert (row.target, row.role, row.at) == (first.aggregate_id, first.actor.role, first.occurred_at)
    demand_whole(rows)


def test_an_entry_tells_who_did_what_to_whom_and_what_came_of_it(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=5), actor=user("root", "Admin"))
    told = kit.send(HoldPoints(user_id="ann", hold_id="h", amount=9), actor=user("ann", "VIP"))

    award, hold = entry_of(kit, "award_points"), entry_of(kit, "hold_points")
    assert (award.domain, award.actor_type, award.actor, award.role, award.target) == (
        "points", "user", "root", "Admin", "ann",
    )  # fmt: skip
    assert (award.outcome, award.code, hold.outcome, hold.code) == ("accepted", None, "rejected", told.code)
    assert (hold.actor, hold.role, hold.number) == ("ann", "VIP", award.number + award.events)
    assert award.correlation_id == award.command_id


def test_a_pending_command_is_told_and_what_settles_it_names_it(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=5))
    kit.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=5), actor=user("ann"))

    pending = entry_of(kit, "transfer_points")
    (settling,) = [row for row in log(kit) if row.settles]
    assert (pending.outcome, settling.settles, settling.outcome) == ("pending", pending.command_id, "accepted")
    assert (settling.actor_type, settling.actor, settling.correlation_id) == ("service", "points", pending.command_id)


def test_what_a_command_says_is_not_in_the_log(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=4242))

    assert "4242" not in str(log(kit))


def test_a_replay_writes_the_same_hashes_and_anchors(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the topics alone, also when the platform signs with another key by now."""
    monkeypatch.setattr(rules, "ANCHOR", 8)
    for n in range(12):
        kit.send(AwardPoints(user_id="ann", amount=n + 1))
    rows = log(kit)
    assert [row.anchor is not None for row in rows].count(True) == 1

    built = kit.rebuilt().schemas["governance"]
    assert sorted(built.rows["audit_log"]) == rows
    assert built.states.keys() >= {f"/audit_log.points/{rows[0].partition}"}
    rotated = Signer([("k2", bytes(32)), ("test", b"0123456789abcdef")])
    demand_whole(rows, rotated)
    line = next(row for row in rows if row.anchor)
    assert line.anchor is not None
    assert line.anchor.startswith("test:")


def test_the_head_of_a_chain_is_a_document_of_the_partition(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=5))
    (row,) = log(kit)

    assert kit.state(str(row.partition), domain="governance", projection="audit_log.points") == Head(
        row.events, row.hash.hex()
    )
