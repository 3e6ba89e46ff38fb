"""Why a partition does not go on, as the store shows it to an operator."""

from contextlib import suppress

from streams.store import Slot, Store


class Reason:
    """Of one partition. `fault` is the error of ours that it tries again, None when there is none."""

    def __init__(self, store: Store, slot: Slot) -> None:
        """An earlier process may have left a reason, so the first word is always said."""
        self.fault: Exception | None = None
        self._store, self._slot = store, slot
        self._said: str | None = ""
        self._doubt: str | None = None

    def doubt(self, why: str) -> None:
        """That it was claimed will not refute this; a commit will."""
        self._doubt = why

    def is_said(self, why: str) -> bool:
        """Whether the store shows this."""
        return self._said == why

    async def say(self, why: str | None) -> None:
        """Show this, None: it runs."""
        if self._said != why:
            await self._store.stopped(self._slot, why)
            self._said = why

    async def claimed(self) -> None:
        """It goes on, unless that is in doubt."""
        await self.say(self._doubt)

    async def committed(self) -> None:
        """It goes on."""
        self.fault = None
        if self._doubt is not None:
            self._doubt = None
            await self.say(None)

    async def puzzle(self, error: Exception, *, was_claimed: bool) -> bool:
        """Show an error that nobody foresaw; whether it is another one than before."""
        another = repr(self.fault) != repr(error)
        self.fault = error
        why = (
            f"{error!r}, which nobody foresaw: it is tried again and again; the worker's log says where it comes from."
        )
        if was_claimed:
            self.doubt(why)
        with suppress(Exception):  # the store may be where it comes from
            await self.say(why)
        return another
