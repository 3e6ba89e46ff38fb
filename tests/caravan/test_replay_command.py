"""`caravan replay` as it is asked: what cannot be is one line with the mend, and what is told can be read."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from caravan.cli import app
from caravan.errors import BadInput
from caravan.replay import terminal, words
from caravan.replay.compare import Comparison, Difference, Result
from caravan.replay.run import Progress
from caravan.replay.terminal import Asked, NotReplayed
from sinks.postgres.differing import Compared, Pair
from sinks.postgres.replay import Known
from streams import discover
from streams.agent import agents_of
from streams.folding import foldable
from streams.settings import Settings
from tests.acceptance.children import environment

SEALED = "enc1.dTE=.c2VjcmV0"


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """The command mutes the loggers of its process, which is this one here."""
    levels = {name: logging.getLogger(name).level for name in ("streams", "aiokafka")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope"], "there is no domain 'nope'; there are: "),
        (["points", "--swap", "--abort"], "--swap and --abort do not go together"),
        (["points", "--accept-diff", "c0ffee"], "--accept-diff goes with --swap"),
        (["points", "--swap-back", "--views", "ledger"], "--swap-back takes the replay as it was begun"),
        (
            ["points", "--views", "ledger,sheep"],
            "there is no table 'sheep' in the views of points; there are: active_rule, balance, ",
        ),
        (["points", "--from", "10m"], "--from is for views that are only appended to, named by --views (ledger)"),
        (["points", "--views", "balance", "--from", "0:1"], "--from is for views that are only appended to"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 2, and nothing was touched: there is not even a Postgres here."""
    monkeypatch.setenv("CARAVAN_KAFKA", "kafka://127.0.0.1:1")
    monkeypatch.setenv("CARAVAN_POSTGRES", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("CARAVAN_SIGNING_KEYS", f"k1:{'00' * 32}")
    with pytest.raises(BadInput, match=re.escape(complaint)) as raised:
        get_command(app).main(["replay", *arguments], standalone_mode=False)
    assert raised.value.status == 2


@pytest.mark.parametrize("action", ["swap", "swap_back", "abort"])
async def test_without_a_replay_the_commands_say_how_to_begin(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Status 2; nothing was made."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotReplayed, match="there is no replay of points; begin with: caravan replay points") as raised:
        await asyncio.to_thread(terminal.replay, tmp_path, "points", Asked(action))
    assert raised.value.status == 2


async def test_while_postgres_is_away_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARAVAN_KAFKA", "kafka://127.0.0.1:1")
    monkeypatch.setenv("CARAVAN_POSTGRES", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("CARAVAN_SIGNING_KEYS", f"k1:{'00' * 32}")
    with pytest.raises(NotReplayed, match="Postgres cannot be reached"):
        await asyncio.to_thread(terminal.replay, tmp_path, "points", Asked())


def test_a_row_that_differs_is_told_by_its_columns_and_personal_values_are_masked() -> None:
    """Of a document its fields; one of older rules is read as these would write it."""
    domain = discover.domains()[0]
    comparison = Comparison(foldable(agents_of(domain)), 20)
    table = Result("profile")
    comparison.results.append(table)
    compared = Compared("profile", ("user_id", "bio", "language"), ("user_id",))
    ours = {"user_id": "u1", "bio": SEALED, "language": "en"}
    comparison._take(compared, table, Pair(["u1"], ours, {**ours, "language": "de"}))
    comparison._take(compared, table, Pair(["u2"], {**ours, "user_id": "u2"}, None))
    comparison._take(compared, table, Pair(["u3"], None, {**ours, "user_id": "u3"}))
    assert [str(one) for one in table.shown] == [
        "changed u1: language is de, the events make en",
        "missing u2: the events make bio=••• language=en",
        "extra u3: no event makes bio=••• language=en",
    ]
    assert (comparison.differing, SEALED in str(table)) == (3, False)


def test_the_mark_of_a_diff_is_that_of_just_these_rows() -> None:
    compared = Compared("balance", ("user_id", "held"), ("user_id",))

    def mark(*pairs: Pair) -> str | None:
        comparison = Comparison([], 0)
        comparison.results.append(Result("balance"))
        for pair in pairs:
            comparison._take(compared, comparison.results[0], pair)
        return comparison.diff

    one, other = (Pair(["u"], {"user_id": "u", "held": "1"}, {"user_id": "u", "held": held}) for held in ("2", "3"))
    assert mark() is None
    assert mark(one) == mark(one) != mark(other)
    assert mark(one, other) not in (mark(one), mark(other))


def test_what_is_told_can_be_read() -> None:
    at = Progress("building", 250_000, 1_000_000, 50_000.0, 750_000)
    assert words.line(at) == "building 25% 250 000 of 1 000 000 events, 50 000/s, 15 s to go, 750 000 behind live"
    assert words.line(at._replace(folded=10, whole=10, behind=0)).endswith("10 of 10 events, 50 000/s, level with live")
    known = Known(
        tables=("balance",), whole=False, code="c", state="compared", differing=1, diff="d1ff", begun_at="then"
    )
    assert (
        words.state("points", known, runs=False)
        == "points: a replay of balance from earliest, begun then, is built; 1 row differs (diff d1ff)"
    )
    comparison = Comparison([], 1)
    comparison.results += [
        Result(
            "balance",
            rows=3,
            live=2,
            missing=1,
            shown=[Difference("balance", "missing", "u1", "the events make held=1")],
        ),
        Result("ledger", lost=True),
    ]
    assert list(words.report("points", comparison))[:3] == [
        "  balance  2 rows, the replay has 3: 1 missing",
        "    missing u1: the events make held=1",
        "  ledger   is not there; the replay has it",
    ]
