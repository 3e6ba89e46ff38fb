"""Challenges: players join, score by what happens, reach the goal or leave."""

from datetime import datetime
from typing import Any

from agents.quests.rules.documents import ENTRIES, Challenge, Documents, Entry
from agents.quests.rules.story import Story, contract_of, matches, score_of
from streams.decision import Case, Decision, Refuse
from topics.quests import (
    MAX_SCORE,
    ChallengeCompleted,
    ChallengeJoined,
    ChallengeLeft,
    ChallengeScored,
    JoinChallenge,
    LeaveChallenge,
)

MOST_ENTRIES = 20  # challenges that a player is in at once


def join(state: Documents, challenge: Challenge, command: JoinChallenge, case: Case) -> Decision:
    """Take part by the terms of the challenge."""
    terms = challenge.terms
    if terms is None:
        return Refuse("challenge_not_found", 404)
    if case.now >= terms.ends_at:
        return Refuse("challenge_over")
    entries = state[ENTRIES].of
    if entry := entries.get(command.challenge_id):
        return Refuse("already_left" if entry.left else "already_joined")
    if sum(not entry.is_over(case.now) for entry in entries.values()) >= MOST_ENTRIES:
        return Refuse("too_many_challenges", details={"most": MOST_ENTRIES})
    about = {"user_id": command.user_id, "challenge_id": command.challenge_id, "joined_at": case.now}
    return [ChallengeJoined(**about, **contract_of(terms))]


def leave(state: Documents, command: LeaveChallenge, case: Case) -> Decision:
    """Take part no more; a challenge that is over stays as it is."""
    entry = state[ENTRIES].of.get(command.challenge_id)
    if entry is None or entry.left:
        return Refuse("not_joined", 404)
    if case.now >= entry.terms.ends_at:
        return Refuse("challenge_over")
    return [ChallengeLeft(user_id=command.user_id, challenge_id=command.challenge_id)]


def observe(story: Story, event: str, at: datetime, facts: dict[str, Any]) -> None:
    """Something happened at `at`: it scores in the challenges that ask for it."""
    for challenge_id, entry in story.state[ENTRIES].of.items():
        terms = entry.terms
        if entry.left or entry.is_over(story.now) or terms.event != event or not entry.begins <= at < terms.ends_at:
            continue
        if matches(terms.condition, facts):
            amount = min(score_of(terms.score, facts), MAX_SCORE - entry.score)
            if amount:
                _score(story, challenge_id, entry, amount, at)


def _score(story: Story, challenge_id: str, entry: Entry, amount: int, at: datetime) -> None:
    about = {"user_id": story.user_id, "challenge_id": challenge_id}
    score, reached_at = entry.score + amount, max(entry.reached_at or at, at)
    story.tell(ChallengeScored(**about, amount=amount, score=score, at=at, reached_at=reached_at))
    goal = entry.terms.goal
    if goal and score >= goal and not entry.completed:
        story.tell(ChallengeCompleted(**about, score=score, completed_at=reached_at))
        story.award_xp(entry.terms.xp, "challenge", challenge_id, reached_at)
        story.award_badge(entry.terms.badge_id, f"challenge:{challenge_id}")
