"""The tools of every day, each used as a user would, on one platform with a virtual clock."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from caravan.commands import signed_token
from caravan.decoded import Decoder
from caravan.errors import BadInput
from caravan.instance import Instance, free_ports
from caravan.send import parsed
from caravan.tail import start_of
from examples.generate import generate
from streams.envelope import Signer
from streams.kafka import Kafka
from streams.reading import Reader
from streams.settings import Settings
from tests.caravan.conftest import CARAVAN, PATIENCE, ROOT, Start, caravan, caravan_in, clean, starting, until
from tests.caravan.running import Running as Infra
from tests.caravan.test_up import READY, answer


@dataclass(frozen=True)
class Platform:
    """What runs, and how to reach it."""

    folder: Path
    url: str
    environment: dict[str, str]

    def caravan(self, *arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command on it."""
        return caravan_in(ROOT, arguments, self.environment, given)

    def send(self, command: str, data: dict[str, Any], user: str, role: str = "User") -> Any:
        """Issue a command and wait for its end."""
        token = signed_token(self.settings, user, role, 600)
        return answer(f"{self.url}/v1/{command}", token, data, prefer="wait=20")

    @property
    def settings(self) -> Settings:
        return Settings.from_env(Instance(self.folder).environment(self.environment))


@pytest.fixture(scope="module")
def platform(infra: Infra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`caravan up --clock virtual` on the run's broker and Postgres; deleted by `caravan reset` at the end."""
    folder, (port,) = tmp_path_factory.mktemp("daily"), free_ports(1)
    environment = {
        "CARAVAN_KAFKA": infra.kafka,
        "CARAVAN_POSTGRES": infra.postgres,
        "CARAVAN_NAMESPACE": f"t{uuid4().hex[:6]}_",
        "CARAVAN_DATA_DIR": str(folder / "data"),
    }
    here = Platform(folder / "data", f"http://127.0.0.1:{port}", environment)
    with starting(folder) as start:
        one = start("up", "--port", str(port), "--clock", "virtual", **environment)
        one.says(READY)
        yield here
        refused = here.caravan("reset", "--yes")
        assert (refused.returncode, "stop it first: caravan down" in refused.stderr) == (1, True), refused.stderr
    done = here.caravan("reset", "--yes")
    assert done.stdout.count("deleted topic") >= 2, done.stderr
    assert f"deleted schema {environment['CARAVAN_NAMESPACE']}points" in done.stdout
    assert "nothing to delete" in here.caravan("reset", "--yes").stdout


async def read(settings: Settings, topics: list[str], key: str) -> list[dict[str, Any]]:
    """As `caravan tail TOPIC --key KEY --since earliest --no-follow --json`, without a process for it."""
    decode = Decoder(Signer(settings.signing_keys), topics)
    async with Reader(settings) as reader:
        starts = await reader.since(await reader.places(topics), 0)
        found = [json.loads(decode(one).json()) async for one in reader.follow(starts, live=False)]
    return [one for one in found if one["key"] == key]


def records(platform: Platform) -> int:
    """How many records there are on all topics."""
    return sum(stand["records"] for stand in json.loads(platform.caravan("topics", "--json").stdout))


def shown(platform: Platform, topic: str, key: str) -> list[dict[str, Any]]:
    """What is on the topic under a key."""
    return asyncio.run(read(platform.settings, [topic], key))


def commands(prefix: str, count: int) -> str:
    """A command file of its own users."""
    lines = [line for line in generate(7, count, users=4) if line["command"].startswith("points.")]
    text = "".join(json.dumps({**line, "id": str(uuid4())}) + "\n" for line in lines)
    return text.replace('"u', f'"{prefix}-u').replace(f'"{prefix}-user', '"user').replace('"rich"', f'"{prefix}-rich"')


@pytest.mark.req("SR055")
def test_a_file_sent_twice_has_its_effect_once(platform: Platform, tmp_path: Path) -> None:
    """The table is the same, no record more is written, and each line has the same answer."""
    file, outcomes = tmp_path / "commands.jsonl", (tmp_path / "first", tmp_path / "second")
    file.write_text(commands("twice", 30))
    first = platform.caravan("send", str(file), "--results", str(outcomes[0]))
    written = records(platform)
    second = platform.caravan("send", "-", "--results", str(outcomes[1]), given=file.read_text())
    told = [{line["id"]: line for line in map(json.loads, path.read_text().splitlines())} for path in outcomes]

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith("accepted")
    assert "  insufficient" in first.stdout
    assert told[0] == told[1]
    assert len(told[0]) == file.read_text().count("\n")
    assert records(platform) == written


def test_commands_of_one_key_are_sent_in_the_order_of_the_file(platform: Platform) -> None:
    """However many are under way: the k-th spend finds what the k-th award has given."""
    lines = []
    for n in range(20):
        for command, amount in (("award_points", n + 1), ("spend_points", n + 1)):
            who, data = {"user": "root", "role": "Admin"}, {"user_id": "orderly", "amount": amount}
            lines.append(json.dumps({"command": f"points.{command}", "id": str(uuid4()), "as": who, "data": data}))
    done = platform.caravan("send", "-", "--concurrency", "50", given="\n".join(lines))

    assert done.stdout.split() == ["accepted", "40", "rejected", "0", "failed", "0"]


WHO = '"as": {"user": "root", "role": "Admin"}'
GOOD = f'{{"command": "points.award_points", "id": "{UUID(int=7)}", {WHO}, "data": {{}}}}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[]", 'a command has "command", "id", "as" and "data"'),
        (GOOD.replace("award_points", "give_points"), 'no command "points.give_points"'),
        (GOOD.replace("award_points", "credit_transfer"), "only services"),
        (GOOD.replace('"id": "', '"id": "x'), '"id" is a UUID'),
        (GOOD.replace("Admin", "King"), "one of the roles"),
        (GOOD.replace('"root"', '"r\\n"'), '"user" is the id of a user'),
        (GOOD.replace('"data": {}', '"data": 1'), '"data" is an object'),
    ],
)
def test_a_line_that_is_no_command_is_told(line: str, words: str) -> None:
    """What the edge is to judge, the fields of the command, is not looked at."""
    assert parsed(1, GOOD.encode()).user == "root"
    with pytest.raises(BadInput, match=re.escape(words)):
        parsed(2, line.encode())


