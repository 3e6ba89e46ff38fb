"""From records to typed events, with what stands around them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from streams.client.asked import Wanted
from streams.client.opening import Found, shown, subjects
from streams.client.sieve import Kept, Unread
from streams.contract import Event
from streams.envelope import Actor, Outcome, Signer
from streams.personal import personal_fields
from streams.reading import Place
from streams.records import EventReader, EventRecord, Unfit

E = TypeVar("E", bound=Event)


class Received(NamedTuple, Generic[E]):
    """An event and what its envelope tells. `event` is None for the core's own `command_accepted` and `command_rejected`.

    `number` counts the events of the domain's partition without a gap, `seq` those of the aggregate; `outcome` is what became of the
    command, on the last event that it left, None for accepted.
    """

    event: E
    type: str
    time: datetime
    key: str
    seq: int
    number: int
    actor: Actor
    event_id: str
    command_id: str
    correlation_id: str
    hops: int
    outcome: Outcome | None
    topic: str
    partition: int
    offset: int


class Trusting(Signer):
    """Takes every record for signed: of a reader who has no key of the platform."""

    def __init__(self) -> None:
        """Has no keys."""

    def checker(self, topic: str) -> Callable[[Any], bool]:  # noqa: ARG002  # the signer's argument
        """A function that is always true."""
        return self._trusted

    @staticmethod
    def _trusted(record: Any) -> bool:
        return record is not None


class Reading:
    """Reads the records of one partition that a sieve kept, whose signatures are checked."""

    def __init__(self, place: Place, wanted: Wanted) -> None:
        """Nothing is read yet."""
        self._place = place
        self._reader = EventReader(wanted.topic, place.partition, Trusting())

    def read(self, kept: Kept, unread: list[Unread]) -> list[EventRecord]:
        """Their events; those that do not speak go to `unread`."""
        found = []
        for record in kept.records:
            try:
                found.append(self._reader.read(record))
            except Unfit as unfit:
                unread.append(Unread(self._place, record.offset, unfit.cause, str(unfit)))
        return found


def personal(found: Iterable[EventRecord]) -> set[str]:
    """The subjects of all personal values in these events."""
    values = []
    for one in found:
        if one.message is not None and (names := personal_fields(type(one.message))):
            values += [getattr(one.message, name) for name in names]
    return subjects(values)


def received(place: Place, found: Iterable[EventRecord], keys: Found) -> list[Received[Any]]:
    """As they are given to a subscriber with these keys."""
    return [_received(place, one, keys) for one in found]


def _received(place: Place, one: EventRecord, keys: Found) -> Received[Any]:
    envelope, message = one.envelope, one.message
    if message is not None:
        _open(message, keys)
    return Received(
        message, envelope.type, envelope.occurred_at, envelope.aggregate_id, envelope.aggregate_seq, envelope.number,
        envelope.actor, envelope.event_id, envelope.command_id, envelope.correlation_id, envelope.hops, envelope.outcome,
        place.topic, place.partition, one.record.offset,
    )  # fmt: skip


def _open(message: Event, keys: Mapping[str, bytes | None]) -> None:
    """Put what may be seen in the place of what is sealed; not by setting, for the message is frozen and was validated as sealed."""
    for name in personal_fields(type(message)):
        message.__dict__[name] = shown(message.__dict__[name], keys)
