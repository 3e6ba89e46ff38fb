"""What is known of each user's points; the documents beside the account are found by id."""

from agents.points.rules import Account, Award, Hold, Transfer
from streams.decision import ROOT
from streams.table import Table

ACCOUNTS = Table("points", {ROOT: Account, "award": Award, "hold": Hold, "transfer": Transfer})
