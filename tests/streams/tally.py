"""A tiny domain for tests of the core: accounts that are added to. `how` asks its rules to misbehave in a way that a test wants."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from streams.agent import Decider, Policy
from streams.contract import Command, Event, Name, Topic
from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State
from streams.partitioner import partition_of
from streams.sink import Fact, rows
from streams.table import Table

TALLY = Topic("tally", key="account", partitions=2)
How = Literal[
    "well",
    "many",
    "raise",
    "reads",
    "unread",
    "undeclared",
    "nul",
    "odd",
    "huge",
    "deny",
    "silent",
    "pend",
    "settle",
    "echo",
]


class Add(Command, topic=TALLY, roles=("User",), services=("tally",)):
    """Add an amount; `many` adds one so many times."""

    account: Name
    amount: int
    how: How = "well"
    pending: str = ""


class Added(Event, topic=TALLY):
    """It was added."""

    account: Name
    amount: int
    note: str = ""
    how: How = "well"


class Sum(State, frozen=True):
    """An account."""

    total: int = 0
    entries: int = 0


class Note(State, frozen=True):
    """The last note, under a sub-key."""

    text: str = ""


@rows("entries")
class EntryRow(NamedTuple):
    account: str
    seq: int
    amount: int
    note: str


@rows("totals", key=("account",))
class TotalRow(NamedTuple):
    account: str
    total: int


class Undeclared(NamedTuple):
    account: str


def decide(state: Mapping[str, State], command: Add, case: Case) -> Decision:
    match command.how:
        case "raise":
            raise RuntimeError("The rule does not like this.")
        case "many":
            return [Added(account=command.account, amount=1) for _ in range(command.amount)]
        case "nul":
            return [Added(account=command.account, amount=command.amount, note="a\0b")]
        case "huge":
            return [Added(account=command.account, amount=command.amount, note="x" * 1_000_000)]
        case "deny":
            return Refuse("denied", 422, {"amount": command.amount})
        case "silent":
            return []
        case "pend":
            return Pending([Added(account=command.account, amount=command.amount)])
        case "settle":
            return Settle(command.pending, [Added(account=command.account, amount=command.amount)])
    return [Added(account=command.account, amount=command.amount, how=command.how)]


def evolve(state: Mapping[str, State], event: Added) -> Mapping[str, State]:
    total = state[ROOT]
    assert isinstance(total, Sum)
    if event.how == "unread":
        return {"note/other": Note("?")}
    if event.how == "odd":
        return {ROOT: Sum(object())}  # type: ignore[arg-type]  # no JSON has it
    return {
        ROOT: Sum(total.total + event.amount, total.entries + 1),
        f"note/{event.amount % 3}": Note(event.note),
    }


def reads(message: Any) -> Iterable[str]:
    if message.how == "reads":
        raise RuntimeError("The rule cannot say what it reads.")
    return [f"note/{amount}" for amount in range(3)]


def project(fact: Fact[Any], state: Mapping[str, State]) -> Iterable[tuple[Any, ...]]:
    if fact.event.how == "undeclared":
        yield Undeclared(fact.key)
    total = state[ROOT]
    assert isinstance(total, Sum)
    yield EntryRow(fact.key, fact.seq, fact.event.amount, fact.event.note)
    yield TotalRow(fact.key, total.total)


def echo(fact: Fact[Added]) -> Iterable[Command]:
    """An event of an `echo` command brings the next one, without end."""
    if fact.event.how == "echo":
        yield Add(account=fact.key, amount=fact.event.amount, how="echo")


SUMS = Table("sums", {ROOT: Sum, "note": Note})


def decider() -> Decider:
    """A decider with a table of its own, as each process has."""
    return Decider(TALLY, Table("sums", {ROOT: Sum, "note": Note}), decide, evolve, reads, project)


ECHO = Policy("echo", TALLY, TALLY, {Added: echo})


def account(partition: int, n: int = 0) -> str:
    """The n-th account that lives on a partition."""
    found = -1
    for number in range(10_000):
        name = f"a{number}"
        if partition_of(name.encode(), TALLY.partitions) == partition:
            found += 1
            if found == n:
                return name
    raise LookupError(n)


A, B, C = (account(0, n) for n in range(3))  # accounts on partition 0
