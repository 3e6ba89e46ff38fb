"""Parked records for Admins. They are planted here, and no worker runs: what the owner does is written as it writes it."""

import asyncio
import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.parked import BODIES
from sinks.postgres.migrations import connect
from tests.api.caller import Caller

ROOT = "root/Admin"
SPEND = "/v1/points/spend_points"


async def plant(edge: Caller, offset: int, /, *, domain: str = "points", **columns: Any) -> str:
    """Park a record on partition 0; its path."""
    row = {
        "agent": domain, "topic": f"{domain}.commands", "partition": 0, "offset": offset, "key": b"u1", "value": b"{}", "headers": "[]",
        "cause": "rule_failed", "error": "Traceback: planted", "holds": True, **columns,
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in row)
    values = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await edge.sql(f"INSERT INTO parked ({names}) VALUES ({values})", *row.values(), domain=domain)
    return f"/v1/parked/{domain}/{row['agent']}/{row['topic']}/{row['partition']}/{offset}"


async def published(edge: Caller, body: dict[str, Any], url: str = SPEND) -> tuple[bytes, dict[str, Any]]:
    """Value and envelope of a command that the edge made."""
    answer = await edge.post(url, body, "u1")
    told = await edge.record(answer)
    envelope = {name: part for name, part in told.items() if name not in {"partition", "offset"}}
    return json.dumps(envelope, separators=(",", ":")).encode(), envelope


async def act(edge: Caller, request_id: str, status: str, outcome: str) -> None:
    """End a request as the owner does: the record is gone when it was done."""
    if status == "done":
        await edge.sql(
            'DELETE FROM parked p USING requests r WHERE r.id = $1 AND (p.agent, p.topic, p.partition, p."offset") = (r.agent, r.topic, r.partition, r."offset")',
            request_id,
        )
    await edge.sql(
        "UPDATE requests SET status = $2, outcome = $3, done_at = now() WHERE id = $1", request_id, status, outcome
    )


async def requests(edge: Caller) -> list[Any]:
    """What was asked."""
    return await edge.sql("SELECT * FROM requests ORDER BY asked_at")


def places(answer: httpx.Response) -> list[tuple[str, int]]:
    """Domain and offset of the records of a page."""
    assert answer.status_code == 200, answer.text
    return [(item["domain"], item["offset"]) for item in answer.json()["items"]]


async def test_nobody_but_admins_is_told_anything(edge: Caller) -> None:
    """401 before 403 before what is there."""
    place = await plant(edge, 1)
    posts = [f"{place}/{action}" for action in BODIES]
    for path in ("/v1/parked", place, f"/v1/parked/requests/{uuid4()}", "/v1/parked?no=1", f"{place}9"):
        assert [(await edge.get(path, who)).status_code for who in (None, "u1", "p1/Partner", "v/PRO")] == [
            401,
            403,
            403,
            403,
        ]
    for path in posts:
        answers = [await edge.post(path, {"reason": "r"}, who) for who in (None, "u1", "p1/Partner")]
        assert [answer.json()["code"] for answer in answers] == ["unauthorized", "forbidden", "forbidden"]

    assert await requests(edge) == []


async def test_a_list_is_paged_in_the_order_of_places(edge: Caller) -> None:
    """Across domains; what only waits behind another is counted, and listed when it is asked for."""
    value, _ = await published(edge, {"user_id": "u1", "amount": 5})
    for offset in range(1, 8):
        await plant(edge, offset, key=b"u%d" % offset, value=value)
    await plant(edge, 8, key=b"u1", cause="held")
    await plant(edge, 9, key=b"u1", cause="held", agent="other")  # of another agent: it waits behind nothing of ours
    await plant(edge, 10, key=None, value=None, cause="undecodable", holds=False)
    await plant(edge, 3, domain="lab", key=b"\xff", cause="unsigned", holds=False)
    pages, cursor = [await edge.get("/v1/parked?limit=4", ROOT)], ""
    while cursor := pages[-1].json()["next"]:
        pages.append(await edge.get(f"/v1/parked?limit=4&cursor={cursor}", ROOT))
    lines = {(line["domain"], line["offset"]): line for page in pages for line in page.json()["items"]}

    assert [places(page) for page in pages] == [
        [("lab", 3), ("points", 1), ("points", 2), ("points", 3)],
        [("points", 4), ("points", 5), ("points", 6), ("points", 7)],
        [("points", 10)],
    ]
    told = lines["points", 1]
    assert (told["waiting"], told["type"], told["key"], told["place"]) == (
        1,
        "spend_points",
        "u1",
        "points.commands/0/1",
    )
    assert [lines[place]["key"] for place in (("lab", 3), ("points", 10))] == ["\\xff", None]
    assert [lines[place]["type"] for place in (("lab", 3), ("points", 10))] == [None, None]
    assert lines["points", 2]["waiting"] == 0


