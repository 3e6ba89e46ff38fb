"""`caravan reset`: back to the beginning; deletes what is this instance's, or this namespace's, and nothing else."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import typer

from caravan.commands import URLS, settings, size
from caravan.errors import AlreadyRunning, BadInput
from caravan.instance import Instance
from streams import discover
from streams.settings import Settings


def reset(folder: Path, *, yes: bool) -> None:
    """Ask, then delete. Raises BadInput and AlreadyRunning where it must not be."""
    if os.environ.get("CARAVAN_PROFILE") == "production":
        raise BadInput("in production nothing is reset; unset CARAVAN_PROFILE if this is none")
    instance = Instance(folder)
    namespace = os.environ.get("CARAVAN_NAMESPACE", "")
    if namespace or any(os.environ.get(name) for name in URLS):
        _reset_namespace(folder, namespace, yes=yes)
    elif not instance.exists():
        print(f"nothing to delete in {instance.folder}")
    else:
        _reset_instance(instance, yes=yes)


def _reset_instance(instance: Instance, *, yes: bool) -> None:
    with instance.hold():  # nobody starts it meanwhile
        places = [instance.folder / "kafka", instance.folder / "kafka.part", instance.cluster]
        places = [place for place in places if place.exists()]
        used = sum(size(place) for place in places) >> 20
        _sure(f"all topics, schemas and data of {instance.folder} ({used} MB)", yes=yes)
        instance.run.made.clear()
        instance.save()  # a reset that is killed here leaves what the next start makes anew
        for place in places:
            shutil.rmtree(place)
    print(f"deleted all topics, schemas and data of {instance.folder}; its ports and keys stay; caravan up begins anew")


def _reset_namespace(folder: Path, namespace: str, *, yes: bool) -> None:
    ours = settings(folder)
    if not namespace:
        raise BadInput(
            "CARAVAN_KAFKA and CARAVAN_POSTGRES name clusters that others may use: set CARAVAN_NAMESPACE to what is to be deleted"
        )
    for line in asyncio.run(_delete(ours, yes=yes)):
        print(line)


async def _delete(ours: Settings, *, yes: bool) -> list[str]:
    from sinks.postgres.reset import drop, schemas, working
    from streams.catalogue import Catalogue
    from streams.kafka import declared

    domains = discover.domains()
    async with Catalogue(ours) as catalogue:
        wanted = declared([discover.topic(domain) for domain in domains])
        topics = [name for name in await catalogue.names() if name in wanted]
        there = await schemas(ours.postgres, ours.namespace, domains)
        if busy := [*await catalogue.busy(domains), *await working(ours.postgres, ours.namespace)]:
            raise AlreadyRunning(
                f"something works on namespace {ours.namespace} ({busy[0]}); stop it first: caravan down"
            )
        if not topics and not there:
            return [f"nothing to delete in namespace {ours.namespace}"]
        _sure(f"{len(topics)} topics and {len(there)} schemas of namespace {ours.namespace}", yes=yes)
        if topics:
            await catalogue.delete(topics)
        dropped = await drop(ours.postgres, ours.namespace, domains)
    return [
        *(f"deleted topic {ours.namespace}{name}" for name in topics),
        *(f"deleted schema {name}" for name in dropped),
    ]


def _sure(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(f"this deletes {what}; to do so without being asked: caravan reset --yes")
    typer.confirm(f"Delete {what}?", abort=True)
