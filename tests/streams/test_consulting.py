"""Rules that consult documents of other keys: what they find, when, and what their own documents say afterwards."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from streams.agent import Decider
from streams.clock import VirtualClock
from streams.contract import Command, Event, Name, Topic
from streams.deciding import Deciding
from streams.decision import ROOT, Case, Decision, Refuse, State
from streams.envelope import EventEnvelope, Source, encode
from streams.handler import Stop
from streams.ids import uuid7
from streams.memory import MemoryBroker, MemoryStore
from streams.partitioner import partition_of
from streams.store import Slot, Stored
from streams.table import Table
from streams.testing import ADMIN, SIGNER, Kit

SHOP = Topic("shop", key="customer", partitions=2)


class SetPrice(Command, topic=SHOP, key="article", roles=("Admin",)):
    """The price of an article, which is a key of its own."""

    article: Name
    price: int


class Buy(Command, topic=SHOP, roles=("User",)):
    """Buy articles at the prices that stand."""

    customer: Name
    articles: tuple[Name, ...]


class PriceSet(Event, topic=SHOP, key="article"):
    article: Name
    price: int


class Bought(Event, topic=SHOP):
    customer: Name
    price: int


class Price(State, frozen=True):
    """Of an article."""

    price: int = 0


class Customer(State, frozen=True):
    """What somebody has spent."""

    spent: int = 0


def decide(state: Mapping[str, State], command: Any, case: Case) -> Decision:
    if isinstance(command, SetPrice):
        assert not case.consulted
        return [PriceSet(article=command.article, price=command.price)]
    assert [*case.consulted] == [*dict.fromkeys(f"{article}/price" for article in command.articles)]
    prices = [case.consulted[f"{article}/price"].price for article in command.articles]
    if 0 in prices:
        return Refuse("not_sold")
    return [Bought(customer=command.customer, price=sum(prices))]


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    if isinstance(event, PriceSet):
        return {"price": Price(event.price)}
    return {ROOT: Customer(state[ROOT].spent + event.price)}


def reads(message: Any) -> Iterable[str]:
    return ("price",) if isinstance(message, SetPrice | PriceSet) else ()


def consults(command: Any) -> Iterable[str]:
    if isinstance(command, SetPrice):
        return ()
    if command.articles == ("broken",):
        raise RuntimeError("The rule cannot say what it consults.")
    return [f"{article}/price" for article in command.articles]


def decider() -> Decider:
    table = Table("shop", {ROOT: Customer, "price": Price})
    return Decider(SHOP, table, decide, evolve, reads, consults=consults)


def of(partition: int) -> str:
    """A key that lives on a partition."""
    return next(k for n in range(99) if partition_of((k := f"k{n}").encode(), SHOP.partitions) == partition)


def test_rules_find_what_stands_under_other_keys_on_every_partition() -> None:
    with Kit(decider()) as kit:
        for n in range(2):
            kit.send(SetPrice(article=of(n), price=n + 3))
        for n in range(2):
            told = kit.send(Buy(customer=f"{of(n)}-c", articles=(of(0), of(1), of(1))))
            assert told.events == [Bought(customer=f"{of(n)}-c", price=3 + 4 + 4)]
        assert kit.send(Buy(customer="ann", articles=(of(0), "nothing"))).code == "not_sold"


def test_what_was_decided_by_it_stands_when_it_changes() -> None:
    with Kit(decider()) as kit:
        kit.send(SetPrice(article="tea", price=3))
        kit.send(Buy(customer="ann", articles=("tea",)))
        kit.send(SetPrice(article="tea", price=5))
        kit.send(Buy(customer="ann", articles=("tea",)))
        assert kit.state("ann") == Customer(3 + 5)
        states = kit.rebuilt().schemas["shop"].states
        assert states["ann"].data == kit.store.schemas["shop"].states["ann"].data


def test_what_cannot_be_consulted_parks_who_asks_for_it_and_nobody_else() -> None:
    with Kit(decider()) as kit:
        kit.send(SetPrice(article="tea", price=3))
        kit.store.schemas["shop"].states["salt/price"] = Stored("salt/price", 1, 0, 1, 0, '{"price": "much"}')
        assert kit.send(Buy(customer="ann", articles=("salt",))).status == "parked"
        assert kit.send(Buy(customer="bob", articles=("broken",))).status == "parked"
        assert kit.send(Buy(customer="cy", articles=("tea",))).status == "accepted"
        assert [(parked.cause, parked.key) for parked in kit.parked()] == [
            ("rule_failed", b"ann"),
            ("rule_failed", b"bob"),
        ]


def test_an_unchanged_document_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    one = decider()
    decode = Table.decode

    def counting(self: Table, sub_key: str, data: str | bytes, rules: int | None = None) -> State:
        decoded.append(sub_key)
        return decode(self, sub_key, data, rules)

    monkeypatch.setattr(Table, "decode", counting)
    with Kit(one) as kit:
        kit.send(SetPrice(article="tea", price=3))
        customers = [name for n in range(99) if partition_of((name := f"c{n}").encode(), 2) == 0][:3]
        for customer in customers:
            kit.send(Buy(customer=customer, articles=("tea",)))
        assert decoded.count("price") == 1
        kit.send(SetPrice(article="tea", price=4))
        assert kit.send(Buy(customer=customers[0], articles=("tea",))).events == [
            Bought(customer=customers[0], price=4)
        ]


async def test_a_store_that_lost_what_is_consulted_is_waited_for() -> None:
    broker, store = MemoryBroker(clock := VirtualClock(), {}), MemoryStore()
    broker.declare(dict.fromkeys((SHOP.commands_topic, SHOP.events_topic), SHOP.partitions))
    envelope = EventEnvelope(
        event_id=str(uuid7(1)),
        type="price_set",
        schema_version=1,
        occurred_at=clock.now(),
        domain="shop",
        aggregate_id=of(0),
        aggregate_seq=1,
        actor=ADMIN,
        command_id=str(uuid7(1)),
        correlation_id=str(uuid7(1)),
        causation_id=str(uuid7(1)),
        number=1,
        source=Source(0, 0, ""),
        payload=msgspec.Raw(PriceSet(article=of(0), price=3).to_json()),
    )
    key, value = of(0).encode(), encode(envelope)
    broker.add(SHOP.events_topic, 0, key, value, [SIGNER.sign(SHOP.events_topic, key, value)])
    slot = Slot("shop", "shop", SHOP.commands_topic, 1)
    handler = Deciding(decider(), slot, store=store, log=broker, signer=SIGNER, clock=clock)
    with pytest.raises(Stop, match=r"shop\.events/0 goes up to number 1 and Postgres knows 0"):
        await handler.begin(await store.claim(slot, "one", None))
    store.schemas["shop"].places[slot._replace(partition=0)].number = 1
    await handler.begin(await store.claim(slot, "one", None))
    handler.relay.stop()
