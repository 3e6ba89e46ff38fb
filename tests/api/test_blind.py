"""Blind fields: filled by the edge, given by nobody, equal for equal texts, and no text in the clear."""

from typing import Any

from api.app import create_app
from streams.personal import blinded, is_sealed
from tests.api.caller import Caller, running
from tests.api.conftest import SERVES

SIGN, FIND = "/v1/lab/sign_sample", "/v1/lab/find_sample"


async def _payload(edge: Caller, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    answer = await edge.post(path, body, headers={"Idempotency-Key": key} if key else None)
    assert answer.status_code == 202, answer.text
    record = await edge.record(answer, "lab.commands", 2)
    payload: dict[str, Any] = record["payload"]
    return payload | {"key": record["aggregate_id"]}


async def test_the_edge_fills_what_nobody_gives(edge: Caller) -> None:
    """From the clear text, before it is sealed; of one kind where the contract says so; null beside null."""
    body = {"sample": "s1", "email": "Ann@Example.org", "phone": "ann@example.ORG", "nick": "ann@example.org"}

    told = await _payload(edge, SIGN, body)

    [row] = await edge.sql("SELECT key FROM subject_keys WHERE subject = '/blind'", domain="edge")
    assert told["email_login"] == told["phone_login"] == blinded("ann@example.org", "email", row["key"])
    assert told["nick_login"] == blinded("ann@example.org", "nick", row["key"]) != told["email_login"]
    assert all(is_sealed(told[name]) for name in ("email", "phone", "nick"))
    records = await edge.records("lab.commands", 2)
    assert not any(b"example" in record.value.lower() for record in records)
    none = await _payload(edge, SIGN, {"sample": "s1", "nick": None})
    assert {none[name] for name in ("email", "email_login", "phone", "phone_login", "nick", "nick_login")} == {None}


async def test_a_client_cannot_give_it(edge: Caller) -> None:
    """It is an unknown field, and no document shows it."""
    for given in ("x", None):
        answer = await edge.post(SIGN, {"sample": "s1", "email": "a@b.de", "email_login": given}, "root/Admin")
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "email_login", "code": "extra_forbidden", "message": "Extra inputs are not permitted"}
        ]
    for path in ("/openapi.json", "/docs"):
        page = (await edge.get(path)).text
        assert "phone" in page or path == "/docs"
        assert not any(f"{name}_login" in page for name in ("email", "phone", "nick"))
    assert await edge.records("lab.commands", 2) == []


async def test_replicas_agree_and_a_repeat_is_the_same_command(edge: Caller) -> None:
    """The secret is read by each process, made by one."""
    body = {"sample": "s1", "email": "ann@example.org"}
    first = await _payload(edge, SIGN, body, "k")
    async with running(create_app(edge.settings, SERVES), edge.settings) as other:
        await other.until("/ready", 200)
        assert (await _payload(other, SIGN, body))["email_login"] == first["email_login"]
        assert await _payload(other, SIGN, body, "k") == first
    assert len(await edge.records("lab.commands", 2)) == 2


async def test_a_command_may_be_keyed_by_it(edge: Caller) -> None:
    """The record's key is the hash; without a text there is no key."""
    told = await _payload(edge, FIND, {"email": "ann@example.org"})
    assert told["key"] == told["login"] == (await _payload(edge, FIND, {"email": "ANN@example.org"}))["login"]

    answer = await edge.post(FIND, {})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "email")


async def test_no_subject_has_the_name_of_the_secret(edge: Caller) -> None:
    """A caller may have any id, but no data is sealed by the secret's own row."""
    owned = {"sample": "s1", "keeper": "/blind", "label": "x"}
    answer = await edge.post("/v1/lab/label_sample", owned, "root/Admin")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "keeper")


async def test_a_view_is_asked_with_the_clear_text(edge: Caller) -> None:
    """Its query is given the hash."""
    told = await _payload(edge, SIGN, {"sample": "s1", "email": "ann@example.org"})
    url = "/v1/lab/hashed/ANN@example.org"

    assert (await edge.get(url)).json() == [told["email_login"], None]
    assert (await edge.get(f"{url}?nick=ann@example.org")).json() == [told["email_login"]] * 2
