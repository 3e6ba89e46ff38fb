"""The TypeScript client: its types are of today's OpenAPI, it compiles, and it runs the tour on a whole platform."""

import asyncio
import hashlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from streams.settings import Settings
from tests.api.whole import Whole, whole
from tests.caravan.conftest import ROOT
from tests.caravan.running import Running
from tests.faults.proxy import HERE, Proxy
from tests.node import NODE, NPM, environment, installed, node, run

SOURCE = ROOT / "api" / "typescript"
SCHEMA = Path("src") / "schema.ts"
LIMIT_S = 600
LINE_S = 60


async def document() -> dict[str, Any]:
    """What the edge of this code says of itself; it is not started."""
    settings = Settings(
        kafka="kafka://127.0.0.1:1", postgres="postgresql://127.0.0.1:1/x", postgres_read="postgresql://127.0.0.1:1/x",
        signing_keys=(("k1", bytes(32)),), jwt_secret="x" * 40,
    )  # fmt: skip
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings)), base_url="http://edge") as edge:
        found: dict[str, Any] = (await edge.get("/openapi.json")).json()
    return found


def relevant(told: dict[str, Any]) -> dict[str, Any]:
    """As `generate.mjs` has it: without what makes no type."""
    told = deepcopy(told)
    told["info"] = {"title": told["info"]["title"], "version": ""}
    contents = list(told["components"]["responses"].values())
    for response in contents:
        response["description"] = "A problem."
    for operation in (operation for item in told["paths"].values() for operation in item.values()):
        contents += [operation["requestBody"]] if "requestBody" in operation else []
        contents += operation["responses"].values()
    for content in contents:
        for media in content.get("content", {}).values():
            media.pop("examples", None)
    return told


def canonical(told: Any) -> str:
    """JSON with sorted keys."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


async def test_the_types_are_of_todays_document() -> None:
    """Whoever changes a contract or a view makes them again: npm run generate."""
    told = hashlib.sha256(canonical(relevant(await document())).encode()).hexdigest()

    assert f"OpenAPI: sha256:{told}\n" in (SOURCE / SCHEMA).read_text("utf-8").partition("export")[0], MEND


MEND = """api/typescript/src/schema.ts is older than the code. Make it again and commit it:
    caravan contracts export
    python -m tests.node api/typescript ci
    python -m tests.node api/typescript run generate"""


@pytest.mark.parametrize("folder", ["api/typescript", "examples/node-consumer"])
def test_the_lock_pins_by_hash_and_names_no_registry(folder: str) -> None:
    """Whoever installs from it, from whatever mirror, gets these bytes."""
    lock = json.loads((ROOT / folder / "package-lock.json").read_text("utf-8"))
    wanted = json.loads((ROOT / folder / "package.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    named = {**wanted.get("dependencies", {}), **wanted.get("devDependencies", {})}
    assert {name: packages[f"node_modules/{name}"]["version"] for name in named} == named


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, installed."""
    return installed(SOURCE, tmp_path_factory.mktemp("typescript"))


