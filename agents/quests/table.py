"""What is known of each player, of what is defined, and of each period of a leaderboard."""

from agents.quests.rules.documents import (
    BADGE,
    CHALLENGE,
    ENTRIES,
    LEADERBOARDS,
    PERIOD,
    QUEST,
    RECORD,
    RUNS,
    STREAK_RULES,
    STREAKS,
    TOTAL,
    Badge,
    Boards,
    Challenge,
    Entries,
    Player,
    Quest,
    Record,
    Runs,
    Standings,
    StreakRules,
    Streaks,
    Total,
)
from streams.decision import ROOT
from streams.table import Table

PLAYERS = Table(
    "quests",
    {
        ROOT: Player,
        RUNS: Runs,
        RECORD: Record,
        ENTRIES: Entries,
        STREAKS: Streaks,
        QUEST: Quest,
        BADGE: Badge,
        CHALLENGE: Challenge,
        STREAK_RULES: StreakRules,
        LEADERBOARDS: Boards,
        PERIOD: Standings,
        TOTAL: Total,
    },
)
"""A player stands at the root of their id. Definitions and periods are in documents of their own, since their ids might be somebody's."""
