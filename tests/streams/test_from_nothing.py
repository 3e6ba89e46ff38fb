"""Everything is built again from the topics alone: rows, documents, results and timers as they were, and nothing goes outward a second time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import deciding, effecting, loop
from streams.agent import Agent, Policy, agents_of
from streams.contract import Command
from streams.decision import Intent
from streams.effect import Adapter, Effect
from streams.handler import Handler
from streams.ids import uuid7
from streams.memory import broker
from streams.producer import command_record, signed
from streams.store import Slot
from streams.testing import ADMIN, SIGNER
from tests.faults.load import orders
from tests.streams import alarms, report
from tests.streams.receipts import receipt, told
from tests.streams.tally import TALLY, Add, Added, account, decider
from tests.streams.test_restoring import ALARMS, Backed, ring

HOUR = timedelta(hours=1)
ACCOUNTS = [account(partition, n) for partition in range(2) for n in range(2)]
OUTWARD = {"asked": "finds", "plain": "", "repeated": "repeatable", "late": "", "untold": ""}
"""Effects, and what their outside can."""


@pytest.fixture(autouse=True, scope="module")
def hasty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (effecting, deciding, loop):
            patch.setattr(module, "DRAIN_S", 0.005)
        patch.setattr(effecting, "PATIENCE_S", (0.001, 0.01))
        yield


class Post(Adapter):
    """An outside that knows what it was asked for; mute, it does it and never answers."""

    def __init__(self, can: str) -> None:
        self.can, self.repeatable = can, can == "repeatable"
        self.done: Counter[str] = Counter()
        self.amounts: Counter[int] = Counter()
        self.mute, self.unanswered = False, 0

    @property
    def finds(self) -> bool:
        return self.can == "finds"

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        self.done[key] += 1
        self.amounts[intent.data["amount"]] += 1
        if self.mute:
            self.unanswered += 1
            await asyncio.Event().wait()
        return {}

    async def find(self, key: str) -> Mapping[str, Any] | None:
        if not self.finds:
            return await super().find(key)
        return {} if self.done[key] else None


def outward(name: str, **more: Any) -> Effect:
    given: dict[str, Any] = {"result": told, "start": "earliest", "limit": 60.0} | more
    return Effect(name, TALLY, {Added: receipt}, adapter=lambda _: Post(""), **given)


def doubles(fact: Any) -> Iterable[Command]:
    """Of a five follows a command, under the name of the policy that makes it."""
    if fact.event.amount == 5:
        yield Add(account=fact.key, amount=-50)


def doubling(name: str, start: Any) -> Policy:
    return Policy(name, TALLY, TALLY, {Added: doubles}, start=start)


AT_FIRST: list[Agent] = [outward("asked"), outward("plain"), outward("repeated")]
LATER: list[Agent] = [outward("late", start="now"), doubling("doubles_late", "now")]


class Losing(Backed):
    """A kit that loses its store, and outsides that remember."""

    def __init__(self, *agents: Agent) -> None:
        self.filled = True  # what is empty is built anew
        self.posts = {name: Post(can) for name, can in OUTWARD.items()}
        super().__init__(*agents, outside=self.posts)

    @classmethod
    def usual(cls) -> "Losing":
        return cls(decider(), doubling("doubles", "earliest"), report.report(), report.seen(), *AT_FIRST)

    def _handler(self, agent: Agent, slot: Slot) -> Handler:
        handler = super()._handler(agent, slot)
        if isinstance(handler, deciding.Deciding) and not self.filled:
            handler._from_nothing = False
        return handler

    async def _settle(self) -> None:
        async with asyncio.timeout(120 if self.filled else 0.3):
            await super()._settle()

    def lose(self, undecided: Sequence[Command] = ()) -> None:
        """Everything stops, a few commands come in, Postgres is emptied, and everything starts again, to build it from the topics."""
        self._runner.run(self._stop())
        self._tasks.clear()
        for command in undecided:
            self._runner.run(self._put(command))
        self.store.schemas.clear()
        self.from_nothing = True
        self._runner.run(self._start(self.agents))

    def send_unanswered(self, commands: Sequence[Command]) -> None:
        """Send them; all outsides do what they are asked for, and answer nothing."""
        for post in self.posts.values():
            post.mute = True
        self._runner.run(self._until_called(commands))
        for post in self.posts.values():
            post.mute = False

    def counted(self) -> dict[str, Any]:
        """What is built from the topics; the parked of effects is the rest."""
        found = self.stored()
        for schema in found.values():
            del schema["calls"], schema["stopped"]
            schema["parked"] = {at: told for at, told in schema["parked"].items() if at[0].agent == at[0].domain}
        return found

    def uncertain(self) -> list[tuple[str, str]]:
        """(effect, cause) of the calls that are parked, and not for others of their key."""
        effects = {agent.name for agent in self.agents if isinstance(agent, Effect)}
        places = self.store.schemas["tally"].parked.items()
        return sorted((at.agent, one.cause) for (at, _), one in places if at.agent in effects and one.cause != "held")

    async def _put(self, command: Command) -> None:
        command_id = uuid7(int(self.clock.now().timestamp() * 1000))
        key, value = command_record(command, command_id=command_id, issued_at=self.clock.now(), actor=ADMIN)
        topic = command.topic.commands_topic
        await self.broker.publish(topic, key, value, signed(topic, key, value, SIGNER))

    async def _until_called(self, commands: Sequence[Command]) -> None:
        """Nothing moves any more: what is under way waits for an answer."""
        for command in commands:
            await self._put(command)
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 5:
                await asyncio.sleep(0)
                running = sum(len(h._running) for _, h, _ in self._tasks if isinstance(h, effecting.Effecting))
                still = running == sum(post.unanswered for post in self.posts.values()) and all(
                    p.idle_at(self.broker.end(*p.slot[2:])) and (not isinstance(h, deciding.Deciding) or h.relay.idle)
                    for p, h, _ in self._tasks
                )
                quiet = quiet + 1 if still else 0


def adds(amounts: st.SearchStrategy[int], hows: str) -> st.SearchStrategy[list[Command]]:
    one = st.builds(Add, account=st.sampled_from(ACCOUNTS), amount=amounts, how=st.sampled_from(hows.split()))
    return st.lists(one, max_size=12)


USUAL = adds(st.integers(1, 6), "well well well well deny silent raise many")
PLAIN = adds(st.integers(1, 6), "well")


@pytest.mark.req("SR073")
@settings(max_examples=25)
@given(first=USUAL, then=USUAL, flying=PLAIN, undecided=PLAIN, size=st.integers(1, 9))
def test_rows_are_as_they_were_and_nothing_goes_outward_twice(
    first: list[Command], then: list[Command], flying: list[Command], undecided: list[Command], size: int
) -> None:
    """An effect and a policy come late; calls are under way when it is lost, and commands wait; it is lost twice."""
    with pytest.MonkeyPatch.context() as patch, Losing.usual() as kit:
        patch.setattr(broker, "DELIVERY", size)
        for command in first:
            kit.send(command)
        known = {name: post.done.copy() for name, post in kit.posts.items()}
        kit.join(*LATER)
        for command in then:
            kit.send(command)
        assert not known["late"]
        kit.send_unanswered(flying)
        built, told_before = kit.counted(), kit.told()
        done = {name: post.done.copy() for name, post in kit.posts.items()}
        published = kit.ids()
        kit.lose()

        again = kit.counted()
        under_way = kit.posts["plain"].unanswered
        if not under_way:  # else what came of the calls under way is added
            assert again == built
            assert kit.ids() == published, "no command was issued that had not been"
        assert told_before.items() <= kit.told().items()
        compare(kit, done, under_way)
        kit.lose(undecided)
        last = kit.counted()
        assert all(last["tally"]["results"][i] == result for i, result in again["tally"]["results"].items())
        assert all(max(post.done.values(), default=0) <= 1 for n, post in kit.posts.items() if n != "repeated")


def compare(kit: Losing, done: Mapping[str, Counter[str]], under_way: int) -> None:
    """What was done before was not done again, save where that does no harm; what nobody knows waits for an operator."""
    for name in ("asked", "plain", "late"):
        post = kit.posts[name]
        assert max(post.done.values(), default=0) <= 1, name
        assert done[name].keys() <= post.done.keys()
    repeats = [key for key, times in kit.posts["repeated"].done.items() if times > 1]
    assert len(repeats) <= under_way, "only what was under way"
    assert {name for name, _ in kit.uncertain()} <= {"plain", "late"}
    assert {cause for _, cause in kit.uncertain()} <= {"effect_unknown"}
    assert sum(name == "plain" for name, _ in kit.uncertain()) == under_way


def test_what_was_under_way_is_looked_up_or_parked_and_the_operator_decides() -> None:
    with Losing.usual() as kit:
        kit.send(Add(account=ACCOUNTS[0], amount=1))
        kit.send_unanswered([Add(account=who, amount=2) for who in ACCOUNTS[:2]])
        kit.lose()

        assert kit.uncertain() == [("plain", "effect_unknown")] * 2
        assert [sorted(kit.posts[name].done.values()) for name in ("asked", "plain", "repeated")] == [
            [1, 1, 1],
            [1, 1, 1],
            [1, 2, 2],
        ]
        first, second = (one for one in kit.parked() if one.cause == "effect_unknown")
        assert kit.ask("skip", first)[0] == "done"
        assert kit.ask("redrive", second)[0] == "done"
        assert kit.parked() == []
        assert sorted(kit.posts["plain"].done.values()) == [1, 1, 2]


def test_commands_that_are_not_kept_any_more_are_told_by_their_events() -> None:
    """Those that are still there are read again, and what was not decided is decided."""
    with Losing.usual() as kit:
        for n in range(20):
            kit.send(Add(account=ACCOUNTS[n % 4], amount=1 + n % 6))
        built = kit.counted()
        for partition in range(TALLY.partitions):
            kit.broker.drop(TALLY.commands_topic, partition, range(7))
        late = Add(account=ACCOUNTS[0], amount=900)
        kit.lose([late])

        assert [row[2] for row in kit.rows("entries") if row[2] == 900] == [900]
        assert built["tally"]["results"].items() <= kit.counted()["tally"]["results"].items()
        assert all(max(post.done.values(), default=1) == 1 for post in kit.posts.values())


def test_a_result_that_was_not_decided_yet_is_decided_first() -> None:
    """The effect has told what came of its calls, and Postgres is lost before its domain took it up."""
    with pytest.MonkeyPatch.context() as patch, Losing(decider(), outward("plain")) as kit:
        patch.setattr(broker, "DELIVERY", 1)
        patch.setattr(loop, "STOPPED_S", 0.0001)  # the effect looks again long before all is read
        for _ in range(40):
            kit.send(Add(account=ACCOUNTS[0], amount=1, how="deny"))
        kit.send(Add(account=ACCOUNTS[0], amount=2, how="many"))
        ends = {at: end - 2 for at, end in kit.ends().items() if at[1] == 0}
        (((topic, partition), end),) = ends.items()
        kit.broker.drop(topic, partition, range(end, end + 2))
        assert [event.amount for event in kit.events() if isinstance(event, Added)] == [1, 1]
        kit.lose()

        assert kit.uncertain() == []
        assert sorted(kit.posts["plain"].done.values()) == [1, 1]
        assert [row[2] for row in kit.rows("entries")] == [1, 1, -1, -1]


def test_an_effect_that_leaves_no_result_calls_nobody_again() -> None:
    """What began with the first event waits for operators, all of it; what began with the next one goes on behind what there is."""
    silent = [outward("plain", result=None), outward("repeated", result=None), outward("asked", result=None)]
    with Losing(decider(), *silent, outward("untold", result=None, start="now")) as kit:
        for who in ACCOUNTS:
            kit.send(Add(account=who, amount=3))
        kit.lose()
        for who in ACCOUNTS:
            kit.send(Add(account=who, amount=4))

        assert kit.uncertain() == [(name, "effect_unknown") for name in ("plain", "repeated") for _ in ACCOUNTS]
        amounts = {name: dict(post.amounts) for name, post in kit.posts.items() if post.amounts}
        assert amounts == {"plain": {3: 4}, "repeated": {3: 4}, "asked": {3: 4, 4: 4}, "untold": {3: 4, 4: 4}}


def test_an_older_copy_does_not_call_again_either() -> None:
    """What was called after the copy was made has its result on the topic; of a call that the copy still owes nobody knows."""
    with Losing(decider(), *AT_FIRST) as kit:
        kit.send(Add(account=ACCOUNTS[0], amount=1))
        kept = kit.backup()
        for who in ACCOUNTS:
            kit.send(Add(account=who, amount=2))
        done = {name: post.done.copy() for name, post in kit.posts.items()}
        built = kit.counted()
        kit.restore(kept)

        assert kit.counted() == built
        assert {name: post.done for name, post in kit.posts.items()} == done
        assert kit.uncertain() == []


def test_a_call_that_an_older_copy_owes_may_have_been_made() -> None:
    """Also on a partition on which nothing has happened since."""
    here, there = ACCOUNTS[0], ACCOUNTS[2]
    with Losing(decider(), outward("plain"), outward("asked")) as kit:
        kit.send_unanswered([Add(account=here, amount=1)])
        kept = kit.backup()
        for at, call in kept["tally"].calls.items():  # as a moment before the claim
            kept["tally"].calls[at] = call._replace(status="waiting", attempts=0, epoch=0, due=0)
        kit.send_unanswered([Add(account=there, amount=2)])
        kit.restore(kept)

        assert kit.uncertain() == [("plain", "effect_unknown")] * 2
        assert [sorted(kit.posts[name].done.values()) for name in ("plain", "asked")] == [[1, 1], [1, 1]]
        results = sorted(row[:1] for row in kit.rows("entries") if row[2] < 0)
        assert results == sorted([(here,), (there,)]), "of those that could be looked up"


def test_nobody_is_asked_while_postgres_knows_nothing_of_the_events() -> None:
    """It was emptied by mistake, so nothing is built: effects wait, whether they began early or late."""
    with Losing(decider(), *AT_FIRST, outward("late", start="now")) as kit:
        kit.send(Add(account=ACCOUNTS[0], amount=1))
        done = {name: post.done.copy() for name, post in kit.posts.items()}
        kit.filled = False
        with pytest.raises(TimeoutError):
            kit.lose()
        reasons: defaultdict[str, str] = defaultdict(str)
        for slot, place in kit.store.schemas["tally"].places.items():
            reasons[slot.agent] += place.stopped or ""

        assert {name: post.done for name, post in kit.posts.items()} == done
        assert "Postgres was wiped" in reasons["tally"]
        for name in ("asked", "plain", "repeated", "late"):
            assert "Postgres knows 0, so what follows from it waits" in reasons[name]
        kit.filled = True
        kit.lose()
        assert {name: post.done for name, post in kit.posts.items()} == done


@settings(max_examples=20)
@given(first=ALARMS, size=st.integers(1, 7))
def test_timers_are_set_as_they_were_and_ring_once(first: list[Any], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Losing(alarms.decider()) as kit:
        patch.setattr(broker, "DELIVERY", size)
        ring(kit, first)
        built, told_before = kit.counted(), kit.told()
        kit.lose()

        assert (kit.counted(), kit.told()) == (built, told_before)
        assert bool(kit.advance(10 * HOUR)) == bool(built["tally"]["timers"])


@pytest.mark.req("SR073")
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_domains_with_sagas_timers_and_policies_are_as_they_were(seed: int) -> None:
    with Losing(*agents_of("points"), *agents_of("promotions")) as kit:
        for n, (command, actor) in enumerate(orders(seed, 60)):
            kit.send(command, actor=actor)
            if n % 20 == 19:
                kit.advance(9 * HOUR)
        built, told_before, published = kit.counted(), kit.told(), kit.ids()
        kit.lose()

        assert (kit.counted(), kit.told(), kit.ids()) == (built, told_before, published)
        assert built["points"]["rows"]["ledger"]


def test_a_takeover_that_is_broken_off_leaves_timers_mute_until_commands_are_read_again() -> None:
    """The events are taken over, and the process ends before it has read any command again."""
    with Losing(alarms.decider()) as kit:
        kit.send(alarms.SetAlarm(account=ACCOUNTS[0], name="x", at=kit.clock.now() + HOUR))
        kit.lose()
        place = next(p for s, p in kit.store.schemas["tally"].places.items() if s.agent == "tally" and p.number)
        place.next, place.last_id = 0, None
        kit._runner.run(kit._stop())
        kit._tasks.clear()
        kit.clock.advance(2 * HOUR)
        cancel = alarms.SetAlarm(account=ACCOUNTS[0], name="x", at=None)
        kit._runner.run(kit._put(cancel))
        kit._runner.run(kit._start(kit.agents))

        assert [type(event).__name__ for event in kit.events()] == ["AlarmSet", "AlarmSet"]


@pytest.mark.req("SR140")
@pytest.mark.parametrize("forgets", [True, False])
def test_what_an_outside_kept_in_the_same_postgres_is_done_once_more_and_told_once(forgets: bool) -> None:
    with Losing(decider(), outward("asked", start="now")) as kit:
        post = kit.posts["asked"]
        post.forgets = forgets
        kit.send(Add(account=ACCOUNTS[0], amount=1))
        built, done = kit.counted(), post.done.copy()
        assert done.total() == 1
        post.done.clear()
        kit.lose()

        assert post.done == (done if forgets else Counter())
        assert kit.counted() == built
        assert kit.uncertain() == []
