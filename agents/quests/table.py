"""What is known of each player, of what is defined, and of each period of a leaderboard."""

from agents.quests.rules.documents import (
    BADGE,
    CHALLENGE,
    ENTRIES,
    LEADERBOARDS,
    PARTIES,
    PARTY,
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
    Parties,
    Party,
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
        PARTIES: Parties,
        PARTY: Party,
    },
)
"""A player stands at the root of their id. Definitions and periods are in documents of their own, since their ids might be somebody's."""
