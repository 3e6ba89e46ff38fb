"""Checks of moderation."""
