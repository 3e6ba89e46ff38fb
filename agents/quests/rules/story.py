"""A decision of several events, each of which the next one follows from; and what players earn in it."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from agents.quests.rules.changes import evolve
from agents.quests.rules.documents import LEADERBOARDS, RECORD, RUNS, Board, Boards, Player, Record, Runs
from streams.condition import ConditionError, holds, number
from streams.decision import ROOT, Case, Refuse
from topics.quests import LATE, PROGRAM, BadgeAwarded, LevelReached, Period, XpAwarded, XpSource

BOARDS = f"{PROGRAM}/{LEADERBOARDS}"


class Story:
    """What happens to one player because of one command; `now` is its time."""

    def __init__(self, state: Any, user_id: str, case: Case) -> None:
        """Nothing has happened."""
        self.state: dict[str, Any] = dict(state)
        self.user_id, self.now, self._consulted = user_id, case.now, case.consulted
        self.events: list[Any] = []

    @property
    def runs(self) -> Runs:
        """What the player is on by now."""
        found: Runs = self.state[RUNS]
        return found

    @property
    def player(self) -> Player:
        """What the player has earned by now."""
        found: Player = self.state[ROOT]
        return found

    def tell(self, event: Any) -> None:
        """Let it happen."""
        self.events.append(event)
        self.state.update(evolve(self.state, event))

    def award_xp(self, amount: int, source: XpSource, source_id: str, at: datetime) -> None:
        """Experience is earned, and perhaps a level; it counts for the leaderboards that rank such experience."""
        if not amount:
            return
        before = self.player
        boards: Boards = self._consulted[BOARDS]
        self.tell(
            XpAwarded(
                user_id=self.user_id,
                amount=amount,
                xp=before.xp + amount,
                source=source,
                source_id=source_id,
                at=at,
                periods=tuple(
                    period
                    for name, board in boards.of.items()
                    if board.created_at <= at and (not board.sources or source in board.sources)
                    if not is_closed((period := period_of(name, board, at)).ends_at, self.now)
                ),
            )
        )
        if self.player.level > before.level:
            self.tell(LevelReached(user_id=self.user_id, level=self.player.level, xp=self.player.xp))

    def award_badge(self, badge_id: str | None, source: str) -> None:
        """The badge is theirs, if there is one and they do not hold it."""
        record: Record = self.state[RECORD]
        if badge_id and badge_id not in record.badges:
            self.tell(BadgeAwarded(user_id=self.user_id, badge_id=badge_id, source=source))


def is_closed(ends_at: datetime | None, now: datetime) -> bool:
    """Whether a period that ends then takes nothing any more."""
    return ends_at is not None and now >= ends_at + LATE


def period_of(leaderboard_id: str, board: Board, at: datetime) -> Period:
    """The period of a leaderboard at a time, named by the calendar (UTC)."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    end: datetime | None
    match board.every:
        case "day":
            name, end = f"{day:%Y-%m-%d}", day + timedelta(days=1)
        case "week":
            name, end = f"{day:%G-W%V}", day + timedelta(days=8 - day.isoweekday())
        case "month":
            name, end = f"{day:%Y-%m}", (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        case "season":
            name, end = "season", None
    about = {"leaderboard_id": leaderboard_id, "period": name, "ends_at": end}
    return Period(**about, top=board.top, winners=board.winners, badge_id=board.badge_id)


def matches(condition: str | None, facts: dict[str, Any]) -> bool:
    """Whether a condition holds; what it cannot tell of this event does not."""
    try:
        return condition is None or holds(condition, facts)
    except ConditionError:
        return False


def score_of(formula: str, facts: dict[str, Any]) -> int:
    """What an event is worth; nothing where the formula cannot tell."""
    try:
        return max(0, number(formula, facts))
    except ConditionError:
        return 0


def contract_of(document: Any) -> Any:
    """A part of a document as contracts take it."""
    return msgspec.to_builtins(document, builtin_types=(datetime,))


def refused(reason: str, told: Any = None, status: int = 409, **details: Any) -> Refuse:
    """A refusal by name, with the fact that tells it if there is one."""
    return Refuse(reason, status, details, [told] if told else [])
