"""What an author sees of effects: an event's intent is carried out once, what came of it is a command, and every attempt has one key."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from streams import discover
from streams.agent import agents_of
from streams.decision import Intent
from streams.effect import Effect, Passing, Refused, Unknown
from streams.envelope import MAX_HOPS
from streams.errors import ContractError
from streams.outside import Outside
from streams.testing import Kit
from tests.streams.receipts import RESULTS, effect, told
from tests.streams.tally import ECHO, TALLY, A, Add, B, decider

SECOND = timedelta(seconds=1)
DONE, REFUSED, FAILED = (RESULTS[name] for name in ("done", "refused", "failed"))


class Desk:
    """A kit whose receipts go to `outside`."""

    def __init__(self, outside: Outside, **changes: Any) -> None:
        self.outside = outside
        self.kit = Kit(decider(), effect(**changes), outside={"receipts": outside})

    def add(self, *amounts: int, account: str = A) -> None:
        for amount in amounts:
            self.kit.send(Add(account=account, amount=amount))

    def amounts(self, account: str = A) -> list[int]:
        return [amount for name, _, amount, _ in self.kit.rows("entries") if name == account]

    def owed(self) -> list[Any]:
        return list(self.kit.store.schemas["tally"].calls.values())

    def causes(self) -> list[tuple[int, str]]:
        return [(parked.offset, parked.cause) for parked in self.kit.parked()]


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes desks, and closes them."""
    made: list[Desk] = []

    def make(*answers: Any, found: Any = None, repeatable: bool = False, **changes: Any) -> Desk:
        made.append(Desk(Outside(answers, found=found, repeatable=repeatable), **changes))
        return made[-1]

    yield make
    for each in made:
        each.kit.close()


# -- done


def test_an_event_is_carried_out_and_what_came_of_it_is_a_command(desk: Any) -> None:
    at = desk({"id": "r1"})
    at.add(5)
    ((intent, _),) = at.outside.asked
    assert intent == Intent("write", {"to": A, "amount": 5})
    assert at.amounts() == [5, DONE]
    assert at.owed() == []


def test_the_command_is_issued_by_the_domain_because_of_the_event(desk: Any) -> None:
    at = desk()
    at.add(5)
    cause, effect_ = at.kit.envelopes()
    assert (effect_.actor.type, effect_.actor.id, effect_.hops) == ("service", "tally", 1)
    assert effect_.correlation_id == cause.correlation_id
    assert effect_.occurred_at >= cause.occurred_at


def test_an_event_without_an_intent_asks_nobody(desk: Any) -> None:
    at = desk()
    at.add(-5, 0)
    assert (at.outside.asked, at.amounts(), at.owed()) == ([], [-5, 0], [])


@pytest.mark.parametrize("changes", [{"result": None}, {"result": lambda fact, reply: None}])
def test_an_effect_need_not_tell(desk: Any, changes: Any) -> None:
    at = desk({"id": "r1"}, **changes)
    at.add(5)
    assert len(at.outside.asked) == 1
    assert (at.amounts(), at.owed(), at.causes()) == ([5], [], [])


def test_two_effects_of_one_event_have_keys_of_their_own() -> None:
    first, second = Outside(), Outside()
    copies = Effect("copies", TALLY, effect().on, adapter=lambda _: second, start="earliest")
    with Kit(decider(), effect(result=None), copies, outside={"receipts": first, "copies": second}) as kit:
        kit.send(Add(account=A, amount=5))
        kit.send(Add(account=A, amount=5))
    keys = [asked.key for asked in (*first.asked, *second.asked)]
    assert len(set(keys)) == len(keys) == 4


def test_what_json_cannot_hold_is_told_in_words(desk: Any) -> None:
    at = desk({"id": {1, 2}, "of": object()}, {"id": "\ud800"}, None)
    at.add(5, 6, 7)
    assert at.amounts() == [5, DONE, 6, DONE, 7, DONE]


def test_an_outside_in_memory_is_there_without_being_asked_for() -> None:
    with Kit(decider(), effect()) as kit:
        kit.send(Add(account=A, amount=5))
        assert [asked.intent.act for asked in kit.outside["receipts"].asked] == ["write"]


# -- refused, and failed


def test_a_refusal_is_for_good(desk: Any) -> None:
    at = desk(Refused("No such address."))
    at.add(5)
    at.kit.advance(timedelta(hours=1))
    assert len(at.outside.asked) == 1
    assert at.amounts() == [5, REFUSED]


def test_what_passes_is_tried_again_with_the_same_key_and_growing_pauses(desk: Any) -> None:
    at = desk(*[Passing("Too busy.")] * 3)
    at.add(5)
    counts = [len(at.outside.asked)]
    for seconds in (0.5, 0.6, 1.0, 1.1, 2.0, 2.1):
        at.kit.advance(seconds * SECOND)
        counts.append(len(at.outside.asked))
    assert counts == [1, 1, 2, 2, 3, 3, 4], "after 1, 2 and 4 s"
    assert len({asked.key for asked in at.outside.asked}) == 1
    assert at.amounts() == [5, DONE]


