"""The rules of sanctions: warnings, bans and restrictions of users, appeals of them, and who the admins are."""

from agents.governance.rules.concern import Concern

SANCTIONS = Concern()
