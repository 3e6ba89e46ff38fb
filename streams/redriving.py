"""Redrive, skip and edit: what operators ask for parked records, done by the owner of the partition in batches that move no position.

An operator only writes a request. Its owner takes the parked records of the key, first of all the first one, through the same code as at first, in transactions that
also take them away from what is parked. Nothing else is under way when such a batch is prepared, so what the store tells is how things stand; and a record of
the key that is prepared while the last of them commits is told by `Holds.lift` that it need not wait.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from streams.envelope import CommandEnvelope, EventEnvelope, Signer
from streams.holds import Holds
from streams.producer import TRACE, signed
from streams.pulse import breathe
from streams.records import Unfit
from streams.store import HELD, Acted, BadData, Claim, Parked, Request, Slot, Store, Work

BREATH = 128  # records between two chances for everything else on this loop
RUN = 2000  # parked records that one transaction runs, at most
LOOK = 20  # requests that are looked at in one turn
GONE = "It is not parked (any more)."
REFUSED = "refused_by_store"  # the cause of a record whose data the store does not take


class Again(NamedTuple):
    """A parked record in the shape of a record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Contents:
    """What a kind of agent finds in its records: `read` raises Unfit, `decode` tells the envelope alone, of which an edit leaves `kept` as it was."""

    read: Callable[[Again], Any]
    decode: Callable[[bytes], Any]
    kept: Sequence[str]

    @classmethod
    def commands(cls, read: Callable[[Again], Any]) -> "Contents":
        """Of a decider."""
        kept = ("command_id", "domain", "aggregate_id", "actor")
        return cls(read, msgspec.json.Decoder(CommandEnvelope).decode, kept)

    @classmethod
    def events(cls, read: Callable[[Again], Any]) -> "Contents":
        """Of a reader of events."""
        kept = ("event_id", "command_id", "domain", "aggregate_id", "aggregate_seq", "number", "actor")
        return cls(read, msgspec.json.Decoder(EventEnvelope).decode, kept)


@dataclass(frozen=True)
class Piece:
    """What one transaction does: skip or edit `first`, then run `records`, which may be those that hold `key`, with `more` of them behind.

    Or it refuses those requests whose records are `gone`. `behind` is the key of a record that has held nothing so far, while earlier ones hold it.
    """

    gone: Sequence[Request] = ()
    request: Request | None = None
    first: Parked | None = None
    act: Literal["skip", "edit"] | None = None
    records: Sequence[Parked] = ()
    key: bytes | None = None
    more: bool = False
    behind: frozenset[bytes] = frozenset()


