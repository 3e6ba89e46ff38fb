"""`caravan up` and `caravan infra`: start everything in order, keep it running, end it in order."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from caravan.embedded.postgres import Postgres
from caravan.infra import Infra
from caravan.instance import Instance
from caravan.supervise import Parent, Service, keep, say, until_stopped

PROMISE = "The embedded broker and Postgres survive the crash of any process, not a loss of power: no data you cannot lose."


def infra(folder: Path, *, new_ports: bool = False) -> None:
    """Run the broker and Postgres until stopped. Raises a Problem when they do not start."""
    instance = Instance(folder)
    with until_stopped(), instance.hold():
        parts = Infra(instance, {})
        if new_ports:
            parts.renumber()
        try:
            parts.start()
            print(reach(instance, parts), flush=True)
            keep(services(parts), Parent(), teller(instance))
        finally:
            parts.stop()


def reach(instance: Instance, parts: Infra) -> str:
    """Lines for a shell: `eval` takes the exports, a person the comments."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in instance.exports().items()]
    postgres = next(part for part in parts.parts if isinstance(part, Postgres))
    lines += [
        "# The broker and Postgres answer; Ctrl-C ends them. In another shell, paste the lines above, then",
        f"#   {shlex.quote(str(postgres.binary('psql')))} \"$CARAVAN_POSTGRES\"",
        f"# Logs: {instance.logs}",
    ]
    return "\n".join(lines)


def services(parts: Infra) -> list[Service]:
    """The parts as services that are kept running; they have been started already."""
    found = []
    for part in parts.parts:

        def start(part: object = part) -> object:
            part.start()
            return part.child

        found.append(Service(part.name, start, part.child))
    return found


def teller(instance: Instance) -> Callable[[str], None]:
    """Says a line to the user and to `up.log`."""
    return lambda line: say(line, instance.logs / "up.log")