NOWHERE = {
    "CARAVAN_KAFKA": "kafka://127.0.0.1:9",
    "CARAVAN_POSTGRES": "postgresql://c:x@127.0.0.1:9/c",
    "CARAVAN_SIGNING_KEYS": f"k1:{'ab' * 32}",
    "CARAVAN_JWT_SECRET": "x" * 32,
}


def test_bad_lines_are_told_by_number_before_anything_is_sent(tmp_path: Path) -> None:
    """Before anybody is asked: here nobody could be."""
    file = tmp_path / "bad.jsonl"
    file.write_text(f"{GOOD}\n\n{{\n{GOOD}\n[]\n")
    done = caravan("send", str(file), "--url", "http://127.0.0.1:9", **NOWHERE)
    lines = done.stderr.splitlines()

    assert (done.returncode, done.stdout, len(lines)) == (2, "", 3)
    assert [line.removeprefix(str(file))[:4] for line in lines[:2]] == [":3: ", ":5: "]
    assert "2 bad lines; nothing was sent" in lines[2]


def test_an_edge_that_is_away_is_one_line(tmp_path: Path) -> None:
    """With the mend."""
    (tmp_path / "one").write_text(GOOD)
    done = caravan("send", str(tmp_path / "one"), "--url", "http://127.0.0.1:9", **NOWHERE)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the edge is away" in done.stderr
    assert "caravan up" in done.stderr


