"""Compares what the platform shows at the end of a run with the model and with the laws of the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.acceptance.model import Model, Step

LedgerRow = tuple[int, datetime, str, str, str, int, str | None, str | None]
"""seq, at, kind, debit, credit, amount, reference, note"""


@dataclass
class Observed:
    """The end of a run: the commands of the topic in the order of their keys, and everything that came of them."""

    steps: Sequence[Step]
    results: dict[str, tuple[str, str | None]]
    """Command id -> status and code."""
    balances: dict[str, tuple[int, int]]
    """User -> available and held."""
    ledger: dict[str, list[LedgerRow]]
    """User -> rows in the order of `seq`."""


def faults(seen: Observed) -> list[str]:
    """Everything that is wrong, in words; empty when the run was right."""
    return [*unlawful(seen), *different(seen)]


def unlawful(seen: Observed) -> list[str]:
    """Breaches of the ledger's own laws."""
    accounts = Counter[str]()
    wrong = []
    for user, rows in seen.ledger.items():
        own = f"user:{user}:available", f"user:{user}:held"
        for _, _, _, debit, credit, amount, *_ in rows:
            accounts[debit] -= amount
            accounts[credit] += amount
            if min(accounts[name] for name in own) < 0:
                wrong.append(f"{user} gave {amount} to {credit} and had less")
    for user, (available, held) in seen.balances.items():
        if (available, held) != (accounts[f"user:{user}:available"], accounts[f"user:{user}:held"]):
            wrong.append(f"the balance of {user} is {available}, {held} and not the ledger's")
        if available < 0 or held < 0:
            wrong.append(f"the balance of {user} is below zero")
    shown = sum(sum(balance) for balance in seen.balances.values())
    if total := shown + sum(accounts[f"system:{name}"] for name in ("issued", "spent", "expired", "transit")):
        wrong.append(f"the accounts sum to {total}, not to 0")
    if accounts["system:transit"]:
        wrong.append(f"{accounts['system:transit']} points are in transit")
    wrong += [f"{name} is pending" for name, (status, _) in seen.results.items() if status == "pending"]
    return wrong


def different(seen: Observed) -> list[str]:
    """Differences from the model."""
    model = Model()
    for step in seen.steps:
        model.play(step)
    wrong = model.wrong_transfers()
    wrong += _compare("result", model.results, seen.results)
    moved = {name: user for name, user in model.users.items() if user.statement}
    wrong += _compare("balance", {name: (user.available, user.held) for name, user in moved.items()}, seen.balances)
    wrong += _compare("statement", {name: user.statement for name, user in moved.items()}, seen.ledger)
    return wrong


def _compare(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{what} of {name}: {found.get(name)}, not {expected.get(name)}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
