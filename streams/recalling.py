"""What an effect did before its store forgot it, as an empty Postgres or one from an older copy has: told by the results that its domain has again.

The decider takes over what its event topic tells, and leaves word with the effects of its domain up to which number they may have acted (`Store.doubt`). They wait until it
knows all results there are. The command that follows from a call has an id that is derived from the event: where it has a result the call was made, and is not made
again. Of others nothing is known: they are looked up, or parked for an operator, as any call whose outcome is unknown.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal
from uuid import UUID

from streams.contract import Topic
from streams.effect import Effect, Reply
from streams.envelope import Signer
from streams.following import last_event
from streams.handler import Stop
from streams.ids import derived
from streams.log import Log
from streams.records import EventReader, EventRecord
from streams.sink import fact_of
from streams.store import Claim, Slot, Store, Unavailable

log = logging.getLogger(__name__)

Recall = Literal["done", "unknown"]


class Past:
    """Of one effect on one partition."""

    def __init__(self, effect: Effect, slot: Slot, *, store: Store, log: Log, signer: Signer) -> None:
        """Nothing is known before `begin`."""
        self.begun = True  # else no sign was found yet that the effect, which began with the next event once, had begun
        self._effect, self._slot = effect, slot
        self._store, self._log, self._signer = store, log, signer
        self._until = 0
        self._commands: dict[int, int] | None = None

    async def begin(self, claim: Claim) -> None:
        """Learn what may have been done. Raises Stop while Postgres does not know the events, and Unavailable while it does not know all their results."""
        ports: Any = {"store": self._store, "log": self._log, "signer": self._signer}
        for n in range(
            self._effect.source.partitions
        ):  # who forgot something on one has forgotten on all what leaves no event
            await demand_known(self._effect.source, n, **ports)
        self._until = claim.relayed
        self.begun = claim.number > 0 or self._effect.start == "earliest" or not self._until
        if self._until > claim.number:
            await self._demand_results()

    async def recall(self, events: Sequence[EventRecord], last: int) -> dict[int, Recall]:
        """What is known of these events, up to the number `last`, by their numbers; nothing of those that are new."""
        past = [event for event in events if event.envelope.number <= self._until]
        ids = {event.envelope.number: {*self._results(event)} for event in past}
        known = await self._store.known(self._slot, [i for found in ids.values() for i in found]) if past else set()
        told: dict[int, Recall] = {}
        for event in past:
            number = event.envelope.number
            done = not ids[number].isdisjoint(known)
            self.begun = self.begun or done
            told[number] = "done" if done or not self.begun else "unknown"
        if last > self._until:
            self._begin_now()
        return told

    def _begin_now(self) -> None:
        if not self.begun:
            log.warning(
                "%s %s/%d: nothing tells where it had begun; it goes on behind number %d, and what it owed before is not known",
                *self._slot[1:],
                self._until,
            )
        self.begun = True

    def _results(self, event: EventRecord) -> Iterable[UUID]:
        """The ids that the command which follows from a call may have: of any name with the event's key, and as the effect says it for each outcome."""
        effect, envelope, message = self._effect, event.envelope, event.message
        if effect.result is None or message is None:
            return
        cause = UUID(envelope.event_id)
        for name in effect.target.commands:
            yield derived(cause, effect.name, name, envelope.aggregate_id, 0)
        for status in ("done", "refused", "failed"):
            with suppress(Exception):  # it may want what the outside had answered
                command = effect.result(fact_of(envelope, message), Reply(status, envelope.occurred_at))
                if command is not None:
                    yield derived(cause, effect.name, command.wire_name, command.key, 0)

    async def _demand_results(self) -> None:
        """Commands that follow from calls, and were not decided when Postgres was lost, are decided first."""
        topic = self._effect.target
        if self._commands is None:
            self._commands = {n: (await self._log.bounds(topic.commands_topic, n))[1] for n in range(topic.partitions)}
        for n, end in self._commands.items():
            at, _ = await self._store.standing(decider_of(topic, n))
            if at < end:
                raise Unavailable(
                    f"What was done before is known once {topic.commands_topic}/{n} is read up to {end}; it is at {at}."
                )


async def demand_known(topic: Topic, partition: int, *, store: Store, log: Log, signer: Signer) -> None:
    """Raise Stop while the topic has events that Postgres does not know: what was done because of them, and with what result, is not known either."""
    name = topic.events_topic
    last = await last_event(log, EventReader(topic, partition, signer), name, partition)
    _, number = await store.standing(decider_of(topic, partition))
    if last is not None and last.number > number:
        raise Stop(
            f"{name}/{partition} goes up to number {last.number} and Postgres knows {number}, so what follows from it waits: "
            f"the decider of {topic.domain} takes over the rest first, or tells why it does not."
        )


def decider_of(topic: Topic, partition: int) -> Slot:
    """The place of a domain's decider."""
    return Slot(topic.domain, topic.domain, topic.commands_topic, partition)
