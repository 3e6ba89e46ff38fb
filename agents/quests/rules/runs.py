"""Players on quests: they set out, do the tasks in their order, show what they did, complete, give up or run out of time."""

from datetime import datetime
from math import asin, cos, radians, sin, sqrt
from typing import Any

from agents.quests.rules.changes import NOT_ACCEPTED
from agents.quests.rules.documents import PARTIES, RECORD, RUNS, Documents, Place, Quest, QuestTerms, Run, Task
from agents.quests.rules.story import Story, contract_of, matches, refused
from streams.decision import ROOT, Case, Decision, Refuse
from topics.quests import (
    AbandonQuest,
    ExpireQuest,
    Position,
    QuestAbandoned,
    QuestCompleted,
    QuestExpired,
    QuestStarted,
    QuestTaskCompleted,
    QuestTaskProgressed,
    QuestTaskRejected,
    QuestTaskSubmitted,
    RejectTask,
    StartQuest,
    SubmitTaskProof,
    VerifyTask,
)

EARTH = 6_371_000  # metres, its mean radius
MOST_RUNS = 20  # quests that a player is on at once


def start(state: Documents, quest: Quest, command: StartQuest, case: Case) -> Decision:
    """Set out by the terms that are published now."""
    terms = quest.live
    if terms is None:
        return Refuse("quest_not_found", 404)
    if terms.group:
        return Refuse("group_quest")
    if refusal := unavailable(quest, terms, case.now) or unready(state, terms, command.quest_id):
        return refusal
    about = run_terms(command.quest_id, quest.live_revision, quest.author_id, terms, case.now)
    return [started(state, command.user_id, about, case.now)]


def run_terms(quest_id: str, revision: int, author_id: str, terms: QuestTerms, now: datetime) -> dict[str, Any]:
    """By what users are on a quest who start it now."""
    return {
        "quest_id": quest_id,
        "revision": revision,
        "author_id": author_id,
        "name": terms.name,
        "tasks": contract_of(terms.tasks),
        "limit": terms.limit,
        "deadline": terms.deadline(now),
        "xp": terms.xp,
        "points": terms.points,
        "badge_id": terms.badge_id,
    }


def started(state: Documents, user_id: str, terms: dict[str, Any], now: datetime, party: Any = None) -> QuestStarted:
    """The user is on the quest for one more time."""
    run = state[RECORD].begun.get(terms["quest_id"], 0) + 1
    return QuestStarted(user_id=user_id, run=run, started_at=now, party=party, **terms)


def unavailable(quest: Quest, terms: QuestTerms, now: datetime) -> Refuse | None:
    """Why nobody starts the quest now, if so."""
    if quest.status == "archived":
        return Refuse("quest_archived")
    if terms.starts_at and now < terms.starts_at:
        return Refuse("quest_not_begun", details={"starts_at": terms.starts_at.isoformat()})
    return Refuse("quest_over") if terms.is_over(now) else None


def unready(state: Documents, terms: QuestTerms, quest_id: str) -> Refuse | None:
    """Why this player does not start it, if so."""
    active, record, seats = state[RUNS].active, state[RECORD], state[PARTIES].seats
    if quest_id in active:
        return Refuse("already_started")
    if quest_id in seats:
        return Refuse("in_party")
    if record.completed.get(quest_id, 0) >= terms.limit:
        return Refuse("limit_reached", details={"limit": terms.limit})
    if missing := [name for name in terms.requires if name not in record.completed]:
        return Refuse("prerequisites_missing", details={"missing": missing})
    if state[ROOT].level < terms.min_level:
        return Refuse("level_too_low", details={"level": state[ROOT].level, "min_level": terms.min_level})
    if len({*active, *seats}) >= MOST_RUNS:
        return Refuse("too_many_quests", details={"most": MOST_RUNS})
    return None


def observe(story: Story, event: str, at: datetime, facts: dict[str, Any]) -> None:
    """Something happened at `at`: it counts for the tasks that ask for it, of each quest at most for one mandatory task."""
    for quest_id, run in story.runs.active.items():
        if run.is_over(story.now):
            continue
        for task in run.tasks:
            if _counts(run, task, event, at) and matches(task.condition, facts):
                about = {"user_id": story.user_id, "quest_id": quest_id, "run": run.run, "task_id": task.task_id}
                story.tell(QuestTaskProgressed(**about, at=at))
        _advance(story, quest_id)


def _counts(run: Run, task: Task, event: str, at: datetime) -> bool:
    """Whether such an event at this time may count for the task: a mandatory one comes after the tasks before it, as far as they are done."""
    if task.event != event or run.of(task).done_at or not run.is_in_time(task, at):
        return False
    return task.optional or run.reached is None or at > run.reached


def _advance(story: Story, quest_id: str) -> None:
    """Complete the tasks for which enough has happened, and the quest when the last mandatory one is done."""
    run = story.runs.active[quest_id]
    for task in run.tasks:
        if task.optional and task.event and not run.of(task).done_at and len(run.of(task).times) >= task.count:
            complete_task(story, quest_id, task, run.of(task).times[task.count - 1])
    while current := (run := story.runs.active[quest_id]).current:
        times = [at for at in run.of(current).times if run.reached is None or at > run.reached]
        if current.event is None or len(times) < current.count:
            return
        complete_task(story, quest_id, current, times[current.count - 1])
    _complete(story, quest_id, run)


