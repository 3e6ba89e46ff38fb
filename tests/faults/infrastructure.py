"""A broker or a Postgres of one test alone, which it may stop, kill and wipe."""

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil

from caravan.infra import Infra, Part
from caravan.instance import Instance

LASTING = {"fsync": "off", "full_page_writes": "off"}  # it survives the death of processes, and that is all we do to it


class Own:
    """One embedded part; `what` is kafka or postgres."""

    def __init__(self, what: str) -> None:
        """Start it in a folder of its own."""
        self._stack = ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="caravan-faults-"))
        folder.chmod(0o755)  # as root, Postgres runs as another user
        self._stack.callback(shutil.rmtree, folder)
        self.instance = Instance(folder / "data")
        self._stack.enter_context(self.instance.hold())
        other = {"CARAVAN_KAFKA", "CARAVAN_POSTGRES"} - {f"CARAVAN_{what.upper()}"}
        self._infra = Infra(self.instance, dict.fromkeys(other, "elsewhere"), **LASTING)
        self._stack.callback(self._infra.stop)
        try:
            self._infra.start()
        except BaseException:
            self._stack.close()
            raise
        self.url = self.instance.exports()[f"CARAVAN_{what.upper()}"]

    @property
    def part(self) -> Part:
        """The broker or the database."""
        return self._infra.parts[0]

    def stop(self) -> None:
        """End it in order."""
        self.part.stop()

    def kill(self) -> None:
        """End it at once."""
        child = self.part.child
        assert child is not None
        # Postgres' children end with it by SIGQUIT only; it is its "immediate" shutdown, which writes nothing.
        os.kill(child.pid, signal.SIGQUIT if self.part.name == "postgres" else signal.SIGKILL)
        child.reap(float("inf"))

    def freeze(self) -> None:
        """Stop all its processes where they are."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        child = self.part.child
        assert child is not None
        process = psutil.Process(child.pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    async def start(self) -> None:
        """Start it again, where it was."""
        self.part.start()
        await asyncio.to_thread(self.part.wait)

    def copy(self, name: str) -> None:
        """Keep its data, while it does not run, under a name."""
        shutil.copytree(self._data, self._data.with_name(name))

    def put_back(self, name: str) -> None:
        """Replace its data, while it does not run, by a copy."""
        shutil.rmtree(self._data)
        shutil.copytree(self._data.with_name(name), self._data)

    @property
    def _data(self) -> Path:
        return self.instance.folder / self.part.name

    def __enter__(self) -> Self:
        """It runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and remove its folder."""
        self._stack.close()
