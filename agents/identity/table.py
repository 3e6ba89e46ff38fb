"""What is known of each user, and under the hash of each login whose it is."""

from agents.identity.rules import Login, User
from streams.decision import ROOT
from streams.table import Table

USERS = Table("identity", {ROOT: User, "login": Login})
"""A user stands at the root of their id; a login in a document of its own, since its hash might be somebody's id."""
