"""What is kept from whom at the edge: the banned and restricted command nothing, older tokens are worth nothing, and nobody waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.app import Served, create_app
from api.errors import Problem
from api.standings import Standings
from sinks.postgres.moves import Moves, message
from streams.clock import SystemClock, VirtualClock
from streams.contract import Name, Topic
from streams.envelope import Actor
from streams.settings import Settings
from streams.store import Unavailable
from streams.view import Db, Standing
from tests.api.caller import Caller, running, token
from tests.api.lab import SERVED
from tests.api.listener import listening

SPEND, BODY = "/v1/points/spend_points", {"user_id": "u1", "amount": 5}
VIEW = "/v1/points/balance/u1"
APPEAL = "/v1/governance/appeal_sanction", {"user_id": "u1", "sanction_id": "b1", "text": "It was not me."}
UNTIL = datetime(2199, 12, 31, tzinfo=UTC)


async def keep(edge: Caller, user: str, *, told: bool = True, **kept: Any) -> None:
    """A worker of the domain commits where a user stands, and tells of it."""
    row = {"banned": False, "until": None, "restricted": "{}", "not_before": None} | kept
    await edge.sql("DELETE FROM standing WHERE user_id = $1", user, domain="governance")
    await edge.sql(
        "INSERT INTO standing (user_id, banned, until, restricted, not_before) VALUES ($1, $2, $3, $4, $5)",
        user, row["banned"], row["until"], row["restricted"], row["not_before"], domain="governance",
    )  # fmt: skip
    if told:
        channel, word = f"{edge.settings.namespace}caravan", message(("governance", "governance", 0), 1, [user])
        await edge.sql("SELECT pg_notify($1, $2)", channel, word)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def answered(ask: Callable[[], Awaitable[httpx.Response]], *wanted: object) -> Any:
    """Ask until the answer's status or code is one of these; its body."""
    async with asyncio.timeout(30):
        while True:
            answer = await ask()
            if {answer.status_code, answer.json().get("code")} & {*wanted}:
                return answer.json()
            await asyncio.sleep(0.01)


@pytest.mark.req("SR098")
async def test_the_banned_command_nothing_but_what_is_allowed_to_them_and_the_restricted_nothing_of_some_domains(
    edge: Caller,
) -> None:
    """Until it is over; what they read stays readable, and others are not concerned. A word that is lost costs two seconds."""
    await keep(edge, "u1", banned=True, until=UNTIL)
    told = await answered(lambda: edge.post(SPEND, BODY, "u1"), 403)
    assert (told["code"], told["until"]) == ("banned", "2199-12-31T00:00:00Z")
    before = await edge.ends()
    assert (await edge.post(SPEND, BODY, "u1/Admin")).json()["code"] == "banned"
    parked = "/v1/parked/points/points/points.commands/0/0/redrive"
    assert (await edge.post(parked, {}, "u1/Admin")).json()["code"] == "banned"
    assert await edge.ends() == before
    assert (await edge.post(*APPEAL, "u1")).status_code == 202
    assert (await edge.get(VIEW, "u1")).status_code == 404  # no row, and no word of a ban
    assert (await edge.post(SPEND, BODY | {"user_id": "u2"}, "u2")).status_code == 202

    await keep(edge, "u1", told=False, restricted='{"points":null,"lab":"2199-12-31T00:00:00Z"}')
    told = await answered(lambda: edge.post(SPEND, BODY, "u1"), "restricted")
    assert (told["domain"], told["until"]) == ("points", None)
    told = (await edge.post("/v1/lab/take_sample", {"sample": "s1"}, "u1")).json()
    assert (told["code"], told["domain"], told["until"]) == ("restricted", "lab", "2199-12-31T00:00:00Z")
    assert (await edge.post("/v1/lab/take_sample", {"sample": "s1"})).status_code == 202  # a Guest
    assert (await edge.post(*APPEAL, "u1")).status_code == 202

    await keep(edge, "u1")
    await answered(lambda: edge.post(SPEND, BODY, "u1"), 202)


@pytest.mark.req("SR098")
async def test_older_tokens_are_worth_nothing_and_the_live_views_of_their_bearers_end(edge: Caller) -> None:
    """Those, too, that do not tell when they were issued. A later token is as good as ever, and so are those of others."""
    now = int(time.time())
    bearers = {
        name: {"Authorization": f"Bearer {token(edge.settings, user, iat=issued)}"}
        for name, user, issued in (("old", "u1", now - 60), ("none", "u1", None), ("new", "u1", now - 10), ("other", "u2", now - 60))
    }  # fmt: skip
    live = f"{VIEW}/live"
    async with (
        listening(edge, live, headers=bearers["old"]) as old,
        listening(edge, live, headers=bearers["new"]) as new,
    ):
        assert [(await stream.event()).name for stream in (old, new)] == ["absent", "absent"]
        await keep(edge, "u1", not_before=datetime.fromtimestamp(now - 30, UTC))

        assert await old.end() == []
        assert old.over
        for name in ("old", "none"):
            answers = [
                await edge.client.get(VIEW, headers=bearers[name]),
                await edge.client.get(live, headers=bearers[name]),
                await edge.client.post(SPEND, json=BODY, headers=bearers[name]),
                await edge.client.post(APPEAL[0], json=APPEAL[1], headers=bearers[name]),
                await edge.client.get("/v1/lab/samples", headers=bearers[name]),
            ]
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "unauthorized")}
        assert (await edge.client.post(SPEND, json=BODY, headers=bearers["new"])).status_code == 202
        assert (await edge.client.get("/v1/points/balance/u2", headers=bearers["other"])).status_code == 404
        assert not new.over
    assert edge.app is not None
    assert edge.app.state.edge.streams.open == 0


