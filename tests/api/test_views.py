"""Views: parameters, lists, tokens, personal fields, and what a view may not do."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from api import views
from api.tokens import Tokens
from streams.personal import seal
from tests.api.caller import Caller

SPEND, BODY = "/v1/points/spend_points", {"user_id": "u1", "amount": 5}


async def test_a_list_is_read_in_parts(edge: Caller) -> None:
    """Each part's cursor leads to the next; nothing is repeated or skipped."""
    seen: list[int] = []
    cursor = ""
    while True:
        page = (await edge.get(f"/v1/lab/samples?limit=2{cursor}")).json()
        seen += [item["n"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={quote(page['next'])}"

    assert seen == list(range(1, 10))
    assert [item["n"] for item in (await edge.get("/v1/lab/samples?least=8")).json()["items"]] == [8, 9]


async def test_a_cursor_of_another_list_is_422(edge: Caller) -> None:
    """Or one that was changed; views never see it."""
    cursor = (await edge.get("/v1/lab/samples?limit=2")).json()["next"]
    for path, text in (
        ("points/statement/u1", cursor),
        ("lab/samples", cursor[:-2] + "AA"),
        ("lab/samples", cursor[4:]),
    ):
        answer = await edge.get(f"/v1/{path}?cursor={quote(text)}", "u1")
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")


async def test_what_is_not_there_is_404(edge: Caller) -> None:
    """A view that answers None."""
    assert (await edge.get("/v1/lab/sample/5")).json() == {"n": 5, "note": "note 5"}
    assert (await edge.get("/v1/lab/sample/99")).json()["code"] == "not_found"


async def test_a_token_is_waited_for(edge: Caller) -> None:
    """The answer comes once the position covers it, and at once when it does already."""
    token = (await edge.post(SPEND, BODY, "u1")).json()["token"]
    url = f"/v1/points/balance/u1?after={token}"
    waiting = asyncio.create_task(edge.get(url, "u1"))
    await edge.sql("INSERT INTO balance (user_id, available, held) VALUES ('u1', 5, 0)")
    answer = await edge.post(SPEND, BODY, "u1")
    record = await edge.record(answer)
    await edge.moved(record["partition"], record["offset"])

    first = await waiting

    assert (first.status_code, first.json()["active"]) == (200, 5)
    assert (await edge.get(url, "u1")).status_code == 200
    # The second command is not covered: `next` stands on it.
    late = await edge.get(f"/v1/points/balance/u1?after={answer.json()['token']}", "u1")
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (409, "not_yet_applied", "1")


async def test_a_lost_notification_only_delays(edge: Caller) -> None:
    """Positions are read again now and then."""
    answer = await edge.post(SPEND, BODY, "u1")
    record = await edge.record(answer)
    waiting = asyncio.create_task(edge.get(f"/v1/points/statement/u1?after={answer.json()['token']}", "u1"))
    await edge.sql(
        "INSERT INTO offsets (agent, topic, partition, next) VALUES ('points', 'points.commands', $1, $2)",
        record["partition"], record["offset"] + 1,
    )  # fmt: skip

    assert (await waiting).status_code == 200


async def test_a_parked_command_is_told_at_once(edge: Caller) -> None:
    """Its token will never be covered unless an operator acts; other tokens of the key are not touched."""
    before, parked = [await edge.post(SPEND, BODY, "u1") for _ in range(2)]
    record = await edge.record(parked)
    await edge.sql(
        'INSERT INTO parked (agent, topic, partition, "offset", headers, cause, error, holds) '
        "VALUES ('points', 'points.commands', $1, $2, '[]', 'held', '', true)",
        record["partition"], record["offset"],
    )  # fmt: skip
    await edge.moved(record["partition"], record["offset"] + 1)

    answers = [await edge.get(f"/v1/points/statement/u1?after={a.json()['token']}", "u1") for a in (parked, before)]

    assert [(a.status_code, a.json().get("code")) for a in answers] == [(409, "parked"), (200, None)]


async def test_several_tokens_are_covered_all(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever partitions, with commas between them; more than that are no token."""
    monkeypatch.setattr(views, "WAIT_S", 0.5)
    ann, bob = [await edge.post(SPEND, {**BODY, "user_id": user}, user) for user in ("u1", "u2")]
    both = ",".join(answer.json()["token"] for answer in (bob, ann))
    for answer in (bob, ann):
        early = await edge.get(f"/v1/points/statement/u1?after={both}", "u1")
        assert (early.status_code, early.json()["code"]) == (409, "not_yet_applied")
        record = await edge.record(answer)
        await edge.moved(record["partition"], record["offset"] + 1)

    assert (await edge.get(f"/v1/points/statement/u1?after={both}", "u1")).status_code == 200
    many = ",".join([ann.json()["token"]] * (views.MAX_TOKENS + 1))
    late = await edge.get(f"/v1/points/statement/u1?after={many}", "u1")
    assert (late.status_code, late.json()["code"]) == (422, "bad_token")


async def test_tokens_are_ours_and_of_this_domain(edge: Caller) -> None:
    """Forged, cut and foreign tokens."""
    token = (await edge.post(SPEND, BODY, "u1")).json()["token"]
    assert (await edge.get(f"/v1/lab/samples?after={token}")).json()["code"] == "token_of_other_domain"
    forged = Tokens([("k1", b"another key of the same kind....")]).write("points", 0, 0, _id(), "user:u1")
    for text in (
        forged,
        token[:-1],
        token[1:],
        token + "AAAA",
        token.swapcase(),
        "é",
        "=" * 8,
        f"{token},",
        f"{token},{forged}",
    ):
        answer = await edge.get(f"/v1/points/statement/u1?after={quote(text)}", "u1")
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_token"), text


def _id() -> Any:
    from streams.ids import uuid7

    return uuid7(0)


def test_tokens_outlive_a_rotation_of_keys() -> None:
    """The old key still reads, the new one writes."""
    old, new = ("k1", b"1" * 32), ("k2", b"2" * 32)
    written = Tokens([old]).write("points", 3, 2**40, _id(), "user:u1")

    read = Tokens([new, old]).read(written)

    assert (read.domain, read.partition, read.offset) == ("points", 3, 2**40)


async def test_personal_fields_are_opened_where_they_are_marked(edge: Caller) -> None:
    """A text that only looks sealed stays; what cannot be opened, or whose key is destroyed, is null."""
    await edge.post("/v1/lab/take_sample", {"sample": "s9", "note": "x"})
    [row] = await edge.sql("SELECT key FROM subject_keys WHERE subject = 's9'", domain="edge")
    text = seal("from mother", "s9", row["key"])
    url = f"/v1/lab/secret/{quote(text)}"

    assert (await edge.get(url)).json() == {"note": "from mother", "plain": text}
    assert (await edge.get("/v1/lab/secret/clear")).json() == {"note": "clear", "plain": "clear"}
    other = seal("from mother", "s9", b"0" * 32)
    assert (await edge.get(f"/v1/lab/secret/{quote(other)}")).json()["note"] is None
    await edge.sql("DELETE FROM subject_keys", domain="edge")
    assert (await edge.get(url)).json()["note"] is None


async def test_the_statement_opens_its_notes(edge: Caller) -> None:
    """For the user whose statement it is."""
    note = {"transfer_id": "t", "to": "u2", "amount": 1, "note": "for tea"}
    sent = await edge.post("/v1/points/transfer_points", {"user_id": "u1", **note}, "u1")
    sealed = (await edge.record(sent))["payload"]["note"]
    columns = await edge.sql(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'ledger' AND table_schema = $1",
        f"{edge.settings.namespace}points",
    )
    values = {"bigint": "1", "integer": "1", "uuid": "gen_random_uuid()", "timestamp with time zone": "now()"}
    row = {c["column_name"]: values.get(c["data_type"], "'x'") for c in columns} | {
        "user_id": "'u1'",
        "note": f"'{sealed}'",
    }
    await edge.sql(f"INSERT INTO ledger ({', '.join(row)}) VALUES ({', '.join(row.values())})")

    page = (await edge.get("/v1/points/statement/u1", "u1")).json()

    assert [item["note"] for item in page["items"]] == ["for tea"]


async def test_a_view_only_reads(edge: Caller) -> None:
    """Postgres refuses more, and the caller learns nothing of it."""
    answer = await edge.get("/v1/lab/writes")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert len((await edge.get("/v1/lab/samples")).json()["items"]) == 9


async def test_a_bug_leaves_in_no_words(edge: Caller) -> None:
    """No message, no trace."""
    answer = await edge.get("/v1/lab/broken")

    assert answer.status_code == 500
    assert "swordfish" not in answer.text
    assert set(answer.json()) == {"type", "title", "status", "code", "detail", "instance"}


async def test_a_slow_view_is_503(edge: Caller) -> None:
    """Its connection is free again."""
    answers = await asyncio.gather(*(edge.get("/v1/lab/slow") for _ in range(3)))

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(503, "postgres_unavailable")}
    assert (await edge.get("/v1/lab/sample/1")).status_code == 200


async def test_an_exhausted_pool_is_503_and_recovers(edge: Caller) -> None:
    """More slow requests than connections: the others wait no longer than they may."""
    slow = [edge.get("/v1/lab/slow") for _ in range(12)]
    answers = await asyncio.gather(*slow, *(edge.get("/v1/lab/sample/1") for _ in range(5)))

    assert {a.status_code for a in answers[:12]} == {503}
    assert {a.status_code for a in answers[12:]} <= {200, 503}
    assert (await edge.get("/v1/lab/sample/1")).status_code == 200
