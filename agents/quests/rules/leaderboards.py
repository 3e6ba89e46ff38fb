"""The periods of a leaderboard: scores count until one is closed, and never after."""

from agents.quests.rules.changes import period_key, total_key
from agents.quests.rules.documents import Boards, Documents, Standings
from agents.quests.rules.story import is_closed
from streams.decision import Case, Decision, Refuse
from topics.quests import CloseLeaderboardPeriod, CountScore, LeaderboardPeriodClosed, LeaderboardUpdated, Rank


def count(state: Documents, command: CountScore, case: Case) -> Decision:
    """A user's score grows, unless the period is closed."""
    period = command.of
    if state[period_key(period.period)].status == "closed" or is_closed(period.ends_at, case.now):
        return Refuse("period_closed")
    total = state[total_key(period.period, command.user_id)]
    return [
        LeaderboardUpdated(
            leaderboard_id=command.leaderboard_id,
            of=period,
            user_id=command.user_id,
            amount=command.amount,
            score=total.score + command.amount,
            reached_at=max(total.reached_at or command.at, command.at),
        )
    ]


def close(state: Documents, boards: Boards, command: CloseLeaderboardPeriod, case: Case) -> Decision:
    """A period is over; a season that nobody has a score in may be closed too."""
    board = boards.of.get(command.leaderboard_id)
    standings: Standings = state[period_key(command.period)]
    is_season = board is not None and board.every == command.period == "season"
    if standings.status == "unknown" and not is_season:
        return Refuse("period_not_found", 404)
    if standings.status == "closed":
        return Refuse("already_closed")
    if standings.ends_at and case.now < standings.ends_at:
        return Refuse("not_over", details={"ends_at": standings.ends_at.isoformat()})
    return [
        LeaderboardPeriodClosed(
            leaderboard_id=command.leaderboard_id,
            period=command.period,
            closed_at=case.now,
            participants=standings.participants,
            top=tuple(
                Rank(rank=rank, user_id=one.user_id, score=one.score, reached_at=one.reached_at)
                for rank, one in enumerate(standings.top, 1)
            ),
            winners=standings.winners,
            badge_id=standings.badge_id,
        )
    ]
