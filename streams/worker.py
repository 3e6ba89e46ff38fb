"""The worker: one process that runs the agents of some or all domains."""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Literal

from streams import collector, discover
from streams.acting import Acting
from streams.agent import Agent, Changelog, Decider, Folds, Projection, agents_of, start_of
from streams.app import App
from streams.changelog import Keeping
from streams.clock import SystemClock, VirtualClock
from streams.deciding import Deciding
from streams.effect import Adapter, Effect
from streams.effecting import Effecting
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.folding import Folding, foldable, rebuilding
from streams.handler import Handler
from streams.kafka import Kafka
from streams.loop import Partition
from streams.settings import Settings
from streams.store import Slot, Store, Unavailable
from streams.watchdog import Watchdog
from streams.watching import WATCH_S, Watch

log = logging.getLogger(__name__)

LOOK_S = 0.2  # between two looks at who has claimed
KEEP_UP_S = 3600.0  # between two looks at the partitions of the coming days
LEAVE_S = 8.0  # how long a stopping worker drains and tells its groups before it goes anyway
DRAIN_S = 6.0  # of it, at most, for what is under way
CLOSE_S = 4.0  # how long its connections may take to close
END_S = 13.0  # how long it may take in all before it ends itself at once


class Worker:
    """Runs until it is told to stop or an app fails."""

    def __init__(
        self, settings: Settings, store: Store, *, instance: str | None = None, patience: float = WATCH_S
    ) -> None:
        """Nothing runs before `start`. `patience` is how long a partition may have work and do none, seconds."""
        self.settings, self.store = settings, store
        self.log = Kafka(settings)
        self.apps: list[App] = []
        self.watch = Watch(self.apps, store=store, log=self.log, seconds=patience)
        self._signer = Signer(settings.signing_keys)
        self._clock = VirtualClock() if settings.clock == "virtual" else SystemClock()
        self._followers: list[Any] = []
        self._adapters: dict[Effect, Adapter] = {}
        self._instance = instance
        self._from_nothing = settings.empty_postgres == "rebuild"
        self._owner = f"{instance or socket.gethostname()}:{os.getpid()}"

    def run_domain(self, domain: str, agents: Sequence[Agent]) -> None:
        """Add a domain's agents."""
        app = App(domain, self.settings, instance=self._instance)
        for agent in agents:
            if isinstance(agent, Effect):
                self._adapters[agent] = agent.adapter(self.settings)
            topic = agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic
            app.read(topic, agent.name, lambda slot, agent=agent, app=app: self._partition(agent, app, slot))
        self.apps.append(app)

    def rebuild_domain(self, domain: str, agents: Sequence[Folds]) -> None:
        """Add the projections that build a domain's state and views from events, in the store's schema for it."""
        app = App(domain + ".rebuild", self.settings, instance=self._instance)
        app.domain = domain
        for agent in agents:
            slot = rebuilding(agent, 0, store=self.store, signer=self._signer).slot
            app.read(slot.topic, slot.agent, lambda slot, agent=agent: self._rebuilding(agent, app, slot))
        self.apps.append(app)

    async def start(self) -> None:
        """Take over the platform's clock where it is a virtual one, hear what operators ask, and join the groups."""
        store: Any = self.store
        if isinstance(self._clock, VirtualClock):
            self._followers.append(store.follow(self._clock, self._clock_moved))
        self._followers.append(store.listen({app.domain for app in self.apps}, self._asked, self._store_is_back))
        for follower in self._followers:
            await follower.start()
        for app in self.apps:
            app.finalize()
        await asyncio.gather(*(app.start() for app in self.apps))

    async def ready(self) -> None:
        """Wait until every partition that was assigned here is claimed."""
        for app in self.apps:
            await app.assigned_once.wait()
            while waiting := [partition for partition in app.partitions() if not partition.claimed.is_set()]:
                with suppress(TimeoutError):  # one that goes to another worker meanwhile is never claimed here
                    async with asyncio.timeout(LOOK_S):
                        await waiting[0].claimed.wait()

    async def failed(self) -> None:
        """Wait until an app ends by itself, which only a failure makes it do."""
        waits = [asyncio.create_task(app.wait_until_stopped()) for app in self.apps]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self) -> None:
        """Finish the batches under way, leave the groups, close; each in its time."""
        began = monotonic()
        drained = await _within(DRAIN_S, [app.leave() for app in self.apps])
        gone = await _within(began + LEAVE_S - monotonic(), [app.stop() for app in self.apps])
        if not (drained and gone):
            log.warning("left %d s after the signal with work under way; its next owner does it again", LEAVE_S)
        closing = [adapter.close() for adapter in self._adapters.values()]
        closing += [follower.stop() for follower in self._followers]
        await _within(CLOSE_S, [*closing, self.log.stop(), self.store.stop()])  # type: ignore[attr-defined]

    def _clock_moved(self) -> None:
        for app in self.apps:
            for partition in app.partitions():
                partition.wake()

    def _asked(self, slot: Slot) -> None:
        for app in self.apps:
            for partition in app.partitions():
                if partition.slot == slot:
                    partition.handler.asked()
                    partition.wake()

    def _store_is_back(self) -> None:
        """It was away. Where a copy took over that lacks the last commits, a partition to which nothing comes would never notice."""
        for app in self.apps:
            for partition in app.partitions():
                partition.reassign()

    def _partition(self, agent: Agent, app: App, slot: Slot) -> Partition:
        handler: Handler
        if isinstance(agent, Decider):
            return self._open(slot, self._deciding(agent, slot), app, start_of(agent, from_nothing=self._from_nothing))
        if isinstance(agent, Effect):
            adapter = self._adapters[agent]
            handler = Effecting(
                agent, adapter, slot, store=self.store, log=self.log, signer=self._signer, clock=self._clock
            )
        elif isinstance(agent, Changelog):
            handler = Keeping(agent, slot, store=self.store, log=self.log, signer=self._signer)
        elif isinstance(agent, Projection):
            handler = Folding(agent, slot, store=self.store, signer=self._signer, linger=agent.linger)
        else:
            ports: Any = {"store": self.store, "log": self.log, "signer": self._signer}
            handler = Acting(agent, slot, **ports, from_nothing=self._from_nothing)
        return self._open(slot, handler, app, start_of(agent, from_nothing=self._from_nothing))

    def _rebuilding(self, agent: Folds, app: App, slot: Slot) -> Partition:
        handler = rebuilding(agent, slot.partition, store=self.store, signer=self._signer)
        return self._open(handler.slot, handler, app)

    def _deciding(self, decider: Decider, slot: Slot) -> Deciding:
        ports: Any = {"store": self.store, "log": self.log, "signer": self._signer, "clock": self._clock}
        return Deciding(
            decider,
            slot,
            **ports,
            from_nothing=self._from_nothing,
            effects=[a.name for a in self._effects(slot.domain)],
        )

    def _effects(self, domain: str) -> list[Effect]:
        return [agent for agent in self._adapters if agent.target.domain == domain]

    def _open(
        self, slot: Slot, handler: Handler, app: App, start: Literal["earliest", "now", "kept"] = "earliest"
    ) -> Partition:
        partition = Partition(slot, handler, store=self.store, log=self.log, feed=app, owner=self._owner, start=start)
        if isinstance(handler, Effecting):
            handler.wake = partition.wake
        return partition


