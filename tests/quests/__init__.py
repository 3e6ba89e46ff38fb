"""Quests: laws of the rules, the slice in memory, the views on a real Postgres."""
