"""OpenAPI 3.1: valid, complete, and true of what is served."""

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import Served
from api.errors import PROBLEMS
from tests.api.caller import Caller
from tests.api.conftest import ALL
from tests.api.routes import COMMANDS, VIEWS, Accepted


@pytest.fixture
def serves() -> Sequence[Served]:
    """Every domain."""
    return ALL


async def _spec(edge: Caller) -> dict[str, Any]:
    document: dict[str, Any] = (await edge.get("/openapi.json")).json()
    return document


def _matches(spec: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """The answer is one that the document tells of."""
    operation = spec["paths"][path][answer.request.method.lower()]
    told = operation["responses"][str(answer.status_code)]
    if "$ref" in told:
        told = spec["components"]["responses"][told["$ref"].rpartition("/")[2]]
    kind = answer.headers["content-type"]
    schema = {**told["content"][kind]["schema"], "components": spec["components"]}
    Draft202012Validator(schema).validate(answer.json())


async def test_the_document_is_valid_openapi(edge: Caller) -> None:
    """By the specification's own schema."""
    spec = await _spec(edge)

    assert list(OpenAPIV31SpecValidator(spec).iter_errors()) == []
    assert spec["openapi"].startswith("3.1")


async def test_every_route_is_told_with_words_errors_and_security(edge: Caller) -> None:
    """And nothing that is not served."""
    spec = await _spec(edge)
    views = {"/".join(read.path.split("/")[:4]) for read in VIEWS} | {
        f"/v1/lab/{name}" for name in ("slow", "broken", "writes")
    }
    served = {route.path for route in COMMANDS} | views | {"/v1/commands", "/health", "/ready"}
    served |= {"/v1/parked", "/v1/parked/requests"}

    assert {path.partition("/{")[0] for path in spec["paths"]} == served
    for item in spec["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["security"]
    told = {code for response in spec["components"]["responses"].values() for code in _codes(response)}
    assert told == set(PROBLEMS)


def _codes(response: dict[str, Any]) -> set[str]:
    return set(response["content"]["application/problem+json"]["examples"])


async def test_types_can_be_made_of_it(edge: Caller) -> None:
    """Answers always have what they always have; bodies need what has no default; no object is told to be empty."""
    spec = await _spec(edge)
    schemas = spec["components"]["schemas"]

    assert set(schemas["Balance"]["required"]) == set(schemas["Balance"]["properties"])
    assert set(schemas["Page_Sample_"]["required"]) == {"items", "next"}
    assert schemas["AwardPoints"]["required"] == ["user_id", "amount"]
    empty = [name for name, schema in _objects(spec, "#") if not {"properties", "additionalProperties"} & schema.keys()]
    assert empty == []
    names = [op["operationId"] for item in spec["paths"].values() for op in item.values()]
    assert len(set(names)) == len(names)
    live = [op for path, item in spec["paths"].items() if path.endswith("/live") for op in item.values()]
    assert live
    assert all("429" in op["responses"] for op in live)


def _objects(part: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object."""
    if isinstance(part, dict):
        kinds = part.get("type", ())
        if "object" in ([kinds] if isinstance(kinds, str) else kinds):
            yield name, part
        for key, value in part.items():
            if key != "examples":
                yield from _objects(value, f"{name}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _objects(value, f"{name}/{number}")


async def test_every_example_is_accepted(edge: Caller) -> None:
    """By the edge; as examples say themselves, after those of the commands they name."""
    spec = await _spec(edge)
    for route in COMMANDS:
        operation = spec["paths"][route.path]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        assert len(content["examples"]) == len(route.contract.examples) > 0
        assert all(name in route.contract.topic.commands for name in operation["x-after"])
        for example in content["examples"].values():
            Draft202012Validator({**content["schema"], "components": spec["components"]}).validate(example["value"])
            answer = await edge.post(route.path, example["value"], "root/Admin")
            assert answer.status_code == 202, (route.path, answer.text)
            _matches(spec, route.path, answer)


async def test_answers_are_as_told(edge: Caller) -> None:
    """Results, refusals and errors of every command, and every view."""
    spec = await _spec(edge)
    for route in COMMANDS:
        for answer in await _answers(edge, route):
            _matches(spec, route.path, answer)
    for read in VIEWS:
        path = next(p for p in spec["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", p), read.path))
        for answer in (await edge.get(read.path, read.who), await edge.get(f"{read.path}?surplus=1", read.who)):
            _matches(spec, path, answer)
    sent = await edge.post("/v1/points/spend_points", {"user_id": "u1", "amount": 1}, "u1")
    for url in (sent.json()["status_url"], "/v1/commands/x?domain=points"):
        _matches(spec, "/v1/commands/{id}", await edge.get(url, "u1"))
    for url in ("/health", "/ready"):
        _matches(spec, url, await edge.get(url))


async def _answers(edge: Caller, route: Accepted) -> list[httpx.Response]:
    answers = [
        await edge.post(route.path, b"{", route.who),
        await edge.post(route.path, dict(route.body), route.who, {"Content-Type": "text/plain"}),
        await edge.post(route.path, {}, "root/Admin"),
        await edge.post(route.path, b" " * 300_000, route.who),
        await edge.client.post(route.path, json=dict(route.body), headers={"Authorization": "Bearer x"}),
    ]
    if route.path.startswith("/v1/points"):
        for n, status in enumerate(("accepted", "rejected")):
            key = {"Idempotency-Key": f"{route.path}-{n}"}
            first = await edge.post(route.path, dict(route.body), route.who, key)
            await edge.decided(first, status, None if n == 0 else "no", status=404, details={})
            answers.append(await edge.post(route.path, dict(route.body), route.who, {**key, "Prefer": "wait=5"}))
        assert [answer.status_code for answer in answers[-2:]] == [200, 404]
    return answers


async def test_the_page_of_documentation_needs_nothing_from_elsewhere(edge: Caller) -> None:
    """It shows every route with a curl line, and has an anchor for every code."""
    page = await edge.get("/docs")
    anchors: set[str] = set()
    foreign: list[str] = []

    class Look(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name == "id" and value:
                    anchors.add(value)
                if name in {"src", "href"} and value and not value.startswith(("/", "#")):
                    foreign.append(value)
            if tag == "script":
                foreign.append(tag)

    Look().feed(page.text)

    assert page.headers["content-type"].startswith("text/html")
    assert foreign == []
    assert set(PROBLEMS) <= anchors
    for path in (await _spec(edge))["paths"]:
        assert path in page.text