async def run(
    settings: Settings,
    store: Any,
    *,
    domains: Sequence[str] | None = None,
    instance: str | None = None,
    rebuild: Sequence[str] = (),
) -> None:
    """Run until SIGTERM or SIGINT; raises CaravanError when it cannot begin or an app fails.

    With `rebuild` it builds these domains' state and views from their events, and decides nothing.
    """
    worker = Worker(settings, store, instance=instance)
    for domain in rebuild or domains or discover.domains():
        agents = agents_of(domain)
        if rebuild and (folds := foldable(agents)):
            worker.rebuild_domain(domain, folds)
        elif agents and not rebuild:
            worker.run_domain(domain, agents)
    if not worker.apps:
        raise CaravanError("There is no such domain; `ls agents` shows them.")
    collector.tune()
    stopping = asyncio.Event()
    watchdog = Watchdog(leave=END_S)
    watchdog.start()
    watchdog.listen(stopping)
    try:
        await _work(worker, stopping, ", ".join(rebuild or domains or discover.domains()))
    finally:
        watchdog.leave()  # what is left of this process has its time too, and no more


async def _within(seconds: float, ends: Sequence[Coroutine[Any, Any, Any]]) -> bool:
    """Run what ends something; whether all of it came to its end in time. What does not is cancelled, and not waited for."""
    if not ends:
        return True
    tasks = [asyncio.ensure_future(end) for end in ends]
    done, late = await asyncio.wait(tasks, timeout=max(0.1, seconds))
    for task in late:
        task.cancel()
    for task in done:
        if error := task.exception():
            log.warning("while it ended: %r", error)
    return not late


async def _keep_up(store: Any) -> None:
    """Have the store make its partitions for the coming days, long before they are needed."""
    while True:
        await asyncio.sleep(KEEP_UP_S)
        with suppress(Unavailable):
            await store.keep_up()


async def _work(worker: Worker, stopping: asyncio.Event, names: str) -> None:
    ends = [asyncio.create_task(stopping.wait()), asyncio.create_task(worker.watch.run())]
    keeping = asyncio.create_task(_keep_up(worker.store))
    try:
        await worker.store.start()  # type: ignore[attr-defined]
        await worker.start()
        ends.append(asyncio.create_task(worker.failed()))
        ready = asyncio.create_task(worker.ready())
        await asyncio.wait({*ends, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            print(f"worker ready: {names}", flush=True)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not stopping.is_set():
            raise _why_it_failed(ends[1])
    finally:
        for task in (*ends, keeping):
            task.cancel()
        await worker.stop()


def _why_it_failed(watch: asyncio.Task[Any]) -> BaseException:
    stuck = watch.exception() if watch.done() else None
    return stuck or CaravanError("An app of the worker failed; its log says why. The supervisor starts it again.")
