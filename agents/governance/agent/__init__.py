"""Governance: commands lead to events by the rules; what else acts stands with its concern."""

from agents.governance import rules, sink
from agents.governance.table import GOVERNED
from streams.agent import Decider
from topics.governance import GOVERNANCE

GOVERNANCE_DECIDER = Decider(
    GOVERNANCE, GOVERNED, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)