async def test_a_list_is_filtered(edge: Caller) -> None:
    """By each of its parameters."""
    value, _ = await published(edge, {"user_id": "u1", "amount": 5})
    await plant(edge, 1, value=value, parked_at=datetime(2026, 1, 1, 12, tzinfo=UTC))
    await plant(edge, 2, cause="held")
    await plant(edge, 3, key=b"u3", cause="unsigned", holds=False)
    await plant(edge, 4, key=b"u4", agent="policy")
    await plant(edge, 5, domain="lab")

    for query, offsets in {
        "": [5, 4, 1, 3],
        "?held=true": [5, 4, 1, 2, 3],
        "?domain=points": [4, 1, 3],
        "?agent=policy": [4],
        "?key=u1&domain=points": [1, 2],
        "?cause=unsigned": [3],
        "?cause=held": [2],
        "?type=spend_points": [1],
        "?type=spend": [],
        "?until=2026-01-01T12:00:01Z": [1],
        "?until=2026-01-01T12:00:00Z": [],
        "?since=2026-01-01T12:00:01Z": [5, 4, 3],
    }.items():
        assert sorted(n for _, n in places(await edge.get(f"/v1/parked{query}", ROOT))) == sorted(offsets), query


async def test_a_bad_query_is_told(edge: Caller) -> None:
    """422, with the field."""
    for query, code in {
        "domain=nope": "invalid",
        "color=red": "invalid",
        "limit=0": "invalid",
        "limit=201": "invalid",
        "key=a&key=b": "invalid",
        "since=yesterday": "invalid",
        "cause=%00": "invalid",
        "cursor=bm9wZQ": "bad_cursor",
    }.items():
        answer = await edge.get(f"/v1/parked?{query}", ROOT)
        assert (answer.status_code, answer.json()["code"]) == (422, code), query


async def test_a_record_is_shown_whole(edge: Caller) -> None:
    """Bytes, headers, cause, and what it says with personal fields masked."""
    body = {"user_id": "u1", "transfer_id": "t1", "to": "u2", "amount": 4, "note": "a secret"}
    value, envelope = await published(edge, body, "/v1/points/transfer_points")
    place = await plant(
        edge, 7, value=value, headers=json.dumps([["caravan-sig", b"k1:x".hex()], ["odd", b"\xff".hex()]])
    )
    follower = await plant(edge, 8, cause="held")

    told = (await edge.get(place, ROOT)).json()
    waits = (await edge.get(follower, ROOT)).json()

    assert b64decode(told["value_base64"]) == value
    assert [(h["name"], b64decode(h["value_base64"])) for h in told["headers"]] == [
        ("caravan-sig", b"k1:x"),
        ("odd", b"\xff"),
    ]
    assert (told["cause"], told["error"], told["attempts"], told["waiting"]) == (
        "rule_failed",
        "Traceback: planted",
        1,
        1,
    )
    assert (told["envelope"]["type"], told["envelope"]["id"]) == ("transfer_points", envelope["command_id"])
    assert told["envelope"]["payload"] == {**body, "note": "•••"}
    assert told["envelope"]["actor"] == {"type": "user", "id": "u1", "role": "User"}
    assert (waits["behind"], told["behind"], told["history"]) == ("points.commands/0/7", None, [])
    assert "behind points.commands/0/7" in waits["next"]


async def test_what_cannot_be_decoded_is_shown_as_it_is(edge: Caller) -> None:
    """With its bytes, and no envelope."""
    for n, value in enumerate((None, b"", b"\xff\x00", b"{}", b"[" * 60_000, b'{"command_id": 1}')):
        told = (await edge.get(await plant(edge, n, value=value, key=b"\xff"), ROOT)).json()
        assert (told["envelope"], told["type"], told["key_base64"]) == (None, None, "/w==")
        assert told["value_base64"] == (None if value is None else b64encode(value).decode())


