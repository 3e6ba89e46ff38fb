"""Tiers: steps that users reach by the points that they earned, ever or in a period and the one before."""

from datetime import datetime, timedelta

from agents.points.rules.course import Course
from agents.points.rules.documents import Progress, Tiers
from agents.points.rules.reading import PROGRAM_TIERS, TIER
from streams.decision import Case, Decision, Timer
from topics.points import (
    DefineTiers,
    PointsAwarded,
    ReviewTier,
    TierDowngraded,
    TierPeriodStarted,
    TiersDefined,
    TierUpgraded,
)


def define(tiers: Tiers, command: DefineTiers) -> Decision:
    """Every definition is the next revision."""
    told = TiersDefined(
        program=command.program, tiers=command.tiers, period=command.period, revision=tiers.revision + 1
    )
    return [told]


def review(course: Course, case: Case) -> Decision:
    """End the periods that are over, and give the tier that is due."""
    tiers: Tiers = case.consulted[PROGRAM_TIERS]
    end_periods(course, tiers)
    settle(course, tiers)
    return course.events


def timer(user_id: str, progress: Progress) -> Timer | None:
    """The end of the period."""
    return None if progress.until is None else Timer(progress.until, ReviewTier(user_id=user_id))


def earn(course: Course, tiers: Tiers, awarded: PointsAwarded) -> None:
    """Points are awarded under a rule, in a period if there are any."""
    end_periods(course, tiers)
    if tiers.period and _progress(course).until is None:
        _start(course, course.now + timedelta(days=tiers.period))
    course.tell(awarded)


def end_periods(course: Course, tiers: Tiers) -> None:
    """A period is followed by the next one, at once, if anything was earned in it."""
    while (progress := _progress(course)).until is not None and (not tiers.period or progress.until <= course.now):
        goes_on = tiers.period and progress.earned
        _start(course, progress.until + timedelta(days=tiers.period or 0) if goes_on else None)


def settle(course: Course, tiers: Tiers) -> None:
    """Tell when the user has another tier by now."""
    progress = _progress(course)
    points = counted(progress, tiers)
    ids = [step.tier_id for step in tiers.steps]
    tier = next((step.tier_id for step in reversed(tiers.steps) if step.points <= points), None)
    if tier == progress.tier:
        return
    about = {"user_id": course.user_id, "previous": progress.tier, "points": points}
    rises = tier is not None and (progress.tier not in ids or ids.index(tier) > ids.index(progress.tier))
    course.tell((TierUpgraded if rises else TierDowngraded)(**about, tier=tier))


def counted(progress: Progress, tiers: Tiers) -> int:
    """The points that count for a tier."""
    return max(progress.before, progress.earned) if tiers.period else progress.ever


def _progress(course: Course) -> Progress:
    progress: Progress = course.state[TIER]
    return progress


def _start(course: Course, until: datetime | None) -> None:
    number = _progress(course).period + 1
    course.tell(TierPeriodStarted(user_id=course.user_id, period=number, until=until))
