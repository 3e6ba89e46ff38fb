"""Seeds of the simulator: whatever may go wrong does, and the history is right; a seed is the same run every time."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.mutations import MUTATIONS

SEEDS = {"0:44": (), "44:216": (pytest.mark.full,)}
"""The same ones on every machine, as many as two cores run in a quarter of a minute, and more; CARAVAN_SEEDS=START:COUNT takes others."""
SHARDS = 2

QUICK = {"no_inbox", "no_fence", "kafkas_position", "unordered_relay", "followers_go_on"}
"""Planted bugs that every run looks for; a whole one looks for all."""

pytestmark = pytest.mark.timeout(900)  # a guard for machines under load; nothing here depends on time


def simulate(*arguments: str) -> tuple[int, str]:
    """Run it in a process of its own: status and what it said."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.req("SR030")
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("seeds", [pytest.param(seeds, marks=marks) for seeds, marks in SEEDS.items()])
def test_every_seed_is_right(
    seeds: str, shard: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    given = os.environ.get("CARAVAN_SEEDS")
    first, _, count = (given or seeds).partition(":")
    part = f"{int(first) + shard}:{max(0, int(count or 1) - shard)}"

    status, said = simulate(part, f"--step={SHARDS}", f"--history={tmp_path}")

    assert status == 0, said
    record_property("told", said.strip())
    if not given:
        counts = dict(re.findall(r"([a-z ]+) (\d+)", said.partition("faults: ")[2]))
        assert {kind for kind in KINDS if counts.get(f" {kind}", counts.get(kind, "0")) == "0"} == set()


def test_a_seed_is_the_same_run_every_time() -> None:
    once, again = (simulate("5:2", "--digests")[1] for _ in range(2))
    digests = re.findall(r"history (\S+)", once)

    assert len(set(digests)) == 2
    assert re.findall(r"history (\S+)", again) == digests


@pytest.mark.parametrize(
    "mutation", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in MUTATIONS]
)
def test_a_planted_bug_is_found(mutation: str, record_property: Callable[[str, object], None]) -> None:
    status, said = simulate("0:300", f"--mutation={mutation}")

    assert status == 1, f"{mutation} was not found"
    seed = re.findall(r"^seed (\d+): \d+ findings$", said, re.MULTILINE)
    assert seed, said
    record_property("told", f"{mutation}: found at seed {seed[0]}")


def test_a_failing_seed_fails_the_same_way_again() -> None:
    said = [simulate("0:1", "--mutation=no_inbox") for _ in range(2)]

    assert said[0] == said[1]
    assert said[0][0] == 1
