"""The rules of points: what a command leads to, and what an event changes."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State, Timer
from topics.points import (
    MAX_POINTS,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    ExpirePoints,
    HoldPoints,
    Lot,
    Lots,
    PointsAwarded,
    PointsExpired,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsSpendRejected,
    PointsSpent,
    PointsTransferDeclined,
    PointsTransferReceived,
    PointsTransferred,
    PointsTransferReturned,
    PointsTransferStarted,
    ReleaseHold,
    ReturnTransfer,
    SpendPoints,
    TransferPoints,
)

MAX_LOTS = 64  # times at which points of one account expire


class Shelf(msgspec.Struct, frozen=True, array_like=True):
    """What expires at one time: `free` of what is available, `away` of what is held or on its way and may come back."""

    expires_at: datetime
    free: int
    away: int = 0


class Account(State, frozen=True, omit_defaults=True):
    """A user's points: free to use, held, and on their way to others, from where they may come back.

    `shelves` tell of them what expires, earliest first; what stands on none does not expire. A time stays there until nothing of it
    can come back, so that there is always room for what does.
    """

    available: int = 0
    held: int = 0
    outgoing: int = 0
    shelves: tuple[Shelf, ...] = ()

    def has_room(self, amount: int) -> bool:
        """Whether so much more can come in and the largest balance is never passed, whatever comes back."""
        return self.available + self.held + self.outgoing + amount <= MAX_POINTS

    def has_shelves(self, times: Iterable[datetime]) -> bool:
        """Whether points that expire at these times can come in."""
        return len({shelf.expires_at for shelf in self.shelves}.union(times)) <= MAX_LOTS

    def usable(self, now: datetime) -> int:
        """What is available and has not expired."""
        return self.available - sum(shelf.free for shelf in self.shelves if shelf.expires_at <= now)

    def first(self, amount: int, now: datetime) -> Lots:
        """What of this amount, taken now, is taken of points that expire: of those that expire first."""
        lots = []
        for shelf in self.shelves:
            if taken := min(amount, shelf.free) if shelf.expires_at > now else 0:
                lots.append(Lot(expires_at=shelf.expires_at, amount=taken))
                amount -= taken
        return tuple(lots)

    def due(self, now: datetime) -> Lots:
        """What has expired by now."""
        return tuple(
            Lot(expires_at=shelf.expires_at, amount=shelf.free)
            for shelf in self.shelves
            if shelf.expires_at <= now and shelf.free
        )

    def move(self, available: int, held: int, outgoing: int, lots: Lots) -> "Account":
        """The account after a movement; `lots` tell what of it expires."""
        shelves = self.shelves
        if lots:
            shelves = _moved(shelves, lots, _sign(available), _sign(held + outgoing))
        return Account(self.available + available, self.held + held, self.outgoing + outgoing, shelves)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _moved(shelves: Iterable[Shelf], lots: Lots, free: int, away: int) -> tuple[Shelf, ...]:
    """The shelves after the lots were put there or taken away: `free` and `away` are 1, 0 or -1."""
    by_time = {shelf.expires_at: shelf for shelf in shelves}
    for at, amount in _parts(lots):
        shelf = by_time.get(at) or Shelf(at, 0)
        by_time[at] = Shelf(at, shelf.free + free * amount, shelf.away + away * amount)
    return tuple(shelf for _, shelf in sorted(by_time.items()) if shelf.free or shelf.away)


Parts = tuple[tuple[datetime, int], ...]
"""Lots as documents keep them."""


def _parts(lots: Lots) -> Parts:
    return tuple((lot.expires_at, lot.amount) for lot in lots)


def _lots(parts: Parts) -> Lots:
    return tuple(Lot(expires_at=at, amount=amount) for at, amount in parts)


class Award(State, frozen=True):
    """Whether a rule has rewarded a source."""

    given: bool = False


class Hold(State, frozen=True, omit_defaults=True):
    """Points set aside under one id."""

    amount: int = 0
    status: Literal["unknown", "open", "captured", "released"] = "unknown"
    lots: Parts = ()


class Transfer(State, frozen=True, omit_defaults=True):
    """A transfer at its sender, and the command that waits for its end."""

    to: str = ""
    amount: int = 0
    command_id: str = ""
    status: Literal["unknown", "open", "arrived", "returned"] = "unknown"
    lots: Parts = ()


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""


def reads(message: Any) -> tuple[str, ...]:
    """The document that a command or event is about, if any, beside the account."""
    match message:
        case PointsAwarded() | AwardPoints():
            return (f"award/{message.rule}/{message.source}",) if message.rule else ()
        case HoldPoints() | CaptureHold() | ReleaseHold() | PointsHeld() | PointsHoldCaptured() | PointsHoldReleased():
            return (f"hold/{message.hold_id}",)
        case TransferPoints() | CompleteTransfer() | ReturnTransfer():
            return (f"transfer/{message.transfer_id}",)
        case PointsTransferStarted() | PointsTransferred() | PointsTransferReturned():
            return (f"transfer/{message.transfer_id}",)
    return ()


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """An account's time comes when the first of its points expire; those that are held or on their way wait until they are back."""
    for shelf in document.shelves if sub_key == ROOT else ():
        if shelf.free:
            return Timer(shelf.expires_at, ExpirePoints(user_id=key))
    return None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    account: Account = state[ROOT]
    document: Any = next((state[name] for name in reads(command)), None) if len(state) > 1 else None
    match command:
        case AwardPoints():
            return _award(account, document, command, case)
        case SpendPoints():
            return _spend(account, command, case)
        case HoldPoints():
            return _hold(account, document, command, case)
        case CaptureHold() | ReleaseHold():
            return _end_hold(document, command)
        case TransferPoints():
            return _send(account, document, command, case)
        case CreditTransfer():
            return _receive(account, command)
        case CompleteTransfer() | ReturnTransfer():
            return _end_transfer(document, command)
        case ExpirePoints():
            return _expire(account, command, case)
    raise NotImplementedError(command.wire_name)


