"""The contracts on the edge: a page that only shows, AsyncAPI and schemas. Nothing of this needs Kafka or Postgres."""

from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from api.app import Served, create_app
from api.contracts import POLICY, page
from caravan.contracts.catalogue import discovered
from caravan.contracts.documents import ASYNCAPI, CONTRACTS, Documents, documents
from streams.contract import Command, Name, Topic
from streams.settings import Settings

AWAY = Settings(
    kafka="kafka://127.0.0.1:9",
    postgres="postgresql://caravan:x@127.0.0.1:9/caravan",
    signing_keys=(("k1", b"0" * 32),),
    jwt_secret="a-secret-that-only-the-tests-use-0123456789",
)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)> `<b>` &lt;"
PLAIN = frozenset({"$ref", "type", "format", "kind", "version", "retention.ms"})  # what the page decides by
CLOSED = Topic("closed", key="door", retired=True)


class Open(Command, topic=CLOSED, roles=("Guest",)):
    """Opens a door of a domain that is retired."""

    door: Name


class Tags(HTMLParser):
    """What a browser would make of a page: its tags and attributes, links, scripts and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in {"script", "style"}:
            self.raw[self._in] = data
        else:
            self.text += data


def hostile(value: Any, name: str = "") -> Any:
    """The same, with something nasty behind every word that an author may write."""
    if isinstance(value, dict):
        return {key: hostile(part, key) for key, part in value.items()}
    if isinstance(value, list):
        return [hostile(part, name) for part in value]
    return value + HOSTILE if isinstance(value, str) and name not in PLAIN else value


@pytest.fixture(scope="module")
def told() -> Documents:
    return documents(discovered())


@pytest.fixture
async def edge(told: Documents) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(AWAY, [Served(CLOSED, {})], told)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        yield client


async def test_the_page_shows_every_message_with_who_publishes_and_who_listens(
    edge: httpx.AsyncClient, told: Documents
) -> None:
    answer = await edge.get("/contracts")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    shown = Tags(answer.text)
    wanted = {
        f"{name}.{side}.{kind}"
        for name, domain in told[CONTRACTS]["domains"].items()
        for side in ("commands", "events")
        for kind in domain[side]
    }
    assert wanted <= set(shown.ids)
    for words in (
        "policy payments of promotions",
        "timers of points",
        "lots[].expires_at",
        "sealed: enc1.",
        "/v1/points/balance/{user_id}",
    ):
        assert words in shown.text
    assert len(answer.content) < 3000 * len(wanted)


async def test_its_links_lead_somewhere(edge: httpx.AsyncClient) -> None:
    """To itself, or to what this edge serves."""
    shown = Tags((await edge.get("/contracts")).text)
    for link in {*shown.links}:
        if link.startswith("#"):
            assert link[1:] in shown.ids
        else:
            assert (await edge.get(link)).status_code == 200, link


async def test_its_policy_lets_its_own_style_and_script_run_and_nothing_else(edge: httpx.AsyncClient) -> None:
    answer = await edge.get("/contracts")
    shown = Tags(answer.text)
    policy = answer.headers["content-security-policy"]
    for tag in ("style", "script"):
        digest = b64encode(sha256(shown.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert policy == POLICY
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert not any(name.startswith("on") or name == "style" for _, names in shown.tags for name in names)


def test_words_of_authors_are_words(told: Documents) -> None:
    """Whatever stands in descriptions, patterns, defaults, examples: the page has the same elements."""
    ill = {**hostile(told), CONTRACTS: hostile(told[CONTRACTS])}
    for side in ("commands", "events"):  # paths stay those of documents
        for name, domain in ill[CONTRACTS]["domains"].items():
            for kind, message in domain[side].items():
                message["schemas"] = told[CONTRACTS]["domains"][name][side][kind]["schemas"]
    before, after = Tags(page(told).decode()), Tags(page(ill).decode())
    counts = [
        {tag: [one for one, _ in shown.tags].count(tag) for tag in ("script", "img", "b", "style", "a", "details")}
        for shown in (before, after)
    ]
    assert counts[0] == counts[1]
    assert {names for _, names in before.tags} == {names for _, names in after.tags}
    assert after.text.count("<script>alert(1)</script>") > 1000


async def test_programs_get_asyncapi_and_schemas(edge: httpx.AsyncClient, told: Documents) -> None:
    assert (await edge.get("/asyncapi.json")).json() == told[ASYNCAPI]
    path = "schemas/points/events/points_held.v1.json"
    answer = await edge.get(f"/{path}")
    assert (answer.headers["content-type"], answer.json()) == ("application/json", told[path])
    for missing in ("schemas/points/events/none.v1.json", "schemas/", "schemas/../contracts.json", "contracts.json"):
        assert (await edge.get(f"/{missing}")).status_code == 404


async def test_an_edge_that_was_handed_nothing_shows_nothing() -> None:
    app = create_app(AWAY, [Served(CLOSED, {})])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        assert [(await client.get(path)).status_code for path in ("/contracts", "/asyncapi.json", "/docs")] == [
            404,
            404,
            200,
        ]


async def test_a_retired_domain_takes_no_command(edge: httpx.AsyncClient) -> None:
    """410 whoever asks and whatever the body says, and OpenAPI says so."""
    for body in (b'{"door": "d1"}', b"nonsense"):
        answer = await edge.post("/v1/closed/open", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (410, "retired")
        assert "nothing was sent" in answer.json()["detail"]
    spec = (await edge.get("/openapi.json")).json()
    told = spec["paths"]["/v1/closed/open"]["post"]
    assert told["deprecated"] is True
    assert told["responses"]["410"] == {"$ref": "#/components/responses/410"}
    assert "retired" in spec["components"]["responses"]["410"]["content"]["application/problem+json"]["examples"]
