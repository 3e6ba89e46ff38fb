"""Agents of privacy."""
