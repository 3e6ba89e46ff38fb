"""Quests: one quest that people set out on again, experience, levels, and leaderboards of a week and of a month."""

from collections import Counter
from datetime import datetime, time, timedelta
from typing import Any

from .wallet import OK, Award, Line, Outcome, Points, no

DAY = timedelta(days=1)
LATE = DAY  # so much later something may be told that happened in time
QUEST, DAYS, LIMIT, REWARD, XP, BADGE = "round", 6, 3, 30, 100, "explorer"
ORDERED = ("meet", "shop")  # the mandatory tasks, one after the other; "train" may be done at any time
XP_OF = {"meet": 10, "shop": 0, "train": 15}
COUNT = {"meet": 1, "shop": 1, "train": 2}
WINNERS, CHAMPION = 3, "champion"


def task_of(name: str, event: Line) -> str | None:
    """The task that asks for such an event."""
    match name:
        case "meetups.participant_checked_in":
            return "meet"
        case "commerce.order_paid":
            return "shop" if event["total"] >= 500 else None
        case "fitness.workout_recorded":
            return "train"
    return None


class Run:
    """Somebody on the quest, for the `number`th time."""

    def __init__(self, number: int, began: datetime) -> None:
        self.number, self.began, self.deadline = number, began, began + DAYS * DAY
        self.times: dict[str, list[datetime]] = {task: [] for task in COUNT}
        self.done: dict[str, datetime] = {}

    @property
    def reached(self) -> datetime | None:
        """When the last mandatory task that is done was."""
        return max((self.done[task] for task in ORDERED if task in self.done), default=None)

    def next(self) -> str | None:
        """The mandatory task whose turn it is."""
        return next((task for task in ORDERED if task not in self.done), None)


