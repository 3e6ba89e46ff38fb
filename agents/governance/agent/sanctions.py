"""Agents of sanctions."""
