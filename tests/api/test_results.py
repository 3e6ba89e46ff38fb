"""What became of a command: for its issuer, for Admins, for who waits. Results are written here as a worker writes them."""

import asyncio

import httpx

from tests.api.caller import Caller

AWARD = "/v1/points/award_points"
SPEND = "/v1/points/spend_points"
BODY = {"user_id": "u1", "amount": 5}
UNKNOWN = "01900000-0000-7000-8000-000000000001"


async def _parked(edge: Caller, answer: httpx.Response, *, known: bool = True) -> None:
    record = await edge.record(answer)
    await edge.sql(
        'INSERT INTO parked (agent, topic, partition, "offset", headers, cause, error, command_id, actor, holds) '
        "VALUES ('points', 'points.commands', $1, $2, '[]', 'rule_failed', 'bug', $3, $4, true)",
        record["partition"], record["offset"], record["command_id"] if known else None, "user:u1" if known else None,
    )  # fmt: skip
    await edge.moved(record["partition"], record["offset"] + 1)


async def test_pending_is_told_from_unknown_by_the_token(edge: Caller) -> None:
    """Nothing is stored at the edge; who has the 202 can show it."""
    answer = await edge.post(SPEND, BODY, "u1")
    told = answer.json()

    pending = await edge.get(told["status_url"], "u1")
    assert (pending.status_code, pending.json()["status"]) == (200, "pending")
    assert pending.json()["token"] == told["token"]
    for url, who in (
        (f"/v1/commands/{told['command_id']}?domain=points", "u1"),  # no token: nobody knows
        (told["status_url"], "u2"),  # not theirs
        (told["status_url"], None),
        (told["status_url"].replace(told["command_id"], UNKNOWN), "u1"),  # a token of another command
        (f"/v1/commands/{UNKNOWN}?domain=points", "root/Admin"),
        (told["status_url"].replace("domain=points", "domain=lab"), "u1"),
    ):
        assert (await edge.get(url, who)).status_code == 404, (url, who)
    assert (await edge.get(told["status_url"], "root/Admin")).json()["status"] == "pending"


async def test_a_result_is_seen_by_its_issuer_and_by_admins(edge: Caller) -> None:
    """With events and a token; everybody else gets the 404 of an unknown id."""
    answer = await edge.post(SPEND, BODY, "u1")
    await edge.decided(answer)
    url = f"/v1/commands/{answer.json()['command_id']}?domain=points"

    told = (await edge.get(url, "u1")).json()

    assert {**told, "token": None} == {
        "command_id": answer.json()["command_id"],
        "domain": "points",
        "status": "accepted",
        "code": None,
        "details": {},
        "events": [{"event_id": "01900000-0000-8000-8000-000000000001", "type": "points_awarded"}],
        "token": None,
    }
    assert told["token"] == answer.json()["token"]
    assert (await edge.get(url, "root/Admin")).status_code == 200
    assert [(await edge.get(url, who)).status_code for who in ("u2", "u2/PRO", "u1x/Partner", None)] == [404] * 4


async def test_a_guest_shows_the_token(edge: Caller) -> None:
    """Guests are all one, so the id alone is not enough."""
    answer = await edge.post("/v1/lab/take_sample", {"sample": "s"})
    url = answer.json()["status_url"]

    assert (await edge.get(url)).json()["status"] == "pending"
    assert (await edge.get(url.partition("&")[0])).status_code == 404
    assert (await edge.get(url, "u1")).status_code == 404


async def test_refusals_and_parked_commands_are_told(edge: Caller) -> None:
    """With code and details."""
    refused, parked, foreign = [await edge.post(SPEND, BODY, "u1") for _ in range(3)]
    await edge.decided(refused, "rejected", "insufficient", status=409, details={"available": 0})
    await _parked(edge, parked)
    await _parked(edge, foreign, known=False)  # a worker too old to read it did not know whose it was

    told = (await edge.get(refused.json()["status_url"], "u1")).json()
    assert (told["status"], told["code"], told["details"]) == ("rejected", "insufficient", {"available": 0})
    for answer in (parked, foreign):
        told = (await edge.get(answer.json()["status_url"], "u1")).json()
        assert (told["status"], told["code"]) == ("parked", "rule_failed")
    assert (await edge.get(foreign.json()["status_url"], "u2")).status_code == 404


async def test_prefer_wait_answers_with_the_result(edge: Caller) -> None:
    """As soon as it is there."""
    first = await edge.post(SPEND, BODY, "u1", {"Idempotency-Key": "k"})
    waiting = asyncio.create_task(
        edge.post(SPEND, BODY, "u1", {"Idempotency-Key": "k", "Prefer": "respond-async, wait=30"})
    )
    await edge.decided(first)

    answer = await waiting

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert (answer.json()["status"], answer.json()["command_id"]) == ("accepted", first.json()["command_id"])


async def test_prefer_wait_answers_with_the_refusal(edge: Caller) -> None:
    """Its status and code are the rule's; a status that no rule may give is 409."""
    for told, status in ((404, 404), (403, 403), (422, 422), (409, 409), (200, 409)):
        key = {"Idempotency-Key": f"k{told}"}
        first = await edge.post(SPEND, BODY, "u1", key)
        await edge.decided(first, "rejected", "insufficient", status=told, details={"available": 0})
        answer = await edge.post(SPEND, BODY, "u1", {**key, "Prefer": "wait=5"})

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["code"], body["status"], body["details"]) == ("insufficient", status, {"available": 0})
        assert body["command_id"] == first.json()["command_id"]


async def test_prefer_wait_gives_up_with_202(edge: Caller) -> None:
    """Nobody decides; a parked command is told at once, since nothing comes."""
    answer = await edge.post(SPEND, BODY, "u1", {"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.headers["preference-applied"] == "wait=1"
    key = {"Idempotency-Key": "k"}
    first = await edge.post(SPEND, BODY, "u1", key)
    await _parked(edge, first)
    parked = await edge.post(SPEND, BODY, "u1", {**key, "Prefer": "wait=30"})
    assert (parked.status_code, parked.json()["status"]) == (202, "parked")


async def test_a_saga_is_waited_for_to_its_end(edge: Caller) -> None:
    """The first step leaves a pending result; a later command of the key settles it."""
    key = {"Idempotency-Key": "k"}
    first = await edge.post(SPEND, BODY, "u1", key)
    await edge.decided(first, "pending")
    assert (await edge.get(first.json()["status_url"], "u1")).json()["status"] == "pending"
    waiting = asyncio.create_task(edge.post(SPEND, BODY, "u1", {**key, "Prefer": "wait=30"}))
    await edge.sql("UPDATE results SET status = 'accepted'")
    record = await edge.record(first)
    await edge.moved(record["partition"], record["offset"] + 2)

    assert (await waiting).status_code == 200


async def test_other_preferences_are_no_wait(edge: Caller) -> None:
    """wait=0, nonsense and other preferences."""
    for prefer in ("wait=0", "wait=x", "wait", "respond-async", "xwait=5", ""):
        answer = await edge.post(AWARD, BODY, "root/Admin", {"Prefer": prefer})
        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers


async def test_a_command_that_left_no_trace_is_unknown(edge: Caller) -> None:
    """The decider is past it and has neither result nor parked record: an operator skipped it."""
    answer = await edge.post(SPEND, BODY, "u1")
    record = await edge.record(answer)
    await edge.moved(record["partition"], record["offset"] + 1)

    assert (await edge.get(answer.json()["status_url"], "u1")).status_code == 404