async def test_tail_shows_what_is_there_and_marks_what_is_not_ours(platform: Platform) -> None:
    """Decoded, in order, personal fields masked; what a stranger wrote kills nothing."""
    platform.send("points/award_points", {"user_id": "tail-a", "amount": 9}, "root", "Admin")
    data = {"user_id": "tail-a", "transfer_id": "t1", "to": "tail-b", "amount": 4, "note": "a secret"}
    platform.send("points/transfer_points", data, "tail-a")
    shown = ("tail", "points", "--key", "tail-a", "--since", "earliest", "--no-follow", "--json")
    until(lambda: "points_transferred" in platform.caravan(*shown).stdout, "the relay sent the last event")
    kafka = Kafka(platform.settings)
    await kafka.publish("points.events", b"tail-a", b"\x1b[31mno JSON at all", [])
    await kafka.stop()
    told = platform.caravan(*shown)
    found = [json.loads(line) for line in told.stdout.splitlines()]
    everything = platform.caravan("tail", "points", "--since", "10m", "--no-follow").stdout

    assert [one["type"] for one in found] == [
        "award_points",
        "points_awarded",
        "transfer_points",
        "points_transfer_started",
        "complete_transfer",
        "points_transferred",
        "?",
    ]
    assert {one["payload"]["note"] for one in found if "note" in one["payload"]} == {"•••"}
    assert (found[2]["actor"], found[4]["actor"]) == ("user:tail-a", "service:points")
    assert (found[3]["outcome"], found[5]["outcome"]) == ("pending", f"settles {found[2]['id']}: accepted")
    assert [one["mark"] for one in found] == [None] * 6 + ["undecodable, unsigned"]
    assert "tail-a  amount=9  by user:root (Admin)" in everything
    assert "note=•••" in everything
    assert "\x1b" not in everything
    assert "enc1." not in everything


def test_tail_follows_until_it_is_stopped(platform: Platform, start: Start) -> None:
    """What comes is shown at once; Ctrl-C ends it without a word."""
    one = start("tail", "points.events", "--key", "follow", "--since", "1m", **platform.environment)
    platform.send("points/award_points", {"user_id": "follow", "amount": 1}, "root", "Admin")
    one.says("points_awarded")
    platform.send("points/award_points", {"user_id": "follow", "amount": 2}, "root", "Admin")
    one.says("amount=2")
    one.send(signal.SIGINT)

    assert one.status() == 130
    assert one.text().count("\n") == 2


def test_tail_ends_with_the_reader_of_its_pipe(platform: Platform) -> None:
    """`| head` is no error."""
    for amount in (1, 2, 3):
        platform.send("points/award_points", {"user_id": "piped", "amount": amount}, "root", "Admin")
    words = [*CARAVAN, "tail", "points", "--since", "earliest", "--no-follow"]
    tail = subprocess.Popen(
        words, env=clean(platform.environment), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert tail.stdout is not None
    assert tail.stderr is not None
    assert tail.stdout.readline().count(b"points.") == 1
    tail.stdout.close()

    assert tail.stderr.read() == b""
    tail.stderr.close()
    assert tail.wait(PATIENCE) in {0, 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tail", "nothing"), "there is no topic 'nothing'; name a domain"),
        (("explain", str(UUID(int=5))), f"no domain has heard of the command {UUID(int=5)}"),
        (("send", "no-such-file"), "there is no file no-such-file"),
    ],
)
def test_what_cannot_be_is_one_line(platform: Platform, arguments: tuple[str, ...], words: str) -> None:
    """With the mend, and never a traceback."""
    done = platform.caravan(*arguments)

    assert (done.returncode > 0, done.stderr.count("\n"), done.stdout) == (True, 1, ""), done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("since", ["2026-99-01", "soon", "-5m", ""])
def test_a_time_that_is_none_is_refused(since: str) -> None:
    """With how to write one."""
    with pytest.raises(BadInput, match="write it as"):
        start_of(since)