class Quests:
    """Everybody who plays."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.active: dict[str, Run] = {}
        self.runs: list[tuple[str, Run]] = []
        self.completed: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.endings: list[tuple[Any, ...]] = []
        self.xp: Counter[str] = Counter()
        self.earnings: list[tuple[Any, ...]] = []
        self.badges: dict[tuple[str, str], tuple[datetime, str]] = {}
        self.boards: dict[str, datetime] = {}
        self.scores: dict[tuple[str, str], dict[str, tuple[int, datetime]]] = {}
        self.ends: dict[tuple[str, str], datetime] = {}
        self.closed: dict[tuple[str, str], datetime] = {}

    def create_badge(self, data: Line, now: datetime) -> Outcome:
        return OK

    def create_quest(self, data: Line, now: datetime) -> Outcome:
        return OK

    def publish_quest(self, data: Line, now: datetime) -> Outcome:
        return OK

    def create_leaderboard(self, data: Line, now: datetime) -> Outcome:
        self.boards[data["leaderboard_id"]] = now
        return OK

    def start_quest(self, data: Line, now: datetime) -> Outcome:
        user = data["user_id"]
        if user in self.active:
            return no("already_started")
        if self.completed[user] >= LIMIT:
            return no("limit_reached")
        self.begun[user] += 1
        run = self.active[user] = Run(self.begun[user], now)
        self.runs.append((user, run))
        return OK

    def abandon_quest(self, data: Line, now: datetime) -> Outcome:
        if (run := self.active.pop(data["user_id"], None)) is None:
            return no("quest_not_started")
        self.endings.append((data["user_id"], run.number, "abandoned", now))
        return OK

    # -- what counts

    def happened(self, name: str, event: Line, at: datetime, now: datetime) -> None:
        """It may be what a task asks for."""
        user, task = event["user_id"], task_of(name, event)
        run = self.active.get(user)
        if run is None or task is None or task in run.done or not run.began <= at < run.deadline:
            return
        if task in ORDERED and run.reached and at <= run.reached:
            return
        run.times[task] = sorted([*run.times[task], at])
        if task == "train" and len(run.times["train"]) >= COUNT["train"]:
            self._done(user, run, "train", run.times["train"][COUNT["train"] - 1], now)
        while turn := run.next():
            times = [one for one in run.times[turn] if run.reached is None or one > run.reached]
            if len(times) < COUNT[turn]:
                return
            self._done(user, run, turn, times[COUNT[turn] - 1], now)
        self._complete(user, run, now)

    def _done(self, user: str, run: Run, task: str, at: datetime, now: datetime) -> None:
        run.done[task] = at
        if XP_OF[task]:
            self._earn(user, XP_OF[task], "task", f"{QUEST}:{run.number}:{task}", at)

    def _complete(self, user: str, run: Run, now: datetime) -> None:
        at = run.reached
        assert at
        del self.active[user]
        self.completed[user] += 1
        self.endings.append((user, run.number, "completed", at))
        self._earn(user, XP, "quest", f"{QUEST}:{run.number}", at)
        self.badges.setdefault((user, BADGE), (now, f"quest:{QUEST}:{run.number}"))
        self.points.earn(user, f"quest:{QUEST}", str(run.number), Award(REWARD), now, "*")

    def _earn(self, user: str, amount: int, kind: str, about: str, at: datetime) -> None:
        self.xp[user] += amount
        self.earnings.append((user, at, amount, kind, about))
        for board in self.boards:
            name, ends = period_of(board, at)
            if (board, name) in self.closed:
                continue
            self.ends[board, name] = ends
            scores = self.scores.setdefault((board, name), {})
            score, since = scores.get(user, (0, at))
            scores[user] = score + amount, max(since, at)

    def tick(self, now: datetime) -> None:
        """Quests and periods that are over."""
        for user, run in [*self.active.items()]:
            if now >= run.deadline + LATE:
                del self.active[user]
                self.endings.append((user, run.number, "expired", now))
        for (board, name), ends in self.ends.items():
            if (board, name) not in self.closed and now >= ends + LATE:
                self.closed[board, name] = now
                for user in self.ranked(board, name)[:WINNERS] if board == "weekly" else ():
                    self.badges.setdefault((user, CHAMPION), (now, f"leaderboard:{board}:{name}"))

    def ranked(self, board: str, name: str) -> list[str]:
        """Everybody who has a score: the best first, and of equals who was there first."""
        scores = self.scores[board, name]
        return sorted(scores, key=lambda user: (-scores[user][0], scores[user][1], user))

    def tables(self) -> dict[str, list[Any]]:
        periods = self.scores.items()
        return {
            "quests.run": [[user, run.number, run.began, run.deadline] for user, run in self.runs],
            "quests.task": [[user, run.number, task, run.done.get(task)] for user, run in self.runs for task in COUNT],
            "quests.ending": [list(one) for one in self.endings],
            "quests.player": [[user, xp, level_of(xp)] for user, xp in self.xp.items()],
            "quests.earning": [list(one) for one in self.earnings],
            "quests.badge_held": [[*place, *told] for place, told in self.badges.items()],
            "quests.score": [[*place, user, *told] for place, scores in periods for user, told in scores.items()],
            "quests.period": [
                [*place, "closed" if place in self.closed else "open", len(scores), self.closed.get(place)]
                for place, scores in periods
            ],
        }


def period_of(board: str, at: datetime) -> tuple[str, datetime]:
    """The name and the end of the week or month of a time."""
    midnight = datetime.combine(at.date(), time(), at.tzinfo)
    if board == "weekly":
        year, week, weekday = at.isocalendar()
        return f"{year}-W{week:02}", midnight + (8 - weekday) * DAY
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=at.tzinfo)
    return f"{at:%Y-%m}", following


def level_of(xp: int) -> int:
    """The second level begins with 100, the third with 300, the next with 600."""
    level, step = 1, 100
    while xp >= step:
        xp, step, level = xp - step, step + 100, level + 1
    return level
