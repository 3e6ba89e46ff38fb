"""Records as a person may see them: decoded as far as possible, checked, personal fields masked."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from streams import discover
from streams.contract import Message
from streams.envelope import CommandEnvelope, EventEnvelope, Outcome, Signer, decode_command, decode_event
from streams.errors import CaravanError
from streams.personal import masked, personal_fields
from streams.reading import Found
from streams.records import CORE_EVENTS

RAW = 60  # characters of a value that nobody can decode


@dataclass(frozen=True)
class Shown:
    """A record in words; `mark` says what is wrong with it."""

    topic: str
    partition: int
    offset: int
    at: datetime
    key: str
    type: str
    id: str | None = None
    command_id: str | None = None
    actor: str | None = None
    payload: Any = None
    outcome: str | None = None
    mark: str | None = None

    def json(self) -> str:
        """One line for programs."""
        fields = {**self.__dict__, "at": self.at.isoformat().replace("+00:00", "Z")}
        return json.dumps(fields, ensure_ascii=False)


class Decoder:
    """Decodes the records of this namespace's topics; never raises for one."""

    def __init__(self, signer: Signer, topics: Collection[str]) -> None:
        """Take the platform's keys and the topics to come."""
        self._signed = {topic: signer.checker(topic) for topic in topics}
        self._contracts = {topic: contracts_of(topic) for topic in topics}

    def __call__(self, found: Found) -> Shown:
        """The record in words."""
        (topic, partition), record = found
        key = printable(record.key)
        mark = None if self._signed[topic](record) else "unsigned"
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        try:
            decode = decode_command if topic.endswith(".commands") else decode_event
            envelope: Any = decode(record.value)
            payload = json.loads(bytes(envelope.payload))
        except (msgspec.MsgspecError, ValueError, TypeError):
            raw = printable(record.value)[:RAW]
            return Shown(
                topic,
                partition,
                record.offset,
                at,
                key,
                "?",
                payload=raw,
                mark=f"undecodable, {mark}" if mark else "undecodable",
            )
        contract = self._contracts[topic].get(envelope.type)
        if contract is None and envelope.type not in CORE_EVENTS:
            mark = mark or "unknown type"
        shown = masked(payload, personal_fields(contract) if contract else ())
        event = isinstance(envelope, EventEnvelope)
        return Shown(
            topic, partition, record.offset, told_at(envelope), key, printable(envelope.type),
            id=str(envelope.event_id if event else envelope.command_id),
            command_id=str(envelope.command_id),
            actor=printable(named(envelope.actor)),
            payload=shown,
            outcome=outcome_words(envelope.outcome) if isinstance(envelope, EventEnvelope) else None,
            mark=mark,
        )  # fmt: skip


def printable(raw: bytes | str | None) -> str:
    """The text without anything that a terminal would obey: what strangers wrote is only to be seen."""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def contracts_of(topic: str) -> Mapping[str, type[Message]]:
    """The messages that may stand on a topic, by their names."""
    domain, _, kind = topic.partition(".")
    contract = discover.topic(domain)
    return contract.commands if kind == "commands" else contract.events


def told_at(envelope: CommandEnvelope | EventEnvelope) -> datetime:
    """The time that an envelope tells."""
    return envelope.issued_at if isinstance(envelope, CommandEnvelope) else envelope.occurred_at


def named(actor: Any) -> str:
    """`user:ann (Admin)`, `service:points`, `guest`."""
    if not actor.id:
        return str(actor.type)
    return f"{actor.type}:{actor.id}" + (f" ({actor.role})" if actor.role and actor.role != "User" else "")


def outcome_words(outcome: Outcome | None) -> str | None:
    """`rejected insufficient`, `settles 01a1…: accepted`; None for the usual one."""
    if outcome is None:
        return None
    words = f"{outcome.status} {outcome.code}" if outcome.code else outcome.status
    return f"settles {outcome.settles}: {words}" if outcome.settles else words


def fields(payload: Any, but: str | None = None) -> str:
    """A payload in a line: `amount=100 rule=first_quest`; what is empty, or equal to `but`, is left out."""
    if not isinstance(payload, Mapping):
        return "" if payload is None else str(payload)
    kept = {name: value for name, value in payload.items() if value not in (None, [], {}, but)}
    return " ".join(f"{name}={_word(value)}" for name, value in kept.items())


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str):
        return value if value.isprintable() and value and " " not in value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, default=str)


def moment(at: datetime) -> str:
    """A time of today as `13:22:59.123`, another with its date; UTC."""
    told = at.astimezone(UTC)
    today = told.date() == datetime.now(UTC).date()
    return told.strftime("%H:%M:%S.%f" if today else "%Y-%m-%d %H:%M:%S.%f")[:-3]


def domain_of(name: str) -> str:
    """The domain of this name; raises CaravanError."""
    if name not in discover.domains():
        raise CaravanError(f"there is no domain '{name}'; there are: {', '.join(discover.domains())}")
    return name
