"""Projections: any domain's events become rows of their own domain, once each, whatever comes between; and can be built again."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agent import Decider, Projection
from streams.contract import Topic
from streams.decision import ROOT
from streams.errors import ContractError
from streams.folding import Folding, foldable, rebuilding
from streams.memory import MemoryStore
from streams.shard import space_of
from streams.sink import Fact
from streams.store import Lost, Slot, Unavailable
from streams.table import Table
from streams.testing import SIGNER, Kit
from tests.streams import report
from tests.streams.asking import ask, told
from tests.streams.report import REPORT, Adder, Day
from tests.streams.rig import EVENTS, Owner, Rig, until
from tests.streams.tally import ECHO, TALLY, A, Add, Added, B, C, account, decide, decider

MONDAY, TUESDAY = "2026-01-05", "2026-01-06"
OTHER = account(1)
Days = dict[tuple[str, str], tuple[int, int]]


def noting() -> Decider:
    """The tally's decider; what is pending with a command is its day."""

    def dated(state: Any, command: Any, case: Any) -> Any:
        if command.pending:
            return [Added(account=command.account, amount=command.amount, note=command.pending, how=command.how)]
        return decide(state, command, case)

    return replace(decider(), decide=dated)


def add(account: str, amount: int, day: str = MONDAY, how: Any = "well") -> Add:
    return Add(account=account, amount=amount, pending=day, how=how)


def model(kit: Kit) -> Days:
    """What the events of the topic say, each number of a partition once."""
    days: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for event in kit.events():
        if isinstance(event, Added) and event.how != "deny":
            days[event.account, event.note].append(event.amount)
    return {at: (len(amounts), sum(amounts)) for at, amounts in days.items()}


def days(rows: Iterable[tuple[Any, ...]]) -> Days:
    return {(who, day): (count, amount) for who, day, count, amount in rows}


@pytest.mark.req("SR100")
def test_rows_follow_from_events_and_a_late_one_lands_in_its_day() -> None:
    with Kit(noting(), report.report(), report.seen()) as kit:
        for command in (add(A, 1), add(OTHER, 5), add(A, 2, TUESDAY), add(A, 4, MONDAY), add(A, 9, MONDAY, "deny")):
            kit.send(command)

        assert days(kit.rows("days", "report")) == model(kit)
        assert model(kit) == {(A, MONDAY): (2, 5), (A, TUESDAY): (1, 2), (OTHER, MONDAY): (1, 5)}
        assert len(kit.rows("seen", "report")) == len(kit.events()) == 5
        assert kit.state(A, domain="report", projection="by_day") == Adder(2)
        assert kit.state(A, f"day/{MONDAY}", "report", projection="by_day") == Day(2, 5)


@pytest.mark.req("SR100")
@pytest.mark.req("SR052")
def test_an_event_that_comes_again_is_counted_once() -> None:
    """As a relay repeats it: the same record further on, and later ones behind it once more."""
    with Kit(noting(), report.report(), report.seen()) as kit:
        for amount in (1, 2, 3):
            kit.send(add(A, amount))
        before = kit.rows("days", "report"), kit.rows("seen", "report")
        again = [r for r in kit.broker.records(EVENTS) if r.partition == 0]
        for record in [*again[1:], again[0], again[2]]:
            kit.broker.add(EVENTS, 0, record.key, record.value, record.headers)
        kit.settle()
        seen = kit.store.schemas["report"].places

        assert (kit.rows("days", "report"), kit.rows("seen", "report")) == before
        assert {at.agent: place.duplicates for at, place in seen.items() if at.partition == 0} == {
            "by_day": 4,
            "seen": 4,
        }
        assert {place.next for at, place in seen.items() if at.partition == 0} == {7}


def test_documents_of_agents_that_share_a_schema_do_not_meet() -> None:
    """A decider and two projections of one domain keep state under the same keys."""
    ours = [replace(report.report(), name=name, target=TALLY) for name in ("one", "two")]
    with Kit(noting(), *ours) as kit:
        kit.send(add(A, 3))
        kit.send(add(A, 4))

        assert kit.state(A) == decider().table.types[ROOT](total=7, entries=2)
        assert kit.state(A, projection="one") == kit.state(A, projection="two") == Adder(1)
        keys = {*kit.store.schemas["tally"].states}
        assert {A, space_of("one") + A, f"{space_of('two')}{A}/day/{MONDAY}"} < keys


def test_what_does_not_change_is_not_written() -> None:
    with Kit(noting(), report.report()) as kit:
        kit.send(add(A, 3, how="deny"))
        assert kit.store.schemas["report"].states == {}


