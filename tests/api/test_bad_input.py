"""Bad input on every route: the 4xx that the platform promises everywhere, and nothing published."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from api.app import Served
from tests.api.caller import Caller
from tests.api.conftest import ALL
from tests.api.routes import COMMANDS, VIEWS, Accepted

UNREADABLE = [
    b"", b" ", b"{", b"nul", b"{'a': 1}", b"{}{}", b"[1,]", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": "\x00"}', b"\xff\xfe{}",
    b'\xef\xbb\xbf{"a": 1}', b'{"a": "\xc3\x28"}', b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a":' * 30_000, "{}".encode("utf-16"),
]  # fmt: skip
NO_OBJECTS = [b"null", b"[]", b"1", b'"text"', b"true", b"[" * 100 + b"]" * 100]
WRONG: dict[str, list[Any]] = {
    "integer": [0, -1, 1.5, "5", True, 2**63, 10**30, -(10**30), [], {}, "", "1e3", 1e308],
    "string": ["", 5, 1.5, True, [], {}, ["u1"], "nul \0 in it", "x" * 1001, "\0"],
    "array": [5, "text", {}, [5], [{"text": "a", "more": 1}], [{"text": "nul \0"}], [{}]],
}
MEDIA = [
    {"Content-Type": kind}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "json")
]


@pytest.fixture
def serves() -> Sequence[Served]:
    """Every domain."""
    return ALL


def _kinds(schema: dict[str, Any]) -> list[str]:
    options = schema.get("anyOf", [schema])
    return [option["type"] for option in options if option.get("type") in WRONG]


def _wrong(route: Accepted) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies that are wrong in one field, with the path of the field."""
    fields = route.contract.model_json_schema()
    yield "surplus", {**route.body, "surplus": 1}
    for name in fields.get("required", ()):
        yield name, {key: value for key, value in route.body.items() if key != name}
    for name, schema in fields["properties"].items():
        for kind in _kinds(schema):
            for value in WRONG[kind]:
                if not _taken(route, {**route.body, name: value}):
                    yield name, {**route.body, name: value}


def _taken(route: Accepted, body: Any) -> bool:
    """Whether the contract itself takes it: an empty free text is no mistake."""
    raw = orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if not _big(body) else b"{}"
    try:
        route.contract.model_validate_json(raw, strict=True)
    except ValidationError:
        return False
    return b"\\u0000" not in raw


def _big(body: dict[str, Any]) -> bool:
    return any(isinstance(value, int) and abs(value) >= 2**63 for value in body.values())


def _raw(body: dict[str, Any]) -> bytes:
    """JSON with integers of any size."""
    parts = (orjson.dumps(n) + b":" + (str(v).encode() if _big({n: v}) else orjson.dumps(v)) for n, v in body.items())
    return b"{" + b",".join(parts) + b"}"


async def test_unreadable_bodies_are_400(edge: Caller) -> None:
    """Whoever sends them."""
    before = await edge.ends()
    for route in COMMANDS:
        for raw in UNREADABLE:
            answer = await edge.post(route.path, raw, route.who)
            assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_body"), raw[:40]
    assert await edge.ends() == before


async def test_wrong_fields_are_422_with_their_path(edge: Caller) -> None:
    """Missing, unknown, wrong type, too long, NUL, beyond limits."""
    before = await edge.ends()
    for route in COMMANDS:
        admin = "root/Admin"  # to whom a wrong owner is a wrong field and no foreign one
        for raw in NO_OBJECTS:
            answer = await edge.post(route.path, raw, admin)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "$"), raw
        for name, body in _wrong(route):
            answer = await edge.post(route.path, _raw(body), admin)
            assert answer.status_code == 422, (route.path, body)
            problem = answer.json()
            assert problem["code"] == "invalid"
            assert any(e["field"].split(".")[0] in {name, "$"} for e in problem["errors"]), (body, problem)
    assert await edge.ends() == before


async def test_other_media_are_415(edge: Caller) -> None:
    """Compressed bodies too."""
    before = await edge.ends()
    for route in COMMANDS:
        for headers in (*MEDIA, {"Content-Encoding": "gzip"}):
            answer = await edge.post(route.path, dict(route.body), route.who, headers)
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), headers
    assert await edge.ends() == before


