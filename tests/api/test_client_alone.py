"""The Python client without a platform: what it tries again, what it remembers, what it asks, and what it needs."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.points.view import Balance, balance, statement
from agents.promotions.view import campaign_stats
from api.client import Client, EdgeError, Live, Named, Page, Paging, wire
from api.client.live import Parser
from api.client.memory import MAX_KEYS, MAX_TOKENS, Memory
from api.client.reads import read
from api.client.wire import MOST_S, Answer, Pause
from tests.caravan.conftest import ROOT
from topics.identity import RegisterUser
from topics.points import POINTS, AwardPoints
from topics.promotions import PROMOTIONS

RECEIPT = {"command_id": "c1", "status_url": "/v1/commands/c1?domain=points", "token": "t1"}
AWARD = AwardPoints(user_id="u1", amount=5)
Reply = web.Response | None


class Edge:
    """Answers with what it was told to, one after the other; None hangs up. It keeps what it was asked."""

    def __init__(self, replies: Iterator[Reply]) -> None:
        """Once there is no reply left, the request fails."""
        self._replies = replies
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        self.asked.append(
            (request.path_qs, {name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        if (reply := next(self._replies)) is not None:
            return reply
        assert request.transport is not None
        request.transport.abort()
        raise web.HTTPInternalServerError

    @property
    def keys(self) -> set[str]:
        """The Idempotency-Keys."""
        return {headers["idempotency-key"] for _, headers, _ in self.asked}


@asynccontextmanager
async def told(*replies: Reply, patience: float = 30.0) -> AsyncIterator[tuple[Edge, Client]]:
    """A client of such an edge."""
    edge, app = Edge(iter(replies)), web.Application()
    app.router.add_route("*", "/{path:.*}", edge.answer)
    async with TestServer(app) as server, Client(str(server.make_url("")), token="mine", patience=patience) as client:
        yield edge, client


def says(status: int, body: Any, **headers: str) -> web.Response:
    """An answer in JSON."""
    return web.json_response(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def problem(status: int, code: str, **more: Any) -> web.Response:
    """A problem."""
    return says(
        status, {"type": f"/docs#{code}", "title": code, "status": status, "code": code, "detail": code, **more}
    )


async def test_a_command_is_sent_under_one_key_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever passes: lost connections, limits, an edge or Kafka that is away, a crash, a request that still runs."""
    monkeypatch.setattr(wire, "FIRST_S", 0.0)
    passing = [
        None, problem(503, "kafka_unavailable"), says(429, {}, Retry_After="0"), problem(500, "internal_error"),
        problem(409, "in_progress"), problem(503, "outcome_unknown"), web.Response(status=502, text="<html>"),
    ]  # fmt: skip
    async with told(*passing, says(202, RECEIPT)) as (edge, client):
        outcome = await client.issue(AWARD)

        assert (outcome.status, outcome.command_id, outcome.token) == ("pending", "c1", "t1")
        assert len(edge.asked) == len(passing) + 1
        assert len(edge.keys) == 1
        assert {(path, body) for path, _, body in edge.asked} == {
            ("/v1/points/award_points", b'{"user_id":"u1","amount":5}')
        }
        assert edge.asked[0][1]["authorization"] == "Bearer mine"
    async with told(says(202, RECEIPT), says(202, RECEIPT), says(202, RECEIPT)) as (edge, client):
        for key in (None, None, "mine"):
            await client.issue(AWARD, key=key)
        assert len(edge.keys) == 3
        assert "mine" in edge.keys


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (403, "forbidden"),
        (422, "idempotency_key_reused"),
        (413, "body_too_large"),
        (301, "moved"),
    ],
)
async def test_a_no_is_told_at_once(status: int, code: str) -> None:
    """As an exception, with the edge's words."""
    errors = [{"field": "amount", "code": "int_type", "message": "not a number"}]
    async with told(problem(status, code, errors=errors)) as (edge, client):
        with pytest.raises(EdgeError, match="amount: not a number") as error:
            await client.issue(AWARD)
        assert (error.value.code, error.value.status, len(edge.asked)) == (code, status, 1)


