"""Run seeds: `python -m tests.simulation START:COUNT`; of a failing one the findings are told, and with `--history DIR` what was seen is kept."""

import argparse
import gc
import logging
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.simulation.faults import KINDS
from tests.simulation.mutations import MUTATIONS
from tests.simulation.orders import TOPICS
from tests.simulation.world import World

PARTITIONS = 2  # of a topic
TOLD = 12  # findings of a seed that are told
COLLECT = 10  # seeds between two collections of what they left


def main() -> int:
    """0 when every seed is right, 1 at the first that is not."""
    wanted = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of text have another order in each process otherwise
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    logging.disable(logging.CRITICAL)
    gc.disable()
    sys.unraisablehook = lambda _: None  # coroutines of a seed that is over are dropped where they stand,
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # also those that have not begun
    for topic in TOPICS.values():
        topic.partitions = PARTITIONS
    if wanted.mutation:
        MUTATIONS[wanted.mutation]()
    return _run(wanted)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run seeds.")
    parser.add_argument("seeds", help="START:COUNT")
    parser.add_argument("--mutation", choices=[*MUTATIONS], help="plant a bug in the shipped code first")
    parser.add_argument("--step", type=int, default=1, help="take every n-th seed")
    parser.add_argument("--seconds", type=float, help="after so long begin no other seed")
    parser.add_argument("--history", type=Path, help="where the history of a failing seed goes")
    parser.add_argument("--digests", action="store_true", help="tell the digest of each seed's history")
    return parser.parse_args()


def _run(wanted: argparse.Namespace) -> int:
    first, _, count = wanted.seeds.partition(":")
    started, totals, commands, done = time.monotonic(), Counter[str](), 0, 0
    for seed in range(int(first), int(first) + int(count or 1), wanted.step):
        if wanted.seconds and time.monotonic() - started > wanted.seconds:
            break
        world = World(seed)
        outcome = world.run()
        done, totals, commands = done + 1, totals + outcome.faults, commands + outcome.commands
        if wanted.digests or outcome.findings:
            print(
                f"seed {seed}: {outcome.commands} commands, {outcome.faults.total()} faults, history {outcome.digest}"
            )
        if outcome.findings:
            print(f"seed {seed}: {len(outcome.findings)} findings", *outcome.findings[:TOLD], sep="\n  ")
            if wanted.history:
                print("kept as", world.history.keep(wanted.history / f"seed-{seed}.jsonl"))
            return 1
        if done % COLLECT == 0:
            gc.collect()
    took = time.monotonic() - started
    print(f"{done} seeds of {wanted.seeds}: {commands} commands, {totals.total()} faults, {done / took:.1f} seeds/s")
    print("faults:", ", ".join(f"{kind} {totals[kind]}" for kind in KINDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
