"""Streaks: what happens day by day (UTC), however late and in whatever order it is told, as long as the day can still count."""

from datetime import date, datetime
from typing import Any

from agents.quests.rules.documents import STREAKS, Documents, Streak, StreakReward, StreakRules, settled_at
from agents.quests.rules.story import Story, matches
from streams.decision import Case, Decision
from topics.quests import BreakStreaks, StreakBroken, StreakExtended


def observe(story: Story, rules: StreakRules, event: str, at: datetime, facts: dict[str, Any]) -> None:
    """Something happened at `at`: its day counts for the streaks that ask for it, once."""
    day = at.date()
    if story.now >= settled_at(day):
        return
    for streak_id, rule in rules.of.items():
        streak = _of(story, streak_id)
        if rule.active and rule.event == event and not streak.has(day) and matches(rule.condition, facts):
            for told in _broken(story.user_id, streak_id, streak, story.now):
                story.tell(told)
            _extend(story, streak_id, rule.rewards, day, at)


def _extend(story: Story, streak_id: str, rewards: tuple[StreakReward, ...], day: date, at: datetime) -> None:
    """One more day; what the longer of the spans that it joins had not reached is rewarded."""
    streak = _of(story, streak_id)
    before = max((span.length for span in streak.touching(day)), default=0)
    length = streak.with_day(day).length
    story.tell(StreakExtended(user_id=story.user_id, streak_id=streak_id, day=day, length=length))
    for reward in rewards:
        if before < reward.days <= length:
            source = f"{streak_id}:{reward.days}"
            story.award_xp(reward.xp, "streak", source, at)
            story.award_badge(reward.badge_id, f"streak:{source}")


def _of(story: Story, streak_id: str) -> Streak:
    found: Streak = story.state[STREAKS].of.get(streak_id, Streak())
    return found


def break_due(state: Documents, command: BreakStreaks, case: Case) -> Decision:
    """Tell which streaks have ended."""
    streaks = state[STREAKS].of
    return [told for name, streak in streaks.items() for told in _broken(command.user_id, name, streak, case.now)]


def _broken(user_id: str, streak_id: str, streak: Streak, now: datetime) -> list[StreakBroken]:
    about = {"user_id": user_id, "streak_id": streak_id}
    return [
        StreakBroken(**about, first=span.first, last=span.last, length=span.length)
        for span in streak.spans
        if now >= span.due
    ]