async def test_an_edge_that_was_not_told_from_whom_something_is_kept_takes_no_command(prepared: Settings) -> None:
    """And is not ready."""

    async def broken(_db: Db) -> list[Standing]:
        raise RuntimeError("a bug")

    app = create_app(prepared, [Served(SERVED.topic, SERVED.views, broken)])
    async with running(app, prepared) as caller:
        await caller.until("/health", 200)
        await until(lambda: app.state.edge.store.alive)
        assert (await caller.get("/ready")).json()["postgres"] is False
        answer = await caller.post("/v1/lab/take_sample", {"sample": "s1"})
        assert (answer.status_code, answer.json()["code"]) == (503, "postgres_unavailable")


class Told:
    """A store whose domains tell what the test says, where it says so; each read is one look."""

    def __init__(self) -> None:
        self.moves = Moves()
        self.standings: dict[str, list[Standing] | Exception] = {}
        self.reads = 0

    @asynccontextmanager
    async def primary(self, domain: str) -> AsyncIterator[Any]:
        self.reads += 1
        self.domain = domain
        if isinstance(found := self.standings.get(domain, []), Exception):
            raise found
        yield self

    async def view(self, function: Any, _given: Any) -> Any:
        return await function(self.standings.get(self.domain, []))


async def _all(found: Any) -> Any:
    return found


A, B = Topic("first", key="user_id"), Topic("second", key="user_id")
U1 = Actor("user", "u1", "User")
Given = dict[str, list[Standing]]


def code_of(standings: Standings, domain: Name, actor: Actor = U1) -> str | None:
    """Why the actor may not command, None where they may."""
    try:
        standings.demand(actor, domain)
    except Problem as problem:
        return f"{problem.code} {problem.members['until']}"
    return None


def of(told: Given, clock: Any = None) -> Standings:
    """Two domains tell this."""
    standings = Standings(Told(), clock or SystemClock(), [(topic, _all) for topic in (A, B)])  # type: ignore[arg-type]
    for domain, found in told.items():
        standings._take(domain, found)
    return standings


def test_what_two_domains_keep_from_somebody_is_kept_as_long_as_either_says() -> None:
    """A ban for ever outlasts one that ends, and so does a restriction; of the times before which tokens are worth nothing the later one counts."""
    soon, late = UNTIL - timedelta(days=9), UNTIL
    for one, other in ((0, 1), (1, 0)):
        said = [
            Standing("u1", True, soon, {"a": soon, "b": None}, soon),
            Standing("u1", True, late, {"a": late, "b": soon, "c": soon}, late),
        ]
        standings = of({"first": [said[one]], "second": [said[other], Standing("u2", not_before=soon)]})
        assert standings.known
        assert code_of(standings, "a") == "banned 2199-12-31T00:00:00Z"
        assert [standings.admits("u1", at.timestamp()) for at in (soon, late)] == [False, True]
        assert [standings.admits("u2", at.timestamp()) for at in (soon - timedelta(1), soon)] == [False, True]
        free = of({"first": [said[one]._replace(banned=False)], "second": [said[other]._replace(banned=False)]})
        assert [code_of(free, domain) for domain in "abcd"] == [
            "restricted 2199-12-31T00:00:00Z", "restricted None", "restricted 2199-12-22T00:00:00Z", None,
        ]  # fmt: skip
    forever = of({"first": [Standing("u1", banned=True)], "second": [Standing("u1", True, late)]})
    assert code_of(forever, "a") == "banned None"
    assert code_of(forever, "a", Actor("guest", "", "Guest")) is None


def test_on_a_virtual_clock_tokens_age_with_it() -> None:
    """What was issued now by the machine's clock is of the platform's now."""
    clock, now = VirtualClock(timedelta(days=3)), datetime.now(UTC)
    standings = of({"first": [Standing("u1", not_before=now + timedelta(days=3))], "second": []}, clock)

    assert [standings.admits("u1", now.timestamp() + seconds) for seconds in (-60, 60)] == [False, True]


async def test_it_is_read_at_each_word_of_a_commit_and_what_was_read_stays_while_nothing_can_be() -> None:
    """Not at the words of agents that only write rows beside; each token hears once that it is worth nothing."""
    store = Told()
    store.standings["first"] = [Standing("u1", banned=True)]
    standings = Standings(store, SystemClock(), [(A, _all)])  # type: ignore[arg-type]
    ended = standings.withdrawn("u1", 5.0)
    await standings.start()
    try:
        await until(lambda: standings.known)
        assert code_of(standings, "first") == "banned None"
        store.standings["first"] = Unavailable("away")
        store.moves.unheard()
        await until(lambda: store.reads == 2)
        assert code_of(standings, "first") == "banned None"
        store.standings["first"] = [Standing("u1", not_before=datetime.fromtimestamp(5, UTC))]
        store.moves.heard(message(("first", "beside", 0), 7, ["u1"]))
        store.moves.heard(message(("first", "first", 2), 7, ["u1"]))
        await until(lambda: code_of(standings, "first") is None)
        assert not ended.done()
        store.standings["first"] = [Standing("u1", not_before=datetime.fromtimestamp(6, UTC))]
        store.moves.heard(message(("first", "first", 2), 8, ["u1"]))
        await asyncio.wait([ended], timeout=30)
        assert ended.done()
        assert standings.withdrawn("u1", 5.0) is ended
    finally:
        await standings.stop()
    assert store.moves._waiting == {}
