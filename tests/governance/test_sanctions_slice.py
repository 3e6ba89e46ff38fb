"""Sanctions through the loop in memory: commands in, results, events, documents and rows out, and what happens by itself."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from streams import discover
from streams.contract import Command
from streams.envelope import Actor
from streams.personal import Sealed, seal
from streams.testing import ADMIN, Kit, Told, user
from streams.view import Standing
from topics.governance import (
    GOVERNANCE,
    MOST_RESTRICTIONS,
    PROGRAM,
    AddAdmin,
    AdminAdded,
    AppealSanction,
    BanExpired,
    BanUser,
    DecideSanctionAppeal,
    ExpireSanction,
    LiftRestriction,
    RemoveAdmin,
    RestrictionLifted,
    RestrictUser,
    SanctionAppealDecided,
    UnbanUser,
    UserBanned,
    UserRestricted,
    UserUnbanned,
    UserWarned,
    WarnUser,
)

DAY = timedelta(days=1)
ROOT, DEPUTY = user("root", "Admin"), user("deputy", "Admin")
SERVICE = Actor("service", "governance")


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("governance") as kit:
        yield kit


def ban(kit: Kit, name: str = "b1", who: str = "ann", by: Actor = ROOT, **terms: Any) -> Told:
    """Somebody is banned."""
    return kit.send(BanUser(user_id=who, sanction_id=name, reason="Advertises.", **terms), actor=by)


def restrict(kit: Kit, name: str = "r1", *scopes: str, by: Actor = ROOT, **terms: Any) -> Told:
    """Ann is restricted."""
    command = RestrictUser(user_id="ann", sanction_id=name, scopes=scopes or ("quests",), reason="Cheats.", **terms)
    return kit.send(command, actor=by)


def appeal(kit: Kit, name: str = "b1", who: str = "ann") -> Told:
    """Ann appeals, or somebody does for her, in words that the edge has sealed."""
    given = AppealSanction(user_id="ann", sanction_id=name, text="No.")
    return kit.send(given.model_copy(update={"text": Sealed(seal("No.", "ann", bytes(32)))}), actor=user(who))


def decide(kit: Kit, name: str = "b1", outcome: Any = "overturned", by: Actor = DEPUTY) -> Told:
    """An admin decides ann's appeal."""
    command = DecideSanctionAppeal(user_id="ann", sanction_id=name, outcome=outcome, reason="Looked again.")
    return kit.send(command, actor=by)


def add(kit: Kit, who: str, by: Actor = ROOT) -> Told:
    """Somebody becomes an admin."""
    return kit.send(AddAdmin(user_id=who), actor=by)


def standing(kit: Kit, who: str = "ann") -> tuple[Any, ...] | None:
    """Where a user stands: whether banned, until when, restricted where, and since when tokens are good."""
    return next((row[1:] for row in kit.rows("standing") if row[0] == who), None)


def sanction(kit: Kit, name: str) -> dict[str, Any]:
    """A row of the sanctions of ann."""
    kind = next(kind for kind in discover.rows("governance") if kind.name == "sanction")
    (row,) = (row for row in kit.rows("sanction") if row[1] == name)
    return dict(zip(kind.columns, row, strict=True))


@pytest.mark.req("SR098")
def test_a_ban_ends_all_sessions_and_then_itself(kit: Kit) -> None:
    """At its time and not before; what was a session before it is worth nothing after it, too."""
    until = kit.clock.now() + DAY
    (banned,) = ban(kit, until=until).events

    assert isinstance(banned, UserBanned)
    assert (banned.by, banned.until, banned.reason) == ("root", until, "Advertises.")
    assert standing(kit) == (True, until, "{}", banned.at)
    assert kit.advance(DAY - timedelta(seconds=5)) == []
    (expired,) = kit.advance(timedelta(seconds=5))
    assert isinstance(expired, BanExpired)
    assert expired.at >= until
    assert standing(kit) == (False, None, "{}", banned.at)
    assert (sanction(kit, "b1")["status"], sanction(kit, "b1")["ended_at"]) == ("expired", expired.at)
    assert (
        told := kit.send(UnbanUser(user_id="ann", sanction_id="b1", reason="x"), actor=ROOT)
    ).code == "sanction_over"
    assert told.details == {"status": "expired"}


