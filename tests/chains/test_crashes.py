"""Every chain with a worker that dies at each of its writes in turn: what is there in the end is the same as if nothing had been."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import uuid4

import pytest

from streams.agent import agents_of
from tests.chains.mortal import DOMAINS, Cut, MortalKit
from tests.chains.stories import STORIES

QUICK = 2
"""So many writes of a story are taken by a quick run: the worker dies before one, and after another that follows."""
TAGS = {"sign-up": "SR056", "redeem": "SR048", "quest": "SR044", "referral, and claw-back": "SR046"}
NAMES = [pytest.param(name, marks=pytest.mark.req(TAGS.get(name, "SR054"))) for name in STORIES]


@pytest.fixture(autouse=True, scope="module")
def one_partition() -> Iterator[None]:
    """A topic has one partition here: what belongs to different keys is in different tasks still, as domains are."""
    topics = {agent.source for domain in DOMAINS for agent in agents_of(domain)}
    before = {topic: topic.partitions for topic in topics}
    for topic in topics:
        topic.partitions = 1
    yield
    for topic, count in before.items():
        topic.partitions = count


def played(name: str, cut: Cut | None = None) -> tuple[MortalKit, int]:
    """The story told, and how many writes it took."""
    story, kit = STORIES[name], MortalKit.whole(cut)
    story.before(kit)
    kit.arm()
    story.happens(kit)
    return kit, kit.life.writes


def left(kit: MortalKit) -> dict[str, Any]:
    """All that is there: rows, without the order in which two domains came to one user; events, each once; and nothing aside."""
    found: dict[str, Any] = {"parked": kit.parked()}
    for domain in DOMAINS:
        for table in kit.store.schemas[domain].rows:
            rows = kit.rows(table, domain)
            found[f"{domain}.{table}"] = Counter(row[:1] + row[2:] if table == "ledger" else row for row in rows)
        results = kit.store.schemas[domain].results.values()
        found[f"{domain} results"] = Counter((str(r.command_id), r.status, r.code) for r in results)
    found["events"] = Counter(dict.fromkeys(((e.event_id, e.type) for e in kit.envelopes()), 1))
    return found


@cache
def unharmed(name: str) -> tuple[dict[str, Any], int]:
    """What comes of a story in which nobody dies, and its writes."""
    kit, writes = played(name)
    with kit:
        STORIES[name].after(kit)
        return left(kit), writes


def check(name: str, cut: Cut) -> None:
    expected, _ = unharmed(name)
    kit, _ = played(name, cut)
    with kit:
        assert kit.deaths == 1
        STORIES[name].after(kit)
        found = left(kit)
        for part in expected.keys() | found.keys():
            assert found.get(part) == expected.get(part), part


@pytest.mark.req("SR055")
@pytest.mark.parametrize("name", NAMES)
def test_whoever_dies_between_two_steps_all_happens_once(name: str) -> None:
    _, writes = unharmed(name)
    stride = writes // QUICK

    for write in range(0, stride * QUICK, stride):
        check(name, Cut(write, "before"))
        check(name, Cut(write + stride // 2, "after"))


@pytest.mark.full
@pytest.mark.req("SR055")
@pytest.mark.parametrize("name", NAMES)
def test_whoever_dies_at_any_write_all_happens_once(name: str) -> None:
    _, writes = unharmed(name)

    for write in range(writes):
        check(name, Cut(write, "before"))
        check(name, Cut(write, "after"))


def kinds(kit: MortalKit) -> Counter[Any]:
    """How much of what happened, whatever its ids are."""
    results = [r for domain in DOMAINS for r in kit.store.schemas[domain].results.values()]
    return Counter(kind for _, kind in left(kit)["events"]) + Counter((r.status, r.code) for r in results)


def test_what_is_done_twice_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a policy that gives other ids when it runs again, what its worker had published before it died happens twice."""
    kit, writes = played("buy a voucher")
    with kit:
        expected = kinds(kit)
    monkeypatch.setattr("streams.acting.derived", lambda *_: uuid4())
    odd = 0
    for write in range(0, writes, 2):
        kit, _ = played("buy a voucher", Cut(write, "after"))
        with kit:
            odd += kinds(kit) != expected

    assert 0 < odd < writes