def test_attempts_are_bounded_and_their_end_is_told(desk: Any) -> None:
    at = desk(*[Passing("Too busy.")] * 99)
    at.add(5)
    at.kit.advance(timedelta(days=1))
    at.kit.advance(timedelta(days=1))
    at.kit.advance(timedelta(days=1))
    at.kit.advance(timedelta(days=1))
    assert len(at.outside.asked) == 4
    assert at.amounts() == [5, FAILED]
    assert at.owed() == []


def test_pauses_double_up_to_the_longest() -> None:
    assert [effect(backoff=(1.0, 5.0)).pause(n) for n in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize(
    ("answers", "cause"), [([Refused("No.")], "effect_refused"), ([Passing("Busy.")], "effect_failed")]
)
def test_without_a_result_what_was_not_done_is_parked_and_holds_its_key(desk: Any, answers: Any, cause: str) -> None:
    at = desk(*answers, result=None, attempts=1)
    at.add(5, 6)
    at.add(7, account=B)
    assert [asked.intent.data["amount"] for asked in at.outside.asked] == [5, 7]
    assert at.causes() == [(0, cause), (1, "held")]
    assert [(call.number, call.status) for call in at.owed()] == [(1, "parked")]


# -- unknown


LOST = ConnectionResetError("The connection broke after the request was sent.")


def test_a_call_that_nobody_can_tell_about_is_parked_and_not_made_again(desk: Any) -> None:
    at = desk(LOST)
    at.add(5)
    at.kit.advance(timedelta(days=1))
    assert len(at.outside.asked) == 1
    assert at.amounts() == [5]
    ((offset, cause),) = at.causes()
    assert (offset, cause) == (0, "effect_unknown")
    assert "broke after" in at.kit.parked()[0].error


def test_a_call_that_may_be_repeated_is_made_again_with_its_key(desk: Any) -> None:
    at = desk(LOST, LOST, {"id": "r1"}, repeatable=True)
    at.add(5)
    at.kit.advance(SECOND)
    at.kit.advance(2 * SECOND)
    assert len({asked.key for asked in at.outside.asked}) == 1
    assert (len(at.outside.asked), at.amounts()) == (3, [5, DONE])


def test_what_may_be_repeated_and_never_answers_is_parked_at_last(desk: Any) -> None:
    """It may have been done, so it cannot be told as failed: not even when the last attempt surely did nothing."""
    at = desk(LOST, *[Passing("Busy.")] * 9, repeatable=True)
    at.add(5)
    for _ in range(9):
        at.kit.advance(timedelta(minutes=1))
    assert len(at.outside.asked) == 4
    assert (at.amounts(), at.causes()) == ([5], [(0, "effect_unknown")])


def test_a_call_that_can_be_looked_up_is_told_as_it_was_found(desk: Any) -> None:
    at = desk(LOST, found=[{"id": "r1"}])
    at.add(5)
    assert at.amounts() == [5]
    at.kit.advance(SECOND)
    assert at.outside.sought == [at.outside.asked[0].key]
    assert (len(at.outside.asked), at.amounts()) == (1, [5, DONE])


def test_a_call_that_is_found_refused_is_refused(desk: Any) -> None:
    at = desk(LOST, found=[Refused("No such address.")])
    at.add(5)
    at.kit.advance(SECOND)
    assert (len(at.outside.asked), at.amounts()) == (1, [5, REFUSED])


def test_a_call_that_is_surely_not_there_is_made_again(desk: Any) -> None:
    at = desk(LOST, {"id": "r1"}, found=[None])
    at.add(5)
    at.kit.advance(SECOND)
    assert (len(at.outside.asked), at.amounts()) == (2, [5, DONE])


def test_a_look_up_that_tells_nothing_is_repeated_and_nothing_is_called(desk: Any) -> None:
    """`Passing` of a look-up says that the look-up was not done, and nothing about the call."""
    at = desk(LOST, found=[Unknown("Hm."), Passing("Busy."), LOST, {"id": "r1"}])
    at.add(5)
    for _ in range(4):
        at.kit.advance(timedelta(minutes=1))
    assert (len(at.outside.sought), len(at.outside.asked), at.amounts()) == (4, 1, [5, DONE])


def test_look_ups_are_bounded(desk: Any) -> None:
    at = desk(LOST, found=[])
    at.add(5)
    for _ in range(20):
        at.kit.advance(timedelta(minutes=1))
    assert (len(at.outside.sought), len(at.outside.asked)) == (7, 1)
    assert at.causes() == [(0, "effect_unknown")]


def test_after_the_last_attempt_a_call_is_still_looked_up_but_not_made(desk: Any) -> None:
    at = desk(LOST, found=[Unknown("Hm."), None], attempts=1)
    at.add(5)
    at.kit.advance(timedelta(minutes=1))
    assert at.causes() == [(0, "effect_unknown")], "one look-up for one attempt"
    at = desk(LOST, found=[None], attempts=1)
    at.add(5)
    at.kit.advance(timedelta(minutes=1))
    assert (len(at.outside.asked), at.amounts()) == (1, [5, FAILED])


def test_a_look_up_that_tells_nothing_leaves_what_may_be_repeated(desk: Any) -> None:
    at = desk(LOST, {"id": "r1"}, found=[Unknown("Hm.")], repeatable=True)
    at.add(5)
    at.kit.advance(SECOND)
    assert (len(at.outside.sought), len(at.outside.asked), at.amounts()) == (1, 2, [5, DONE])


# -- authors' functions


def test_a_function_that_raises_parks_the_event_and_holds_its_key() -> None:
    def choosy(fact: Any) -> Intent | None:
        if fact.event.amount == 5:
            raise RuntimeError("No.")
        return Intent("write")

    outside = Outside()
    choice = Effect("receipts", TALLY, dict.fromkeys(effect().on, choosy), adapter=lambda _: outside, start="earliest")
    with Kit(decider(), choice, outside={"receipts": outside}) as kit:
        for name, amount in ((A, 4), (A, 5), (A, 6), (B, 7)):
            kit.send(Add(account=name, amount=amount))
        assert len(outside.asked) == 2
        assert [(parked.offset, parked.cause) for parked in kit.parked()] == [(1, "rule_failed"), (2, "held")]


def test_an_intent_that_is_no_json_parks_the_event() -> None:
    odd = Effect(
        "receipts",
        TALLY,
        dict.fromkeys(effect().on, lambda fact: Intent("x", {"y": object()})),
        lambda _: Outside(),
        start="earliest",
    )
    with Kit(decider(), odd) as kit:
        kit.send(Add(account=A, amount=5))
        assert [parked.cause for parked in kit.parked()] == ["rule_failed"]


@pytest.mark.parametrize("answer", [{"raise": True}, {"elsewhere": True}])
def test_a_result_that_cannot_be_told_is_parked_with_its_answer(desk: Any, answer: Any) -> None:
    """The call is not made again: its answer stays with it."""

    def elsewhere(fact: Any, reply: Any) -> Any:
        return ECHO if reply.data.get("elsewhere") else told(fact, reply)

    at = desk(answer, result=elsewhere)
    at.add(5)
    at.kit.advance(timedelta(days=1))
    assert (len(at.outside.asked), at.causes()) == (1, [(0, "rule_failed")])
    (call,) = at.owed()
    assert (call.status, next(iter(answer)) in call.outcome) == ("parked", True)


def test_effects_and_commands_in_a_circle_end() -> None:
    outside = Outside()
    loop = effect(result=lambda fact, reply: Add(account=fact.key, amount=1))
    with Kit(decider(), loop, outside={"receipts": outside}) as kit:
        kit.send(Add(account=A, amount=1))
        assert len(outside.asked) == MAX_HOPS
        assert [parked.cause for parked in kit.parked()] == ["too_many_hops"]


# -- muted in replay


def test_a_rebuild_asks_nobody(desk: Any) -> None:
    at = desk()
    at.add(5, 6)
    asked = list(at.outside.asked)
    rebuilt = at.kit.rebuilt()
    at.kit.advance(timedelta(days=1))
    assert at.outside.asked == asked
    assert rebuilt.schemas["tally"].rows == at.kit.store.schemas["tally"].rows
    assert not rebuilt.schemas["tally"].calls


def test_a_new_effect_begins_with_the_next_event() -> None:
    assert Effect("receipts", TALLY, {}, adapter=lambda _: Outside()).start == "now"


# -- declarations


def test_an_effect_listens_to_its_source_only() -> None:
    with pytest.raises(ContractError, match="Added is not an event of"):
        Effect("lost", type(TALLY)("elsewhere", key="id"), effect().on, adapter=lambda _: Outside())


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"parallel": 0}, {"limit": 0}, {"backoff": (0, 1)}, {"backoff": (2.0, 1.0)}]
)
def test_an_effect_that_could_never_call_is_refused(wrong: Any) -> None:
    with pytest.raises(ContractError, match="receipts"):
        effect(**wrong)


def planted(monkeypatch: pytest.MonkeyPatch, *agents: object) -> None:
    """`agents/tally/agent.py` declares these."""
    module = SimpleNamespace(**{f"AGENT{n}": agent for n, agent in enumerate(agents)})
    monkeypatch.setattr(discover, "stage", lambda domain, name: module)


def test_effects_are_found_beside_the_other_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = (decider(), ECHO, effect())
    planted(monkeypatch, *agents, told)
    assert agents_of("tally") == list(agents)


def test_an_effect_serves_its_own_domain_only(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, effect())
    with pytest.raises(ContractError, match="effect receipts must be of orders"):
        agents_of("orders")


def test_agents_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, effect(), effect())
    with pytest.raises(ContractError, match="two agents share a name"):
        agents_of("tally")
