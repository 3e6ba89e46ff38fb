"""`caravan parked`, as an operator uses it: on records that are planted where no worker runs, and on a whole platform."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from caravan import cli, parked
from caravan.__main__ import explain
from caravan.commands import signed_token
from caravan.errors import BadInput
from caravan.instance import free_ports
from caravan.parked import Asking, Chosen, New, NotDone, NotParked, Spot
from sinks.postgres import migrate
from sinks.postgres.migrations import connect
from streams.envelope import Actor
from streams.ids import uuid7
from streams.personal import Sealed, seal
from streams.producer import command_record
from streams.settings import Settings
from tests.caravan.conftest import starting, until
from tests.caravan.running import Running as Infra
from tests.caravan.test_daily import Platform
from tests.caravan.test_up import READY, answer
from topics.points import AwardPoints, TransferPoints


def test_every_command_explains_itself_with_an_example() -> None:
    """Help says what it does and shows an example."""
    for command in ("list", "show", "redrive", "skip", "edit"):
        done = CliRunner().invoke(cli.app, ["parked", command, "--help"], env={"COLUMNS": "160"})
        assert done.exit_code == 0
        assert "--data-dir" in done.stdout
        assert f"caravan parked {command}" in done.stdout.split("Examples")[1]


# -- planted records; no worker runs


class Desk:
    """A namespace with tables, in which records are planted."""

    def __init__(self, settings: Settings) -> None:
        """Migrate it."""
        self.settings = settings
        asyncio.run(migrate(settings.postgres, settings.namespace))

    def plant(self, offset: int, **columns: Any) -> None:
        """Park a record of points on partition 2."""
        row = {
            "agent": "points", "topic": "points.commands", "partition": 2, "offset": offset, "key": b"u1", "value": b"{}", "headers": "[]",
            "cause": "rule_failed", "error": "Traceback\nRuntimeError: planted", "holds": True, **columns,
        }  # fmt: skip
        names = ", ".join(f'"{name}"' for name in row)
        self.sql(
            f"INSERT INTO parked ({names}) VALUES ({', '.join(f'${n}' for n in range(1, len(row) + 1))})", *row.values()
        )

    def sql(self, statement: str, *args: Any) -> list[Any]:
        """Run a statement in the schema of points."""

        async def run() -> list[Any]:
            connection = await connect(self.settings.postgres)
            try:
                await connection.execute(f'SET search_path = "{self.settings.namespace}points"')
                rows: list[Any] = await connection.fetch(statement, *args)
                return rows
            finally:
                await connection.close()

        return asyncio.run(run())

    def requests(self) -> list[tuple[Any, ...]]:
        """What was asked."""
        rows = self.sql('SELECT "offset", action, by, reason, value FROM requests ORDER BY asked_at, "offset"')
        return [tuple(row) for row in rows]


@pytest.fixture
def desk(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """Where CARAVAN_* leads, too."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "CARAVAN_KAFKA": settings.kafka,
        "CARAVAN_POSTGRES": settings.postgres,
        "CARAVAN_NAMESPACE": settings.namespace,
        "CARAVAN_SIGNING_KEYS": f"k1:{bytes(range(32)).hex()}",
        "CARAVAN_JWT_SECRET": settings.jwt_secret or "",
    }.items():
        monkeypatch.setenv(name, value)
    return Desk(settings)


HERE = Path(".caravan")
NOW = Asking(HERE, wait=False)


