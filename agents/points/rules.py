"""The rules of points: what a command leads to, and what an event changes."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State
from topics.points import (
    MAX_POINTS,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    HoldPoints,
    PointsAwarded,
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


class Account(State, frozen=True):
    """A user's points: free to use, held, and on their way to others, from where they may come back."""

    available: int = 0
    held: int = 0
    outgoing: int = 0

    def has_room(self, amount: int) -> bool:
        """Whether so much more can come in and the largest balance is never passed, whatever comes back."""
        return self.available + self.held + self.outgoing + amount <= MAX_POINTS

    def move(self, *, available: int = 0, held: int = 0, outgoing: int = 0) -> "Account":
        """The account after a movement."""
        return Account(self.available + available, self.held + held, self.outgoing + outgoing)


class Award(State, frozen=True):
    """Whether a rule has rewarded a source."""

    given: bool = False


class Hold(State, frozen=True):
    """Points set aside under one id."""

    amount: int = 0
    status: Literal["unknown", "open", "captured", "released"] = "unknown"


class Transfer(State, frozen=True):
    """A transfer at its sender, and the command that waits for its end."""

    to: str = ""
    amount: int = 0
    command_id: str = ""
    status: Literal["unknown", "open", "arrived", "returned"] = "unknown"


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""


def reads(message: Any) -> tuple[str, ...]:
    """The document that a command or event is about, if any, beside the account."""
    match message:
        case AwardPoints() | PointsAwarded():
            return (f"award/{message.rule}/{message.source}",) if message.rule else ()
        case HoldPoints() | CaptureHold() | ReleaseHold() | PointsHeld() | PointsHoldCaptured() | PointsHoldReleased():
            return (f"hold/{message.hold_id}",)
        case TransferPoints() | CompleteTransfer() | ReturnTransfer():
            return (f"transfer/{message.transfer_id}",)
        case PointsTransferStarted() | PointsTransferred() | PointsTransferReturned():
            return (f"transfer/{message.transfer_id}",)
    return ()


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    account: Account = state[ROOT]
    document: Any = next((state[name] for name in reads(command)), None)
    match command:
        case AwardPoints():
            return _award(account, document, command)
        case SpendPoints():
            return _spend(account, command)
        case HoldPoints():
            return _hold(account, document, command)
        case CaptureHold() | ReleaseHold():
            return _end_hold(document, command)
        case TransferPoints():
            return _send(account, document, command, case)
        case CreditTransfer():
            return _receive(account, command)
        case CompleteTransfer() | ReturnTransfer():
            return _end_transfer(document, command)
    raise NotImplementedError(command.wire_name)


def _award(account: Account, award: Award | None, command: AwardPoints) -> Decision:
    if award and award.given:
        return Refuse("already_awarded")
    if not account.has_room(command.amount):
        return Refuse("balance_limit")
    return [
        PointsAwarded(user_id=command.user_id, amount=command.amount, rule=command.rule, source=command.source),
    ]


def _spend(account: Account, command: SpendPoints) -> Decision:
    if command.amount > account.available:
        return _insufficient(account, command)
    return [PointsSpent(user_id=command.user_id, amount=command.amount, reference=command.reference)]


def _insufficient(account: Account, command: SpendPoints | HoldPoints | TransferPoints) -> Refuse:
    code, available = "insufficient", account.available
    told = PointsSpendRejected(user_id=command.user_id, amount=command.amount, available=available, code=code)
    return Refuse(code, details={"available": available}, events=[told])


def _hold(account: Account, hold: Hold, command: HoldPoints) -> Decision:
    if hold.status != "unknown":
        return Refuse("hold_exists")
    if command.amount > account.available:
        return _insufficient(account, command)
    return [PointsHeld(user_id=command.user_id, hold_id=command.hold_id, amount=command.amount)]


def _end_hold(hold: Hold, command: CaptureHold | ReleaseHold) -> Decision:
    if hold.status == "unknown":
        return Refuse("hold_not_found", status=404)
    if hold.status != "open":
        return Refuse("hold_ended", details={"status": hold.status})
    ended = PointsHoldCaptured if isinstance(command, CaptureHold) else PointsHoldReleased
    return [ended(user_id=command.user_id, hold_id=command.hold_id, amount=hold.amount)]


def _send(account: Account, transfer: Transfer, command: TransferPoints, case: Case) -> Decision:
    if transfer.status != "unknown":
        return Refuse("transfer_exists")
    if command.amount > account.available:
        return _insufficient(account, command)
    started = PointsTransferStarted(
        user_id=command.user_id,
        transfer_id=command.transfer_id,
        to=command.to,
        amount=command.amount,
        note=command.note,
        command_id=case.command_id,
    )
    return Pending([started])


def _receive(account: Account, command: CreditTransfer) -> Decision:
    user, transfer, sender, amount = command.user_id, command.transfer_id, command.sender, command.amount
    if not account.has_room(amount):  # the points are in transit: they can be sent back, not refused
        return [
            PointsTransferDeclined(
                user_id=user, transfer_id=transfer, sender=sender, amount=amount, code="balance_limit"
            )
        ]
    return [PointsTransferReceived(user_id=user, transfer_id=transfer, sender=sender, amount=amount, note=command.note)]


def _end_transfer(transfer: Transfer, command: CompleteTransfer | ReturnTransfer) -> Decision:
    user, name = command.user_id, command.transfer_id
    if transfer.status != "open":
        return Refuse("transfer_ended")
    if isinstance(command, CompleteTransfer):
        arrived = PointsTransferred(user_id=user, transfer_id=name, to=transfer.to, amount=transfer.amount)
        return Settle(transfer.command_id, [arrived])
    returned = PointsTransferReturned(
        user_id=user, transfer_id=name, to=transfer.to, amount=transfer.amount, code=command.code
    )
    return Settle(transfer.command_id, [returned], Refuse(command.code))


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    account = _account(state[ROOT], event)
    if account is state[ROOT]:
        return {}
    changed: dict[str, State] = {ROOT: account}
    for name in reads(event):
        changed[name] = _document(state[name], event)
    return changed


def _account(account: Account, event: Any) -> Account:
    amount = event.amount
    match event:
        case PointsAwarded() | PointsTransferReceived():
            return account.move(available=+amount)
        case PointsSpent():
            return account.move(available=-amount)
        case PointsHeld():
            return account.move(available=-amount, held=+amount)
        case PointsHoldCaptured():
            return account.move(held=-amount)
        case PointsHoldReleased():
            return account.move(available=+amount, held=-amount)
        case PointsTransferStarted():
            return account.move(available=-amount, outgoing=+amount)
        case PointsTransferred():
            return account.move(outgoing=-amount)
        case PointsTransferReturned():
            return account.move(available=+amount, outgoing=-amount)
    return account


def _document(document: Any, event: Any) -> State:
    match event:
        case PointsAwarded():
            return Award(given=True)
        case PointsHeld():
            return Hold(event.amount, "open")
        case PointsHoldCaptured():
            return _ended(document, "captured")
        case PointsHoldReleased():
            return _ended(document, "released")
        case PointsTransferStarted():
            return Transfer(event.to, event.amount, event.command_id, "open")
        case PointsTransferred():
            return _ended(document, "arrived")
        case PointsTransferReturned():
            return _ended(document, "returned")
    raise NotImplementedError(event.wire_name)


def _ended(document: State, status: str) -> State:
    return replace(document, status=status)
