"""The chains of governance with a worker that dies at each of its writes in turn: a story is published, a user banned, a user erased."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import pytest

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.cases import CLASSIFICATION, TEXT_CHECK
from agents.governance.agent.cases import SUBMISSIONS as CHECKS
from agents.governance.agent.holding import submissions
from agents.governance.agent.log import AUDIT_LOGS
from agents.governance.agent.privacy import ERASURES, EXPORTS, asking
from streams.agent import Agent, agents_of
from streams.outside import Outside
from streams.testing import user
from tests.chains.mortal import Cut, MortalKit
from tests.chains.stories import join
from tests.examples.laid_over import stories
from tests.governance import shop
from tests.governance.shop import SHOP, Deliver, Order
from topics.governance import (
    GOVERNANCE,
    ApproveContent,
    BanUser,
    DecideAppeal,
    FileAppeal,
    RejectContent,
    RequestErasure,
)
from topics.identity import IDENTITY

QUICK = 1  # writes of a chain that a quick run takes
ANN, MODERATOR, OTHER = user("ann"), user("mo", "Admin"), user("olga", "Admin")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)  # in an hour a claim of the dead has run out
FIRST: dict[str, Any] = {"subject": "stories:s", "revision": 1}


@pytest.fixture(autouse=True, scope="module")
def town() -> Iterator[None]:
    """Stories are there, and every topic has one partition."""
    with stories() as contract:
        STAGE["contract"] = contract
        STAGE["published"] = published_agents()
        every = {agent.source for agent in [*STAGE["published"], *ERASING]}
        before = {topic: topic.partitions for topic in every}
        for topic in every:
            topic.partitions = 1
        yield
        for topic, count in before.items():
            topic.partitions = count
    STAGE.clear()
    unharmed.cache_clear()


STAGE: dict[str, Any] = {}
ERASING: list[Agent] = [
    GOVERNANCE_DECIDER,
    EXPORTS,
    ERASURES,
    *asking([GOVERNANCE, SHOP, IDENTITY]),
    *shop.AGENTS,
    *agents_of("identity"),
]


def published_agents() -> list[Agent]:
    """Governance with its audit log, and stories."""
    logs = [agent for agent in AUDIT_LOGS if agent.source is GOVERNANCE]
    held = submissions(STAGE["contract"].STORIES)
    return [GOVERNANCE_DECIDER, CHECKS, TEXT_CHECK, CLASSIFICATION, *held, *logs, *agents_of("stories")]


def tell(kit: MortalKit) -> None:
    """Ann writes a story, which is looked at."""
    told = {"story_id": "s", "author_id": "ann", "title": "A walk", "text": "We set out early in the morning."}
    kit.say(STAGE["contract"].PublishStory(**told), ANN)
    kit.pass_time(HOUR)


def shown(kit: MortalKit) -> list[tuple[Any, ...]]:
    """The stories that everybody reads."""
    hidden = {row[0] for row in kit.rows("author", "stories") if row[1]}
    return [row[:2] for row in kit.rows("story", "stories") if row[4] and row[1] not in hidden]


def outcome(kit: MortalKit) -> Counter[Any]:
    """What Ann was told of her stories."""
    results = kit.store.schemas["stories"].results.values()
    return Counter((one.status, one.code) for one in results if one.actor == "user:ann")


def logged(kit: MortalKit, action: str) -> int:
    """Entries in the audit log."""
    return sum(row[5] == action for row in kit.rows("audit_log", "governance"))


# -- what is told


def nothing(_kit: MortalKit) -> None:
    pass


def publish(kit: MortalKit) -> None:
    tell(kit)
    kit.say(ApproveContent(**FIRST), MODERATOR)


def is_published(kit: MortalKit) -> None:
    assert shown(kit) == [("s", "ann")]
    assert [kit.times(kind) for kind in ("content_held", "content_approved", "story_published")] == [1, 1, 1]
    assert outcome(kit) == {("accepted", None): 1}
    assert logged(kit, "approve_content") == 1


def appeal(kit: MortalKit) -> None:
    tell(kit)
    kit.say(RejectContent(**FIRST, reason="It is an advertisement."), MODERATOR)
    kit.say(FileAppeal(**FIRST, author_id="ann", text="It is a walk."), ANN)
    kit.say(DecideAppeal(**FIRST, outcome="overturned", reason="It is a walk."), OTHER)


def is_published_late(kit: MortalKit) -> None:
    assert shown(kit) == [("s", "ann")]
    assert [kit.times(kind) for kind in ("content_rejected", "appeal_decided", "story_published")] == [1, 1, 1]
    assert outcome(kit) == {("rejected", "content_rejected"): 1}


def ban(kit: MortalKit) -> None:
    kit.say(BanUser(user_id="ann", sanction_id="b1", reason="Insults"), MODERATOR)


def is_hidden(kit: MortalKit) -> None:
    assert shown(kit) == []
    assert kit.times("user_banned") == 1
    assert logged(kit, "ban_user") == 1


def ban_for_a_day(kit: MortalKit) -> None:
    until = kit.clock.now() + DAY
    kit.say(BanUser(user_id="ann", sanction_id="b1", reason="Insults", until=until), MODERATOR)
    kit.pass_time(DAY)


def is_shown_again(kit: MortalKit) -> None:
    assert shown(kit) == [("s", "ann")]
    assert (kit.times("user_banned"), kit.times("ban_expired")) == (1, 1)


def known(kit: MortalKit) -> None:
    join(kit, "ann")
    kit.say(Order(user_id="ann"), ANN)


def erase(kit: MortalKit) -> None:
    """While an order is open it has to wait."""
    kit.say(RequestErasure(user_id="ann"), ANN)
    assert not asked(kit)
    kit.say(Deliver(user_id="ann"))
    kit.pass_time(DAY)
    kit.pass_time(HOUR)
    kit.pass_time(HOUR)


def asked(kit: MortalKit) -> set[str]:
    """The keys under which Ann's key was to be destroyed."""
    outside = kit.outside["erasures"]
    assert isinstance(outside, Outside)
    assert all(one.intent.data == {"subject": "ann"} for one in outside.asked)
    return {one.key for one in outside.asked}