async def test_large_bodies_are_413(edge: Caller) -> None:
    """Told by Content-Length or found while they stream."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"user_id": "'
        for _ in range(300):
            yield b"x" * 1024

    before = await edge.ends()
    for route in COMMANDS:
        whole = await edge.post(route.path, b'"' + b"x" * 256 * 1024 + b'"', route.who)
        headers = {"Content-Type": "application/json", **edge.headers(route.who)}
        streamed = await edge.client.post(route.path, content=chunks(), headers=headers)
        fits = await edge.post(route.path, b'"' + b"x" * (256 * 1024 - 2) + b'"', route.who)
        assert (whole.status_code, streamed.status_code, fits.status_code) == (413, 413, 422)
    assert await edge.ends() == before


async def test_views_refuse_bad_parameters_with_422(edge: Caller) -> None:
    """In the path and in the query."""
    for read in VIEWS:
        signature = read.signature
        wrong = ["surplus=1", "after=", "after=x", "after=%00", "after=" + "A" * 400, "after=%FF", "limit=1"]
        if signature.paging:
            wrong[-1:] = [
                "limit=0",
                "limit=201",
                "limit=-1",
                "limit=x",
                "limit=1&limit=2",
                "limit=",
                "cursor=x",
                "cursor=W10=",
                "cursor=",
            ]
        fields = signature.model.model_fields
        wrong += [f"{name}=x" for name in signature.query if fields[name].annotation not in (str, str | None)]
        for query in wrong:
            answer = await edge.get(f"{read.path}?{query}", read.who)
            assert answer.status_code == 422, (read.path, query)
        if signature.segments:
            base = read.path.rpartition("/")[0]
            for value in ("%00", "a%00b", "x" * 1001):
                assert (await edge.get(f"{base}/{value}", read.who)).status_code == 422, (base, value[:9])


async def test_numbers_beyond_postgres_are_422(edge: Caller) -> None:
    """They could name nothing."""
    for number in ("9223372036854775808", "-99999999999999999999999", "x", "1.5", "9" * 999):
        assert (await edge.get(f"/v1/lab/sample/{number}")).status_code == 422


async def test_status_refuses_bad_parameters_with_422(edge: Caller) -> None:
    """The id is a UUID, the domain is one of ours, the token was given by us."""
    known = "01900000-0000-7000-8000-000000000001"
    for url in (
        "/v1/commands/x?domain=points", f"/v1/commands/{known}", f"/v1/commands/{known}?domain=nix",
        f"/v1/commands/{known}?domain=points&token=x", f"/v1/commands/{known}?domain=points&more=1",
    ):  # fmt: skip
        assert (await edge.get(url, "u1")).status_code == 422, url


async def test_unknown_paths_and_methods_are_problems(edge: Caller) -> None:
    """404, or 405 with Allow."""
    for path in (
        "/",
        "/v1",
        "/v1/",
        "/v1/points",
        "/v1/points/",
        "/v1/points/balance",
        "/v1/points/balance/",
        "/v1/nix/balance/u1",
    ):
        assert ((await edge.get(path)).status_code, (await edge.get(path)).json()["code"]) == (404, "not_found"), path
    for route in COMMANDS:
        answer = await edge.get(route.path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.headers["content-type"] == "application/problem+json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_sent_gets_a_4xx(edge: Caller, data: st.DataObject) -> None:
    """Any JSON and any bytes, alone or in the place of a field."""
    before = await edge.ends()
    route = data.draw(st.sampled_from(COMMANDS))
    field = data.draw(st.sampled_from(sorted(route.contract.model_fields)))
    body = data.draw(st.one_of(json_values, json_values.map(lambda value: {**route.body, field: value})))
    raw = data.draw(st.one_of(st.just(_any_json(body)), st.binary(max_size=60)))
    if not _accepts(route, raw):
        answer = await edge.post(route.path, raw, "root/Admin")
        assert answer.status_code in {400, 422}, (route.path, raw)
        assert answer.headers["content-type"] == "application/problem+json"
        assert await edge.ends() == before


def _any_json(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()


def _accepts(route: Accepted, raw: bytes) -> bool:
    try:
        route.contract.model_validate_json(raw, strict=True)
    except ValidationError:
        return False
    return b"\\u0000" not in raw
