"""Idempotency-Keys: one command whatever is repeated, in parallel, by other replicas, after a crash."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from api.app import create_app
from streams.kafka import Kafka
from streams.log import NotSent, SendUnknown
from tests.api.caller import Caller, running
from tests.api.conftest import SERVES

AWARD = "/v1/points/award_points"
BODY = {"user_id": "u1", "amount": 5}
KEY = {"Idempotency-Key": "key-1"}
ROOT = "root/Admin"


async def _ids(edge: Caller) -> list[str]:
    return [orjson.loads(record.value)["command_id"] for record in await edge.records("points.commands", 4)]


async def test_a_repeat_gets_the_same_answer_and_publishes_nothing(edge: Caller) -> None:
    """Also when the body is the same JSON in other words."""
    first = await edge.post(AWARD, BODY, ROOT, KEY)
    again = await edge.post(AWARD, b'{ "amount":5,\n "user_id":"u1" }', ROOT, KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert await _ids(edge) == [first.json()["command_id"]]


async def test_another_body_is_422(edge: Caller) -> None:
    """Another command under the same key as well."""
    await edge.post(AWARD, BODY, ROOT, KEY)
    for path, body in ((AWARD, {**BODY, "amount": 6}), ("/v1/points/spend_points", BODY)):
        answer = await edge.post(path, body, ROOT, KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await _ids(edge)) == 1


async def test_keys_belong_to_their_caller_and_domain(edge: Caller) -> None:
    """Somebody else's key is another key."""
    answers = [
        await edge.post(AWARD, BODY, "a/Admin", KEY),
        await edge.post(AWARD, {**BODY, "amount": 6}, "b/Admin", KEY),
        await edge.post("/v1/lab/take_sample", {"sample": "s"}, "a/Admin", KEY),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.json()["command_id"] for answer in answers}) == 3


async def test_without_the_header_no_row_is_kept(edge: Caller) -> None:
    """And every request is a command of its own."""
    for _ in range(2):
        await edge.post(AWARD, BODY, ROOT)

    assert len(set(await _ids(edge))) == 2
    assert await edge.sql("SELECT * FROM idempotency", domain="edge") == []


async def test_refused_requests_take_no_key(edge: Caller) -> None:
    """A 4xx leaves the key free for the mended request."""
    assert (await edge.post(AWARD, {**BODY, "amount": 0}, ROOT, KEY)).status_code == 422
    assert (await edge.post(AWARD, BODY, ROOT, KEY)).status_code == 202


async def test_bad_keys_are_422(edge: Caller) -> None:
    """Empty, too long, or with characters that are not visible ASCII."""
    for key in ("", "x" * 201, "a b", "\xe9"):
        headers = {**edge.headers(ROOT), "Idempotency-Key": key}
        answer = await edge.client.post(AWARD, json=BODY, headers=httpx.Headers(headers, encoding="latin-1"))
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_idempotency_key"), key


async def test_parallel_repeats_on_two_replicas_are_one_command(edge: Caller) -> None:
    """Each gets the same 202, or 409 while another one is at it."""
    async with running(create_app(edge.settings, SERVES), edge.settings) as other:
        await other.until("/ready", 200)
        answers = await asyncio.gather(
            *((edge, other)[n % 2].post(AWARD, BODY, ROOT, KEY) for n in range(24)),
        )

    assert {answer.status_code for answer in answers} <= {202, 409}
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "in_progress"
            assert answer.headers["retry-after"] == "1"
    ids = {answer.json()["command_id"] for answer in answers if answer.status_code == 202}
    assert len(ids) == 1
    assert await _ids(edge) == list(ids)


async def _publishing(monkeypatch: pytest.MonkeyPatch, error: Exception, *, sends: bool) -> None:
    """The next publish ends in this error, after sending or without."""
    real = Kafka.publish

    async def once(self: Kafka, *record: Any) -> tuple[int, int]:
        monkeypatch.setattr(Kafka, "publish", real)
        if sends:
            await real(self, *record)
        raise error

    monkeypatch.setattr(Kafka, "publish", once)