def _award(account: Account, award: Award | None, command: AwardPoints, case: Case) -> Decision:
    if award and award.given:
        return Refuse("already_awarded")
    if not account.has_room(command.amount):
        return Refuse("balance_limit")
    end = command.expires_at
    if end is not None and end <= case.now:
        return Refuse("already_expired", status=422)
    if end is not None and not account.has_shelves([end]):
        return Refuse("too_many_lots", details={"most": MAX_LOTS})
    return [
        PointsAwarded(
            user_id=command.user_id, amount=command.amount, rule=command.rule, source=command.source, expires_at=end
        ),
    ]


def _spend(account: Account, command: SpendPoints, case: Case) -> Decision:
    if command.amount > account.usable(case.now):
        return _insufficient(account, command, case)
    lots = account.first(command.amount, case.now)
    return [PointsSpent(user_id=command.user_id, amount=command.amount, reference=command.reference, lots=lots)]


def _insufficient(account: Account, command: SpendPoints | HoldPoints | TransferPoints, case: Case) -> Refuse:
    code, usable = "insufficient", account.usable(case.now)
    hold_id = command.hold_id if isinstance(command, HoldPoints) else None
    told = PointsSpendRejected(
        user_id=command.user_id, amount=command.amount, available=usable, code=code, hold_id=hold_id
    )
    return Refuse(code, details={"available": usable}, events=[told])


def _hold(account: Account, hold: Hold, command: HoldPoints, case: Case) -> Decision:
    if hold.status != "unknown":
        return Refuse("hold_exists")
    if command.amount > account.usable(case.now):
        return _insufficient(account, command, case)
    lots = account.first(command.amount, case.now)
    return [PointsHeld(user_id=command.user_id, hold_id=command.hold_id, amount=command.amount, lots=lots)]


def _end_hold(hold: Hold, command: CaptureHold | ReleaseHold) -> Decision:
    if hold.status == "unknown":
        return Refuse("hold_not_found", status=404)
    if hold.status != "open":
        return Refuse("hold_ended", details={"status": hold.status})
    ended = PointsHoldCaptured if isinstance(command, CaptureHold) else PointsHoldReleased
    return [ended(user_id=command.user_id, hold_id=command.hold_id, amount=hold.amount, lots=_lots(hold.lots))]


