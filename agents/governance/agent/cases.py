"""Agents of moderation."""