@pytest.fixture(scope="module")
def platform(infra: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One for all tests here."""
    with whole(infra, tmp_path_factory.mktemp("whole")) as platform:
        yield platform


def settings(platform: Whole, url: str = "") -> dict[str, str]:
    """What its programs are told."""
    tokens = {"ADMIN": ("root", "Admin"), "ANN": ("ann", "User"), "BOB": ("bob", "User"), "CAFE": ("cafe", "Partner")}
    return {"CARAVAN_URL": url or platform.url} | {name: platform.bearer(*who) for name, who in tokens.items()}


@pytest.mark.full
@pytest.mark.req("SR160")
@pytest.mark.timeout(LIMIT_S)
async def test_it_is_generated_and_compiles(client: Path, tmp_path: Path) -> None:
    """From today's document come the types that are committed; tsc takes them strictly, and refuses what they forbid."""
    (tmp_path / "openapi.json").write_text(json.dumps(await document()), "utf-8")
    node(client, "generate.mjs", tmp_path / "openapi.json", tmp_path / "schema.ts")
    assert (tmp_path / "schema.ts").read_text("utf-8") == (SOURCE / SCHEMA).read_text("utf-8")

    node(client, NPM, "run", "check")
    wrong = client / "src" / "wrong.ts"
    wrong.write_text(WRONG, "utf-8")
    done = run(client, NPM, "run", "check")
    wrong.unlink()
    found = {int(line): code for line, code in re.findall(r"src/wrong.ts\((\d+),\d+\): error (TS\d+)", done.stdout)}
    assert list(found) == [n for n, line in enumerate(WRONG.splitlines(), 1) if "// wrong" in line], done.stdout


WRONG = """import { Client } from "./client.ts";
export const client = new Client("http://127.0.0.1:8000");
await client.issue("points.award_points", { user_id: "ann", amount: 150 });
await client.issue("points.award_points", { user_id: "ann", amount: "150" });  // wrong: a text
await client.issue("points.award_points", { user_id: "ann" });  // wrong: it lacks the amount
await client.issue("points.award_point", { user_id: "ann", amount: 150 });  // wrong: there is no such command
await client.issue("points.credit_transfer", {});  // wrong: one that services alone may issue
await client.view("points.balance", {});  // wrong: of whom?
(await client.view("points.balance", { user_id: "ann" })).activ;  // wrong: a field that it lacks
client.items("points.balance", { user_id: "ann" });  // wrong: no list
for await (const state of client.live("points.balance", { user_id: "ann" })) state.active;  // wrong: null at first
for await (const state of client.live("points.balance", { user_id: "ann" })) state?.active;
"""


@pytest.mark.full
@pytest.mark.timeout(LIMIT_S)
def test_its_own_tests_pass(client: Path) -> None:
    """What it tries again, what it remembers, how it reads a stream, against a server of theirs."""
    assert re.search(r"pass [1-9]", node(client, NPM, "test"))
    assert {file.name for file in _built(client)} >= {"client.js", "client.d.ts"}


def _built(client: Path) -> list[Path]:
    node(client, NPM, "run", "build")
    return list((client / "dist").iterdir())


@pytest.mark.full
@pytest.mark.req("SR160")
@pytest.mark.timeout(LIMIT_S)
async def test_it_runs_the_tour(client: Path, platform: Whole) -> None:
    """Commands, waits, views, lists, a live view; and Postgres has what it says."""
    said = await asyncio.to_thread(node, client, "src/tour.ts", settings=settings(platform))

    lines = [(line.split()[0], json.loads(line.split(maxsplit=1)[1])) for line in said.splitlines()]
    assert [line for line in lines if line[0] != "live"] == TOUR, said
    states = [line[1] for line in lines if line[0] == "live"]
    assert states[0] == {"active": 120, "held": 0}
    assert states[-1] == {"active": 80, "held": 0}
    rows = await platform.rows("points", "SELECT user_id, available, held FROM balance ORDER BY user_id")
    assert [tuple(row) for row in rows] == [("ann", 80, 0), ("bob", 30, 0)]
    vouchers = await platform.rows("promotions", "SELECT voucher_id, status FROM voucher")
    assert [tuple(row) for row in vouchers] == [("v1", "redeemed")]
    transfers = await platform.rows("points", "SELECT amount FROM ledger WHERE user_id = 'bob'")
    assert [row["amount"] for row in transfers] == [30]


TOUR: list[tuple[str, Any]] = [
    ("award", {"status": "pending"}),
    ("balance", {"user_id": "ann", "active": 150, "held": 0, "available": 150, "expiring": [], "pending": 0, "unlocking": [], "owed": 0}),
    ("transfer", {"status": "accepted", "same": True}),
    ("refused", {"status": "rejected", "code": "insufficient", "details": {"available": 30}}),
    ("error", {"status": 422, "code": "invalid", "errors": [
        {"field": "amount", "code": "int_type", "message": "Input should be a valid integer"}]}),
    ("error", {"status": 404, "code": "not_found", "errors": []}),
    ("entry", {"kind": "received", "amount": 30, "note": "for lunch"}),
    ("voucher", {"status": "valid", "price": 40}),
    ("redeemed", {"status": "accepted"}),
]  # fmt: skip


@pytest.mark.full
@pytest.mark.req("SR160")
@pytest.mark.timeout(LIMIT_S)
async def test_cut_connections_have_one_effect(client: Path, platform: Whole) -> None:
    """The request reaches the edge and its answer is lost: it is sent again under its key, and nothing of it is seen."""
    (client / "src" / "cut.ts").write_text(CUT, "utf-8")
    proxy = Proxy(HERE, platform.port)
    await proxy.start()
    try:
        proxy.hold_answer_to(b"gwen")
        url = f"http://{HERE}:{proxy.port}"
        async with program(client, "src/cut.ts", settings(platform, url)) as running:
            await asyncio.wait_for(proxy.held.wait(), LINE_S)
            proxy.cut_held()
            assert json.loads(await running.line()) == {"status": "accepted"}
    finally:
        await proxy.close()
    assert [
        row["amount"] for row in await platform.rows("points", "SELECT amount FROM ledger WHERE user_id = 'gwen'")
    ] == [7]


CUT = """import { Client } from "./client.ts";
const ada = new Client(process.env["CARAVAN_URL"] ?? "", { token: process.env["ADMIN"] ?? "" });
const { status } = await ada.issue("points.award_points", { user_id: "gwen", amount: 7 }, { wait: 20 });
console.log(JSON.stringify({ status }));
"""


@pytest.mark.full
@pytest.mark.req("SR160")
@pytest.mark.timeout(LIMIT_S)
async def test_a_live_view_goes_on_across_restarts_of_the_edge(client: Path, platform: Whole) -> None:
    """Nothing older is shown, nothing twice, and the newest always; so it is for who comes back with an id."""
    (client / "src" / "watch.ts").write_text(WATCH, "utf-8")
    async with program(client, "src/watch.ts", settings(platform)) as running:
        for seen in range(5):
            assert json.loads(await running.line()) == {"active": seen}
            if seen in (1, 3):
                platform.restart_edge()
            if seen < 4:
                running.say("award")
        assert json.loads(await running.line()) == {"again": 5}


WATCH = """import { createInterface } from "node:readline";
import { Client } from "./client.ts";
const ada = new Client(process.env["CARAVAN_URL"] ?? "", { token: process.env["ADMIN"] ?? "", patience: 60 });
const award = () => ada.issue("points.award_points", { user_id: "hugo", amount: 1 }, { wait: 20 });
createInterface({ input: process.stdin }).on("line", () => void award());
let last = "";
for await (const state of ada.live("points.balance", { user_id: "hugo" }, { seen: (id) => (last = id) })) {
  console.log(JSON.stringify({ active: state?.active ?? 0 }));
  if (state?.active === 4) break;
}
await award();
for await (const state of ada.live("points.balance", { user_id: "hugo" }, { since: last })) {
  console.log(JSON.stringify({ again: state?.active }));
  break;
}
process.exit(0);
"""


class Program:
    """A program that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Made by `program`."""
        self._process = process

    async def line(self) -> str:
        """The next that it prints."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), LINE_S)
        assert line, "it ended"
        return line.decode()

    def say(self, words: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())


@asynccontextmanager
async def program(folder: Path, file: str, told: dict[str, str]) -> AsyncIterator[Program]:
    """Run a program during the block."""
    process = await asyncio.create_subprocess_exec(
        NODE, file, cwd=folder, env=environment(told), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
