"""What store and broker in memory show, as observations."""

from typing import Any

from streams import discover
from streams.agent import agents_of
from streams.contract import Topic
from streams.envelope import Signer
from streams.memory import MemoryBroker, MemoryStore
from tests.checker.history import History


def observe(history: History, broker: MemoryBroker, store: MemoryStore, topics: list[Topic], signer: Signer) -> None:
    """Everything that is there at the end of a run."""
    for topic in topics:
        _topics(history, broker, topic, signer)
        schema, domain = store.schemas[topic.domain], topic.domain
        for result in schema.results.values():
            history.result("store", domain, result._asdict())
        for (slot, _), parked in sorted(schema.parked.items()):
            history.parked("store", domain, {**slot._asdict(), **parked._asdict()})
        positions(history, store, domain)
        for (slot, _), asked in schema.requests.items():
            if asked.record is not None and asked.request.action != "edit":
                kind = "skipped" if asked.request.action == "skip" else "redriven"
                history.parked("store", domain, {**slot._asdict(), **asked.record._asdict()}, kind)
        columns = columns_of(domain)
        for table, rows in sorted(schema.rows.items()):
            values = sorted(rows.values() if isinstance(rows, dict) else rows)
            history.rows("store", domain, table, (dict(zip(columns[table], row, strict=True)) for row in values))


def positions(history: History, store: MemoryStore, domain: str) -> None:
    """Where the agents of a domain stand now."""
    for slot, place in sorted(store.schemas[domain].places.items()):
        history.position("store", domain, {**slot._asdict(), **vars(place)})


def columns_of(domain: str) -> dict[str, tuple[str, ...]]:
    """The columns of a domain's views by table."""
    sink = discover.stage(domain, "sink")
    kinds = (getattr(one, "__rows__", None) for one in vars(sink).values()) if sink else ()
    return {kind.name: kind.columns for kind in kinds if kind is not None}


def topics_of(*domains: str) -> list[Topic]:
    """The topics of domains by name."""
    found: dict[str, Any] = {}
    for domain in domains:
        for agent in agents_of(domain):
            topic = getattr(agent, "topic", None) or getattr(agent, "target", None)
            found[domain] = topic
    return list(found.values())


def _topics(history: History, broker: MemoryBroker, topic: Topic, signer: Signer) -> None:
    commands, events = signer.checker(topic.commands_topic), signer.checker(topic.events_topic)
    for record in broker.records(topic.commands_topic):
        history.record("reader", topic.domain, record.topic, record.partition, record, valid=bool(commands(record)))
    for record in broker.records(topic.events_topic):
        if events(record):
            history.event("reader", topic.domain, record.topic, record.partition, record)