async def test_after_an_unknown_outcome_the_repeat_is_the_same_record(
    edge: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whether the first one arrived does not matter: the id and the sealed text are the same."""
    path, body = (
        "/v1/points/transfer_points",
        {"user_id": "u1", "transfer_id": "t", "to": "u2", "amount": 1, "note": "hi"},
    )
    await _publishing(monkeypatch, SendUnknown("no answer"), sends=True)

    first = await edge.post(path, body, "u1", KEY)
    again = await edge.post(path, body, "u1", KEY)

    assert (first.status_code, first.json()["code"], first.headers["retry-after"]) == (503, "outcome_unknown", "1")
    assert "Idempotency-Key" in first.json()["detail"]
    assert (again.status_code, again.json()["command_id"]) == (202, first.json()["command_id"])
    one, two = await edge.records("points.commands", 4)
    assert (one.key, one.value) == (two.key, two.value)


async def test_what_was_surely_not_sent_leaves_the_key_free(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even for another body."""
    await _publishing(monkeypatch, NotSent("away"), sends=False)

    first = await edge.post(AWARD, BODY, ROOT, KEY)
    again = await edge.post(AWARD, {**BODY, "amount": 6}, ROOT, KEY)

    assert (first.status_code, first.json()["code"]) == (503, "kafka_unavailable")
    assert again.status_code == 202


async def test_a_repeat_that_was_not_sent_does_not_free_a_key_of_unknown_outcome(
    edge: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt may still arrive."""
    await _publishing(monkeypatch, SendUnknown("no answer"), sends=True)
    first = await edge.post(AWARD, BODY, ROOT, KEY)
    await _publishing(monkeypatch, NotSent("away"), sends=False)
    second = await edge.post(AWARD, BODY, ROOT, KEY)

    other = await edge.post(AWARD, {**BODY, "amount": 6}, ROOT, KEY)
    third = await edge.post(AWARD, BODY, ROOT, KEY)

    assert (first.json()["code"], second.json()["code"]) == ("outcome_unknown", "kafka_unavailable")
    assert other.json()["code"] == "idempotency_key_reused"
    assert (third.status_code, third.json()["command_id"]) == (202, first.json()["command_id"])


async def test_a_crashed_edge_blocks_its_key_only_until_its_lease_ends(edge: Caller) -> None:
    """Then a repeat publishes the record that was written down."""
    first = await edge.post(AWARD, BODY, ROOT, KEY)
    [record] = await edge.records("points.commands", 4)
    crashed = "UPDATE idempotency SET partition = NULL, \"offset\" = NULL, record = $1, lease = now() + interval '1 h'"
    await edge.sql(crashed, record.value, domain="edge")

    running_still = await edge.post(AWARD, BODY, ROOT, KEY)
    await edge.sql("UPDATE idempotency SET lease = now() - interval '1 s'", domain="edge")
    again = await edge.post(AWARD, BODY, ROOT, KEY)

    assert (running_still.status_code, running_still.json()["code"]) == (409, "in_progress")
    assert (again.status_code, again.json()["command_id"]) == (202, first.json()["command_id"])
    assert len(set(await _ids(edge))) == 1


async def _held(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, *, sends: bool
) -> tuple[asyncio.Event, asyncio.Event]:
    """The next publish waits, once it is there or before, and then ends in this error or well: it has begun; let it go on."""
    real, begun, go = Kafka.publish, asyncio.Event(), asyncio.Event()

    async def once(self: Kafka, *record: Any) -> tuple[int, int]:
        monkeypatch.setattr(Kafka, "publish", real)
        place = await real(self, *record) if sends else None
        begun.set()
        await go.wait()
        if error is not None:
            raise error
        return place or await real(self, *record)

    monkeypatch.setattr(Kafka, "publish", once)
    return begun, go


@pytest.mark.parametrize("sends", [True, False])
async def test_two_that_publish_the_same_record_give_the_same_answer(
    edge: Caller, monkeypatch: pytest.MonkeyPatch, sends: bool
) -> None:
    """One is slow and its lease ends; the second takes the key on. Whoever is first at the row, all say the same."""
    begun, go = await _held(monkeypatch, None, sends=sends)
    slow = asyncio.create_task(edge.post(AWARD, BODY, ROOT, KEY))
    await begun.wait()
    await edge.sql("UPDATE idempotency SET lease = now() + interval '1 h'", domain="edge")
    assert (await edge.post(AWARD, BODY, ROOT, KEY)).json()["code"] == "in_progress"
    await edge.sql("UPDATE idempotency SET lease = now()", domain="edge")
    second = await edge.post(AWARD, BODY, ROOT, KEY)
    go.set()
    first, third = await slow, await edge.post(AWARD, BODY, ROOT, KEY)

    assert [answer.status_code for answer in (first, second, third)] == [202] * 3
    assert first.json() == second.json() == third.json()
    ids = await _ids(edge)
    assert len(ids) == 2
    assert set(ids) == {first.json()["command_id"]}


async def test_a_key_that_another_request_has_taken_on_is_not_freed(
    edge: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though this one sent nothing: the other one did."""
    begun, go = await _held(monkeypatch, NotSent("away"), sends=False)
    slow = asyncio.create_task(edge.post(AWARD, BODY, ROOT, KEY))
    await begun.wait()
    await edge.sql("UPDATE idempotency SET lease = now()", domain="edge")
    await _publishing(monkeypatch, SendUnknown("no answer"), sends=True)
    second = await edge.post(AWARD, BODY, ROOT, KEY)
    go.set()
    first = await slow
    other, third = await edge.post(AWARD, {**BODY, "amount": 6}, ROOT, KEY), await edge.post(AWARD, BODY, ROOT, KEY)

    assert (first.json()["code"], second.json()["code"]) == ("kafka_unavailable", "outcome_unknown")
    assert other.json()["code"] == "idempotency_key_reused"
    assert (third.status_code, third.json()["command_id"]) == (202, second.json()["command_id"])


async def test_old_keys_are_forgotten(edge: Caller) -> None:
    """After 48 hours, not before; whenever an edge starts and every hour."""
    for key in ("old", "young"):
        await edge.post(AWARD, BODY, ROOT, {"Idempotency-Key": key})
    await edge.sql("UPDATE idempotency SET created_at = now() - interval '47 h'", domain="edge")
    await edge.sql("UPDATE idempotency SET created_at = now() - interval '49 h' WHERE key = 'old'", domain="edge")

    async with running(create_app(edge.settings, SERVES), edge.settings) as other:
        await other.until("/ready", 200)
        await edge.seen("SELECT NOT EXISTS (SELECT FROM idempotency WHERE key = 'old')", domain="edge")

    assert [row["key"] for row in await edge.sql("SELECT key FROM idempotency", domain="edge")] == ["young"]


async def test_a_command_stays_accepted_when_its_answer_cannot_be_written_down(
    edge: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka has it, so 202; a repeat finds the same command."""
    from sinks.postgres.edge import EdgeStore
    from streams.store import Unavailable

    real = EdgeStore.answered

    async def lost(self: EdgeStore, who: tuple[str, str, str], *_place: int) -> tuple[int, int]:
        monkeypatch.setattr(EdgeStore, "answered", real)
        await self.release(who)  # as if the lease were over
        raise Unavailable("gone")

    monkeypatch.setattr(EdgeStore, "answered", lost)
    answers: list[httpx.Response] = [await edge.post(AWARD, BODY, ROOT, KEY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["command_id"] for answer in answers}) == 1
