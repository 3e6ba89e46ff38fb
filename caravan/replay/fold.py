"""The fold of a replay: the shipped projection over all partitions in this process, into the schema beside; nothing is published and nothing goes outward."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

from sinks.postgres import PostgresStore
from sinks.postgres.replay import Known, Stands
from streams.agent import Decider, Folds
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.feeding import Feeding, Pace
from streams.folding import Chosen, rebuilding
from streams.kafka import Kafka
from streams.loop import Partition
from streams.settings import Settings


class Fold:
    """Use it with `async with`: it goes on until the end of the block, and then finishes the batches under way."""

    def __init__(self, settings: Settings, agents: Sequence[Folds], schema: str, known: Known, pace: Pace) -> None:
        """Nothing is read yet."""
        self.pace = pace
        self._settings, self._agents, self._known = settings, agents, known
        self._store = PostgresStore(
            settings.postgres, settings.namespace, {agent.target.domain: schema for agent in agents}, flush=False
        )
        self._log = Kafka(settings)
        self._signer = Signer(settings.signing_keys)
        self._feeds: dict[str, Feeding] = {}
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Go; raises CaravanError while Kafka or Postgres is away."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.stop)
            stack.push_async_callback(self._log.stop)
            await self._store.start()
            for agent in self._agents:
                await self._feed(agent, stack)
            stack.push_async_callback(self._leave)
            self._tasks = [asyncio.create_task(feed.run()) for feed in self._feeds.values()]
            self._tasks += [asyncio.create_task(partition.run()) for partition in self._partitions.values()]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what is under way."""
        await self._stack.aclose()

    async def _feed(self, agent: Folds, stack: AsyncExitStack) -> None:
        topic = agent.source.events_topic
        feed = await stack.enter_async_context(Feeding(self._settings, topic, self.pace))
        try:
            count = await self._log.partitions(topic)
        except OSError as error:
            raise CaravanError(f"Kafka is away: {error}") from error
        if not count:
            raise CaravanError(
                f"There is no topic {self._settings.namespace}{topic} yet; caravan topics --create makes it."
            )
        for number in range(count):
            handler = rebuilding(agent, number, store=self._store, signer=self._signer)
            if not self._known.whole:
                handler.chosen = Chosen(frozenset(self._known.tables), self._known.since.get(f"{topic}/{number}", 0))
            owner = f"replay:{os.getpid()}"
            partition = Partition(handler.slot, handler, store=self._store, log=self._log, feed=feed, owner=owner)
            self._partitions[agent.name, number] = partition
            feed.add(partition)
            if not isinstance(agent, Decider):
                feed.limits[number] = (
                    0  # until it is known where the live one is: what it has not seen yet is not folded
                )
        feed.begin()
        self._feeds[agent.name] = feed

    async def _leave(self) -> None:
        for partition in self._partitions.values():
            partition.leave()
        feeds, partitions = self._tasks[: len(self._feeds)], self._tasks[len(self._feeds) :]
        for task in feeds:
            task.cancel()
        await asyncio.gather(*feeds, *partitions, return_exceptions=True)

    # -- where it stands

    def follow(self, live: Stands) -> None:
        """Projections do not go beyond where the live ones stand; what a decider has not decided is on no topic."""
        for agent, feed in self._feeds.items():
            for number in feed.limits:
                feed.limits[number] = live[agent, number].next if (agent, number) in live else 0

    def stands_at(self, live: Stands) -> bool:
        """Whether everything up to just these numbers is folded, and stands in Postgres."""
        return all(partition.reached == (_number(live, place), True) for place, partition in self._partitions.items())

    def is_ahead_of(self, live: Stands) -> bool:
        """Whether it has folded what the live tables do not know."""
        return any(partition.reached[0] > _number(live, place) for place, partition in self._partitions.items())

    def halt(self) -> None:
        """Take up nothing more until `go_on`."""
        for feed in self._feeds.values():
            feed.halted = True

    def go_on(self) -> None:
        """Take up what comes again."""
        for feed in self._feeds.values():
            feed.halted = False

    def folded(self) -> int:
        """How many numbers were folded, of all partitions."""
        return sum(partition.reached[0] for partition in self._partitions.values())

    def behind(self, live: Stands) -> int:
        """How many numbers the live tables are ahead."""
        return sum(max(0, _number(live, place) - partition.reached[0]) for place, partition in self._partitions.items())

    def numbers(self) -> Mapping[str, int]:
        """The last number of each agent's partitions."""
        return {f"{agent}/{n}": partition.reached[0] for (agent, n), partition in self._partitions.items()}

    @property
    def claimed(self) -> bool:
        """Whether it knows where it begins."""
        return all(partition.claimed.is_set() for partition in self._partitions.values())

    def demand_alive(self) -> None:
        """Raise what ended a task."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise CaravanError(f"the replay failed: {error!r}") from error


def _number(live: Stands, place: tuple[str, int]) -> int:
    return live[place].number if place in live else 0