def _expire(account: Account, command: ExpirePoints, case: Case) -> Decision:
    lots = account.due(case.now)
    if not lots:
        return []
    return [PointsExpired(user_id=command.user_id, amount=sum(lot.amount for lot in lots), lots=lots)]


def _send(account: Account, transfer: Transfer, command: TransferPoints, case: Case) -> Decision:
    if transfer.status != "unknown":
        return Refuse("transfer_exists")
    if command.amount > account.usable(case.now):
        return _insufficient(account, command, case)
    started = PointsTransferStarted(
        user_id=command.user_id,
        transfer_id=command.transfer_id,
        to=command.to,
        amount=command.amount,
        note=command.note,
        command_id=case.command_id,
        lots=account.first(command.amount, case.now),
    )
    return Pending([started])


def _receive(account: Account, command: CreditTransfer) -> Decision:
    about: dict[str, Any] = {
        "user_id": command.user_id,
        "transfer_id": command.transfer_id,
        "sender": command.sender,
        "amount": command.amount,
    }
    if not account.has_room(command.amount):  # the points are in transit: they can be sent back, not refused
        return [PointsTransferDeclined(**about, code="balance_limit")]
    if not account.has_shelves(lot.expires_at for lot in command.lots):
        return [PointsTransferDeclined(**about, code="too_many_lots")]
    return [PointsTransferReceived(**about, note=command.note, lots=command.lots)]


def _end_transfer(transfer: Transfer, command: CompleteTransfer | ReturnTransfer) -> Decision:
    if transfer.status != "open":
        return Refuse("transfer_ended")
    about: dict[str, Any] = {
        "user_id": command.user_id,
        "transfer_id": command.transfer_id,
        "to": transfer.to,
        "amount": transfer.amount,
        "lots": _lots(transfer.lots),
    }
    if isinstance(command, CompleteTransfer):
        return Settle(transfer.command_id, [PointsTransferred(**about)])
    return Settle(transfer.command_id, [PointsTransferReturned(**about, code=command.code)], Refuse(command.code))


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    before = state[ROOT]
    account = _account(before, event)
    if account is before:
        return {}
    changed: dict[str, State] = {ROOT: account}
    for name in reads(event) if len(state) > 1 else ():
        changed[name] = _document(state[name], event)
    return changed


def _account(account: Account, event: Any) -> Account:
    """The account after an event, which moves what is available, held and outgoing."""
    amount = event.amount
    match event:
        case PointsAwarded() | PointsTransferReceived():
            return account.move(+amount, 0, 0, event.lots)
        case PointsSpent() | PointsExpired():
            return account.move(-amount, 0, 0, event.lots)
        case PointsHeld():
            return account.move(-amount, +amount, 0, event.lots)
        case PointsHoldCaptured():
            return account.move(0, -amount, 0, event.lots)
        case PointsHoldReleased():
            return account.move(+amount, -amount, 0, event.lots)
        case PointsTransferStarted():
            return account.move(-amount, 0, +amount, event.lots)
        case PointsTransferred():
            return account.move(0, 0, -amount, event.lots)
        case PointsTransferReturned():
            return account.move(+amount, 0, -amount, event.lots)
    return account


def _document(document: Any, event: Any) -> State:
    match event:
        case PointsAwarded():
            return Award(given=True)
        case PointsHeld():
            return Hold(event.amount, "open", _parts(event.lots))
        case PointsHoldCaptured():
            return _ended(document, "captured")
        case PointsHoldReleased():
            return _ended(document, "released")
        case PointsTransferStarted():
            return Transfer(event.to, event.amount, event.command_id, "open", _parts(event.lots))
        case PointsTransferred():
            return _ended(document, "arrived")
        case PointsTransferReturned():
            return _ended(document, "returned")
    raise NotImplementedError(event.wire_name)


def _ended(document: State, status: str) -> State:
    return replace(document, status=status)