async def test_a_place_that_is_none_is_not_found(edge: Caller) -> None:
    """Whatever stands there."""
    place = await plant(edge, 1)
    bad = [
        f"{place}1",
        place.replace("/0/", "/x/"),
        place.replace("v1/parked/points", "v1/parked/nope"),
        place[:-1] + "--1",
        place[:-1] + "%D9%A1",
    ]

    for path in (*bad, place[:-1] + "9" * 40):
        assert (await edge.get(path, ROOT)).status_code == 404, path
        assert (await edge.post(f"{path}/skip", {"reason": "r"}, ROOT)).status_code == 404, path
    assert (await edge.post(f"{place}/shout", {}, ROOT)).status_code == 404
    assert (await edge.get(f"{place}/skip", ROOT)).status_code == 405
    assert (await edge.get(f"/v1/parked/requests/{uuid4()}", ROOT)).status_code == 404
    assert (await edge.get("/v1/parked/requests/x", ROOT)).status_code == 422
    assert await requests(edge) == []


async def test_what_is_asked_is_written_for_the_owner(edge: Caller) -> None:
    """Who, why, what; 202 with where to ask. A reason is demanded where something is given up or changed."""
    value, _ = await published(edge, {"user_id": "u1", "amount": 5})
    place = await plant(edge, 1, value=value)
    answers = [
        await edge.post(f"{place}/redrive", b"", ROOT),
        await edge.post(f"{place}/skip", {"reason": "sent twice"}, ROOT),
        await edge.post(f"{place}/edit", {"reason": "typing error", "payload": {"amount": 3}}, "ann/Admin"),
    ]
    told = [answer.json() for answer in answers]
    rows = await requests(edge)
    status = await edge.get(told[1]["status_url"], ROOT)

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [(row["action"], row["by"], row["reason"], row["status"]) for row in rows] == [
        ("redrive", "user:root", None, "waiting"),
        ("skip", "user:root", "sent twice", "waiting"),
        ("edit", "user:ann", "typing error", "waiting"),
    ]
    assert [str(row["id"]) for row in rows] == [one["request_id"] for one in told]
    assert {(row["agent"], row["topic"], row["partition"], row["offset"]) for row in rows} == {
        ("points", "points.commands", 0, 1)
    }
    assert rows[2]["value"] == value.replace(b'"amount":5', b'"amount":3')
    assert {**status.json(), "status_url": told[1]["status_url"]} == told[1]
    assert [one["action"] for one in (await edge.get(place, ROOT)).json()["history"]] == ["redrive", "skip", "edit"]


PERSONAL = {"user_id": "u1", "transfer_id": "t1", "to": "u2", "amount": 4, "note": "a secret"}


MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("skip", {}, "reason"),
    ("skip", {"reason": " "}, "reason"),
    ("skip", {"reason": "r", "why": 1}, "why"),
    ("redrive", {"reason": 5}, "reason"),
    ("edit", {"payload": {"amount": 5}}, "reason"),
    ("edit", {"reason": "r"}, "$"),
    ("edit", {"reason": "r", "payload": {}}, "payload"),
    ("edit", {"reason": "r", "payload": {"amount": 5}, "value_base64": "e30="}, "$"),
    ("edit", {"reason": "r", "payload": {"amount": -5}}, "payload.amount"),
    ("edit", {"reason": "r", "payload": {"amount": None}}, "payload.amount"),
    ("edit", {"reason": "r", "payload": {"amont": 5}}, "payload.amont"),
    ("edit", {"reason": "r", "payload": {"user_id": "u3"}}, "payload.user_id"),
    ("edit", {"reason": "r", "payload": {"note": "in the clear"}}, "payload.note"),
    ("edit", {"reason": "r", "value_base64": "%"}, "value_base64"),
    ("edit", {"reason": "r", "value_base64": "e30="}, "value"),
]


async def test_a_malformed_request_asks_for_nothing(edge: Caller) -> None:
    """422 with the field: what would only be parked again is not taken."""
    value, _ = await published(edge, PERSONAL, "/v1/points/transfer_points")
    place = await plant(edge, 1, value=value)
    for action, body, field in MALFORMED:
        answer = await edge.post(f"{place}/{action}", body, ROOT)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), body
        assert [error["field"] for error in answer.json()["errors"]] == [field], body
    assert await requests(edge) == []


