"""What users do with points: awards by hand, spending, holds, transfers, and what happens when their time has come."""

from typing import Any

from agents.points.rules.course import Course
from agents.points.rules.documents import MAX_LOTS, Account, Documents, Hold, Transfer, lots_of
from agents.points.rules.reading import PROGRAM_TIERS, reads
from agents.points.rules.tiers import earn, settle
from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, Timer
from topics.points import (
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    ExpirePoints,
    HoldPoints,
    PointsAwarded,
    PointsExpired,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsOwedCollected,
    PointsSpendRejected,
    PointsSpent,
    PointsTransferDeclined,
    PointsTransferReceived,
    PointsTransferred,
    PointsTransferReturned,
    PointsTransferStarted,
    PointsUnlocked,
    ReleaseHold,
    ReturnTransfer,
    SpendPoints,
    TransferPoints,
)


def award(state: Documents, command: AwardPoints, case: Case) -> Decision:
    """Give points by hand, or because another domain says so; under a rule they are earned, once for a source."""
    account: Account = state[ROOT]
    if command.rule and _was_given(state, command):
        return Refuse("already_awarded")
    if not account.has_room(command.amount):
        return Refuse("balance_limit")
    end = command.expires_at
    if end is not None and end <= case.now:
        return Refuse("already_expired", status=422)
    if end is not None and not account.has_shelves([end]):
        return Refuse("too_many_lots", details={"most": MAX_LOTS})
    awarded = PointsAwarded(
        user_id=command.user_id, amount=command.amount, rule=command.rule, source=command.source, expires_at=end
    )
    if not command.rule:
        return [awarded]
    course, tiers = Course(command.user_id, state, case.now), case.consulted[PROGRAM_TIERS]
    earn(course, tiers, awarded)
    settle(course, tiers)
    return course.events


def _was_given(state: Documents, command: AwardPoints) -> bool:
    source, _, award = (state[name] for name in reads(command))
    return award.given or command.rule in source.awards


def spend(state: Documents, command: SpendPoints, case: Case) -> Decision:
    """Spend what is free to use, once under an id."""
    account: Account = state[ROOT]
    if command.spend_id and state[reads(command)[0]].amount:
        return Refuse("spend_exists")
    if command.amount > account.usable(case.now):
        return _insufficient(account, command, case)
    lots = account.first(command.amount, case.now)
    told = PointsSpent(
        user_id=command.user_id,
        amount=command.amount,
        reference=command.reference,
        spend_id=command.spend_id,
        lots=lots,
    )
    return [told]


def _insufficient(account: Account, command: SpendPoints | HoldPoints | TransferPoints, case: Case) -> Refuse:
    code, usable = "insufficient", account.usable(case.now)
    hold_id = command.hold_id if isinstance(command, HoldPoints) else None
    told = PointsSpendRejected(
        user_id=command.user_id, amount=command.amount, available=usable, code=code, hold_id=hold_id
    )
    return Refuse(code, details={"available": usable}, events=[told])


def hold(state: Documents, command: HoldPoints, case: Case) -> Decision:
    """Set aside what is free to use."""
    account, (name,) = state[ROOT], reads(command)
    if state[name].status != "unknown":
        return Refuse("hold_exists")
    if command.amount > account.usable(case.now):
        return _insufficient(account, command, case)
    lots = account.first(command.amount, case.now)
    return [PointsHeld(user_id=command.user_id, hold_id=command.hold_id, amount=command.amount, lots=lots)]


def end_hold(state: Documents, command: CaptureHold | ReleaseHold) -> Decision:
    """Spend what was held, or free it."""
    hold: Hold = state[reads(command)[0]]
    if hold.status == "unknown":
        return Refuse("hold_not_found", status=404)
    if hold.status != "open":
        return Refuse("hold_ended", details={"status": hold.status})
    ended = PointsHoldCaptured if isinstance(command, CaptureHold) else PointsHoldReleased
    return [ended(user_id=command.user_id, hold_id=command.hold_id, amount=hold.amount, lots=lots_of(hold.lots))]


def expire(state: Documents, command: ExpirePoints, case: Case) -> Decision:
    """Take away what has expired."""
    lots = state[ROOT].due(case.now)
    if not lots:
        return []
    return [PointsExpired(user_id=command.user_id, amount=sum(lot.amount for lot in lots), lots=lots)]


def send(state: Documents, command: TransferPoints, case: Case) -> Decision:
    """Send what is free to use on its way."""
    account, (name,) = state[ROOT], reads(command)
    if state[name].status != "unknown":
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


def receive(account: Account, command: CreditTransfer) -> Decision:
    """Take what was sent, or say why not."""
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


def end_transfer(state: Documents, command: CompleteTransfer | ReturnTransfer) -> Decision:
    """Tell the sender how it ended."""
    transfer: Transfer = state[reads(command)[0]]
    if transfer.status != "open":
        return Refuse("transfer_ended")
    about: dict[str, Any] = {
        "user_id": command.user_id,
        "transfer_id": command.transfer_id,
        "to": transfer.to,
        "amount": transfer.amount,
        "lots": lots_of(transfer.lots),
    }
    if isinstance(command, CompleteTransfer):
        return Settle(transfer.command_id, [PointsTransferred(**about)])
    return Settle(transfer.command_id, [PointsTransferReturned(**about, code=command.code)], Refuse(command.code))


def timer(user_id: str, account: Account) -> Timer | None:
    """An account's time comes when the first of its points expire or are unlocked; those that are held or on their way wait until they are back."""
    times = [lock.unlocks_at for lock in account.pending[:1]]
    times += [shelf.expires_at for shelf in account.shelves if shelf.free][:1]
    return Timer(min(times), ExpirePoints(user_id=user_id)) if times else None


def unlock(course: Course) -> None:
    """What was pending until now is available."""
    while (locks := course.account.pending) and locks[0].unlocks_at <= course.now:
        at, amount, lots = locks[0].unlocks_at, locks[0].amount, lots_of(locks[0].lots)
        course.tell(PointsUnlocked(user_id=course.user_id, amount=amount, unlocks_at=at, lots=lots))


def collect(course: Course) -> None:
    """What the user owes is taken of what is free to use."""
    account = course.account
    if amount := min(account.owed, account.usable(course.now)):
        lots = account.first(amount, course.now)
        course.tell(PointsOwedCollected(user_id=course.user_id, amount=amount, lots=lots))
