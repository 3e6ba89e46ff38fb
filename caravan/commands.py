"""What the commands do that work on a running instance, ours or one that CARAVAN_* names."""

import asyncio
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from caravan.errors import BadInput
from caravan.instance import LOOPBACK, Instance
from streams.settings import Settings

ROLES = ("Guest", "User", "VIP", "PRO", "Partner", "Admin")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
KEEP_ALIVE = 75  # s that an idle connection stays open: longer than proxies and clients keep theirs, so that none is closed under a request
DRAIN = 8  # s that requests which run may take to end when the edge is told to
LOOK = 0.05  # s between two looks at a broker that starts
SAMPLE = 1.0  # s between the two looks that give a rate
URLS = ("CARAVAN_KAFKA", "CARAVAN_POSTGRES")
LOG = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def settings(folder: Path) -> Settings:
    """Those of the environment, completed by the instance in `folder`; raises NotRunning when there is neither."""
    return Settings.from_env(environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """CARAVAN_* for a process on this instance."""
    instance = Instance(folder)
    if not instance.exists():
        if not all(os.environ.get(name) for name in URLS):
            instance.require()
        return dict(os.environ)
    return instance.environment(os.environ)


def worker(folder: Path, domains: Sequence[str], instance: str | None, rebuild: Sequence[str]) -> None:
    """Run agents until SIGTERM; those of a rebuild write into schemas beside the live ones."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format=LOG, stream=sys.stderr)
    uvloop.run(_worker(settings(folder), domains, instance, rebuild))


async def _worker(settings: Settings, domains: Sequence[str], instance: str | None, rebuild: Sequence[str]) -> None:
    from caravan import profile
    from sinks.postgres import PostgresStore, pending
    from sinks.postgres.migrations import migrate_beside
    from streams import worker

    known(domains)
    known(rebuild)
    await profile.demand(settings)
    if not rebuild and (waiting := await pending(settings.postgres, settings.namespace)):
        raise BadInput(f"the database lacks {len(waiting)} migrations ({waiting[0]}, …); run: caravan migrate")
    schemas = {domain: await migrate_beside(settings.postgres, settings.namespace, domain) for domain in rebuild}
    store = PostgresStore(settings.postgres, settings.namespace, schemas)
    await worker.run(settings, store, domains=domains or None, instance=instance, rebuild=rebuild)


def known(domains: Sequence[str]) -> None:
    """Raise BadInput for a domain that there is not."""
    from streams import discover

    for domain in domains:
        if domain not in discover.domains():
            raise BadInput(f"there is no domain '{domain}'; there are: {', '.join(discover.domains())}")


def api(folder: Path, host: str, port: int) -> None:
    """Run one edge until SIGTERM."""
    import uvicorn

    from api.app import create_app
    from api.guard import Guard, Limits, affordable
    from caravan import profile
    from caravan.contracts.terminal import shown
    from caravan.instance import claim_port
    from streams.collector import tune

    ours = settings(folder)
    asyncio.run(profile.demand(ours))
    edge = create_app(ours, shown=shown())
    claim_port(host, port, "the edge", "choose another with --port")
    guard = Guard(Limits(), edge.state.edge.load)
    guard.most = affordable(guard.limits)
    if (streams := edge.state.edge.streams).most > guard.most // 2:
        streams.most = guard.most // 2
        few = f"open files are limited: at most {guard.most} connections, and {streams.most} of them live views"
        print(f"{few}; raise the limit (ulimit -n) for {guard.limits.connections}", flush=True)
    tune()
    uvicorn.run(
        edge,
        host=host,
        port=port,
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", guard.protocol),  # uvicorn only calls it
        ws="none",
        access_log=False,
        proxy_headers=False,  # nobody asks where a client is
        timeout_graceful_shutdown=DRAIN,
        timeout_keep_alive=KEEP_ALIVE,
    )


def migrate(folder: Path, *, early: bool) -> None:
    """Apply what is pending and create what is missing; says what it did. `early`: our own broker is starting and need not answer yet."""
    broker = Instance(folder).run.kafka_port if early else None
    for line in asyncio.run(_migrate(settings(folder), broker)):
        print(line)


async def _migrate(settings: Settings, broker: int | None) -> list[str]:
    from caravan import profile
    from caravan.embedded.kafka import answers
    from sinks.postgres import migrate
    from streams import discover
    from streams.kafka import Kafka

    await profile.demand(settings)
    applied = await migrate(settings.postgres, settings.namespace)
    while broker and not answers(LOOPBACK, broker):  # noqa: ASYNC110 - a broker that fails is told by who started it
        await asyncio.sleep(LOOK)
    kafka = Kafka(settings)
    try:
        created = await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    finally:
        await kafka.stop()
    done = [f"migrated {name}" for name in applied] + [f"created topic {name}" for name in created]
    return done or ["everything is up to date"]


def token(folder: Path, user: str, role: str, ttl: str) -> None:
    """Print a token signed with the development secret."""
    if role not in ROLES:
        raise BadInput(f"there is no role '{role}'; the roles are {', '.join(ROLES)}")
    print(signed_token(settings(folder), user, role, seconds(ttl)))


def signed_token(ours: Settings, user: str, role: str, ttl: int) -> str:
    """A token of the development secret, good for `ttl` seconds; raises BadInput where such tokens are not made."""
    import jwt

    if ours.profile == "production":
        raise BadInput("development tokens are not made in production; get one from your identity provider")
    if not ours.jwt_secret:
        raise BadInput("CARAVAN_JWT_SECRET is not set; set it to the secret that the edge has")
    now = int(time.time())
    claims = {"sub": user, "role": role, "iss": "caravan", "aud": "caravan", "iat": now, "exp": now + ttl}
    return jwt.encode(claims, ours.jwt_secret, algorithm="HS256")


def seconds(text: str) -> int:
    """`90s`, `15m`, `12h`, `7d`, or a plain number of seconds."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd]?)", text)
    if match is None:
        raise BadInput(f"'{text}' is no length of time; write it as 90s, 15m, 12h or 7d")
    return int(match[1]) * UNITS[match[2] or "s"]