class Requests:
    """The requests that wait for one agent's partition."""

    def __init__(
        self,
        slot: Slot,
        holds: Holds,
        contents: Contents,
        *,
        store: Store,
        signer: Signer,
        ahead: Callable[[], int] = lambda: 0,
    ) -> None:
        """Nothing is read before `take`. `ahead` tells how many milliseconds the platform's clock is ahead of the machine's."""
        self.waiting = False
        self.piece: Piece | None = None
        self._slot, self._holds, self._contents = slot, holds, contents
        self._store, self._signer, self._ahead = store, signer, ahead

    def begin(self, claim: Claim) -> None:
        """Learn from a claim whether any request waits."""
        self.waiting = self.waiting or claim.asked

    async def take(self, careful: bool) -> Piece | None:
        """What is to be done next, with `careful` one record of it; None when nothing waits. Ask while nothing is uncommitted."""
        self.piece = None
        if self.waiting:
            self.waiting = False  # before the store is asked: what is asked for meanwhile sets it again
            gone: list[Request] = []
            for request in await self._store.asked(self._slot, LOOK):
                self.waiting = True
                first = await self._store.parked(self._slot, request.offset)
                if first is not None or request.begun:
                    self.piece = None if gone else await self._piece(request, first, 1 if careful else RUN)
                    break
                gone.append(request)
            if gone:
                self.piece = Piece(gone)
        return self.piece

    async def run(
        self,
        piece: Piece,
        work: Work,
        one: Callable[[Again], None],
        skip: Callable[[Again], None] = lambda _: None,
    ) -> None:
        """Do a piece: `one` runs a record and adds to `work`, to `work.parked` if it fails again; the records behind it then wait on."""
        work.acted += [Acted(request.id, "refused", GONE) for request in piece.gone]
        request, first = piece.request, piece.first
        if request is None:
            return
        if piece.act == "edit" and first is not None:
            self._edit(request, first, work)
            return
        if piece.act == "skip" and first is not None:
            skip(self.again(first))
            work.unparked.append(first.offset)
        for ran, record in enumerate(piece.records):
            if ran % BREATH == 0:
                await breathe()
            count = len(work.parked)
            one(self.again(record))
            if len(work.parked) > count:
                self._failed(piece, request, record, ran, work)
                return
            work.unparked.append(record.offset)
        self._ran(piece, request, work)

    def park(self, fault: BadData, work: Work) -> None:
        """The store refuses the data of the piece that was taken with care: its one record fails again, or else the request is refused."""
        piece = self.piece
        assert piece is not None
        assert piece.request is not None
        if piece.act is not None or not piece.records:
            self.refuse(piece, f"The store refuses it: {fault}", work)
            return
        (record,) = piece.records
        work.parked.append(record._replace(cause=REFUSED, error=str(fault), holds=True))
        self._holds.add(record.key)
        self._failed(piece, piece.request, record, 0, work)

    def refuse(self, piece: Piece, words: str, work: Work) -> None:
        """The request cannot be done; what is parked stays as it is."""
        if piece.request is not None:
            work.acted.append(Acted(piece.request.id, "refused", words, piece.request.ran))

    def again(self, parked: Parked) -> Again:
        """A parked record as one to be read; its time is such that, with the clock as it is now, it counts as it did when it was parked."""
        return Again(
            *self._slot[2:],
            parked.offset,
            parked.timestamp - self._ahead(),
            parked.key,
            parked.value,
            parked.headers,
        )

    # -- parts

    async def _piece(self, request: Request, first: Parked | None, limit: int) -> Piece:
        if not request.begun and request.action == "edit":
            return Piece(request=request, first=first, act="edit")
        act: Literal["skip"] | None = "skip" if request.action == "skip" and not request.begun else None
        if first is not None and (not first.holds or first.key is None):
            records = () if act else (first,)
            return Piece(request=request, first=first, act=act, records=records, behind=await self._behind(first))
        key = first.key if first else request.key
        if key is None:
            return Piece(request=request)
        queue = await self._store.queue(self._slot, key, limit)
        if act is None:
            return Piece(request=request, first=first, records=queue.records, key=key, more=queue.more)
        if queue.records[0].offset != request.offset:  # one from their midst goes, and the others wait on
            return Piece(request=request, first=first, act=act)
        return Piece(request=request, first=first, act=act, records=queue.records[1:], key=key, more=queue.more)

    async def _behind(self, record: Parked) -> frozenset[bytes]:
        """The key of a record that holds nothing, if earlier ones hold it."""
        if record.key is None:
            return frozenset()
        queue = await self._store.queue(self._slot, record.key, 1)
        return frozenset({record.key} if queue.records and queue.records[0].place < record.place else ())

    def _ran(self, piece: Piece, request: Request, work: Work) -> None:
        ran = request.ran + len(piece.records)
        words = _words(request, ran) + (" More wait, and are run next." if piece.more else "")
        work.acted.append(
            Acted(request.id, "waiting" if piece.more else "done", words, ran, _original(request, piece.first))
        )
        if piece.key is not None and not piece.more:
            self._holds.lift(piece.key)

    def _failed(self, piece: Piece, request: Request, record: Parked, ran: int, work: Work) -> None:
        """Put the record back with what was parked last; what is behind it stays as it is."""
        told = work.parked.pop()
        attempts = record.attempts + (told.cause != HELD)
        holds = told.holds or record.holds
        work.parked.append(record._replace(cause=told.cause, error=told.error, holds=holds, attempts=attempts))
        if told.cause == HELD:
            end = f"The one at offset {record.offset} waits for an earlier one of its key."
        else:
            end = f"The one at offset {record.offset} failed again ({told.cause}): it stays parked, and what is behind it waits."
        words = f"{_words(request, request.ran + ran)} {end}"
        work.acted.append(Acted(request.id, "done", words, request.ran + ran, _original(request, piece.first)))

    def _edit(self, request: Request, first: Parked, work: Work) -> None:
        """Put the new value in place of the old one; what comes of it is seen when it is run."""
        try:
            parked = self._edited(request, first)
        except Unfit as unfit:
            work.acted.append(Acted(request.id, "refused", str(unfit)))
        else:
            work.parked.append(parked)
            work.acted.append(Acted(request.id, "waiting", "It was edited, and is run next.", 0, first))

    def _edited(self, request: Request, first: Parked) -> Parked:
        """The record with its new value, signed; raises Unfit with what is wrong."""
        if first.offset >= 0 and not self._signer.checker(self._slot.topic)(self.again(first)):
            raise Unfit("unsigned", "The platform has not signed what is parked, and does not sign what is made of it.")
        try:
            old = self._contents.decode(first.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unfit(
                "undecodable", f"What is parked is no envelope, so nothing tells what it was: {error}"
            ) from error
        kept = [(name, value) for name, value in first.headers if first.offset < 0 or name == TRACE]
        value = request.value or b""
        fresh = [] if first.offset < 0 else signed(self._slot.topic, first.key or b"", value, self._signer)
        edited = first._replace(value=value, headers=[*fresh, *kept], cause="edited", error=f"Edited by {request.by}.")
        new = self._contents.read(self.again(edited)).envelope
        for name in self._contents.kept:
            if getattr(new, name) != getattr(old, name):
                raise Unfit("changed", f"An edit leaves {name} as it is, which is {getattr(old, name)}.")
        return edited


def _words(request: Request, ran: int) -> str:
    told = f"{ran} record{'s were' if ran != 1 else ' was'} run."
    if request.action == "redrive":
        return told
    if request.action == "edit":
        return f"It was edited. {told}"
    return "It was skipped." if ran == 0 else f"It was skipped. Behind it {told}"


def _original(request: Request, first: Parked | None) -> Parked | None:
    return None if request.begun else first
