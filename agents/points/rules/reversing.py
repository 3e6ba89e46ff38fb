"""What is taken back, given back or put right."""

from datetime import datetime

from agents.points.rules.course import Course
from agents.points.rules.documents import Account, Given, Hold, Parts, Source, Spend, Tiers
from agents.points.rules.reading import PROGRAM_TIERS, reversed_in
from agents.points.rules.tiers import end_periods, settle
from streams.decision import Case, Decision, Refuse
from topics.points import (
    AdjustPoints,
    Lot,
    Lots,
    PointsAdjusted,
    PointsReversed,
    PointsSourceRefunded,
    RefundSource,
    ReversePointsEntry,
)

REFUNDED = "The money was refunded."


def adjust(account: Account, command: AdjustPoints, case: Case) -> Decision:
    """Put a balance right."""
    if command.amount > 0 and not account.has_room(command.amount):
        return Refuse("balance_limit")
    if -command.amount > (usable := account.usable(case.now)):
        return Refuse("insufficient", details={"available": usable})
    lots = account.first(max(0, -command.amount), case.now)
    return [PointsAdjusted(user_id=command.user_id, amount=command.amount, reason=command.reason, lots=lots)]


def reverse(course: Course, command: ReversePointsEntry, case: Case) -> Decision:
    """An entry is taken back once, and never more of it than there was."""
    entry = course.state[reversed_in(command.entry)[0]]
    if isinstance(entry, Source):
        entry = entry.awards.get(command.entry.split("/")[1], Given())
    if entry.amount == 0 or (isinstance(entry, Hold) and entry.status != "captured"):
        return Refuse("entry_not_found", status=404)
    if entry.reversed:
        return Refuse("already_reversed", details={"reversed": entry.reversed})
    amount = command.amount or entry.amount
    if amount > entry.amount:
        return Refuse("more_than_entry", details={"amount": entry.amount})
    if isinstance(entry, Given):
        tiers: Tiers = case.consulted[PROGRAM_TIERS]
        end_periods(course, tiers)
        _take_back(course, command.entry, entry, amount, command.reason)
        settle(course, tiers)
        return course.events
    return _give_back(course, command, entry, amount)


def refund(course: Course, command: RefundSource, case: Case) -> Decision:
    """Of what was awarded for the source, as large a part is taken back in all as of the money."""
    source: Source = course.state[f"source/{command.source}"]
    awards = {
        rule: given for rule, given in sorted(source.awards.items()) if given.event == command.event and given.base
    }
    if not awards:
        return []
    tiers: Tiers = case.consulted[PROGRAM_TIERS]
    end_periods(course, tiers)
    course.tell(PointsSourceRefunded(user_id=command.user_id, source=command.source, amount=command.amount))
    refunded = source.refunded + command.amount
    for rule, given in awards.items():
        due = given.amount * min(refunded, given.base) // given.base - given.reversed
        if due > 0:
            _take_back(course, f"award/{rule}/{command.source}", given, due, REFUNDED)
    settle(course, tiers)
    return course.events


def _take_back(course: Course, entry: str, given: Given, amount: int, reason: str) -> None:
    """Of an award: what is pending of it is there; else it is taken of what is free to use, and the rest is owed."""
    account, owed = course.account, 0
    lots: Lots = ()
    unlocks_at = given.unlocks_at if given.unlocks_at and given.unlocks_at > course.now else None
    if unlocks_at is None:
        owed = max(0, amount - account.usable(course.now))
        lots = account.first(amount - owed, course.now)
    elif given.expires_at:
        lots = (Lot(expires_at=given.expires_at, amount=amount),)
    told = PointsReversed(
        user_id=course.user_id,
        entry=entry,
        amount=amount,
        reason=reason,
        owed=owed,
        unlocks_at=unlocks_at,
        lots=lots,
    )
    course.tell(told)


def _give_back(course: Course, command: ReversePointsEntry, entry: Hold | Spend, amount: int) -> Decision:
    """Of what was spent: first what does not expire, then what expires last."""
    account = course.account
    if not account.has_room(amount):
        return Refuse("balance_limit")
    lots = _shelved(account, _last(entry.lots, entry.amount, amount))
    return [
        PointsReversed(user_id=command.user_id, entry=command.entry, amount=amount, reason=command.reason, lots=lots)
    ]


def _last(lots: Parts, whole: int, amount: int) -> Parts:
    """What of this amount, a part of the whole, expires, if it is of what expires last."""
    left = amount - (whole - sum(part for _, part in lots))
    taken = []
    for at, part in reversed(lots):
        if left > 0:
            taken.append((at, min(left, part)))
        left -= part
    return tuple(reversed(taken))


def _shelved(account: Account, parts: Parts) -> Lots:
    """Where they have room; what has not does not expire."""
    found: dict[datetime, int] = {}
    for at, amount in parts:
        if end := account.shelf_for(at):
            found[end] = found.get(end, 0) + amount
    return tuple(Lot(expires_at=at, amount=amount) for at, amount in sorted(found.items()))