async def test_a_rule_may_say_no_by_any_code() -> None:
    """Also one that the edge itself uses for what passes: a result has events."""
    refusal = {**RECEIPT, "events": [], "details": {"left": 3}}
    async with told(problem(409, "in_progress", **refusal)) as (edge, client):
        outcome = await client.issue(AWARD, wait=5)

        assert (outcome.status, outcome.code, outcome.details, outcome.http) == (
            "rejected",
            "in_progress",
            {"left": 3},
            409,
        )
        assert edge.asked[0][1]["prefer"] == "wait=5"


async def test_patience_ends_with_the_last_answer() -> None:
    """Or with a crash that comes again and again."""
    async with told(*[problem(503, "kafka_unavailable") for _ in range(9)], patience=0.3) as (_, client):
        with pytest.raises(EdgeError, match="kafka_unavailable"):
            await client.issue(AWARD)
    async with told(*[problem(500, "internal_error") for _ in range(3)]) as (edge, client):
        with pytest.raises(EdgeError, match="internal_error"):
            await client.view(balance, "u1")
        assert len(edge.asked) == 3


def test_a_pause_is_as_long_as_the_edge_says() -> None:
    """Within reason; else twice as long as the one before."""
    pause = Pause()
    answers = [None, Answer(503, {"retry-after": "7"}, b""), Answer(429, {"retry-after": "99999"}, b""),
               Answer(503, {"retry-after": "Sat, 21 Nov 2026 19:00:00 GMT"}, b"")]  # fmt: skip

    assert [pause.after(answer) for answer in answers] == [0.1, 7.0, MOST_S, 0.8]
    assert [pause.after(None) for _ in range(3)] == [1.6, 2.0, 2.0]


async def test_waiting_asks_until_there_is_a_result() -> None:
    """Or the time is over."""
    status: dict[str, Any] = {
        **RECEIPT,
        "domain": "points",
        "status": "pending",
        "code": None,
        "details": {},
        "events": [],
        "token": None,
    }
    done = {**status, "status": "accepted", "events": [{"event_id": "e1", "type": "points_awarded"}]}
    async with told(says(202, RECEIPT), says(200, status), None, says(200, done)) as (edge, client):
        outcome = await client.wait(await client.issue(AWARD))

        assert (outcome.accepted, outcome.events[0].type, outcome.token) == (True, "points_awarded", "t1")
        assert [path for path, _, _ in edge.asked[1:]] == [RECEIPT["status_url"]] * 3
        assert await client.wait(outcome, 0) is outcome
    async with told(says(202, {**RECEIPT, "status": "parked"})) as (_, client):
        parked = await client.wait(await client.issue(AWARD, wait=5))
        with pytest.raises(EdgeError, match="operator"):
            parked.expect()


async def test_a_token_may_be_renewed() -> None:
    """By a function, also one that awaits; it is asked before each request."""
    given = iter("abc")

    async def fresh() -> str:
        await asyncio.sleep(0)
        return next(given)

    async with told(*[says(202, RECEIPT) for _ in range(4)]) as (edge, client):
        mine = client.by(fresh)
        await mine.issue(AWARD)
        await mine.issue(AWARD)
        await client.by(lambda: next(given)).issue(AWARD)
        await client.by(None).issue(AWARD)
        assert [headers.get("authorization") for _, headers, _ in edge.asked] == [
            "Bearer a",
            "Bearer b",
            "Bearer c",
            None,
        ]


async def test_what_the_edge_fills_is_not_sent() -> None:
    """And nothing that was not given."""
    async with told(says(202, RECEIPT)) as (edge, client):
        await client.issue(RegisterUser(user_id="u1", email="u1@example.com"))
        assert json.loads(edge.asked[0][2]) == {"user_id": "u1", "email": "u1@example.com"}


