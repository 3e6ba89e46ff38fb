"""Sanctions: warnings, bans and restrictions of users, appeals of them, and who the admins are."""