@pytest.mark.req("SR110")
def test_a_fresh_agent_replays_from_the_first_event_and_builds_the_same_report() -> None:
    """One that is new to the platform, and a rebuild of what there is; their positions are their own."""
    with Kit(noting(), report.report(), report.seen()) as kit:
        for n in range(30):
            kit.send(add((A, B, OTHER)[n % 3], n, (MONDAY, TUESDAY)[n % 2]))
        kit.join(replace(report.report(), name="again", target=Topic("fresh", key="account")))
        store = kit.rebuilt()

        assert kit.rows("days", "fresh") == kit.rows("days", "report") != []
        for name, rows in kit.store.schemas["report"].rows.items():
            assert Counter(store.schemas["report"].rows[name]) == Counter(rows)
        assert without_versions(store, "report") == without_versions(kit.store, "report")
        assert without_versions(store, "tally") == without_versions(kit.store, "tally")
        assert {at.agent for at in store.schemas["report"].places} == {"by_day.rebuild", "seen.rebuild"}
        assert [agent.name for agent in foldable([*kit.agents, ECHO])] == ["tally", "by_day", "seen", "again"]


def without_versions(store: MemoryStore, domain: str) -> dict[str, Any]:
    return {key: state._replace(replaces=0) for key, state in store.schemas[domain].states.items()}


def test_a_projection_that_starts_now_has_what_comes_from_now_on() -> None:
    with Kit(noting()) as kit:
        kit.send(add(A, 1))
        kit.join(report.report(start="now"))
        kit.send(add(A, 2))
        assert days(kit.rows("days", "report")) == {(A, MONDAY): (1, 2)}


# -- what it does not like


def live(rig: Rig, agent: Projection, partition: int = 0, size: int = 500) -> Owner:
    slot = Slot("report", agent.name, EVENTS, partition)
    return rig.open(slot, Folding(agent, slot, store=rig.store, signer=SIGNER), size, start=agent.start)


def rows_of(rig: Rig) -> Days:
    return days(rig.memory.schemas["report"].rows.get("days", {}).values())


def mended(owner: Owner) -> None:
    """The process runs a projection that likes everything."""

    def project(fact: Fact[Any], state: Any) -> Any:
        return report.project(fact._replace(event=fact.event.model_copy(update={"how": "well"})), state)

    owner.handler.agent = replace(report.report(), project=project)  # type: ignore[attr-defined]


async def ill(rig: Rig) -> Owner:
    """Of A the second event is parked and the third waits; B goes on."""
    rig.decider(agent=noting())
    owner = live(rig, report.report())
    for command in (add(A, 1), add(A, 2, how="raise"), add(B, 4), add(A, 8)):
        rig.send(command)
    await rig.quiet()
    assert [(p.offset, p.cause) for p in parked(rig)] == [(1, "rule_failed"), (3, "held")]
    assert rows_of(rig) == {(A, MONDAY): (1, 1), (B, MONDAY): (1, 4)}
    return owner


def parked(rig: Rig) -> list[Any]:
    return [one for _, one in sorted(rig.memory.schemas["report"].parked.items())]


async def test_a_parked_event_is_folded_when_it_is_mended_and_its_key_goes_on(rig: Rig) -> None:
    owner = await ill(rig)
    assert told(await ask(rig, owner, "redrive", 1)) == (
        "done",
        "0 records were run. The one at offset 1 failed again (rule_failed): it stays parked, and what is behind it waits.",
    )
    mended(owner)
    assert told(await ask(rig, owner, "redrive", 1)) == ("done", "2 records were run.")
    rig.send(add(A, 16))
    await rig.quiet()

    assert parked(rig) == []
    assert rows_of(rig) == {(A, MONDAY): (4, 27), (B, MONDAY): (1, 4)}


async def test_a_skipped_event_leaves_no_row_and_those_behind_it_are_folded(rig: Rig) -> None:
    owner = await ill(rig)
    assert told(await ask(rig, owner, "skip", 1)) == ("done", "It was skipped. Behind it 1 record was run.")

    assert parked(rig) == []
    assert rows_of(rig) == {(A, MONDAY): (2, 9), (B, MONDAY): (1, 4)}


async def test_an_edited_event_is_folded_as_it_was_edited(rig: Rig) -> None:
    owner = await ill(rig)
    value = parked(rig)[0].value.replace(b'"how":"raise"', b'"how":"well"')
    assert told(await ask(rig, owner, "edit", 1, value)) == ("done", "It was edited. 2 records were run.")

    assert parked(rig) == []
    assert rows_of(rig) == {(A, MONDAY): (3, 11), (B, MONDAY): (1, 4)}


async def test_rows_that_the_store_refuses_park_their_event(rig: Rig) -> None:
    rig.decider(agent=noting())
    owner = live(
        rig, report.report(project=lambda fact, state: [report.DayRow(fact.key, "x", fact.event.amount << 60, 0)])
    )
    for amount in (1, 8, 3):
        rig.send(add(A, amount))
    rig.send(add(B, 4))
    await rig.quiet()

    assert [(one.offset, one.cause) for one in parked(rig)] == [(1, "refused_by_store"), (2, "held")]
    assert told(await ask(rig, owner, "redrive", 1))[1].startswith(
        "0 records were run. The one at offset 1 failed again"
    )
    assert told(await ask(rig, owner, "skip", 1)) == ("done", "It was skipped. Behind it 1 record was run.")
    assert {row[2] for row in rig.memory.schemas["report"].rows["days"].values()} == {3 << 60, 4 << 60}


