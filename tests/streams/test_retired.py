"""Domains that end: a retired one finishes what it has and is read for ever, and a renamed one is a new domain that imports the history of the old one."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from streams.agent import Decider, Policy, Projection
from streams.contract import Command, Event, Name, Topic
from streams.decision import ROOT, Case, Decision, Refuse, State
from streams.sink import Fact, rows
from streams.table import Table
from streams.testing import Kit

CARDS = Topic("cards", key="card", partitions=2, retired=True)
PASSES = Topic("passes", key="pass_id", partitions=3)
HOLDERS = [f"c{n}" for n in range(20)]


class Punch(Command, topic=CARDS, roles=("User",), services=("cards",)):
    """Punches a card; twice in two steps."""

    card: Name
    times: int = 1


class CardPunched(Event, topic=CARDS):
    card: Name
    left: int = 0


class Stamp(Command, topic=PASSES, roles=("User",)):
    """What users do now."""

    pass_id: Name


class ImportStamp(Command, topic=PASSES, services=("passes",)):
    """A punch of the domain's former life; `nth` tells a repeat."""

    pass_id: Name
    nth: int


class Stamped(Event, topic=PASSES):
    pass_id: Name
    imported: bool = False


class Count(State, frozen=True):
    punched: int = 0


@rows("punches", key=("card",))
class PunchRow(NamedTuple):
    card: str
    punched: int


def punch(state: Mapping[str, State], command: Punch, case: Case) -> Decision:
    return [CardPunched(card=command.card, left=command.times - 1)]


def stamp(state: Mapping[str, State], command: Stamp | ImportStamp, case: Case) -> Decision:
    count = state[ROOT]
    assert isinstance(count, Count)
    if isinstance(command, ImportStamp) and command.nth != count.punched + 1:
        return Refuse("out_of_order")
    return [Stamped(pass_id=command.pass_id, imported=isinstance(command, ImportStamp))]


def counted(state: Mapping[str, State], event: Event) -> Mapping[str, State]:
    count = state[ROOT]
    assert isinstance(count, Count)
    return {ROOT: Count(count.punched + 1)}


def again(fact: Fact[CardPunched]) -> Iterable[Punch]:
    """The old domain's own saga: a second punch follows the first."""
    if fact.event.left:
        yield Punch(card=fact.key, times=fact.event.left)


def carried(fact: Fact[CardPunched]) -> ImportStamp:
    """From the first event there is: the sequence of the aggregate goes along, so order and number can be checked."""
    return ImportStamp(pass_id=fact.key, nth=fact.seq)


def shown(fact: Fact[Any], state: Mapping[str, State]) -> Iterable[PunchRow]:
    count = state[ROOT]
    assert isinstance(count, Count)
    yield PunchRow(fact.key, count.punched)


def old() -> list[Decider | Policy]:
    return [
        Decider(CARDS, Table("cards", {ROOT: Count}), punch, counted),
        Policy("again", CARDS, CARDS, {CardPunched: again}),
    ]


def new() -> list[Decider | Policy]:
    """The domain under its new name, with the policy that imports."""
    return [
        Decider(PASSES, Table("passes", {ROOT: Count}), stamp, counted),
        Policy("import", CARDS, PASSES, {CardPunched: carried}),
    ]


def count(kit: Kit, key: str, domain: str) -> int:
    state = kit.state(key, domain=domain)
    assert isinstance(state, Count)
    return state.punched


def test_what_a_retired_domain_has_on_its_topic_is_finished() -> None:
    """Its sagas too: the edge alone takes nothing new."""
    with Kit(*old()) as kit:
        assert kit.send(Punch(card="c1", times=3)).status == "accepted"
        assert count(kit, "c1", "cards") == 3
        assert kit.parked() == []
    assert Punch.retired


def test_a_retired_domain_is_read_by_who_comes_later() -> None:
    """A projection that nobody thought of when the domain was alive."""
    with Kit(*old()) as kit:
        for card in HOLDERS:
            kit.send(Punch(card=card, times=2))
        kit.join(*new(), Projection("punches", CARDS, PASSES, shown, Table("punched", {ROOT: Count}), counted))
        kit.settle()
        assert kit.rows("punches", "passes") == sorted((card, 2) for card in HOLDERS)


def test_a_renamed_domain_is_a_new_one_that_imports_the_history_of_the_old() -> None:
    """Every fact once and in the order of its key, over another number of partitions; what happens during the import too; then life goes on there."""
    with Kit(*old()) as kit:
        for n, card in enumerate(HOLDERS):
            kit.send(Punch(card=card, times=n % 3 + 1))
        kit.join(*new())
        kit.send(Punch(card="c0", times=4))  # it was on its way when the edge had closed
        kit.settle()
        for card in HOLDERS:
            assert count(kit, card, "passes") == count(kit, card, "cards")
        stamps = [event for event in kit.events() if isinstance(event, Stamped)]
        assert len(stamps) == sum(count(kit, card, "cards") for card in HOLDERS)
        assert all(event.imported for event in stamps)
        assert kit.parked() == []
        before = count(kit, "c1", "passes")
        assert kit.send(Stamp(pass_id="c1")).status == "accepted"
        assert count(kit, "c1", "passes") == before + 1
        assert kit.parked() == []