def test_a_ban_whose_time_is_over_is_over_before_anybody_was_told(kit: Kit) -> None:
    """Another one may begin at its very end, and stays when the end of the first is told."""
    until = kit.clock.now() + DAY
    ban(kit, until=until)
    command = BanUser(user_id="ann", sanction_id="b2", reason="Again.")
    assert kit.send(command, actor=ROOT, at=until - timedelta(seconds=1)).code == "already_banned"
    kit.clock.advance(DAY)

    assert kit.send(command, actor=ROOT, at=until).status == "accepted"
    kit.advance(timedelta(seconds=1))
    assert [sanction(kit, name)["status"] for name in ("b1", "b2")] == ["expired", "active"]
    assert (standing(kit) or ())[:2] == (True, None)


@pytest.mark.req("SR098")
def test_bad_bans_are_refused_with_a_code(kit: Kit) -> None:
    now = kit.clock.now()
    assert ban(kit, until=now - DAY)[:2] == ("rejected", "until_is_past")
    assert ban(kit, by=user("ann", "Admin"))[:2] == ("rejected", "own_sanction")
    assert ban(kit, until=now + DAY).status == "accepted"
    told = ban(kit, "b2")
    assert (told.code, told.details["sanction_id"]) == ("already_banned", "b1")
    assert told.details["until"] == (now + DAY).isoformat().replace("+00:00", "Z")
    assert restrict(kit, "b1").code == "sanction_exists"
    assert kit.send(UnbanUser(user_id="ann", sanction_id="b9", reason="x"), actor=ROOT).code == "sanction_not_found"
    assert (
        kit.send(LiftRestriction(user_id="ann", sanction_id="b1", reason="x"), actor=ROOT).code == "sanction_not_found"
    )
    own = UnbanUser(user_id="ann", sanction_id="b1", reason="x")
    assert kit.send(own, actor=user("ann", "Admin")).code == "own_sanction"
    assert kit.send(own, actor=user("ann")).code == "forbidden"
    assert kit.send(ExpireSanction(user_id="ann", sanction_id="b1"), actor=SERVICE).code == "not_due"
    assert (standing(kit) or ())[0] is True
    (freed,) = kit.send(own, actor=DEPUTY).events
    assert isinstance(freed, UserUnbanned)
    assert (freed.cause, freed.by, (standing(kit) or ())[0]) == ("lifted", "deputy", False)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (BanUser, {"reason": ""}),
        (BanUser, {}),
        (BanUser, {"reason": "x", "until": "tomorrow"}),
        (BanUser, {"reason": "x", "until": 1900000000}),
        (RestrictUser, {"reason": "x"}),
        (RestrictUser, {"reason": "x", "scopes": []}),
        (RestrictUser, {"reason": "x", "scopes": ["Not a domain"]}),
        (WarnUser, {"reason": "x" * 1001}),
        (DecideSanctionAppeal, {"reason": "x", "outcome": "perhaps"}),
        (DecideSanctionAppeal, {"outcome": "upheld"}),
        (AppealSanction, {"text": ""}),
    ],
)
def test_a_sanction_that_says_too_little_is_no_command(kind: type[Command], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate({"user_id": "ann", "sanction_id": "s1", **wrong})


@pytest.mark.req("SR098")
def test_restrictions_are_of_domains_and_several_at_a_time(kit: Kit) -> None:
    """What the longest of them says is what holds; each ends by itself, or is lifted."""
    until = kit.clock.now() + DAY
    assert [type(one) for one in restrict(kit, "r1", "quests", "points", until=until).events] == [UserRestricted]
    restrict(kit, "r2", "points")
    ends = until.isoformat().replace("+00:00", "Z")
    assert standing(kit) == (False, None, f'{{"points":null,"quests":"{ends}"}}', None)

    (over,) = kit.advance(DAY)
    assert isinstance(over, RestrictionLifted)
    assert (over.sanction_id, over.cause, over.by) == ("r1", "expired", None)
    assert standing(kit) == (False, None, '{"points":null}', None)
    kit.send(LiftRestriction(user_id="ann", sanction_id="r2", reason="Enough."), actor=DEPUTY)
    assert standing(kit) == (False, None, "{}", None)
    assert restrict(kit, "r3", until=kit.clock.now()).code == "until_is_past"
    assert restrict(kit, "r4", by=user("ann", "Admin")).code == "own_sanction"
    for n in range(MOST_RESTRICTIONS):
        assert restrict(kit, f"x{n}").status == "accepted"
    assert restrict(kit, "y").code == "too_many_restrictions"


@pytest.mark.req("SR098")
def test_an_appeal_is_filed_by_the_user_and_decided_by_somebody_else_than_who_judged_before(kit: Kit) -> None:
    ban(kit)
    assert decide(kit).code == "not_appealed"
    assert appeal(kit, who="bob").code == "forbidden"
    assert kit.send(AppealSanction(user_id="ann", sanction_id="b1", text="No."), actor=ROOT).code == "not_yours"
    assert appeal(kit, "b9").code == "sanction_not_found"
    assert appeal(kit).status == "accepted"
    assert appeal(kit).code == "already_appealed"
    assert decide(kit, by=user("ann", "Admin")).code == "own_sanction"
    assert decide(kit, by=ROOT).code == "own_decision"
    assert decide(kit, "b9").code == "sanction_not_found"

    decided, over = decide(kit).events
    assert isinstance(decided, SanctionAppealDecided)
    assert isinstance(over, UserUnbanned)
    assert sanction(kit, "b1")["text"].startswith("enc1.")
    assert (over.cause, sanction(kit, "b1")["status"], sanction(kit, "b1")["appeal"]) == (
        "appeal",
        "overturned",
        "overturned",
    )
    assert (standing(kit) or ())[0] is False
    assert decide(kit, outcome="upheld").code == "already_decided"


def test_an_appeal_that_is_upheld_and_one_that_comes_too_late_change_nothing(kit: Kit) -> None:
    restrict(kit)
    appeal(kit, "r1")
    assert len(decide(kit, "r1", "upheld").events) == 1
    assert standing(kit) == (False, None, '{"quests":null}', None)
    ban(kit, until=kit.clock.now() + DAY)
    appeal(kit)
    kit.advance(DAY)
    assert len(decide(kit).events) == 1
    assert (sanction(kit, "b1")["status"], sanction(kit, "b1")["appeal"]) == ("expired", "overturned")
    ban(kit, "b2", until=kit.clock.now() + DAY)
    kit.advance(DAY)
    assert appeal(kit, "b2").code == "sanction_over"


def test_a_warning_keeps_nothing_from_a_user_and_can_be_overturned(kit: Kit) -> None:
    warn = WarnUser(user_id="ann", sanction_id="w1", reason="Advertises.")
    assert kit.send(warn, actor=user("ann", "Admin")).code == "own_sanction"
    assert [type(one) for one in kit.send(warn, actor=ROOT).events] == [UserWarned]
    assert kit.send(warn, actor=ROOT).code == "sanction_exists"
    assert standing(kit) is None
    assert kit.send(UnbanUser(user_id="ann", sanction_id="w1", reason="x"), actor=ROOT).code == "sanction_not_found"
    appeal(kit, "w1")
    decide(kit, "w1")
    assert (sanction(kit, "w1")["status"], standing(kit)) == ("overturned", None)


@pytest.mark.req("SR098")
def test_the_last_admin_stays_and_nobody_bans_one(kit: Kit) -> None:
    """Pending until they are on the list; who is removed loses their sessions, and may be banned."""
    remove = RemoveAdmin(user_id="root")
    assert kit.send(remove, actor=ROOT)[:2] == ("rejected", "not_an_admin")
    told = add(kit, "root")
    assert (told.status, AdminAdded in map(type, told.events)) == ("accepted", True)
    assert add(kit, "root").code == "already_admin"
    assert kit.send(remove, actor=DEPUTY).code == "last_admin"
    assert ban(kit, who="root", by=DEPUTY).code == "is_admin"
    restriction = RestrictUser(user_id="root", sanction_id="r1", scopes=("quests",), reason="x")
    assert kit.send(restriction, actor=DEPUTY).code == "is_admin"
    assert kit.send(WarnUser(user_id="root", sanction_id="w1", reason="x"), actor=DEPUTY).status == "accepted"

    add(kit, "deputy")
    assert [row[0] for row in kit.rows("admin") if row[1]] == ["deputy", "root"]
    assert kit.send(remove, actor=DEPUTY).status == "accepted"
    assert [row[0] for row in kit.rows("admin") if row[1]] == ["deputy"]
    (_, _, _, not_before) = standing(kit, "root") or (None,) * 4
    assert not_before is not None
    assert ban(kit, who="root", by=DEPUTY).status == "accepted"
    assert add(kit, "root").code == "banned"
    restrict(kit)
    assert add(kit, "ann").code == "restricted"
    assert kit.events()[0].key in {"root", PROGRAM}


def test_only_admins_sanction(kit: Kit) -> None:
    """And steps are the platform's own."""
    for name in ("warn_user", "ban_user", "unban_user", "restrict_user", "lift_restriction", "decide_sanction_appeal", "add_admin", "remove_admin"):  # fmt: skip
        command = GOVERNANCE.commands[name].model_validate(GOVERNANCE.commands[name].examples[0])
        for role in ("User", "VIP", "PRO", "Partner"):
            assert kit.send(command, actor=user("bob", role)).code == "forbidden"
    for step in (
        ExpireSanction(user_id="u", sanction_id="s"),
        GOVERNANCE.commands["dismiss_admin"].model_validate({"user_id": "u"}),
    ):
        assert kit.send(step, actor=ADMIN).code == "forbidden"
    assert [name for name, kind in GOVERNANCE.commands.items() if kind.despite_sanctions and name == "appeal_sanction"]


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(GOVERNANCE.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


OURS = [name for name, kind in GOVERNANCE.commands.items() if kind.__module__.endswith(".sanctions") and kind.examples]


@pytest.mark.parametrize("name", OURS)
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    """By whoever may: appeals by the user, decisions by another admin than the one before."""
    for command in with_predecessors(GOVERNANCE.commands[name]):
        by = {AppealSanction: user("u1"), DecideSanctionAppeal: DEPUTY}.get(type(command), ADMIN)
        assert kit.send(command, actor=by).status == "accepted"


OWN = ("sanction", "standing", "admin")


def test_the_events_alone_rebuild_documents_and_rows(kit: Kit) -> None:
    for name in OURS:
        for command in with_predecessors(GOVERNANCE.commands[name]):
            kit.send(command, actor=user("u1") if isinstance(command, AppealSanction) else ROOT)
    kit.advance(80_000 * DAY)
    live, again = kit.store.schemas["governance"], kit.rebuilt().schemas["governance"]

    assert {name: again.rows[name] for name in OWN} == {name: live.rows[name] for name in OWN}
    assert {key: one.data for key, one in again.states.items()} == {key: one.data for key, one in live.states.items()}
    assert kit.parked() == []


def test_one_function_of_the_domain_tells_where_users_stand() -> None:
    """It is found, and is no view."""
    assert discover.standing("governance") is not None
    assert discover.standing("points") is None
    assert "standings" not in discover.views("governance")
    assert Standing("u1").restricted == {}
