"""The faults: what may happen, what does in a seed, and how often it did."""

import random
from collections import Counter

CALLS = {  # what may happen at a call or a delivery, with its chance there
    "append late": 0.06,
    "append failed": 0.06,
    "append in part": 0.06,
    "append unanswered": 0.06,
    "append written later": 0.06,
    "publish not sent": 0.04,
    "publish unanswered": 0.04,
    "publish lost": 0.03,
    "publish written later": 0.04,
    "publish written twice": 0.04,
    "fetch late": 0.08,
    "fetch lost": 0.03,
    "fetch repeated": 0.05,
    "fetch from before": 0.04,
    "read failed": 0.03,
    "seek failed": 0.1,
    "store slow": 0.02,
    "store failed": 0.02,
    "store unanswered": 0.02,
    "commit rolled back": 0.04,
    "commit cut off": 0.03,
    "commit unanswered": 0.03,
}
EVENTS = (  # what may happen at a moment
    "broker away",
    "postgres away",
    "worker killed",
    "worker frozen",
    "worker a zombie",
    "worker left",
    "rebalance",
    "long standstill",
)
RECORDS = {  # what may be wrong with a record or be done about it, with the share of commands, or of an operator's looks
    "undecodable": 0.02,
    "unsigned": 0.02,
    "wrong key": 0.02,
    "wrong partition": 0.02,
    "garbage event": 0.02,
    "rule raises": 0.02,
    "store refuses": 0.015,
    "repeated": 0.1,
    "repeated late": 0.05,
    "skewed": 0.2,
    "redriven": 0.7,
    "skipped": 0.5,
}
SEEN = ("zombie refused", "blocker ended", "stale delivery")  # what follows from others
KINDS = (*CALLS, *EVENTS, *RECORDS, *SEEN)


class Faults:
    """Draws them until `end`."""

    def __init__(self, seed: int) -> None:
        """A handful of kinds may happen in a seed, each often enough to meet others."""
        self.dice = random.Random(f"{seed} faults")
        self.count: Counter[str] = Counter()
        self.active = True
        self._calls = set(self.dice.sample([*CALLS], 8))
        self._records = set(self.dice.sample([*RECORDS], 6))
        self.is_mended_in_the_end = self.dice.random() < 0.5
        """Whether what raised and what was refused is mended, and all that waited for it is redriven."""
        self.mended = False
        self.events = [self.dice.choice(EVENTS) for _ in range(self.dice.randint(2, 5))]

    def end(self) -> None:
        """From now on all goes well."""
        self.active = False

    def strikes(self, *kinds: str) -> str | None:
        """Which of these kinds happens at this call, if any does."""
        if not self.active:
            return None
        for kind in kinds:
            chance = CALLS.get(kind) or RECORDS[kind]
            if (kind in self._calls or kind in self._records) and self.dice.random() < chance:
                self.count[kind] += 1
                return kind
        return None

    def note(self, kind: str) -> None:
        """One happened."""
        self.count[kind] += 1