def test_explain_walks_the_whole_chain(platform: Platform) -> None:
    """From a transfer to the rows at both ends, whose commands policies gave."""
    platform.send("points/award_points", {"user_id": "why-a", "amount": 9}, "root", "Admin")
    data = {"user_id": "why-a", "transfer_id": "t1", "to": "why-b", "amount": 4, "note": "a secret"}
    sent = platform.send("points/transfer_points", data, "why-a")
    refused = next(one for one in shown(platform, "points.commands", "why-a") if one["type"] == "transfer_points")
    tree = platform.caravan("explain", sent["command_id"]).stdout
    told = json.loads(platform.caravan("explain", sent["command_id"], "--json").stdout)
    (started,) = told["events"]
    (credit,) = [link["command"] for link in started["commands"]]
    (complete,) = [link["command"] for link in credit["events"][0]["commands"]]

    assert refused["id"] == sent["command_id"]
    assert (told["status"], told["type"], told["actor"]) == ("accepted", "transfer_points", "user:why-a")
    assert (started["type"], started["outcome"]) == ("points_transfer_started", "pending")
    assert {row["table"]: row["now"].get("available") for row in started["rows"]} == {
        "points.ledger": None,
        "points.balance": 5,
        "points.tally": None,
    }
    assert (credit["type"], credit["key"], credit["status"]) == ("credit_transfer", "why-b", "accepted")
    assert complete["events"][0]["outcome"] == f"settles {sent['command_id']}: accepted"
    assert "was pending until a later command settled it" in tree
    assert "points: policy transfers → credit_transfer why-b  accepted" in tree
    assert "row points.balance  user_id=why-b available=4" in tree
    assert "a secret" not in tree
    assert "note=•••" in tree


def test_explain_tells_a_refusal_and_what_a_policy_began(platform: Platform) -> None:
    """A refused command has its code; one in the middle of a chain names the beginning."""
    platform.send("points/award_points", {"user_id": "mid-a", "amount": 9}, "root", "Admin")
    data = {"user_id": "mid-a", "transfer_id": "t1", "to": "mid-b", "amount": 4}
    sent = platform.send("points/transfer_points", data, "mid-a")
    middle = next(one for one in shown(platform, "points.commands", "mid-b"))
    line = {"command": "points.spend_points", "id": str(uuid4()), "as": {"user": "mid-b", "role": "User"}}
    platform.caravan("send", "-", given=json.dumps({**line, "data": {"user_id": "mid-b", "amount": 99}}))
    refused = next(one for one in shown(platform, "points.commands", "mid-b") if one["type"] == "spend_points")

    assert f"part of the chain that began with {sent['command_id']}" in platform.caravan("explain", middle["id"]).stdout
    assert (
        "spend_points mid-b  rejected insufficient (available=4)" in platform.caravan("explain", refused["id"]).stdout
    )


@pytest.mark.req("SR066")
def test_the_clock_moves_edge_and_workers_and_a_timer_is_explained(platform: Platform) -> None:
    """What is due two days later happens, and `explain` says that a timer ran out."""
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    platform.send("points/award_points", {"user_id": "late", "amount": 7, "expires_at": ends}, "root", "Admin")
    moved = platform.caravan("clock", "advance", "2d")
    until(
        lambda: "points_expired" in [one["type"] for one in shown(platform, "points.events", "late")],
        "they expire",
    )
    expired = next(one for one in shown(platform, "points.events", "late") if one["type"] == "points_expired")
    tree = platform.caravan("explain", expired["command_id"]).stdout

    assert (moved.returncode, moved.stdout.split(", ")[1]) == (0, "2 d ahead\n")
    assert "2 d ahead (a virtual clock)" in platform.caravan("clock").stdout
    assert "expire_points late  accepted" in tree
    assert "the timer of late ran out" in tree
    assert "row points.balance  user_id=late available=0" in tree


def test_topics_are_as_declared(platform: Platform) -> None:
    """On a platform that runs, nothing is missing."""
    done = platform.caravan("topics")

    assert done.returncode == 0, done.stderr
    assert any(
        line.split()[0].endswith("points.events") and line.endswith("ok")
        for line in map(str.rstrip, done.stdout.splitlines())
    )
    assert "missing" not in done.stdout


def test_completion_knows_commands_and_topics() -> None:
    """The shell's script is printed, and what it asks is answered."""
    words = {"_CARAVAN_COMPLETE": "complete_bash"}
    script = subprocess.run(
        ["bash", "-c", f"{CARAVAN[0]} -m caravan --show-completion; true"],
        env={**clean({}), "SHELL": "/bin/bash"}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "complete -o default -F _caravan_completion caravan" in script.stdout
    assert caravan(**words, COMP_WORDS="caravan ta", COMP_CWORD="1").stdout.split() == ["tail"]
    assert "points.events" in caravan(**words, COMP_WORDS="caravan tail poi", COMP_CWORD="2").stdout.split()
