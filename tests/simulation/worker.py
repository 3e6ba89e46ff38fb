"""A worker: the shipped partitions and handlers of all domains, in a process that can be frozen, killed and started again."""

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from streams.acting import Acting
from streams.agent import Agent, Decider, Policy
from streams.deciding import Deciding
from streams.handler import Handler
from streams.loop import Partition
from streams.memory import Share
from streams.store import Slot, Store
from streams.testing import SIGNER
from tests.simulation.broker import SimFeed
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

TOLD_S = 0.5  # longest until a member hears of a new generation


class SimApp:
    """One domain's agents in a worker, as `streams.app` has them: a task per assigned partition."""

    def __init__(self, world: "World", name: str, domain: str) -> None:
        """It is no member yet."""
        self.world, self.name, self.domain = world, name, domain
        self.store = cast("Store", world.store)
        self.feed = SimFeed(world.broker, name, domain)
        self.working: dict[tuple[Share, str], tuple[Partition, asyncio.Task[None]]] = {}
        self.failed: list[BaseException] = []
        self._agents: dict[str, list[Agent]] = {}
        for agent in world.agents[domain]:
            topic = agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic
            self._agents.setdefault(topic, []).append(agent)

    def assigned(self, generation: int, shares: Collection[Share]) -> None:
        """Start the tasks of new partitions, have those that stay look at their claim, and end those that went."""
        if generation < self.feed.generation:
            return
        self.feed.generation = generation
        wanted = {(share, agent.name): agent for share in sorted(shares) for agent in self._agents.get(share.topic, ())}
        for key in [key for key in self.working if key not in wanted or self.working[key][1].done()]:
            partition, _ = self.working.pop(key)
            partition.leave()
            self.feed.drop(partition.slot)
        for (share, name), agent in wanted.items():
            if (share, name) in self.working:
                self.feed.pause(self.working[share, name][0].slot)
                self.working[share, name][0].reassign()
            else:
                self._open(share, agent)

    def _open(self, share: Share, agent: Agent) -> None:
        slot = Slot(self.domain, agent.name, *share)
        store, log = self.store, self.world.broker
        handler: Handler
        if isinstance(agent, Decider):
            handler = Deciding(agent, slot, store=store, log=log, signer=SIGNER, clock=self.world.clock)
        else:
            assert isinstance(agent, Policy)
            handler = Acting(agent, slot, store=store, log=log, signer=SIGNER)
        partition = Partition(slot, handler, store=store, log=log, feed=self.feed, owner=self.name)
        self.feed.join(slot, partition)
        task = self.world.spawn(partition.run())
        task.add_done_callback(self._ended)
        self.working[share, agent.name] = partition, task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed.append(error)


class SimWorker:
    """All domains' apps of one process."""

    def __init__(self, world: "World", name: str) -> None:
        """It joins the groups."""
        self.world, self.name = world, name
        self.process = Process(name)
        self.leaving = False
        self.apps: list[SimApp] = []
        self.process.context.run(self._start)

    @property
    def alive(self) -> bool:
        """Whether it was not killed and did not leave."""
        return not self.process.dead and self.world.groups[self.apps[0].domain].has(self.name)

    def join(self) -> None:
        """Become a member of every group, once more after the session has expired; the dead do not."""
        for app in () if self.process.dead else self.apps:
            self.world.groups[app.domain].join(self.name, self._told(app))

    def expire(self) -> None:
        """The groups have heard nothing of it for too long."""
        for app in self.apps:
            self.world.groups[app.domain].leave(self.name)

    def kill(self) -> None:
        """It is gone at once."""
        self.process.dead = True
        self.world.store.disconnect(self.process)

    async def leave(self) -> None:
        """As a worker that is told to stop: finish what is under way, then leave the groups."""
        self.leaving = True
        tasks = [working for app in self.apps for working in app.working.values()]
        for partition, _ in tasks:
            partition.leave()
        if tasks:
            await asyncio.wait([task for _, task in tasks], timeout=8.0)
        self.expire()
        self.process.dead = True

    def failures(self) -> list[str]:
        """What ended a task or puzzled it, which nothing may."""
        found = [repr(error) for app in self.apps for error in app.failed]
        for app in self.apps:
            for partition, _ in app.working.values():
                fault = cast("Any", partition).reason.fault
                found += [repr(fault)] if fault is not None else []
        return found

    def _start(self) -> None:
        self.apps = [SimApp(self.world, self.name, domain) for domain in self.world.agents]
        self.join()

    def _told(self, app: SimApp) -> Any:
        loop = asyncio.get_running_loop()

        def told(generation: int, shares: Collection[Share]) -> None:
            delay = self.world.dice.random() * TOLD_S
            loop.call_later(delay, app.assigned, generation, shares, context=self.process.context)

        return told