SUMMED = ("position", "lag", "parked", "rate")  # over the partitions that are told in one line


def status(folder: Path, *, as_json: bool) -> None:
    """Print where every agent stands and how much disk is in use."""
    report = asyncio.run(_status(settings(folder)))
    report["disk"] = disk(Instance(folder))
    print(json.dumps(report, default=str) if as_json else table_of(report))


async def _status(settings: Settings) -> dict[str, Any]:
    from sinks.postgres import status
    from streams.kafka import Kafka

    first, began = await status(settings.postgres, settings.namespace), time.monotonic()
    await asyncio.sleep(SAMPLE)
    rows, took = await status(settings.postgres, settings.namespace), time.monotonic() - began
    before = {_slot(row): row["next"] for row in first}
    kafka = Kafka(settings)
    try:
        ends = await kafka.ends({(row["topic"], row["partition"]) for row in rows})
    finally:
        await kafka.stop()
    agents = []
    for row in rows:
        lag = max(0, ends[row["topic"], row["partition"]] - row["next"])
        rate = (row["next"] - before.get(_slot(row), row["next"])) / took
        kept = {name: value for name, value in row.items() if name not in {"next", "bytes"}}
        agents.append({**kept, "position": row["next"], "lag": lag, "rate": round(rate, 1)})
    return {"agents": agents, "domains": {row["domain"]: {"bytes": row["bytes"]} for row in rows}}


def _slot(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["domain"], row["agent"], row["topic"], row["partition"]


def disk(instance: Instance) -> dict[str, int]:
    """Bytes in use by each part of an instance of ours, and bytes free."""
    if not instance.exists():
        return {}
    places = {"kafka": instance.folder / "kafka", "postgres": instance.cluster, "logs": instance.logs}
    return {**{name: size(path) for name, path in places.items()}, "free": shutil.disk_usage(instance.folder).free}


def size(folder: Path) -> int:
    """Bytes that the files below really take; what vanishes meanwhile, or may not be read, counts nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(where) / name).lstat().st_blocks * 512  # POSIX counts in these
            except OSError:
                continue
    return total


def table_of(report: dict[str, Any]) -> str:
    """What `status` prints for people: a line for the partitions of an agent that stand alike."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = ("domain", "agent", "topic", "partitions", *SUMMED, "owner", "stopped")
    for column in columns:
        table.add_column(column, justify="right" if column in SUMMED else "left")
    for row in _alike(report["agents"]):
        table.add_row(*(_cell(column, row[column]) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as shown:
        console.print(table if report["agents"] else "no agent has claimed a partition yet")
        if parked := sum(row["parked"] for row in report["agents"]):
            console.print(f"parked: {parked} record{'s' if parked > 1 else ''}; look with: caravan parked list")
        if report["disk"]:
            console.print("disk: " + ", ".join(f"{name} {value >> 20} MB" for name, value in report["disk"].items()))
    return shown.get().rstrip()


def _alike(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The partitions of an agent that one worker has and that stand for the same reason, or go on, as one row."""
    for _, group in groupby(sorted(rows, key=_kind), _kind):
        first, *more = same = list(group)
        numbers = [row["partition"] for row in same]
        run = f"{numbers[0]}-{numbers[-1]}" if more and numbers[-1] - numbers[0] == len(more) else ""
        partitions = run or ",".join(map(str, numbers))
        yield {**first, "partitions": partitions, **{name: sum(row[name] for row in same) for name in SUMMED}}


def _kind(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name] or "") for name in ("domain", "agent", "topic", "owner", "stopped"))


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}/s" if column == "rate" else str(value)
