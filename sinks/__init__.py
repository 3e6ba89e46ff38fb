"""Drivers to the outside world; no business in here."""