async def test_a_list_is_read_part_by_part() -> None:
    """As far as somebody reads on, and covering the same writes throughout."""
    parts = [{"items": [1, 2], "next": "c2"}, {"items": [3], "next": "c3"}, {"items": [4], "next": None}]
    numbers = Named("lab/numbers/{of}", Page[int])
    async with told(*[says(200, part) for part in parts]) as (edge, client):
        found = [number async for number in client.items(numbers, of="a/b é", paging=Paging(limit=2)).after("t1", "t2")]

        assert found == [1, 2, 3, 4]
        start = "/v1/lab/numbers/a%2Fb%20%C3%A9?limit=2"
        assert [path for path, _, _ in edge.asked] == [
            f"{start}&after=t1,t2", f"{start}&cursor=c2&after=t1,t2", f"{start}&cursor=c3&after=t1,t2",
        ]  # fmt: skip


def test_a_view_is_asked_as_its_function_is_called() -> None:
    """Arguments without default make the path, others the query; wrong ones are told before anything is asked."""
    since = Named("lab/since/{day}", list[int])

    asked = read(campaign_stats, ("cafe",), {"campaign_id": "c 1"})
    assert (asked.domain, asked.path, asked.query) == ("promotions", "/v1/promotions/campaign_stats/cafe/c%201", {})
    asked = read(statement, ("u1", Paging(after="c", limit=9)), {})
    assert (asked.path, asked.query) == ("/v1/points/statement/u1", {"limit": "9", "cursor": "c"})
    asked = read(since, (), {"day": datetime(2026, 11, 21, tzinfo=UTC), "all": True, "left_out": None})
    assert (asked.path, asked.query) == ("/v1/lab/since/2026-11-21T00%3A00%3A00%2B00%3A00", {"all": "true"})
    assert read(balance, ("u1",), {}).answer.validate_python(
        {"user_id": "u1", "active": 1, "held": 0, "available": 1, "new": 1}
    ) == Balance(user_id="u1", active=1, held=0, available=1)
    wrong: list[Callable[[], object]] = [
        lambda: read(balance, (), {}),
        lambda: read(balance, ("u1",), {"surplus": 1}),
        lambda: read(since, (), {}),
        lambda: read(since, ("positional",), {}),
        lambda: read(_told, (), {}),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="user_id is empty"):
        read(balance, ("",), {})


async def _told(_db: object) -> None:
    """No view."""


def test_a_client_remembers_what_no_later_command_covers() -> None:
    """By key; commands that were under way at the same time may stand in any order, so all of them count."""
    memory = Memory()
    first = memory.begin()
    memory.keep(POINTS, "ann", "a1", first)
    second, third = memory.begin(), memory.begin()
    memory.keep(POINTS, "ann", "a3", third)
    memory.keep(POINTS, "ann", "a2", second)
    memory.keep(POINTS, "bob", "b1", memory.begin())
    memory.keep(PROMOTIONS, "c1", "c1", memory.begin())

    assert memory.of("points", {"user_id": "ann"}) == ("a3", "a2")
    assert memory.of("points", {"user_id": "eve"}) == ()
    assert memory.of("points", {"other": "ann"}) == ("a3", "a2", "b1")
    assert memory.of("identity", {"user_id": "ann"}) == ()
    memory.keep(POINTS, "ann", "a4", memory.begin())
    assert memory.of("points", {}) == ("b1", "a4")
    for number in range(MAX_KEYS):
        memory.keep(POINTS, f"k{number}", str(number), memory.begin())
    assert memory.of("points", {"user_id": "ann"}) == ()
    assert memory.of("points", {})[-1] == str(MAX_KEYS - 1)
    assert len(memory.of("points", {})) == MAX_TOKENS


