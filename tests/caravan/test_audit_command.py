"""`caravan audit` as people, programs and Prometheus meet it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from caravan.audit import Auditor, terminal
from caravan.audit.metrics import Metrics
from caravan.audit.terminal import Broken, NotLooked, Progress, Wishes
from caravan.errors import BadInput, Problem
from streams import discover
from streams.agent import agents_of
from streams.settings import Settings
from tests.acceptance.children import environment
from tests.caravan.audited import Platform
from tests.caravan.conftest import caravan
from tests.caravan.test_audit_events import parsed

SPOIL = "UPDATE balance SET held = held + 1 WHERE user_id = 'v0'"
MEND = "UPDATE balance SET held = held - 1 WHERE user_id = 'v0'"
PATIENCE_S = 100.0


def run(rested: Platform, *arguments: str) -> tuple[int, str, str]:
    """The command's status, output and complaint."""
    done = caravan("audit", *arguments, **environment(rested.settings))
    return done.returncode, done.stdout, done.stderr


@pytest.mark.asyncio(loop_scope="session")
async def test_the_status_says_whether_all_holds(rested: Platform) -> None:
    """0 when it does, 1 with the finding and its mend when not, 2 when it could not look."""
    status, said, complaint = await asyncio.to_thread(run, rested)
    assert (status, complaint) == (0, "")
    domains = ", ".join(domain for domain in discover.domains() if agents_of(domain))
    assert re.search(rf"^all promises hold( \(1 harmless\))?: {domains}; ", said, re.MULTILINE)

    await rested.execute(SPOIL)
    status, said, complaint = await asyncio.to_thread(run, rested, "--json", "--domain", "points")
    spoilt = json.loads(said)
    await rested.execute(MEND)
    assert (status, complaint) == (1, "caravan: a promise is broken: points row_changed at balance v0 (and 3 more)\n")
    assert (spoilt["clean"], {one["check"] for one in spoilt["counts"]} - {"event_repeated"}) == (
        False,
        {"row_changed", "balance_is_its_ledger", "accounts_sum_to_zero", "held_is_open_holds"},
    )
    assert all(one["mend"] and one["place"] and one["words"] for one in spoilt["findings"])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"domains": ["nope"]}, BadInput, "there is no domain 'nope'"),
        ({"since": "yesterday"}, BadInput, "is no length of time"),
        ({"metrics": "here", "every": "1s"}, BadInput, "is no port"),
        ({}, NotLooked, "could not look: Kafka is away"),
    ],
)
def test_what_cannot_be_is_told_with_status_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, object], error: type[Problem], words: str
) -> None:
    names = {"CARAVAN_KAFKA": "kafka://127.0.0.1:1", "CARAVAN_POSTGRES": "postgresql://nobody@127.0.0.1:1/none"}
    for name, value in {**names, "CARAVAN_SIGNING_KEYS": f"k1:{'00' * 32}"}.items():
        monkeypatch.setenv(name, value)
    wishes = {"domains": [], "since": None, "every": None, "metrics": None, "as_json": False, **given}
    with pytest.raises(error, match=words) as raised:
        terminal.audit(tmp_path, **wishes)  # type: ignore[arg-type]

    assert (raised.value.status, Broken.status) == (2, 1)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_window_leaves_out_the_commands_before_it(rested: Platform) -> None:
    """The events are folded from the first all the same, so nothing else changes."""
    async with Auditor(rested.settings, ["points"], since=2**42) as auditor:
        look = await auditor.look()

    assert (auditor.read_commands, auditor.read_events > 100) == (0, True)
    assert not look.findings.broken, list(look.findings)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_watching_auditor_tells_what_changes_and_serves_it(
    rested: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row is spoilt while it watches, and mended; nothing is read from the topics twice."""
    metrics = Metrics()
    name = ("caravan_audit_findings", (("domain", "points"), ("check", "row_changed")))

    async def until(value: float, port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/metrics", None, 10)
                found = parsed(answer.read().decode())
                if "caravan_audit_last_success_timestamp_seconds" in str(found) and found.get(name, 0) == value:
                    return found
                await asyncio.sleep(0.05)

    async with Auditor(rested.settings, ["points"]) as auditor, metrics.served("127.0.0.1", 0) as port:
        watching = asyncio.create_task(terminal.watch(auditor, Wishes(["points"], every=0.05), metrics, Progress()))
        first = await until(0, port)
        await rested.execute(SPOIL)
        spoilt = await until(1, port)
        await rested.execute(MEND)
        mended = await until(0, port)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    read = ("caravan_audit_events_checked_total", (("domain", "points"),))
    assert first[read] == spoilt[read] == mended[read] > 100
    assert spoilt["caravan_audit_looks_total", (("outcome", "broken"),)] >= 1
    assert ("caravan_audit_lag_records", (("domain", "points"), ("agent", "transfers"))) in mended
    assert {key[0].removeprefix("caravan_audit_") for key in mended} == {
        "findings", "commands_checked_total", "events_checked_total", "rows_compared_total", "looks_total",
        "last_success_timestamp_seconds", "look_duration_seconds", "lag_records", "outbox_events", "outbox_age_seconds",
        "scratch_bytes",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert (
        "points: row_changed\n  balance v0: held is 6 and the events make 5\n  mend: The events are the truth" in said
    )
    assert "no longer: points row_changed balance v0: held is 6 and the events make 5" in said


async def test_a_watching_auditor_goes_on_when_it_cannot_look(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is there yet; it says so, counts it, and looks again."""
    metrics = Metrics()
    async with Auditor(settings, ["points"]) as auditor:
        watching = asyncio.create_task(terminal.watch(auditor, Wishes(["points"], every=0.05), metrics, Progress()))
        async with asyncio.timeout(PATIENCE_S):
            while 'looks_total{outcome="failed"} 3' not in metrics.text():  # noqa: ASYNC110 - it comes true in a task
                await asyncio.sleep(0.01)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    assert "could not look, and looks again: There is no topic" in capsys.readouterr().err


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker, of Debian's package `prometheus`; root installs it where it is missing."""
    if shutil.which("promtool") is None and os.geteuid() == 0:
        for command in (("update",), ("install", "-y", "--no-install-recommends", "prometheus")):
            subprocess.run(["apt-get", "-q", *command], check=True, capture_output=True)
    found = shutil.which("promtool")
    assert found, "promtool is missing: install the package prometheus (as root this test does)"
    return found


@pytest.mark.full
@pytest.mark.asyncio(loop_scope="session")
async def test_prometheus_itself_takes_the_metrics(rested: Platform, promtool: str) -> None:
    """And its linter has nothing to say."""
    metrics = Metrics()
    async with Auditor(rested.settings) as auditor:
        await rested.execute(SPOIL)
        metrics.ended(auditor, await auditor.look())
        await rested.execute(MEND)
    done = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=metrics.text(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