async def test_records_of_strangers_are_parked_and_hold_nothing_back(rig: Rig) -> None:
    rig.decider(agent=noting())
    live(rig, report.report())
    rig.send(add(A, 1))
    await rig.quiet()
    rig.broker.add(EVENTS, 0, A.encode(), b"noise", ())
    rig.send(add(A, 2))
    await rig.quiet()

    assert [(one.cause, one.holds) for one in parked(rig)] == [("unsigned", False)]
    assert rows_of(rig) == {(A, MONDAY): (2, 3)}


# -- whatever comes between


class Step(NamedTuple):
    """What happens to the projection's owner after so many turns."""

    kind: str
    turns: int
    size: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["die", "leave", "another", "away", "lost", "no answer"]),
        st.integers(0, 40),
        st.integers(1, 9),
    ),
    max_size=8,
)
commands = st.lists(
    st.builds(add, st.sampled_from([A, B, C]), st.integers(1, 9), st.sampled_from([MONDAY, TUESDAY])),
    min_size=1,
    max_size=25,
)
repeats = st.lists(st.tuples(st.integers(0, 24), st.integers(1, 9)), max_size=3)


async def happen(rig: Rig, step: Step) -> None:
    """One thing that may come between; whoever has the partition then."""
    owner = rig.owners[-1]
    match step.kind:
        case "die":
            await owner.die()
        case "leave":
            await owner.leave()
        case "away":
            rig.store.before["commit"].append(Unavailable("away"))
        case "lost":
            rig.store.before["commit"].append(Lost("lost"))
        case "no answer":
            rig.store.after["commit"].append(Lost("The COMMIT got no answer."))
    if step.kind in ("die", "leave", "another"):  # the latter while the former goes on, and hears of it when it commits
        owner.feed.word = False
        live(rig, report.report(), size=step.size)


async def worked(sent: Sequence[Add], again: Sequence[tuple[int, int]], script: Sequence[Step]) -> Rig:
    """The events stand on the topic, with what the relay repeated; then owners come and go."""
    rig = Rig()
    decides = rig.decider(agent=noting())
    for command in sent:
        rig.send(command)
    await rig.quiet()
    await decides.leave()
    records = rig.broker._topics[EVENTS][0]
    told = [(record.key, record.value, record.headers) for record in records]
    for at, count in again:  # it repeats some, and goes on with them
        told[at:at] = told[max(0, at - count) : at]
    records.clear()
    for key, value, headers in told:
        rig.broker.add(EVENTS, 0, key, value, headers)
    live(rig, report.report(), size=script[0].size if script else 500)
    for step in script:
        for _ in range(step.turns):
            await asyncio.sleep(0)
        await happen(rig, step)
    await until(lambda: rig.memory.schemas["report"].places[rig.owners[-1].partition.slot].next == len(told))
    return rig


@settings(max_examples=150, deadline=None)
@given(commands, repeats, steps)
def test_rows_are_those_of_the_model_whatever_comes_between(
    sent: list[Add], again: list[tuple[int, int]], script: list[Step]
) -> None:
    """Batches of any size, repeats of the relay, changes of owner at any point, commits that fail, or that nobody heard of."""

    async def run() -> Any:
        rig = await worked(sent, again, script)
        await rig.close()
        return rig.memory.schemas["report"]

    expected: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for command in sent:
        expected[command.account, command.pending].append(command.amount)
    schema = asyncio.run(run())
    assert days(schema.rows["days"].values()) == {at: (len(all_), sum(all_)) for at, all_ in expected.items()}
    assert {key.rpartition("/")[2] for key in schema.states if "/day/" in key} == {day for _, day in expected}
    assert schema.parked == {}


# -- declarations


@pytest.mark.parametrize("name", ["report", "a/b", "a:b", "", "ä"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="a name of letters"):
        Projection(name, TALLY, REPORT, report.see)


def test_state_is_declared_whole() -> None:
    with pytest.raises(ContractError, match="give both table and evolve"):
        Projection("p", TALLY, REPORT, report.see, evolve=report.evolve)
    with pytest.raises(ContractError, match="give both table and evolve"):
        Projection("p", TALLY, REPORT, report.see, table=Table("t", {ROOT: Adder}))


def test_a_rebuild_has_a_position_of_its_own() -> None:
    handler = rebuilding(report.report(), 1, store=MemoryStore(), signer=SIGNER)
    assert handler.slot == Slot("report", "by_day.rebuild", EVENTS, 1)
    decided = rebuilding(decider(), 0, store=MemoryStore(), signer=SIGNER)
    assert decided.slot == Slot("tally", "tally.rebuild", EVENTS, 0)