def test_events_are_read_as_the_standard_says() -> None:
    """Comments and settings are no events; data may have several lines; an id stays until there is another."""
    lines = b"retry: 250\n\n: beat\n\nid: 1\ndata: {\ndata: }\r\n\r\nevent: absent\ndata:null\n\nid: 2\n\ndata: x"
    parser = Parser()
    found = [event for line in lines.split(b"\n") if (event := parser.take(line))]

    assert [tuple(event) for event in found] == [("", "1", b"{\n}"), ("absent", "1", b"null")]
    assert parser.retry == 0.25


async def test_a_stream_is_begun_again_with_its_last_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no state is not shown, and what was cut short comes again."""
    monkeypatch.setattr(wire, "FIRST_S", 0.0)

    def stream(text: str) -> web.Response:
        return web.Response(text=f"retry: 1\n\n{text}", content_type="text/event-stream")

    state = 'id: {0}\ndata: {{"user_id":"u1","active":{0},"held":0,"available":0}}\n\n'.format
    replies = [
        stream("id: 1\nevent: absent\ndata: null\n\n" + state(2) + 'event: dropped\ndata: {"code":"too_slow"}\n\n'),
        None, problem(503, "not_ready"), stream(state(3) + state(4).rstrip()), stream(state(4)),
    ]  # fmt: skip
    async with told(*replies) as (edge, client):
        seen = []
        async with client.live(balance, user_id="u1").after("t1") as states:
            async for one in states:
                seen.append(one.active if one else None)
                if seen[-1] == 4:
                    break

        assert seen == [None, 2, 3, 4]
        assert states.last_id == "4"
        assert [path.partition("/live")[2] for path, _, _ in edge.asked] == ["?after=t1", "", "", "", ""]
        assert [headers.get("last-event-id") for _, headers, _ in edge.asked] == [None, "2", "2", "2", "3"]


async def test_what_is_no_stream_is_told() -> None:
    """Such as a page of whatever stands before the edge."""
    async with told(says(200, {})) as (_, client):
        live: Live[Balance] = client.live(balance, user_id="u1")
        with pytest.raises(EdgeError, match="no_stream"):
            await anext(aiter(live))


def test_the_client_is_light() -> None:
    """It may be imported where there is no server: neither FastAPI nor Faust nor a driver comes with it."""
    heavy = ("fastapi", "starlette", "uvicorn", "faust", "mode", "aiokafka", "asyncpg", "sinks", "agents", "topics")
    code = f"import sys, api.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.full
def test_mypy_refuses_what_the_contract_forbids(tmp_path: Path) -> None:
    """Each line that is marked, and no other."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    options: list[str | Path] = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    command = [sys.executable, "-m", "mypy", *options, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    found = {int(line) for line in re.findall(r"program\.py:(\d+): error", done.stdout)}
    assert found == {n for n, line in enumerate(PROGRAM.splitlines(), 1) if "# wrong" in line}, (
        done.stdout + done.stderr
    )


PROGRAM = """from agents.points.view import Balance, balance, statement
from api.client import Client, Named, Page, Paging
from topics.points import AwardPoints


async def main(client: Client) -> None:
    found: Balance = await client.view(balance, user_id="ann")
    await client.view(balance, "ann").after("token")
    await client.view(balance)  # wrong: of whom?
    await client.view(balance, user="ann")  # wrong: it has no such argument
    await client.view(balance, user_id=7)  # wrong: no text
    (await client.view(balance, "ann")).activ  # wrong: a field that it lacks
    await client.issue(AwardPoints(user_id="ann"))  # wrong: it lacks the amount
    await client.issue(balance)  # wrong: no command
    async for entry in client.items(statement, "ann", Paging()):
        amount: int = entry.amount
        note: str = entry.note  # wrong: there may be none
    client.items(balance, "ann")  # wrong: no list
    async for state in client.live(balance, user_id="ann"):
        state.active  # wrong: None at first
    numbers = Named("lab/numbers/{of}", Page[int])
    page: Page[int] = await client.view(numbers, of="a")
    async for number in client.items(numbers, of="a"):
        number.upper()  # wrong: no text
"""
