"""A command becomes one signed record, and 202 is said after Kafka has it."""

from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson

from streams.envelope import Signer, decode_command
from streams.ids import milliseconds
from streams.personal import is_sealed
from tests.api.caller import Caller

AWARD = "/v1/points/award_points"
BODY = {"user_id": "u1", "amount": 5}


async def test_a_command_is_a_signed_record_with_its_envelope(edge: Caller) -> None:
    """Key, value, signature and trace are those that workers check."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    answer = await edge.post(AWARD, BODY, "root/Admin", {"traceparent": trace})

    assert answer.status_code == 202
    [record] = await edge.records("points.commands", 4)
    assert record.key == b"u1"
    assert Signer(edge.settings.signing_keys).checker("points.commands")(record)
    assert dict(record.headers)["traceparent"] == trace.encode()
    envelope = decode_command(record.value)
    told = UUID(answer.json()["command_id"])
    assert (envelope.command_id, envelope.correlation_id, envelope.causation_id) == (told, told, None)
    assert (envelope.type, envelope.domain, envelope.aggregate_id) == ("award_points", "points", "u1")
    assert (envelope.actor.type, envelope.actor.id, envelope.actor.role) == ("user", "root", "Admin")
    assert told.version == 7
    assert abs(milliseconds(told) - record.timestamp) < 60_000
    assert orjson.loads(bytes(envelope.payload)).items() >= {**BODY, "rule": None, "source": None}.items()


async def test_202_tells_where_to_look(edge: Caller) -> None:
    """command_id, status_url with domain and token, and the same as Location."""
    answer = await edge.post(AWARD, BODY, "root/Admin")

    told = answer.json()
    assert set(told) == {"command_id", "status_url", "token"}
    assert answer.headers["location"] == told["status_url"]
    url = urlsplit(told["status_url"])
    assert url.path == f"/v1/commands/{told['command_id']}"
    assert parse_qs(url.query) == {"domain": ["points"], "token": [told["token"]]}


async def test_a_trace_is_made_where_none_is_given(edge: Caller) -> None:
    """A bad traceparent counts as none."""
    for given in ({}, {"traceparent": "00-zz-01"}, {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}):
        await edge.post(AWARD, BODY, "root/Admin", given)

    traces = {dict(record.headers)["traceparent"] for record in await edge.records("points.commands", 4)}
    assert len(traces) == 3
    assert all(len(trace) == 55 and trace.startswith(b"00-") for trace in traces)


async def test_guests_may_issue_what_is_declared_for_them(edge: Caller) -> None:
    """Without a token the actor is a guest."""
    answer = await edge.post("/v1/lab/take_sample", {"sample": "s1", "series": "01900000-0000-7000-8000-000000000001"})

    assert answer.status_code == 202
    record = await edge.record(answer, "lab.commands", 2)
    assert record["actor"] == {"type": "guest", "id": "", "role": "Guest"}


async def test_personal_fields_are_sealed_before_they_enter_kafka(edge: Caller) -> None:
    """The record has no clear text; the key belongs to the owner, or else to the aggregate."""
    body = {"user_id": "u1", "transfer_id": "t1", "to": "u2", "amount": 1, "note": "from mother"}
    sent = await edge.post("/v1/points/transfer_points", body, "u1")
    other = await edge.post("/v1/lab/take_sample", {"sample": "s9", "note": "from mother"})

    assert (sent.status_code, other.status_code) == (202, 202)
    records = await edge.records("points.commands", 4) + await edge.records("lab.commands", 2)
    assert not any(b"mother" in record.value for record in records)
    assert is_sealed((await edge.record(sent))["payload"]["note"])
    subjects = await edge.sql("SELECT subject FROM subject_keys ORDER BY 1", domain="edge")
    assert [row["subject"] for row in subjects] == ["s9", "u1"]


async def test_a_service_command_has_no_route(edge: Caller) -> None:
    """Neither as a path nor in the document."""
    for path in ("/v1/lab/break_sample", "/v1/points/credit_transfer", "/v1/lab/inner"):
        assert (await edge.post(path, {"sample": "s1"}, "root/Admin")).status_code == 404
        assert path not in (await edge.get("/openapi.json")).json()["paths"]


async def test_every_answer_has_a_request_id_and_careful_headers(edge: Caller) -> None:
    """A given id comes back if it is harmless."""
    for path, status in (("/health", 200), ("/nowhere", 404), ("/v1/lab/broken", 500), ("/v1/points/balance/u1", 401)):
        answer = await edge.get(path, headers={"X-Request-Id": "abc-1"})

        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "abc-1")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    bad = await edge.get("/health", headers={"X-Request-Id": "a b"})
    assert bad.headers["x-request-id"] != "a b"
