"""The broker and the database of an instance: those that CARAVAN_* does not name are run here."""

import time
from collections.abc import Mapping
from functools import partial

from caravan.embedded.kafka import Kafka
from caravan.embedded.postgres import Postgres
from caravan.embedded.process import Child
from caravan.errors import BadData
from caravan.instance import Instance, free_ports
from caravan.supervise import Service

PREPARE = 120.0  # s that making a data folder may take on a slow machine
STOP = 5.0  # s

Part = Kafka | Postgres


class Infra:
    """`start` returns when everything answers; `stop` ends it in order. Both belong on the main thread."""

    def __init__(self, instance: Instance, environment: Mapping[str, str], **postgres: str) -> None:
        self.instance = instance
        self.parts: list[Part] = []
        self.jobs: list[Child] = []
        if not environment.get("CARAVAN_KAFKA"):
            self.parts.append(Kafka(instance))
        if not environment.get("CARAVAN_POSTGRES"):
            self.parts.append(Postgres(instance, **postgres))

    def start(self) -> None:
        """Set up what is missing, start the parts together, wait until each answers. Raises a Problem."""
        self.begin()
        self.wait()

    def wait(self, *kinds: type[Part]) -> None:
        """Until the parts answer, or those of some kinds. Raises a Problem."""
        for part in self.parts:
            if not kinds or isinstance(part, kinds):
                part.wait()

    def begin(self) -> None:
        """Set up what is missing and start the parts together. Raises a Problem."""
        self._check_whole()
        self._prepare()
        for part in self.parts:
            part.start()
            assert part.child is not None
            self.instance.register(part.name, part.child.pid)

    def services(self) -> list[Service]:
        """The parts, started already, as services to keep running."""
        return [Service(part.name, partial(_again, part), part.child) for part in self.parts]

    def stop(self) -> None:
        """End all within STOP seconds, by force if need be."""
        deadline = time.monotonic() + STOP
        for job in self.jobs:
            job.stop(0)
        for part in self.parts:
            part.ask()
        for part in self.parts:
            part.stop(deadline)

    def renumber(self) -> None:
        """Choose other ports for the broker and the database."""
        run = self.instance.run
        run.kafka_port, run.controller_port, run.postgres_port = free_ports(3)
        self.instance.save()

    def _check_whole(self) -> None:
        """A part that was made and is gone, or is another's, would be silently inconsistent with the rest."""
        run = self.instance.run
        stamps = {part.name: part.stamp() for part in self.parts}
        gone = [name for name, stamp in stamps.items() if name in run.made and stamp is None]
        foreign = [name for name, stamp in stamps.items() if stamp not in {None, run.instance}]
        kept = [name for name in run.made if name not in gone]
        if foreign:
            raise BadData(
                f"the {foreign[0]} data of {self.instance.folder} belongs to another instance; put back its own, {self._afresh()}"
            )
        if gone and kept:
            raise BadData(
                f"the {gone[0]} data of {self.instance.folder} is gone while {kept[0]} was kept, and they only work "
                f"together; put it back, {self._afresh()}"
            )
        for name in gone:  # nothing is left to be inconsistent with
            run.made.remove(name)

    def _afresh(self) -> str:
        return f"or start afresh with: rm -r '{self.instance.folder}'"

    def _prepare(self) -> None:
        begun = [(part, part.prepare()) for part in self.parts]
        self.jobs = [job for _, job in begun if job]
        for part, job in begun:
            if job:
                job.finish(PREPARE)
                part.prepared()
            if part.name not in self.instance.run.made:
                self.instance.run.made.append(part.name)
        self.instance.save()
        self.jobs = []


def _again(part: Part) -> Child:
    part.start()
    assert part.child is not None
    return part.child