def complete_task(story: Story, quest_id: str, task: Task, at: datetime, verifier_id: str | None = None) -> None:
    """The task was done at `at`."""
    run = story.runs.active[quest_id].run
    about = {"user_id": story.user_id, "quest_id": quest_id, "run": run, "task_id": task.task_id}
    story.tell(QuestTaskCompleted(**about, done_at=at, verifier_id=verifier_id))
    story.award_xp(task.xp, "task", f"{quest_id}:{run}:{task.task_id}", at)


def _complete(story: Story, quest_id: str, run: Run) -> None:
    at = run.reached
    assert at is not None, "a quest that can be started has a mandatory task"
    alone = run.party is None
    completed = QuestCompleted(
        user_id=story.user_id,
        quest_id=quest_id,
        run=run.run,
        revision=run.revision,
        points=run.points if alone else 0,
        xp=run.xp if alone else 0,
        badge_id=run.badge_id if alone else None,
        completed_at=at,
        party=contract_of(run.party),
    )
    story.tell(completed)
    story.award_xp(completed.xp, "quest", f"{quest_id}:{run.run}", at)
    story.award_badge(completed.badge_id, f"quest:{quest_id}:{run.run}")


def submit(story: Story, command: SubmitTaskProof) -> Decision:
    """A proof is good at once where being there is enough, or waits for its verifier."""
    quest_id = command.quest_id
    run = story.runs.active.get(quest_id)
    if run is None:
        return _not_taken(command, None, "quest_not_started", 404)
    task = run.task(command.task_id)
    if task is None:
        return _not_taken(command, run, "unknown_task", 404)
    if reason := _untimely(run, task, story.now) or _astray(task.place, command.position):
        return _not_taken(command, run, reason)
    if task.proof == "automatic":
        complete_task(story, quest_id, task, story.now)
        _advance(story, quest_id)
    else:
        story.tell(
            QuestTaskSubmitted(
                user_id=story.user_id,
                quest_id=quest_id,
                run=run.run,
                task_id=task.task_id,
                author_id=run.author_id,
                text=command.text,
                media_id=command.media_id,
                submitted_at=story.now,
            )
        )
    return story.events


def _untimely(run: Run, task: Task, now: datetime) -> str | None:
    """Why no proof of the task is taken now, if so."""
    if task.proof is None:
        return "no_proof_wanted"
    if run.of(task).done_at:
        return "task_done"
    if run.of(task).submitted_at:
        return "already_submitted"
    if task.opens and now < task.opens:
        return "too_early"
    if not run.is_in_time(task, now):
        return "too_late"
    return "out_of_order" if not task.optional and task is not run.current else None


def _astray(place: Place | None, position: Position | None) -> str | None:
    """Why a proof is not taken where it was given, if so."""
    if place is None:
        return None
    if position is None:
        return "position_missing"
    return "too_far" if distance(place, position) > place.radius_m else None


def distance(one: Any, other: Any) -> float:
    """Metres between two points on the earth, taken as a sphere."""
    lat_1, lon_1, lat_2, lon_2 = map(radians, (one.lat, one.lon, other.lat, other.lon))
    half = sin((lat_2 - lat_1) / 2) ** 2 + cos(lat_1) * cos(lat_2) * sin((lon_2 - lon_1) / 2) ** 2
    return 2 * EARTH * asin(sqrt(min(1.0, half)))


def _not_taken(command: SubmitTaskProof, run: Run | None, reason: str, status: int = 409) -> Refuse:
    about = {"user_id": command.user_id, "quest_id": command.quest_id, "task_id": command.task_id}
    return refused(reason, QuestTaskRejected(**about, reason=reason, run=run.run if run else None), status)


def judge(story: Story, command: VerifyTask | RejectTask) -> Decision:
    """The author of the quest says whether a proof is good."""
    run = story.runs.active.get(command.quest_id)
    task = run.task(command.task_id) if run else None
    if run is None or task is None:
        return Refuse("submission_not_found", 404)
    if command.verifier_id == command.user_id:
        return Refuse("own_task", 403)
    if command.verifier_id != run.author_id:
        return Refuse("not_verifier", 403)
    at = run.of(task).submitted_at
    if at is None or run.of(task).done_at:
        return Refuse("not_submitted")
    if isinstance(command, VerifyTask):
        complete_task(story, command.quest_id, task, at, command.verifier_id)
        _advance(story, command.quest_id)
        return story.events
    return [
        QuestTaskRejected(
            user_id=command.user_id,
            quest_id=command.quest_id,
            task_id=command.task_id,
            reason=NOT_ACCEPTED,
            run=run.run,
            verifier_id=command.verifier_id,
            note=command.note,
        )
    ]


def end(state: Documents, command: AbandonQuest | ExpireQuest, case: Case) -> Decision:
    """A quest ends without being completed."""
    run = state[RUNS].active.get(command.quest_id)
    if run is None:
        return Refuse("quest_not_started", 404)
    about = {"user_id": command.user_id, "quest_id": command.quest_id, "run": run.run, "party": contract_of(run.party)}
    if isinstance(command, AbandonQuest):
        return [QuestAbandoned(**about)]
    if command.run != run.run or not run.is_over(case.now):
        return Refuse("not_due")
    return [QuestExpired(**about)]