async def test_a_whole_value_is_that_of_the_same_command(edge: Caller) -> None:
    """Its id and key stay, since answers and order hang on them; garbage stays garbage."""
    (value, _), (other, _) = [await published(edge, {"user_id": "u1", "amount": n}) for n in (5, 6)]
    place, garbage = await plant(edge, 1, value=value), await plant(edge, 2, value=b"no JSON", holds=False)
    body = {"reason": "r", "value_base64": b64encode(other).decode()}

    assert (await edge.post(f"{place}/edit", body, ROOT)).json()["errors"][0]["code"] == "other_record"
    assert (await edge.post(f"{garbage}/edit", {"reason": "r", "payload": {"amount": 1}}, ROOT)).status_code == 422
    assert (await edge.post(f"{garbage}/edit", body, ROOT)).status_code == 422
    assert await requests(edge) == []
    body = {"reason": "r", "value_base64": b64encode(value.replace(b'"amount":5', b'"amount":6')).decode()}
    assert (await edge.post(f"{place}/edit", body, ROOT)).status_code == 202
    assert b'"amount":6' in (await requests(edge))[0]["value"]


async def test_who_waits_is_told_what_became_of_it(edge: Caller) -> None:
    """200 when it was done, 409 when the owner refused it, 202 when nobody acts in time; what is gone is 409 with its history."""
    first, second = await plant(edge, 1), await plant(edge, 2)
    wait = {"Prefer": "wait=30"}
    asking = [asyncio.create_task(edge.post(f"{place}/skip", {"reason": "r"}, ROOT, wait)) for place in (first, second)]
    await edge.seen("SELECT count(*) = 2 FROM requests")
    for offset, status in ((1, "done"), (2, "refused")):
        (row,) = await edge.sql('SELECT id FROM requests WHERE "offset" = $1', offset)
        await act(edge, str(row["id"]), status, f"so it is: {status}")
    done, refused = await asyncio.gather(*asking)
    late = await edge.post(f"{second}/skip", {"reason": "r"}, ROOT, {"Prefer": "wait=1"})

    assert (done.status_code, done.json()["status"], done.json()["outcome"]) == (200, "done", "so it is: done")
    assert (refused.status_code, refused.json()["code"], refused.json()["detail"]) == (
        409,
        "request_refused",
        "so it is: refused",
    )
    assert (late.status_code, late.json()["status"], late.headers["preference-applied"]) == (202, "waiting", "wait=1")
    for answer in (await edge.get(first, ROOT), await edge.post(f"{first}/redrive", b"", ROOT)):
        assert (answer.status_code, answer.json()["code"]) == (409, "no_longer_parked")
        assert answer.json()["detail"] == "skip by user:root: so it is: done"
        assert [one["reason"] for one in answer.json()["history"]] == ["r"]


async def test_the_edge_may_ask_and_nothing_more(edge: Caller) -> None:
    """Its role cannot answer a request, nor touch a parked record."""
    await plant(edge, 1)
    namespace = edge.settings.namespace
    connection = await connect(edge.settings.postgres)
    try:
        await connection.execute(f'SET ROLE "{namespace}edge"; SET search_path = "{namespace}points"')
        for forbidden in (
            "DELETE FROM parked",
            "UPDATE parked SET holds = false",
            "DELETE FROM requests",
            "UPDATE requests SET status = 'done'",
            "INSERT INTO requests (id, agent, topic, partition, \"offset\", action, by, status) VALUES (gen_random_uuid(), '', '', 0, 1, 'skip', '', 'done')",
            "DELETE FROM offsets",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()


async def test_openapi_tells_of_each_route(edge: Caller) -> None:
    """With an example of what is sent and of what comes."""
    spec = (await edge.get("/openapi.json")).json()
    told = {path: item for path, item in spec["paths"].items() if path.startswith("/v1/parked")}
    schemas = spec["components"]["schemas"]

    assert len(told) == 6
    for item in told.values():
        for operation in item.values():
            ok = operation["responses"]["200"]["content"]["application/json"]
            name = ok["schema"]["$ref"].rpartition("/")[2]
            (example,) = [one["value"] for one in ok["examples"].values()]
            assert set(schemas[name]["properties"]) == set(example)
            assert {"401", "403"} <= set(operation["responses"])
