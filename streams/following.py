"""What all readers of events do with a batch: park what does not speak, and drop the numbers that were seen before (a relay's repeats)."""

from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Any

from streams.envelope import EventEnvelope
from streams.holds import parked
from streams.log import Log
from streams.pulse import breathe
from streams.records import EventReader, EventRecord, Unfit
from streams.store import Work

BREATH = 256  # events between two chances for everything else on this loop

GARBAGE = 1000  # records of strangers at the end of an event topic behind which the last event is looked for


async def last_event(
    log: Log, reader: EventReader, topic: str, partition: int, bounds: tuple[int, int] | None = None
) -> EventEnvelope | None:
    """The last event of ours on a partition, within its `bounds` if they were asked for before; whatever others put behind it is stepped over."""
    start, end = bounds or await log.bounds(topic, partition)
    for offset in range(end - 1, max(start, end - GARBAGE) - 1, -1):
        if (record := await log.read(topic, partition, offset)) is not None:
            with suppress(Unfit):
                return reader.envelope(record)
    return None


async def unseen(
    reader: EventReader, records: Sequence[Any], work: Work, kinds: Container[type] | None = None
) -> list[EventRecord]:
    """The events of a batch that are new, those of these `kinds` if any are given; `work` takes the rest, and the last number.

    What is not of the kinds is let go at once: the next one is then read into the same memory, which is in the processor's cache.
    """
    events, number, read = [], work.number, reader.read
    for start in range(0, len(records), BREATH):
        await breathe()
        for record in records[start : start + BREATH]:
            try:
                event = read(record)
            except Unfit as unfit:
                work.parked.append(parked(record, unfit.cause, str(unfit), holds=False))
                continue
            told = event.envelope.number
            if told > number:
                number = told
                if kinds is None or type(event.message) in kinds:
                    events.append(event)
            else:
                work.duplicates += 1
    work.number = number
    return events