def value(amount: int = 5) -> bytes:
    """An award to u1."""
    command_id = uuid7(1_767_225_600_000)
    around = {"command_id": command_id, "issued_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return command_record(AwardPoints(user_id="u1", amount=amount), **around, actor=Actor("user", "root", "Admin"))[1]


def test_a_list_counts_what_waits_and_says_what_it_does_not_show(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of each key, with how many wait behind it."""
    desk.plant(1, value=value())
    desk.plant(2, cause="held")
    desk.plant(3, cause="held")
    desk.plant(4, key=b"\x1b[31mred", cause="undecodable", holds=False)
    parked.show_list(HERE, Chosen(), limit=50, as_json=False)
    told = capsys.readouterr().out
    parked.show_list(HERE, Chosen(key="u1"), limit=2, as_json=False)
    of_key = capsys.readouterr().out
    parked.show_list(HERE, Chosen(cause="no_such"), limit=2, as_json=False)
    nothing = capsys.readouterr().out

    head, first, second, _, total = told.splitlines()
    assert head.split() == ["domain", "agent", "place", "key", "cause", "type", "attempts", "waiting", "since"]
    assert first.split()[:8] == [
        "points",
        "points",
        "points.commands/2/1",
        "u1",
        "rule_failed",
        "award_points",
        "1",
        "2",
    ]
    assert second.split()[2:6] == ["points.commands/2/4", "�[31mred", "undecodable", "?"]
    assert total == "2 parked (rule_failed 1, undecodable 1), 2 more wait behind them"
    assert of_key.splitlines()[-1].endswith("1 are not shown: narrow it down, or --limit 3")
    assert "\x1b" not in told
    assert nothing == "nothing is parked that this means\n"


def test_a_record_is_shown_with_what_to_do_next(desk: Desk, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Decoded, personal fields masked; what nobody can decode in hex; a terminal is told nothing by strangers."""
    note = Sealed(seal("a secret", "u1", bytes(32)))
    transfer = TransferPoints.model_construct(user_id="u1", transfer_id="t1", to="u2", amount=4, note=note)
    around = {"command_id": uuid4(), "issued_at": datetime(2026, 1, 1, tzinfo=UTC)}
    sealed = command_record(transfer, **around, actor=Actor("user", "u1", "User"))[1]
    desk.plant(1, value=sealed, headers=json.dumps([["traceparent", b"00-1".hex()]]))
    desk.plant(2, cause="held")
    desk.plant(3, key=b"u9", value=b"\xff\x00\x1b[2J", cause="undecodable", holds=False)
    desk.plant(4, key=None, value=b"tab\tesc\x1b", cause="undecodable", holds=False)
    shown = []
    for offset in (1, 2, 3, 4):
        parked.show(HERE, Spot(f"points.commands/2/{offset}"), raw=False, as_json=False)
        shown.append(capfdbinary.readouterr().out.decode())
    parked.show(HERE, Spot("points.commands/2/1"), raw=True, as_json=False)
    raw = capfdbinary.readouterr().out
    first, follower, binary, text = shown

    assert raw == sealed
    for words in (
        "points.commands/2/1 by points\n",
        "rule_failed; 1 attempt; since ",
        "u1, on which 1 later record waits",
        "transfer_points ",
        "note=•••",
        "traceparent: 00-1",
        "RuntimeError: planted",
        "caravan parked redrive points.commands/2/1\n",
        "caravan parked skip points.commands/2/1 --reason",
    ):
        assert words in first, words
    assert "enc1." not in first
    assert "it waits behind points.commands/2/1" in follower
    assert follower.endswith("caravan parked show points.commands/2/1\n")
    assert "000000  ff 00 1b 5b 32 4a" in binary
    assert "u9, which does not wait on it" in binary
    assert '"tab\\tesc\\x1b"' in text
    assert "\x1b" not in "".join(shown)


def test_a_place_of_two_agents_is_asked_back(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to type."""
    desk.plant(1)
    desk.plant(1, agent="other")
    with pytest.raises(
        BadInput, match="by 2 agents; say which: --domain points --agent other, --domain points --agent points"
    ):
        parked.show(HERE, Spot("points.commands/2/1"), raw=False, as_json=False)
    parked.show(HERE, Spot("points.commands/2/1", agent="other"), raw=False, as_json=False)

    told = capsys.readouterr().out
    assert "points.commands/2/1 by other of points" in told
    assert "redrive points.commands/2/1 --agent other" in told


def test_a_place_that_is_none_is_told(desk: Desk) -> None:
    """By every command that takes one."""
    for place, words in {
        "points.commands": "write TOPIC/PARTITION/OFFSET",
        "points.commands/2/x": "write TOPIC/PARTITION/OFFSET",
        "points.commands/-2/1": "write TOPIC/PARTITION/OFFSET",
        "points.commands/2/" + "9" * 40: "write TOPIC/PARTITION/OFFSET",
        "points.commands/2/7": "is not parked; what is: caravan parked list",
        "points.commands/2/-7": "is not parked; what is: caravan parked list",
    }.items():
        spot = Spot(place)
        with pytest.raises((BadInput, NotParked), match=words):
            parked.show(HERE, spot, raw=False, as_json=False)
        with pytest.raises((BadInput, NotParked), match=words):
            parked.redrive(NOW, spot)
        with pytest.raises((BadInput, NotParked), match=words):
            parked.skip(NOW, spot, "r")
        with pytest.raises((BadInput, NotParked), match=words):
            parked.edit(NOW, spot, New('{"amount": 1}', None), "r", yes=True)


def test_an_edit_says_what_it_changes_and_takes_nothing_wrong(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only the payload's fields that are given, or a whole value from a file; what would be parked again is not asked for."""
    before = value()
    desk.plant(1, value=before)
    desk.plant(2, value=b"garbage", cause="undecodable", holds=False)
    (tmp_path / "whole").write_bytes(before.replace(b'"amount":5', b'"amount":6'))
    spot, garbage = Spot("points.commands/2/1"), Spot("points.commands/2/2")
    for new, where, reason, words in (
        (New(None, None), spot, "r", "--payload with some fields, or --value"),
        (New("{}", str(tmp_path / "whole")), spot, "r", "--payload with some fields, or --value"),
        (New('{"amount": 3}', None), spot, " ", "say why, with --reason"),
        (New("amount=3", None), spot, "r", "is not JSON"),
        (New("[3]", None), spot, "r", "is a JSON object"),
        (
            New('{"amount": "x"}', None),
            spot,
            "r",
            "payload.amount: Input should be a valid integer; nothing was changed",
        ),
        (New('{"amont": 3}', None), spot, "r", "award_points has no amont; it has user_id, amount"),
        (New('{"user_id": "u2"}', None), spot, "r", "its payload says user_id=u2"),
        (New('{"amount": 5}', None), spot, "r", "this changes nothing"),
        (New('{"amount": 5}', None), garbage, "r", "it can only be skipped"),
        (New(None, "nowhere"), spot, "r", "there is no file nowhere"),
    ):
        with pytest.raises(BadInput, match=words):
            parked.edit(NOW, where, new, reason, yes=True)
    assert desk.requests() == []
    parked.edit(NOW, spot, New('{"amount": 3}', None), "typing error", yes=True)
    parked.edit(NOW, spot, New(None, str(tmp_path / "whole")), "whole", yes=True)

    assert "- payload.amount: 5\n+ payload.amount: 3\n" in capsys.readouterr().out
    by = parked._by()
    assert desk.requests() == [
        (1, "edit", by, "typing error", before.replace(b'"amount":5', b'"amount":3')),
        (1, "edit", by, "whole", before.replace(b'"amount":5', b'"amount":6')),
    ]
    assert by.startswith("cli:")


def test_many_are_redriven_after_a_question(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """One request for each that waits for nothing but a redrive; nobody there to be asked is an error with the mend."""
    for offset in range(1, 4):
        desk.plant(offset, key=b"u%d" % offset)
    desk.plant(4, key=b"u1", cause="held")
    desk.plant(5, key=b"u5", cause="unsigned", holds=False)
    for chosen, words in (
        (Chosen(), "say what to redrive"),
        (Chosen(domain="points"), "say what to redrive"),
        (Chosen(key="u1"), "redrive --key u1 --domain points"),
        (Chosen(cause="rule_failed"), "to redrive them all the same: --yes"),
        (Chosen(domain="nope", cause="rule_failed"), "there is no domain 'nope'"),
    ):
        with pytest.raises(BadInput, match=words):
            parked.redrive_all(NOW, chosen, everything=False, yes=False)
    with pytest.raises(NotParked, match="nothing is parked"):
        parked.redrive_all(NOW, Chosen(cause="nope"), everything=False, yes=True)
    assert desk.requests() == []
    capsys.readouterr()
    parked.redrive_all(NOW, Chosen(cause="rule_failed"), everything=False, yes=True)
    first = capsys.readouterr().out
    parked.redrive_all(NOW, Chosen(), everything=True, yes=True)

    assert first.splitlines() == [
        "3 parked records, with 1 more that waits behind them:",
        "  points: 3 of agent points with cause rule_failed",
        "asked for; 3 requests wait for the partitions' owners",
    ]
    assert [row[:2] for row in desk.requests()] == [(n, "redrive") for n in (1, 2, 3, 5)]


def test_a_request_waits_for_a_worker_and_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and the history tells it; what is gone is told with who did it."""
    desk.plant(1)
    spot = Spot("points.commands/2/1")
    with pytest.raises(NotDone, match=r"no worker runs the domain points: the request for points.commands/2/1 waits"):
        parked.skip(Asking(HERE, wait=True), spot, "sent twice")
    parked.show(HERE, spot, raw=False, as_json=False)
    waits = capsys.readouterr().out
    desk.sql("DELETE FROM parked")
    desk.sql("UPDATE requests SET status = 'done', outcome = 'It was skipped.', done_at = now()")
    parked.show(HERE, spot, raw=False, as_json=False)
    gone = capsys.readouterr().out

    assert f"skip by {parked._by()} at " in waits
    assert 'because "sent twice": waits for the partition\'s owner' in waits
    assert gone.startswith("was      points.commands/2/1 of points; it is not parked any more\nhistory  skip by ")
    assert gone.endswith("It was skipped.\n")
    with pytest.raises(NotParked, match="It was skipped"):
        parked.redrive(NOW, spot)


def test_places_are_completed(desk: Desk) -> None:
    """Those of records that wait for nothing else."""
    desk.plant(1)
    desk.plant(2, cause="held")

    assert parked.places(HERE) == ["points.commands/2/1"]


# -- a whole platform

POISON = 7_000_002


@pytest.fixture(scope="module")
def platform(infra: Infra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`caravan up` on the run's broker and Postgres; the ledger refuses one amount."""
    folder, (port,) = tmp_path_factory.mktemp("parked"), free_ports(1)
    environment = {
        "CARAVAN_KAFKA": infra.kafka,
        "CARAVAN_POSTGRES": infra.postgres,
        "CARAVAN_NAMESPACE": f"t{uuid4().hex[:6]}_",
        "CARAVAN_DATA_DIR": str(folder / "data"),
    }
    here = Platform(folder / "data", f"http://127.0.0.1:{port}", environment)
    with starting(folder) as start:
        start("up", "--port", str(port), **environment).says(READY)
        execute(here, f"ALTER TABLE ledger ADD CONSTRAINT poison CHECK (amount <> {POISON})")
        yield here
    here.caravan("reset", "--yes")


class Done(NamedTuple):
    """How a command ended: its status, what it printed, and the one line of its error."""

    status: int
    out: str
    error: str


def run(platform: Platform, *arguments: str) -> Done:
    """`caravan parked …` on it, without a process for it."""
    done = CliRunner().invoke(cli.app, ["parked", *arguments], env=platform.environment)
    if done.exception is None or isinstance(done.exception, SystemExit):
        return Done(done.exit_code, done.stdout, done.stderr)
    assert isinstance(done.exception, Exception)
    return Done(getattr(done.exception, "status", 1), done.stdout, explain(done.exception))


def execute(platform: Platform, statement: str) -> None:
    """Run a statement in the schema of points."""

    async def run() -> None:
        connection = await connect(platform.settings.postgres)
        try:
            await connection.execute(f'SET search_path = "{platform.settings.namespace}points"; {statement}')
        finally:
            await connection.close()

    asyncio.run(run())


def award(platform: Platform, user: str, amounts: Sequence[int]) -> list[str]:
    """Award these amounts, one after the other, and return the urls that tell what became of them."""
    return [
        platform.url
        + platform.send("points/award_points", {"user_id": user, "amount": amount}, "root", "Admin")["status_url"]
        for amount in amounts
    ]


def told(platform: Platform, url: str) -> tuple[str, str | None]:
    """Status and code of a command."""
    found = answer(url, signed_token(platform.settings, "root", "Admin", 600))
    return found["status"], found["code"]


def available(platform: Platform, user: str) -> int:
    """A balance."""
    found: int = answer(f"{platform.url}/v1/points/balance/{user}", signed_token(platform.settings, user, "User", 600))[
        "available"
    ]
    return found


def poisoned(platform: Platform, user: str, *later: int) -> tuple[str, list[str]]:
    """Award the poison and then these; the place of the poison, and the urls of all."""
    urls = award(platform, user, (POISON, *later))
    listed = json.loads(run(platform, "list", "--key", user, "--json").out)["records"]
    assert [(line["cause"], line["waiting"]) for line in listed] == [
        ("refused_by_store", len(later)),
        *[("held", 0)] * len(later),
    ]
    return listed[0]["place"], urls


def test_a_poison_record_is_mended_by_an_edit(platform: Platform) -> None:
    """List, show, edit; then it has its result, and so have those behind it."""
    place, urls = poisoned(platform, "edited", 1, 2)
    shown = run(platform, "show", place).out
    edited = run(platform, "edit", place, "--payload", '{"amount": 40}', "--reason", "typing error")
    after = run(platform, "show", place)

    assert "poison" in shown
    assert (edited.status, edited.error) == (0, ""), edited.error
    assert f"- payload.amount: {POISON}\n+ payload.amount: 40\n" in edited.out
    assert [told(platform, url) for url in urls] == [("accepted", None)] * 3
    assert available(platform, "edited") == 43
    assert (after.status, f"edit payload.amount {POISON} -> 40 by cli:" in after.out) == (0, True)


def test_a_skipped_record_is_answered_as_rejected(platform: Platform) -> None:
    """And those behind it go on."""
    place, urls = poisoned(platform, "skipped", 3)
    done = run(platform, "skip", place, "--reason", "sent by mistake")

    assert (done.status, done.error) == (0, "")
    assert f"{place}: It was skipped." in done.out
    assert [told(platform, url) for url in urls] == [("rejected", "skipped"), ("accepted", None)]
    assert available(platform, "skipped") == 3


def test_what_fails_again_stays_parked_until_the_cause_is_mended(platform: Platform) -> None:
    """Status 1 and the attempts are counted; then all of one cause go at once."""
    place, urls = poisoned(platform, "mended", 5)
    poisoned(platform, "too")
    again = run(platform, "redrive", place)
    listed = json.loads(run(platform, "list", "--key", "mended", "--json").out)["records"]
    status = platform.caravan("status").stdout
    execute(platform, "ALTER TABLE ledger DROP CONSTRAINT poison")
    try:
        unasked = platform.caravan("parked", "redrive", "--cause", "refused_by_store")
        done = run(platform, "redrive", "--cause", "refused_by_store", "--yes")
    finally:
        execute(platform, f"ALTER TABLE ledger ADD CONSTRAINT poison CHECK (amount <> {POISON}) NOT VALID")

    assert again.status == 1
    assert f"parked again; look with: caravan parked show {place}" in again.error
    assert [line["attempts"] for line in listed] == [2, 1]
    assert "look with: caravan parked list" in status
    assert (unasked.returncode, unasked.stderr.count("\n"), "--yes" in unasked.stderr) == (2, 1, True)
    assert (done.status, done.out.splitlines()[0]) == (
        0,
        "2 parked records, with 1 more that waits behind them:",
    )
    assert [told(platform, url) for url in urls] == [("accepted", None)] * 2
    assert available(platform, "mended") == POISON + 5
    assert run(platform, "list", "--key", "mended").out == "nothing is parked that this means\n"


def test_admins_do_the_same_over_http(platform: Platform) -> None:
    """`Prefer: wait` answers with what became of it; what is gone is 409."""
    place, urls = poisoned(platform, "http", 7)
    token = signed_token(platform.settings, "ann", "Admin", 600)
    url = f"{platform.url}/v1/parked/points/points/{place}"
    shown = answer(url, token)
    done = answer(f"{url}/edit", token, {"reason": "typing error", "payload": {"amount": 9}}, prefer="wait=30")

    assert (shown["waiting"], shown["envelope"]["payload"]["amount"]) == (1, POISON)
    assert (done["status"], done["by"], done["still_parked"]) == ("done", "user:ann", False)
    until(lambda: told(platform, urls[1]) == ("accepted", None), "what waited behind it was run")
    assert available(platform, "http") == 16
    with pytest.raises(HTTPError, match="409"):
        answer(f"{url}/skip", token, {"reason": "r"})