def is_erased(kit: MortalKit) -> None:
    steps = [row[2:4] for row in kit.rows("erasure_step", "governance")]
    order = [one.type for one in kit.envelopes() if one.type in ("erasure_step_completed", "user_erased")]

    assert {name for name, _ in steps} == {"governance", "shop", "identity"}
    assert len({status for _, status in steps}) == 1
    assert (kit.times("erasure_requested"), kit.times("erasure_step_completed"), kit.times("user_erased")) == (1, 3, 1)
    assert [*dict.fromkeys(order)] == ["erasure_step_completed", "user_erased"]
    assert order[-1] == "user_erased"
    assert len(asked(kit)) == 1


class Chain(NamedTuple):
    """Who is there, what is there before, what happens, and what has to come of it."""

    agents: Callable[[], list[Agent]]
    before: Callable[[MortalKit], None]
    happens: Callable[[MortalKit], None]
    after: Callable[[MortalKit], None]


def town_agents() -> list[Agent]:
    found: list[Agent] = STAGE["published"]
    return found


CHAINS = {
    "publish": Chain(town_agents, nothing, publish, is_published),
    "publish after an appeal": Chain(town_agents, nothing, appeal, is_published_late),
    "ban": Chain(town_agents, publish, ban, is_hidden),
    "ban for a day": Chain(town_agents, publish, ban_for_a_day, is_shown_again),
    "erasure": Chain(lambda: ERASING, known, erase, is_erased),
}
TAGS = {"ban": "SR098", "ban for a day": "SR098", "erasure": "SR140"}
NAMES = [pytest.param(name, marks=pytest.mark.req(TAGS.get(name, "SR097"))) for name in CHAINS]


def played(name: str, cut: Cut | None = None) -> tuple[MortalKit, int]:
    """The chain told, and how many writes it took."""
    chain = CHAINS[name]
    kit = MortalKit(chain.agents(), cut)
    chain.before(kit)
    kit.arm()
    chain.happens(kit)
    return kit, kit.life.writes


def left(kit: MortalKit) -> dict[str, Any]:
    """How much there is of everything, whenever it was done: who takes over a call has waited for it."""
    found: dict[str, Any] = {"parked": kit.parked()}
    for domain, schema in kit.store.schemas.items():
        found[domain] = Counter((one.status, one.code) for one in schema.results.values())
        found |= {f"{domain}.{table}": len(rows) for table, rows in schema.rows.items()}
    kinds = {envelope.event_id: envelope.type for envelope in kit.envelopes()}
    return found | {"events": Counter(kinds.values())}


@cache
def unharmed(name: str) -> tuple[dict[str, Any], int]:
    """What comes of a chain in which nobody dies, and its writes."""
    kit, writes = played(name)
    with kit:
        CHAINS[name].after(kit)
        return left(kit), writes


def check(name: str, cut: Cut) -> None:
    expected, _ = unharmed(name)
    kit, _ = played(name, cut)
    with kit:
        assert kit.deaths == 1
        CHAINS[name].after(kit)
        assert left(kit) == expected


@pytest.mark.parametrize("name", NAMES)
def test_whoever_dies_between_two_steps_all_happens_once(name: str) -> None:
    _, writes = unharmed(name)
    stride = writes // QUICK

    for write in range(0, stride * QUICK, stride):
        check(name, Cut(write, "before"))
        check(name, Cut(write + stride // 2, "after"))


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_whoever_dies_at_any_write_all_happens_once(name: str) -> None:
    _, writes = unharmed(name)

    for write in range(writes):
        check(name, Cut(write, "before"))
        check(name, Cut(write, "after"))
